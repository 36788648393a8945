//! How fast a core fills other nodes: within `cluster.fill_rate`, and less while its clients would wait.
//!
//! A core that has too much to do comes late to whatever is due. So a timer that rings late, while clients ask
//! something, halves the number of records that may be on their way at once; one in time lets it grow again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use karst_io::clock;
use tokio::sync::Notify;

use crate::core::Core;

/// Records that may be on their way at once: at most, and however late timers ring.
const WINDOW_MAX: usize = 256;
const WINDOW_MIN: usize = 8;

/// By how much the window grows in the time between two looks.
const WINDOW_STEP: usize = 8;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How late a timer may ring; 1 ms of it is its own coarseness.
const LATE_US_MAX: u64 = 3_000;

/// What a rate allows at once after a rest.
const BURST_US: u64 = 10_000;

/// See [the module](self).
pub struct Pace {
    window: Cell<usize>,
    out: Cell<usize>,
    eased: Notify,
    rate: Option<RefCell<Rate>>,
}

/// Bytes a second, and when the next are due.
struct Rate {
    bytes_per_s: u64,
    due_us: u64,
}

impl Rate {
    /// Takes this many bytes, and says how long to rest first.
    fn take(&mut self, bytes: u64, now_us: u64) -> u64 {
        let begins_us = self.due_us.max(now_us.saturating_sub(BURST_US));
        self.due_us = begins_us + bytes * 1_000_000 / self.bytes_per_s;
        begins_us.saturating_sub(now_us)
    }
}

/// A record that may be on its way.
pub struct Place<'p>(&'p Pace);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.out.set(self.0.out.get() - 1);
        self.0.eased.notify_one();
    }
}

impl Pace {
    /// Of one core, whose share of the rate this is; `None` for any.
    pub fn new(bytes_per_s: Option<u64>) -> Pace {
        let rate = |bytes_per_s: u64| Rate {
            bytes_per_s: bytes_per_s.max(1),
            due_us: 0,
        };
        Pace {
            window: Cell::new(WINDOW_MAX),
            out: Cell::new(0),
            eased: Notify::new(),
            rate: bytes_per_s.map(|it| RefCell::new(rate(it))),
        }
    }

    /// Waits until one record more may be on its way.
    pub async fn place(&self) -> Place<'_> {
        while self.out.get() >= self.window.get() {
            self.eased.notified().await;
        }
        self.out.set(self.out.get() + 1);
        Place(self)
    }

    /// Waits until that many bytes may be sent.
    pub async fn take(&self, bytes: usize) {
        let Some(rate) = &self.rate else {
            return;
        };
        let rest_us = rate.borrow_mut().take(bytes as u64, clock::monotonic_us());
        if rest_us > 0 {
            tokio::time::sleep(Duration::from_micros(rest_us)).await;
        }
    }

    fn adapt(&self, late_us: u64, clients_ask: bool) {
        let window = match late_us > LATE_US_MAX && clients_ask {
            true => (self.window.get() / 2).max(WINDOW_MIN),
            false => (self.window.get() + WINDOW_STEP).min(WINDOW_MAX),
        };
        self.window.set(window);
        self.eased.notify_one();
    }
}

/// Adapts a core's pace to its clients, for as long as it runs.
pub async fn adapt(core: Rc<Core>) {
    let mut seen = core.counters.bytes_in.get();
    loop {
        let began_us = clock::monotonic_us();
        tokio::time::sleep(LOOK_EVERY).await;
        let took_us = clock::monotonic_us() - began_us;
        let now = core.counters.bytes_in.get();
        let late_us = took_us.saturating_sub(LOOK_EVERY.as_micros() as u64);
        core.pace.adapt(late_us, now != seen);
        seen = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_records_are_on_their_way_while_clients_would_wait_and_more_when_they_do_not() {
        let pace = Pace::new(None);
        for _ in 0..20 {
            pace.adapt(LATE_US_MAX + 1, true);
        }
        assert_eq!(pace.window.get(), WINDOW_MIN);
        pace.adapt(LATE_US_MAX + 1, false);
        assert_eq!(pace.window.get(), WINDOW_MIN + WINDOW_STEP);
        for _ in 0..WINDOW_MAX {
            pace.adapt(0, true);
        }
        assert_eq!(pace.window.get(), WINDOW_MAX);
    }

    #[test]
    fn a_rate_is_kept_and_a_rest_saves_up_no_more_than_a_moment() {
        let mut rate = Rate {
            bytes_per_s: 1_000_000,
            due_us: 0,
        };
        let mut now_us = 50_000_000;
        for _ in 0..1000 {
            now_us += rate.take(1000, now_us);
        }
        let took_us = now_us - 50_000_000;
        assert!((985_000..=1_000_000).contains(&took_us), "{took_us}");
        assert_eq!(rate.take(1000, now_us + 3_000_000), 0);
        assert!(rate.take(50_000, now_us + 3_000_000) == 0);
        assert!(rate.take(1000, now_us + 3_000_000) > 30_000);
    }

    #[tokio::test]
    async fn who_finds_no_place_waits_for_one() {
        let pace = Pace::new(None);
        pace.window.set(1);
        let first = pace.place().await;
        let second = tokio::time::timeout(Duration::from_millis(20), pace.place()).await;
        assert!(second.is_err());
        drop(first);
        drop(pace.place().await);
    }
}
