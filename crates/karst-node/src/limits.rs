//! How full the node is, against what its configuration allows: from settings and figures to the
//! decisions of [`karst_storage::watermark`], and from those to words.

use std::fmt;

use karst_engine::{Life, SetRules};
use karst_storage::log::NoSpace;
use karst_storage::watermark::{Breach, Limits, Resource, Usage};

use crate::config;
use crate::node::NamespaceState;

/// The engine's settings of a namespace.
pub fn engine_life(life: &config::Life) -> Life {
    let set = |set: &config::SetLife| {
        let rules = SetRules {
            default_ttl_s: set.default_ttl.map(|ttl| ttl.as_secs() as u32), // at most ten years
            read_touch_percent: set.read_touch_percent,
            disable_eviction: set.disable_eviction,
            stop_writes_count: set.stop_writes_count,
            stop_writes_bytes: set.stop_writes_bytes,
        };
        (set.name.as_bytes().into(), rules)
    };
    Life {
        default_ttl_s: Some(life.default_ttl.map_or(0, |ttl| ttl.as_secs() as u32)),
        ttl_s_max: life.max_ttl.as_secs() as u32,
        apply_ttl_reductions: life.apply_ttl_reductions,
        read_touch_percent: life.read_touch_percent,
        sets: life.sets.iter().map(set).collect(),
    }
}

/// How full a namespace is now. `memory_percent` is the machine's.
pub fn usage(namespace: &NamespaceState, memory_percent: Option<u64>) -> Usage {
    let log = namespace.engine.log();
    let report = log.report();
    let block_bytes = u64::from(log.config().block_bytes);
    let (usable_bytes, live_bytes) = log.usable_bytes();
    let (index_pages, index_pages_max) = namespace.engine.index_pages();
    Usage {
        live_bytes,
        usable_bytes,
        free_blocks: report.free_bytes / block_bytes,
        blocks: report.total_bytes / block_bytes,
        index_pages,
        index_pages_max,
        memory_percent,
    }
}

/// Why clients' writes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No device can be written to.
    Failed,
    /// A limit is crossed.
    Limit(Breach),
}

impl Refusal {
    /// Why a namespace refuses writes, if it does.
    pub fn of(namespace: &NamespaceState, usage: &Usage) -> Option<Refusal> {
        let limits = namespace.limits();
        match namespace.engine.log().refusal() {
            Some(NoSpace::Failed) => Some(Refusal::Failed),
            Some(NoSpace::Full | NoSpace::Wait | NoSpace::TooBig { .. }) => {
                Some(Refusal::Limit(Breach {
                    resource: Resource::Used,
                    percent: usage.used_percent(),
                    limit_percent: limits.stop_used_percent.into(),
                }))
            }
            None => limits.stop_writes(usage).map(Refusal::Limit),
        }
    }

    /// What there is to do about it.
    fn advice(&self) -> &'static str {
        match self {
            Refusal::Failed => "wipe or replace them and restart",
            Refusal::Limit(breach) => advice(breach.resource),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Failed => write!(f, "every device has failed")?,
            Refusal::Limit(breach) => write!(f, "{breach}")?,
        }
        write!(f, "; {}", self.advice())
    }
}

/// What helps against too much of something.
fn advice(resource: Resource) -> &'static str {
    match resource {
        Resource::Used => {
            "delete records or add a device; truncation, expiry and eviction make room too"
        }
        Resource::FreeBlocks => "defrag is behind: lower the load, delete records or add a device",
        Resource::Index => "delete records, or raise index_entries_max",
        Resource::Memory => "free memory on the machine: the index is in it",
    }
}

/// What is near a limit and not past it, as sentences that say what is going to happen.
pub fn warnings(limits: &Limits, usage: &Usage) -> Vec<(Breach, String)> {
    let stops = limits.near_stop_writes(usage).into_iter();
    let stops = stops.map(|breach| {
        let advice = advice(breach.resource);
        (
            breach,
            format!("{breach}: writes will be refused beyond; {advice}"),
        )
    });
    let evictions = limits.near_eviction(usage).into_iter();
    let evictions =
        evictions.map(|breach| (breach, format!("{breach}: records will be evicted beyond")));
    let index = limits.index_nearly_full(usage).into_iter();
    let index = index.map(|breach| {
        let advice = advice(breach.resource);
        (
            breach,
            format!("{breach}: new records will be refused when it is full; {advice}"),
        )
    });
    stops.chain(evictions).chain(index).collect()
}
