//! Address space for the index, reserved once and filled as records come.

use std::io;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, madvise};

use crate::mapping::Mapping;

/// A large stretch of zero memory on a 2 MiB boundary. Reserving it takes addresses, not memory: a
/// page is backed when it is first touched, and all of it goes back to the system on drop.
///
/// The region hands out one pointer and no references; who may touch which bytes when is for the
/// owner to rule.
#[derive(Debug)]
pub struct Region {
    _memory: Mapping,
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the region owns its mapping and no method reads or writes it; users of the pointer answer
// for their accesses.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// Where a huge page may start, in bytes (x86-64, and aarch64 with 4 KiB pages).
const HUGE_PAGE_BYTES: usize = 2 << 20;

impl Region {
    /// Reserves `bytes`, not charged against the memory the system has committed itself to.
    ///
    /// # Errors
    ///
    /// Out of address space, or a system that commits strictly (`vm.overcommit_memory = 2`).
    pub fn reserve(bytes: usize) -> io::Result<Region> {
        let with_slack = bytes
            .checked_add(HUGE_PAGE_BYTES)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let memory = Mapping::new(with_slack, MapFlags::NORESERVE)?;
        let slack = memory.base().align_offset(HUGE_PAGE_BYTES);
        assert!(slack < HUGE_PAGE_BYTES);
        // SAFETY: slack + bytes is at most what was mapped.
        let base = unsafe { memory.base().add(slack) };
        Ok(Region {
            _memory: memory,
            base,
            bytes,
        })
    }

    /// The first byte. Valid for reads and writes of `len` bytes while the region lives; what was
    /// never written is zero.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes reserved.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing was reserved.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Asks for huge pages, which save most address translation misses of random lookups.
    ///
    /// # Errors
    ///
    /// A kernel without transparent huge pages. The region works all the same.
    pub fn advise_huge_pages(&self) -> io::Result<()> {
        // SAFETY: the range is inside the mapping, and this advice changes no content.
        unsafe { madvise(self.base.as_ptr().cast(), self.bytes, Advice::LinuxHugepage) }?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_larger_than_memory_is_reserved_aligned_and_zero() {
        let region = Region::reserve(1 << 40).unwrap();
        let _ = region.advise_huge_pages(); // some kernels have none
        assert_eq!(region.as_ptr().addr().get() % HUGE_PAGE_BYTES, 0);
        for at in [0, region.len() / 2, region.len() - 1] {
            // SAFETY: `at` is inside the region, which nothing else uses.
            unsafe {
                let byte = region.as_ptr().add(at);
                assert_eq!(byte.read(), 0);
                byte.write(7);
                assert_eq!(byte.read(), 7);
            }
        }
    }

    #[test]
    fn a_size_no_machine_has_is_an_error() {
        for bytes in [usize::MAX, usize::MAX / 2] {
            assert!(Region::reserve(bytes).is_err());
        }
        assert!(Region::reserve(0).unwrap().is_empty());
    }
}
