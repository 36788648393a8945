//! Eviction: records leave before their time when there is too much of everything.
//!
//! An eviction is a *mark*, as a truncation is: what it covers is gone at once, for every reader, and
//! is swept later. Who decides on one puts it on disk before it takes effect, and gives all marks to
//! the namespace again before recovery, so what was evicted stays gone after any restart.
//!
//! A mark covers the records whose void time is in (0, V] and whose last update is before T, except
//! those of sets that were spared when it was made. A later write is dated T or later and so never
//! covered, whatever the clock does.
//!
//! Older versions of a covered record may have another void time, and need not be covered. So a
//! covered record keeps its entry until the sweep makes a tombstone of it in the index, and recovery
//! takes it in like any other: the newest version decides, and that one is dead.
//!
//! Invariants of a list of marks ([`with_mark`])
//!   at most [`MARKS_MAX`], void times falling, times rising: none covers all that another does
//!   a new mark leaves nothing uncovered that was covered, unless it has expired for a day

use std::sync::Arc;
use std::sync::atomic::Ordering;

use karst_data::key::PartitionId;
use karst_data::time::Now;
use karst_storage::expire::Survey;
use karst_storage::index::{Entry, WalkCursor};

use crate::error::Reason;
use crate::namespace::Namespace;
use crate::walk::SLICE_ENTRIES_MAX;

/// Most marks of a namespace. Beyond, the two that expire first become one that covers a little more.
pub const MARKS_MAX: usize = 32;

/// A mark is kept this long after all it covers has expired, for clocks that are set back.
const KEPT_AFTER_S: u32 = 86_400;

/// What one eviction covers. See [the module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvictionMark {
    /// Records that expire later than this, in seconds since 2010, stay.
    pub void_until_s: u32,
    /// Records updated at this time or later, in ms since 2010, stay.
    pub before_ms: u64,
    /// Records of these sets stay, in order.
    pub spared: Vec<Box<[u8]>>,
}

impl EvictionMark {
    /// Whether this mark covers all that the other does.
    fn includes(&self, other: &EvictionMark) -> bool {
        self.void_until_s >= other.void_until_s
            && self.before_ms >= other.before_ms
            && self.spared.iter().all(|set| other.spared.contains(set))
    }

    /// The least mark that covers what either does.
    fn join(&self, other: &EvictionMark) -> EvictionMark {
        let spared = self.spared.iter();
        let spared = spared.filter(|set| other.spared.contains(set)).cloned();
        EvictionMark {
            void_until_s: self.void_until_s.max(other.void_until_s),
            before_ms: self.before_ms.max(other.before_ms),
            spared: spared.collect(),
        }
    }
}

/// The marks of a namespace after one more, or after time has gone by.
pub fn with_mark(marks: &[EvictionMark], new: Option<EvictionMark>, now: Now) -> Vec<EvictionMark> {
    let passed =
        |mark: &EvictionMark| mark.void_until_s.saturating_add(KEPT_AFTER_S) < now.epoch_s();
    let mut kept: Vec<EvictionMark> = Vec::with_capacity(marks.len() + 1);
    for mark in marks.iter().chain(&new).filter(|mark| !passed(mark)) {
        if kept.iter().any(|kept| kept.includes(mark)) {
            continue;
        }
        kept.retain(|kept| !mark.includes(kept));
        kept.push(mark.clone());
    }
    kept.sort_by_key(|mark| std::cmp::Reverse(mark.void_until_s)); // stable
    while kept.len() > MARKS_MAX {
        let (last, before) = (kept.pop(), kept.pop());
        if let (Some(last), Some(before)) = (last, before) {
            kept.push(before.join(&last));
        }
    }
    kept
}

/// A mark as lookups want it: sets by number.
#[derive(Debug)]
pub(crate) struct ActiveMark {
    void_until_s: u32,
    before_ms: u64,
    spared: Box<[u16]>,
}

impl ActiveMark {
    fn covers(&self, void_time_s: u32, update_time_ms: u64, set_id: u16) -> bool {
        void_time_s <= self.void_until_s
            && update_time_ms < self.before_ms
            && !self.spared.contains(&set_id)
    }
}

impl Namespace {
    /// Makes these the marks, in place of those there were. They are on disk already.
    ///
    /// # Errors
    /// When a set that they spare is new and cannot be made; the marks are as before.
    pub fn set_evictions(&self, marks: &[EvictionMark]) -> Result<(), Reason> {
        let mut active = Vec::with_capacity(marks.len());
        for mark in marks {
            let numbers = mark.spared.iter().map(|set| self.sets.find_or_make(set));
            let spared: Result<Box<[u16]>, _> = numbers.collect();
            active.push(ActiveMark {
                void_until_s: mark.void_until_s,
                before_ms: mark.before_ms,
                spared: spared.map_err(|_| Reason::SetLimit)?,
            });
        }
        let until_s = active.iter().map(|mark| mark.void_until_s).max();
        let before_ms = active.iter().map(|mark| mark.before_ms).max();
        // Writes are dated behind the marks before anything is covered by them.
        self.evicted_before_ms
            .store(before_ms.unwrap_or(0), Ordering::Release);
        self.evictions.store(Arc::new(active));
        self.evicted_until_s
            .store(until_s.unwrap_or(0), Ordering::Release);
        Ok(())
    }

    /// The greatest void time that a mark covers; 0 without marks.
    pub fn evicted_until_s(&self) -> u32 {
        self.evicted_until_s.load(Ordering::Acquire)
    }

    /// Whether an eviction covers a record.
    #[inline]
    pub(crate) fn is_evicted(&self, void_time_s: u32, update_time_ms: u64, set_id: u16) -> bool {
        if void_time_s == 0 || void_time_s > self.evicted_until_s.load(Ordering::Acquire) {
            return false;
        }
        let marks = self.evictions.load();
        marks
            .iter()
            .any(|mark| mark.covers(void_time_s, update_time_ms, set_id))
    }

    /// The mark that evicts everything with a void time up to this one, now. What was acknowledged in
    /// this very millisecond is covered too; later writes are dated behind it.
    pub fn eviction_mark(&self, void_until_s: u32, now: Now) -> EvictionMark {
        let mut spared = self.sets.never_evicted();
        spared.sort_unstable();
        EvictionMark {
            void_until_s,
            before_ms: now.epoch_ms() + 1,
            spared,
        }
    }

    /// Counts in part of a partition what may be evicted. Returns where the next slice begins.
    pub fn survey_slice(
        &self,
        id: PartitionId,
        after: Option<WalkCursor>,
        survey: &mut Survey,
        now: Now,
    ) -> Option<WalkCursor> {
        self.visit_alive(id, after, now, &mut |entry| {
            if self.may_be_evicted(entry) {
                survey.count(entry.void_time_s());
            }
        })
    }

    /// Whether anything of a partition may be evicted.
    pub fn may_hold_evictable(&self, id: PartitionId) -> bool {
        self.partition(id).expires
    }

    fn may_be_evicted(&self, entry: &Entry) -> bool {
        entry.void_time_s() != 0 && !self.sets.rules(entry.set_id()).disable_eviction
    }

    /// Shows part of a partition's live records. Returns where the next slice begins.
    pub fn visit_alive(
        &self,
        id: PartitionId,
        after: Option<WalkCursor>,
        now: Now,
        visit: &mut dyn FnMut(&Entry),
    ) -> Option<WalkCursor> {
        let mut visited = 0;
        let partition = self.partition(id);
        partition.directory.walk(after, &mut |entry| {
            visited += 1;
            if self.is_alive(entry, now) {
                visit(entry);
            }
            if visited >= SLICE_ENTRIES_MAX {
                std::ops::ControlFlow::Break(())
            } else {
                std::ops::ControlFlow::Continue(())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(void_until_s: u32, before_ms: u64, spared: &[&str]) -> EvictionMark {
        EvictionMark {
            void_until_s,
            before_ms,
            spared: spared.iter().map(|set| set.as_bytes().into()).collect(),
        }
    }

    const NOW: Now = Now::EPOCH;

    fn covered(marks: &[EvictionMark], void_s: u32, update_ms: u64, set: &str) -> bool {
        marks.iter().any(|mark| {
            void_s <= mark.void_until_s
                && update_ms < mark.before_ms
                && !mark.spared.iter().any(|spared| **spared == *set.as_bytes())
        })
    }

    #[test]
    fn a_later_mark_that_reaches_as_far_replaces_an_earlier_one() {
        let first = with_mark(&[], Some(mark(100, 10, &[])), NOW);
        assert_eq!(
            with_mark(&first, Some(mark(150, 20, &[])), NOW),
            [mark(150, 20, &[])]
        );
        let lower = with_mark(&first, Some(mark(50, 20, &[])), NOW);
        assert_eq!(lower, [mark(100, 10, &[]), mark(50, 20, &[])]);
        let spares = with_mark(&first, Some(mark(150, 20, &["kept"])), NOW);
        assert_eq!(
            spares.len(),
            2,
            "the first covers records of the set that the second spares"
        );
    }

    #[test]
    fn whatever_was_covered_stays_covered_and_the_list_stays_short() {
        let mut state = 7u64;
        let mut draw = |limit: u64| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 33) % limit
        };
        let mut marks = Vec::new();
        let mut probes: Vec<(u32, u64, &str)> = Vec::new();
        for step in 1..2000u64 {
            let void_until_s = 1 + draw(1_000_000) as u32;
            let spared: &[&str] = if draw(5) == 0 { &["kept"] } else { &[] };
            marks = with_mark(&marks, Some(mark(void_until_s, step, spared)), NOW);
            assert!(marks.len() <= MARKS_MAX);
            probes.push((void_until_s, step - 1, "any"));
            for (void_s, update_ms, set) in &probes {
                assert!(covered(&marks, *void_s, *update_ms, set), "step {step}");
            }
            assert!(
                !covered(&marks, 1, step, "any"),
                "a later write is never covered"
            );
        }
    }

    #[test]
    fn a_mark_goes_a_day_after_all_it_covers_has_expired() {
        let marks = [mark(100, 10, &[])];
        let at = |s: u64| Now::from_epoch_ms(s * 1000);
        assert_eq!(with_mark(&marks, None, at(100 + 86_400)).len(), 1);
        assert_eq!(with_mark(&marks, None, at(101 + 86_400)).len(), 0);
    }
}
