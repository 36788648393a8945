//! How much work a request may make.
//!
//! What is asked of one record can cost far more than reading it: a condition that looks through a list, asked of
//! every element of another; a comparison of two long texts, a thousand times. The core that carries it out does
//! nothing else meanwhile. So whoever carries something out is lent a [`Work`], and spends steps of it *before* it
//! does what they stand for. A step is about a nanosecond of the machine that the project is measured on; steps are
//! counted and no clock is read, so that the same request has the same outcome wherever and whenever it is made.
//!
//! Invariants
//!   what is left only falls
//!   once a spending was refused every later one is, and whatever was computed since means nothing
//!
//! Loops that are refused end early with any result: it is enough that who lent the work looks at the end.

use std::cell::Cell;

/// Steps that every request has.
pub const STEPS: u64 = 3_000_000;

/// Steps of what is carried out where nobody waits for it: see [`Work::aside`].
pub const STEPS_ASIDE: u64 = 500_000_000;

/// More work was asked for than there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it takes more work than one request may make")]
pub struct Exhausted;

/// See [the module](self).
#[derive(Debug)]
pub struct Work {
    left: Cell<u64>,
    allowed: u64,
    exhausted: Cell<bool>,
}

impl Work {
    /// So many steps.
    pub fn new(steps: u64) -> Work {
        Work {
            left: Cell::new(steps),
            allowed: steps,
            exhausted: Cell::new(false),
        }
    }

    /// What may be done while a core waits for it.
    pub fn at_once() -> Work {
        Work::new(STEPS)
    }

    /// What may be done on a thread of its own: about half a second.
    pub fn aside() -> Work {
        Work::new(STEPS_ASIDE)
    }

    /// Without a limit: for tests and tools.
    pub fn unlimited() -> Work {
        Work::new(u64::MAX)
    }

    /// Takes steps, before what they stand for is done.
    ///
    /// # Errors
    /// When there are not so many left: now and from now on.
    #[inline]
    pub fn spend(&self, steps: u64) -> Result<(), Exhausted> {
        match self.left.get().checked_sub(steps) {
            Some(left) if !self.exhausted.get() => {
                self.left.set(left);
                Ok(())
            }
            _ => {
                self.exhausted.set(true);
                Err(Exhausted)
            }
        }
    }

    /// As [`Work::spend`]; whether it could.
    #[inline]
    pub fn allows(&self, steps: u64) -> bool {
        self.spend(steps).is_ok()
    }

    /// Whether more was asked for than there was.
    #[inline]
    pub fn is_exhausted(&self) -> bool {
        self.exhausted.get()
    }

    /// How much is left.
    pub fn left(&self) -> u64 {
        self.left.get()
    }

    /// How much was done.
    pub fn spent(&self) -> u64 {
        self.allowed - self.left.get()
    }
}

/// Steps to look over bytes: to compare them with others or to copy them.
#[inline]
pub(crate) fn of_bytes(bytes: usize) -> u64 {
    bytes as u64 / 16 + 1
}

/// Steps to compare a packed element with another: a collection is compared element by element.
#[inline]
pub(crate) fn of_element(packed: &[u8]) -> u64 {
    match packed.first() {
        Some(0x80..=0x9f | 0xdc..=0xdf) => 8 + 10 * packed.len() as u64,
        _ => 8 + packed.len() as u64 / 16,
    }
}

/// Steps of a packed element's share of one pass over elements that are being sorted: numbers are compared as such, of
/// texts mostly the beginning.
#[inline]
pub(crate) fn of_ranked(packed: &[u8]) -> u64 {
    match packed.first() {
        Some(0x80..=0x9f | 0xdc..=0xdf) => 8 + 10 * packed.len() as u64,
        Some(0xa0..=0xbf | 0xc4..=0xc9 | 0xd4..=0xdb) => 12 + packed.len() as u64 / 16,
        _ => 4,
    }
}

/// Steps to find an element among so many that are in order: each that it is compared with lies somewhere else.
#[inline]
pub(crate) fn to_find(packed: &[u8], among: usize) -> u64 {
    4 * of_element(packed) * u64::from(among.max(2).ilog2())
}

/// Steps to sort elements of which a pass over all takes so many.
#[inline]
pub(crate) fn to_sort(pass: u64, count: usize) -> u64 {
    pass * u64::from(count.max(2).ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_once_is_refused_for_good() {
        let work = Work::new(10);
        assert_eq!(work.spend(4), Ok(()));
        assert_eq!(work.spend(6), Ok(()));
        assert_eq!(work.spend(0), Ok(()));
        assert!(!work.is_exhausted());
        assert_eq!(work.spend(1), Err(Exhausted));
        assert_eq!(work.spend(0), Err(Exhausted));
        assert!(work.is_exhausted());
        assert_eq!(work.spent(), 10);
    }

    #[test]
    fn who_asks_for_too_much_at_once_has_done_nothing() {
        let work = Work::new(10);
        assert_eq!(work.spend(11), Err(Exhausted));
        assert_eq!(work.spent(), 0);
        assert!(!work.allows(1));
    }
}
