//! Settings of a namespace that may change while the node runs, under the rules that hold for its file.
//!
//! A change is no part of the configuration: it is gone with the process.

use std::time::Duration;

use super::Errors;
use super::check::check_life;
use super::checked::{Life, Namespace};
use super::quantity::{print_size, print_time};
use super::raw::{RawNamespace, RawSet};

/// Most settings that are changed at once.
const CHANGES_MAX: usize = 64;

/// One setting, and what it is to be. Named as its key in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifeChange {
    /// Zero is for ever.
    DefaultTtl(Duration),
    /// As [`Life::apply_ttl_reductions`].
    ApplyTtlReductions(bool),
    /// As [`Life::read_touch_percent`].
    ReadTouchPercent(i64),
    /// As [`Life::sweep_period`].
    SweepPeriod(Duration),
    /// As [`Life::evict_tenths_percent`].
    EvictTenthsPercent(i64),
    /// As [`Life::evict_histogram_buckets`].
    EvictHistogramBuckets(i64),
    /// As `evict_used_percent` of its limits.
    EvictUsedPercent(i64),
    /// As `evict_index_percent` of its limits.
    EvictIndexPercent(i64),
    /// As `stop_used_percent` of its limits.
    StopWritesUsedPercent(i64),
    /// As `stop_free_blocks_percent` of its limits.
    StopWritesFreeBlocksPercent(i64),
    /// As `stop_index_percent` of its limits.
    StopWritesIndexPercent(i64),
    /// As `stop_memory_percent` of its limits.
    StopWritesMemoryPercent(i64),
    /// A rule of one set, which need not be there yet.
    OfSet(String, SetChange),
}

/// A rule of a set, and what it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetChange {
    /// As [`SetLife::default_ttl`](super::SetLife::default_ttl).
    DefaultTtl(Option<Duration>),
    /// As [`SetLife::read_touch_percent`](super::SetLife::read_touch_percent).
    ReadTouchPercent(Option<i64>),
    /// As [`SetLife::disable_eviction`](super::SetLife::disable_eviction).
    DisableEviction(bool),
    /// As [`SetLife::stop_writes_count`](super::SetLife::stop_writes_count).
    StopWritesCount(i64),
    /// As [`SetLife::stop_writes_bytes`](super::SetLife::stop_writes_bytes).
    StopWritesBytes(u64),
}

impl Namespace {
    /// What holds now, changed: all of it or nothing.
    ///
    /// # Errors
    /// What is wrong with the changes, as of a file.
    pub fn life_after(&self, life: &Life, changes: &[LifeChange]) -> Result<Life, Errors> {
        if changes.len() > CHANGES_MAX {
            return Err(Errors::one(format!("more than {CHANGES_MAX} changes")));
        }
        let mut raw = life.to_raw();
        changes.iter().for_each(|change| change.put(&mut raw));
        check_life(&raw, self.mode)
    }
}

impl LifeChange {
    fn put(&self, raw: &mut RawNamespace) {
        match self {
            LifeChange::DefaultTtl(ttl) => raw.default_ttl = Some(print_time(*ttl)),
            LifeChange::ApplyTtlReductions(apply) => raw.apply_ttl_reductions = Some(*apply),
            LifeChange::ReadTouchPercent(percent) => raw.read_touch_percent = Some(*percent),
            LifeChange::SweepPeriod(period) => raw.sweep_period = Some(print_time(*period)),
            LifeChange::EvictTenthsPercent(tenths) => raw.evict_tenths_percent = Some(*tenths),
            LifeChange::EvictHistogramBuckets(buckets) => {
                raw.evict_histogram_buckets = Some(*buckets);
            }
            LifeChange::EvictUsedPercent(percent) => raw.evict_used_percent = Some(*percent),
            LifeChange::EvictIndexPercent(percent) => raw.evict_index_percent = Some(*percent),
            LifeChange::StopWritesUsedPercent(percent) => {
                raw.stop_writes_used_percent = Some(*percent);
            }
            LifeChange::StopWritesFreeBlocksPercent(percent) => {
                raw.stop_writes_free_blocks_percent = Some(*percent);
            }
            LifeChange::StopWritesIndexPercent(percent) => {
                raw.stop_writes_index_percent = Some(*percent);
            }
            LifeChange::StopWritesMemoryPercent(percent) => {
                raw.stop_writes_memory_percent = Some(*percent);
            }
            LifeChange::OfSet(name, change) => change.put(of_set(raw, name)),
        }
    }
}

/// The table of a set, made if there is none.
fn of_set<'r>(raw: &'r mut RawNamespace, name: &str) -> &'r mut RawSet {
    let sets = raw.set.get_or_insert_default();
    let found = sets
        .iter()
        .position(|set| set.name.as_deref() == Some(name));
    let at = found.unwrap_or_else(|| {
        sets.push(RawSet {
            name: Some(name.to_owned()),
            ..RawSet::default()
        });
        sets.len() - 1
    });
    &mut sets[at]
}

impl SetChange {
    fn put(&self, raw: &mut RawSet) {
        match self {
            SetChange::DefaultTtl(ttl) => raw.default_ttl = ttl.map(print_time),
            SetChange::ReadTouchPercent(percent) => raw.read_touch_percent = *percent,
            SetChange::DisableEviction(disable) => raw.disable_eviction = Some(*disable),
            SetChange::StopWritesCount(count) => raw.stop_writes_count = Some(*count),
            SetChange::StopWritesBytes(bytes) => raw.stop_writes_bytes = Some(print_size(*bytes)),
        }
    }
}
