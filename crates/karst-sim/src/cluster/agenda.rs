//! What happens when: virtual time goes from one event to the next, and nothing happens in between.
//!
//! Of two events at the same moment the one that was put down first comes first. So the order of everything
//! follows from the seed.

use std::collections::BTreeMap;

/// See [the module](self).
pub struct Agenda<E> {
    now_us: u64,
    put_down: u64,
    events: BTreeMap<(u64, u64), E>,
}

impl<E> Default for Agenda<E> {
    fn default() -> Agenda<E> {
        Agenda {
            now_us: 0,
            put_down: 0,
            events: BTreeMap::new(),
        }
    }
}

impl<E> Agenda<E> {
    /// The time.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Puts an event down that comes in so many microseconds.
    pub fn after(&mut self, us: u64, event: E) {
        self.at(self.now_us + us, event);
    }

    /// Puts an event down that comes at a time, which is not over.
    pub fn at(&mut self, at_us: u64, event: E) {
        assert!(at_us >= self.now_us);
        self.events.insert((at_us, self.put_down), event);
        self.put_down += 1;
    }

    /// Goes on to the next event.
    pub fn advance(&mut self) -> Option<E> {
        let ((at_us, _), event) = self.events.pop_first()?;
        self.now_us = at_us;
        Some(event)
    }
}
