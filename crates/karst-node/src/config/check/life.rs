//! The keys of a namespace that say how long records live, when they are evicted, and when writes stop.

use std::collections::BTreeSet;
use std::time::Duration;

use karst_data::key::SET_BYTES_MAX;
use karst_storage::log::{LIVE_PERCENT_LIMIT, LIVE_PERCENT_MAX};
use karst_storage::watermark::Limits;

use super::{Check, GIB, TTL_MAX};
use crate::config::checked::{Life, SetLife};
use crate::config::quantity::print_time;
use crate::config::raw::{RawNamespace, RawSet};

/// Sets with rules of their own: as many as a namespace may have.
const SETS_MAX: usize = karst_engine::sets::SETS_MAX;

const SWEEP_PERIOD: Duration = Duration::from_secs(120);

const DAY: Duration = Duration::from_secs(86_400);

impl Check<'_> {
    pub(super) fn life(&mut self, path: &str, raw: &RawNamespace) -> Life {
        let at = |key: &str| format!("{path}.{key}");
        let max_ttl = self.seconds(&at("max_ttl"), raw.max_ttl.as_deref());
        let max_ttl = max_ttl.filter(|ttl| !ttl.is_zero()).unwrap_or(TTL_MAX);
        let default_ttl = self.default_ttl(&at("default_ttl"), raw.default_ttl.as_deref(), max_ttl);
        Life {
            max_ttl,
            default_ttl: default_ttl.filter(|ttl| !ttl.is_zero()),
            apply_ttl_reductions: raw.apply_ttl_reductions.unwrap_or(true),
            read_touch_percent: self.percent(&at("read_touch_percent"), raw.read_touch_percent, 0),
            sweep_period: self.time(
                &at("sweep_period"),
                raw.sweep_period.as_deref(),
                SWEEP_PERIOD,
                Duration::from_secs(1)..=DAY,
            ),
            evict_tenths_percent: self.number(
                &at("evict_tenths_percent"),
                raw.evict_tenths_percent,
                5,
                1..=1000,
            ) as u32,
            evict_histogram_buckets: self.number(
                &at("evict_histogram_buckets"),
                raw.evict_histogram_buckets,
                10_000,
                100..=1_000_000,
            ) as usize,
            limits: self.limits(path, raw),
            sets: self.sets(path, raw.set.as_deref().unwrap_or_default(), max_ttl),
        }
    }

    fn limits(&mut self, path: &str, raw: &RawNamespace) -> Limits {
        let at = |key: &str| format!("{path}.{key}");
        let limits = Limits {
            evict_used_percent: self.percent(&at("evict_used_percent"), raw.evict_used_percent, 0),
            evict_index_percent: self.percent(
                &at("evict_index_percent"),
                raw.evict_index_percent,
                0,
            ),
            stop_used_percent: self.number(
                &at("stop_writes_used_percent"),
                raw.stop_writes_used_percent,
                LIVE_PERCENT_MAX,
                1..=LIVE_PERCENT_LIMIT as i64,
            ) as u8,
            stop_free_blocks_percent: self.number(
                &at("stop_writes_free_blocks_percent"),
                raw.stop_writes_free_blocks_percent,
                0,
                0..=50,
            ) as u8,
            stop_index_percent: self.percent(
                &at("stop_writes_index_percent"),
                raw.stop_writes_index_percent,
                0,
            ),
            stop_memory_percent: self.percent(
                &at("stop_writes_memory_percent"),
                raw.stop_writes_memory_percent,
                90,
            ),
        };
        if limits.evict_used_percent >= limits.stop_used_percent {
            self.refuse(
                &at("evict_used_percent"),
                &format!(
                    "{} is not below stop_writes_used_percent, {}: writes would stop before anything \
                     is evicted",
                    limits.evict_used_percent, limits.stop_used_percent
                ),
            );
        }
        limits
    }

    fn sets(&mut self, path: &str, raw: &[RawSet], max_ttl: Duration) -> Vec<SetLife> {
        if raw.len() > SETS_MAX {
            let found = raw.len();
            let what = format!("{found} of them; a namespace has at most {SETS_MAX} sets");
            self.refuse(&format!("{path}.set"), &what);
        }
        let mut names = BTreeSet::new();
        let mut sets = Vec::new();
        for (at, set) in raw.iter().enumerate() {
            let path = format!("{path}.set.{at}");
            let name = set.name.clone().unwrap_or_default();
            if !names.insert(name.clone()) {
                let what = format!("\"{name}\" is there already");
                self.refuse(&format!("{path}.name"), &what);
            }
            sets.push(self.set(&path, name, set, max_ttl));
        }
        sets
    }

    fn set(&mut self, path: &str, name: String, raw: &RawSet, max_ttl: Duration) -> SetLife {
        let at = |key: &str| format!("{path}.{key}");
        if name.is_empty() || name.len() > SET_BYTES_MAX || name.contains([':', ';']) {
            let what = format!(
                "\"{}\" is no name of a set: 1 to {SET_BYTES_MAX} bytes without ':' and ';'",
                name.escape_debug()
            );
            self.refuse(&at("name"), &what);
        }
        SetLife {
            name,
            default_ttl: self.default_ttl(&at("default_ttl"), raw.default_ttl.as_deref(), max_ttl),
            read_touch_percent: raw
                .read_touch_percent
                .map(|_| self.percent(&at("read_touch_percent"), raw.read_touch_percent, 0)),
            disable_eviction: raw.disable_eviction.unwrap_or(false),
            stop_writes_count: self.number(
                &at("stop_writes_count"),
                raw.stop_writes_count,
                0,
                0..=i64::MAX,
            ),
            stop_writes_bytes: self.size(
                &at("stop_writes_bytes"),
                raw.stop_writes_bytes.as_deref(),
                0,
                0..=(1 << 20) * GIB,
            ),
        }
    }

    /// A time to live that writers get by default; none of them may ask for more than `max_ttl`.
    fn default_ttl(
        &mut self,
        path: &str,
        written: Option<&str>,
        max_ttl: Duration,
    ) -> Option<Duration> {
        let ttl = self.seconds(path, written)?;
        if ttl > max_ttl {
            let (ttl, max) = (print_time(ttl), print_time(max_ttl));
            self.refuse(path, &format!("{ttl} is more than max_ttl, {max}"));
        }
        Some(ttl)
    }

    /// A time to live in whole seconds, if one is written.
    fn seconds(&mut self, path: &str, written: Option<&str>) -> Option<Duration> {
        written?;
        let ttl = self.time(path, written, Duration::ZERO, Duration::ZERO..=TTL_MAX);
        if ttl.subsec_nanos() > 0 {
            let what = format!("{} is not a whole number of seconds", print_time(ttl));
            self.refuse(path, &what);
        }
        Some(ttl)
    }

    fn percent(&mut self, path: &str, written: Option<i64>, default: u64) -> u8 {
        self.number(path, written, default, 0..=100) as u8
    }
}
