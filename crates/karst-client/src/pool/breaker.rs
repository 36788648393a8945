//! Errors of one node within the present window of time. When there are too many the node is avoided until
//! the next window begins: a node in trouble is not helped by more requests, and callers are served sooner by
//! another.
//!
//! Pure: the age of the node comes in as an argument. One word, so that the path of every request costs no
//! lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// See [the module](self).
#[derive(Debug)]
pub(crate) struct Breaker {
    window: Duration,
    errors_max: u32,
    /// Number of the window in the upper half, errors within it in the lower.
    state: AtomicU64,
}

impl Breaker {
    /// Opens at `errors_max` errors within a window; never if that is 0.
    pub(crate) fn new(errors_max: u32, window: Duration) -> Breaker {
        Breaker {
            window: window.max(Duration::from_millis(1)),
            errors_max,
            state: AtomicU64::new(0),
        }
    }

    /// Counts one error.
    pub(crate) fn note(&self, age: Duration) {
        let window = self.window_at(age);
        let count = |state| Some(window << 32 | u64::from(errors_in(state, window) + 1));
        let _ = self
            .state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
    }

    /// Errors of the present window, if they are too many.
    pub(crate) fn open(&self, age: Duration) -> Option<u32> {
        let state = self.state.load(Ordering::Relaxed);
        if state == 0 || self.errors_max == 0 {
            return None; // the common case
        }
        let errors = errors_in(state, self.window_at(age));
        (errors >= self.errors_max).then_some(errors)
    }

    fn window_at(&self, age: Duration) -> u64 {
        // Windows of a millisecond would need 49 days to come around, and then err once.
        (age.as_nanos() / self.window.as_nanos()) as u64 & u64::from(u32::MAX)
    }
}

fn errors_in(state: u64, window: u64) -> u32 {
    match state >> 32 == window {
        true => (state as u32).min(u32::MAX - 1), // one more still fits
        false => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(1);

    #[test]
    fn it_opens_at_the_limit_and_closes_with_the_window() {
        let breaker = Breaker::new(3, WINDOW);
        let late = Duration::from_millis(5900);
        breaker.note(late);
        breaker.note(late);
        assert_eq!(breaker.open(late), None);
        breaker.note(late);
        assert_eq!(breaker.open(late), Some(3));
        assert_eq!(breaker.open(Duration::from_secs(6)), None);
        breaker.note(Duration::from_secs(6));
        assert_eq!(breaker.open(Duration::from_secs(6)), None);
    }

    #[test]
    fn without_a_limit_it_never_opens() {
        let breaker = Breaker::new(0, WINDOW);
        for _ in 0..1000 {
            breaker.note(WINDOW);
        }
        assert_eq!(breaker.open(WINDOW), None);
    }
}
