//! Counters and marks in a region, where they outlive the process if the region does.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::buffer::Region;

/// 64-bit atomics that lie in a region. Never seen as anything but atomics: see [`Carver`].
pub struct Words {
    base: NonNull<AtomicU64>,
    count: usize,
    _region: Arc<Region>,
}

// SAFETY: what is handed out are shared references to atomics, in memory that lives as long as the
// region that `Words` shares in.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// A part of these, by position of its first word.
    ///
    /// # Panics
    ///
    /// If it is not wholly inside.
    pub fn part(&self, first: usize, count: usize) -> Words {
        assert!(first <= self.count && count <= self.count - first);
        // SAFETY: `first` is at most the number of words there are.
        let base = unsafe { self.base.add(first) };
        Words {
            base,
            count,
            _region: self._region.clone(),
        }
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the words lie inside the region, which lives as long as `self`, on an 8-byte boundary;
        // any bytes are an atomic, and the carver gave these bytes to nobody else.
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.count) }
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} words", self.count)
    }
}

/// Cuts a region into parts that do not overlap, front to back, each of one kind for good.
pub struct Carver {
    region: Arc<Region>,
    at: usize,
}

impl Carver {
    /// Begins at the front of a region that nothing else uses.
    pub fn new(region: Region) -> Carver {
        Carver {
            region: Arc::new(region),
            at: 0,
        }
    }

    /// Bytes cut off so far.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The region. Who asks may look at its facts; the memory belongs to the parts.
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Leaves bytes unused up to a multiple of `align`.
    pub fn align(&mut self, align: usize) {
        self.at = self.at.next_multiple_of(align);
    }

    /// The next `count` words. They have to be backed before they are touched.
    ///
    /// # Panics
    ///
    /// If the region is too small: its maker has to do the sum.
    pub fn words(&mut self, count: usize) -> Words {
        self.align(align_of::<AtomicU64>());
        let begins = self.cut(count * size_of::<AtomicU64>());
        // SAFETY: `begins` lies inside the region: see `cut`.
        let base = unsafe { self.region.as_ptr().add(begins) };
        Words {
            base: base.cast(),
            count,
            _region: self.region.clone(),
        }
    }

    /// Takes bytes for the caller alone; returns where they begin.
    pub(crate) fn cut(&mut self, bytes: usize) -> usize {
        let begins = self.at;
        assert!(
            bytes <= self.region.len().saturating_sub(begins),
            "a region of {} bytes is too small",
            self.region.len()
        );
        self.at += bytes;
        begins
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn parts_of_a_region_do_not_overlap_and_hold_what_is_put_there() {
        let mut carver = Carver::new(Region::reserve(1 << 20).unwrap());
        let (first, second) = (carver.words(3), carver.words(5));
        carver.align(4096);
        let third = carver.words(1);
        assert_eq!(carver.at(), 4096 + 8);
        first
            .iter()
            .for_each(|word| word.store(1, Ordering::Relaxed));
        second
            .iter()
            .for_each(|word| word.store(2, Ordering::Relaxed));
        third[0].store(3, Ordering::Relaxed);
        assert!(first.iter().all(|word| word.load(Ordering::Relaxed) == 1));
        let part = second.part(4, 1);
        assert_eq!(part[0].load(Ordering::Relaxed), 2);
        assert!(second.part(5, 0).is_empty());
    }

    #[test]
    #[should_panic(expected = "too small")]
    fn a_region_is_not_cut_beyond_its_end() {
        let mut carver = Carver::new(Region::reserve(4096).unwrap());
        carver.words(513);
    }
}
