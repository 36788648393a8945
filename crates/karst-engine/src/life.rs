//! How long records live, and what a set may hold: the settings, and what follows from them for a write.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use karst_data::time::{Now, TTL_S_MAX, Ttl};

use crate::error::Reason;
use crate::namespace::Namespace;
use crate::sets::Set;
use crate::write::WriteRequest;

/// Settings of a namespace that may change while it is used.
#[derive(Clone, Debug)]
pub struct Life {
    /// Life of a record whose writer asks for the default, in seconds; 0 is for ever. `None` is what
    /// [`NamespaceConfig`](crate::NamespaceConfig) says.
    pub default_ttl_s: Option<u32>,
    /// Longest time to live that a writer may ask for, in seconds.
    pub ttl_s_max: u32,
    /// Whether a write may make a record's life shorter than it was.
    pub apply_ttl_reductions: bool,
    /// Percent of a record's life at whose end a read renews it, where the reader asks for the default.
    pub read_touch_percent: u8,
    /// Sets with rules of their own.
    pub sets: Vec<(Box<[u8]>, SetRules)>,
}

impl Default for Life {
    fn default() -> Life {
        Life {
            default_ttl_s: None,
            ttl_s_max: TTL_S_MAX,
            apply_ttl_reductions: true,
            read_touch_percent: 0,
            sets: Vec::new(),
        }
    }
}

/// Rules of one set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetRules {
    /// Time to live where the writer asks for the default, 0 for ever; `None` is the namespace's.
    pub default_ttl_s: Option<u32>,
    /// As [`Life::read_touch_percent`]; `None` is the namespace's.
    pub read_touch_percent: Option<u8>,
    /// Its records are never evicted.
    pub disable_eviction: bool,
    /// Records from which on no new one is taken; 0 for any number.
    pub stop_writes_count: u64,
    /// Bytes from which on no write is taken; 0 for any number.
    pub stop_writes_bytes: u64,
}

impl SetRules {
    /// Whether a write is refused: a new record from either limit on, a change of one that is there
    /// only where bytes are the matter.
    pub(crate) fn refuse(&self, set: &Set, creates: bool) -> bool {
        let at = |limit: u64, now: u64| limit != 0 && now >= limit;
        (creates && at(self.stop_writes_count, set.records()))
            || at(self.stop_writes_bytes, set.bytes())
    }
}

/// The settings that requests look at, but for those of sets. A request that meets a change may see a part of it.
#[derive(Debug)]
pub(crate) struct Lives {
    default_ttl_s: AtomicU32,
    ttl_s_max: AtomicU32,
    apply_ttl_reductions: AtomicBool,
    read_touch_percent: AtomicU8,
}

impl Lives {
    pub(crate) fn new(default_ttl_s: u32) -> Lives {
        let life = Life::default();
        Lives {
            default_ttl_s: AtomicU32::new(default_ttl_s),
            ttl_s_max: AtomicU32::new(life.ttl_s_max),
            apply_ttl_reductions: AtomicBool::new(life.apply_ttl_reductions),
            read_touch_percent: AtomicU8::new(life.read_touch_percent),
        }
    }

    fn set(&self, default_ttl_s: u32, life: &Life) {
        self.default_ttl_s.store(default_ttl_s, Ordering::Relaxed);
        self.ttl_s_max.store(life.ttl_s_max, Ordering::Relaxed);
        self.apply_ttl_reductions
            .store(life.apply_ttl_reductions, Ordering::Relaxed);
        self.read_touch_percent
            .store(life.read_touch_percent, Ordering::Relaxed);
    }
}

impl Namespace {
    /// The namespace with these settings.
    #[must_use]
    pub fn with_life(self, life: &Life) -> Namespace {
        self.set_life(life);
        self
    }

    /// Lets these settings hold for requests from now on. Records keep the void times that they have.
    pub fn set_life(&self, life: &Life) {
        self.sets.set_rules(&life.sets);
        let default_ttl_s = life.default_ttl_s.unwrap_or(self.config().default_ttl_s);
        self.lives.set(default_ttl_s, life);
    }

    /// Refuses what no client's write may do now, whatever record it meets.
    pub(crate) fn admit(&self, request: &WriteRequest<'_>) -> Result<(), Reason> {
        if self.is_stopped() {
            return Err(Reason::StopWrites);
        }
        if self.log.is_past_live_max() {
            return Err(Reason::OutOfSpace);
        }
        match request.ttl {
            Ttl::Seconds(seconds) if seconds > self.lives.ttl_s_max.load(Ordering::Relaxed) => {
                Err(Reason::TtlTooLong)
            }
            Ttl::Seconds(_) | Ttl::Default | Ttl::Never | Ttl::Keep => Ok(()),
        }
    }

    /// Whether clients' writes are refused because a limit is crossed; see [`Namespace::set_stopped`].
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Refuses clients' writes, deletes excepted, or takes them again. Who watches the limits decides.
    pub fn set_stopped(&self, stopped: bool) {
        self.stopped.store(stopped, Ordering::Relaxed);
    }

    /// Refuses a write into a set that holds as much as it may.
    pub(crate) fn admit_to_set(&self, set_id: u16, creates: bool) -> Result<(), Reason> {
        match self.sets.refuse(set_id, creates) {
            true => Err(Reason::SetFull),
            false => Ok(()),
        }
    }

    /// The void time after a write. `current` is that of the live record that is updated.
    pub(crate) fn void_time_after(
        &self,
        ttl: Ttl,
        current: Option<u32>,
        set_id: u16,
        now: Now,
    ) -> u32 {
        let default_ttl_s = match ttl {
            Ttl::Default | Ttl::Keep => self.default_ttl_s(set_id),
            Ttl::Never | Ttl::Seconds(_) => 0,
        };
        let asked = ttl.void_time(current, default_ttl_s, now);
        match current {
            Some(current) if is_reduction(current, asked) => {
                if self.lives.apply_ttl_reductions.load(Ordering::Relaxed) {
                    self.ttl_reductions_applied.fetch_add(1, Ordering::Relaxed);
                    asked
                } else {
                    self.ttl_reductions_ignored.fetch_add(1, Ordering::Relaxed);
                    current
                }
            }
            Some(_) | None => asked,
        }
    }

    /// The life of a record whose writer asks for the default, in seconds; 0 is for ever.
    pub fn default_ttl_s(&self, set_id: u16) -> u32 {
        let of_set = self.sets.rules(set_id).default_ttl_s;
        of_set.unwrap_or_else(|| self.lives.default_ttl_s.load(Ordering::Relaxed))
    }

    /// At which percent of its life's end a read renews a record of this set, where the reader asks for
    /// the default; 0 is not at all.
    pub fn read_touch_percent(&self, set_id: u16) -> u8 {
        let of_set = self.sets.rules(set_id).read_touch_percent;
        of_set.unwrap_or_else(|| self.lives.read_touch_percent.load(Ordering::Relaxed))
    }
}

/// Whether one void time ends a life sooner than another; 0 is never.
fn is_reduction(current: u32, asked: u32) -> bool {
    asked != 0 && (current == 0 || asked < current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_ever_is_the_longest_life() {
        assert!(is_reduction(0, 5) && is_reduction(6, 5));
        assert!(!is_reduction(5, 5) && !is_reduction(5, 6) && !is_reduction(5, 0));
        assert!(!is_reduction(0, 0));
    }
}
