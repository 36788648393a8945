//! Address space for the index and the write buffers, reserved once and filled as records come.
//!
//! Two kinds behind one type. An *anonymous* region is this process's own. A *shared* one is a file of
//! shared memory, so what is in it is there for the next process too.
//!
//! Invariants
//!   bytes below `backed_bytes` can be touched; those of a shared region from there on must not be
//!   `backed_bytes` only grows, except in `clear`, which needs the only reference

use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustix::mm::{Advice, MapFlags, madvise};

use crate::mapping::{HUGE_PAGE_BYTES, Mapping};
use crate::shm::SharedFile;

/// A large stretch of memory on a 2 MiB boundary, zero until written.
///
/// Reserving an anonymous region takes addresses, not memory: a page is backed when it is first
/// touched, and all of it goes back to the system on drop. A shared region is backed by what was asked
/// for with [`Region::back`], and stays behind.
///
/// The region hands out one pointer and no references; who may touch which bytes when is for the
/// owner to rule.
#[derive(Debug)]
pub struct Region {
    memory: Mapping,
    bytes: usize,
    backed: AtomicUsize,
    file: Option<Mutex<SharedFile>>,
}

impl Region {
    /// Reserves `bytes` of anonymous memory, not charged against what the system has committed
    /// itself to. All of it may be touched at once.
    ///
    /// # Errors
    ///
    /// Out of address space, or a system that commits strictly (`vm.overcommit_memory = 2`).
    pub fn reserve(bytes: usize) -> io::Result<Region> {
        let memory = Mapping::aligned(bytes, MapFlags::NORESERVE)?;
        let backed = AtomicUsize::new(bytes);
        Ok(Region {
            memory,
            bytes,
            backed,
            file: None,
        })
    }

    /// Reserves addresses for `bytes_max` of a file, or for all of it if it is longer than that. What
    /// the file holds already is backed.
    ///
    /// # Errors
    ///
    /// Out of address space.
    pub fn shared(file: SharedFile, bytes_max: usize) -> io::Result<Region> {
        let held = usize::try_from(file.bytes()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let bytes = bytes_max.max(held);
        let memory = Mapping::shared(&file, bytes)?;
        Ok(Region {
            memory,
            bytes,
            backed: AtomicUsize::new(held),
            file: Some(Mutex::new(file)),
        })
    }

    /// Whether its bytes outlive the process.
    pub fn is_shared(&self) -> bool {
        self.file.is_some()
    }

    /// The first byte. Valid for reads and writes of `backed_bytes` bytes while the region lives; what
    /// was never written is zero.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.memory.base()
    }

    /// Bytes reserved.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing was reserved.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Bytes, from the first on, that may be touched.
    #[inline]
    pub fn backed_bytes(&self) -> usize {
        self.backed.load(Ordering::Acquire)
    }

    /// Sees to it that the first `bytes` may be touched. Any thread may ask at any time; takes some
    /// 0.2 ms for each MiB that was not backed before.
    ///
    /// # Errors
    ///
    /// `StorageFull` when the memory file system is full, or what else the system says. What is
    /// backed then may still be more than before.
    ///
    /// # Panics
    ///
    /// If fewer bytes are reserved.
    pub fn back(&self, bytes: usize) -> io::Result<()> {
        assert!(bytes <= self.bytes, "{bytes} of {} bytes", self.bytes);
        if bytes <= self.backed_bytes() {
            return Ok(());
        }
        let file = self
            .file
            .as_ref()
            .expect("all of an anonymous region is backed");
        let mut file = file.lock();
        let extended = file.extend(bytes as u64);
        self.backed.store(file.bytes() as usize, Ordering::Release);
        extended
    }

    /// Forgets what a shared region holds: nothing is backed, and what is backed next is zero. Of no
    /// effect on an anonymous region.
    ///
    /// # Errors
    ///
    /// What the system says; nothing has changed then.
    pub fn clear(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.get_mut().clear()?;
            *self.backed.get_mut() = 0;
        }
        Ok(())
    }

    /// Asks for huge pages, which save most address translation misses of random lookups.
    ///
    /// # Errors
    ///
    /// A kernel without transparent huge pages. The region works all the same.
    pub fn advise_huge_pages(&self) -> io::Result<()> {
        // SAFETY: the range is inside the mapping, and this advice changes no content.
        unsafe {
            madvise(
                self.as_ptr().as_ptr().cast(),
                self.bytes,
                Advice::LinuxHugepage,
            )
        }?;
        Ok(())
    }

    /// Has the kernel gather backed memory into huge pages now, whatever its settings for memory file
    /// systems; the contents stay, and others may use them meanwhile. Takes milliseconds for each
    /// 2 MiB. Best effort: returns the bytes of `range` that lie in whole huge pages and for which the
    /// kernel agreed.
    ///
    /// # Panics
    ///
    /// If the range is not backed.
    pub fn collapse(&self, range: Range<usize>) -> usize {
        assert!(range.end <= self.backed_bytes());
        let start = range.start.next_multiple_of(HUGE_PAGE_BYTES);
        let end = range.end - range.end % HUGE_PAGE_BYTES;
        let bytes = end.saturating_sub(start);
        if bytes == 0 {
            return 0;
        }
        // SAFETY: the range is inside the mapping, and this advice changes no content.
        let refused = unsafe {
            let from = self.as_ptr().as_ptr().add(start);
            libc::madvise(from.cast(), bytes, MADV_COLLAPSE)
        };
        if refused == 0 { bytes } else { 0 }
    }
}

/// Of Linux 6.1; the libc crate does not name it on every target.
const MADV_COLLAPSE: libc::c_int = 25;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn shared(folder: &tempfile::TempDir, bytes_max: usize) -> Region {
        let file = SharedFile::open(folder.path().join("region")).unwrap();
        Region::shared(file, bytes_max).unwrap()
    }

    fn byte(region: &Region, at: usize) -> *mut u8 {
        assert!(at < region.backed_bytes());
        // SAFETY: inside the region.
        unsafe { region.as_ptr().as_ptr().add(at) }
    }

    #[test]
    fn a_region_larger_than_memory_is_reserved_aligned_and_zero() {
        let region = Region::reserve(1 << 40).unwrap();
        let _ = region.advise_huge_pages(); // some kernels have none
        assert_eq!(region.as_ptr().addr().get() % HUGE_PAGE_BYTES, 0);
        region.back(1 << 40).unwrap();
        assert!(!region.is_shared());
        for at in [0, region.len() / 2, region.len() - 1] {
            // SAFETY: `at` is inside the region, which nothing else uses.
            unsafe {
                assert_eq!(byte(&region, at).read(), 0);
                byte(&region, at).write(7);
                assert_eq!(byte(&region, at).read(), 7);
            }
        }
    }

    #[test]
    fn a_size_no_machine_has_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [usize::MAX, usize::MAX / 2] {
            assert!(Region::reserve(bytes).is_err());
            let file = SharedFile::open(folder.path().join("region")).unwrap();
            assert!(Region::shared(file, bytes).is_err());
        }
        assert!(Region::reserve(0).unwrap().is_empty());
        assert!(shared(&folder, 0).is_empty());
    }

    #[test]
    fn what_a_shared_region_held_is_there_when_it_is_mapped_again() {
        const MAX: usize = 1 << 40; // addresses only
        let folder = tempfile::tempdir().unwrap();
        let region = shared(&folder, MAX);
        assert_eq!((region.len(), region.backed_bytes()), (MAX, 0));
        region.back(3 << 20).unwrap();
        // SAFETY: backed, and nothing else uses it.
        unsafe { byte(&region, (3 << 20) - 1).write(9) };
        drop(region);
        let mut region = shared(&folder, 1 << 20); // a smaller limit hides nothing
        assert_eq!((region.len(), region.backed_bytes()), (3 << 20, 3 << 20));
        assert_eq!(region.as_ptr().addr().get() % HUGE_PAGE_BYTES, 0);
        // SAFETY: backed, and nothing else uses it.
        assert_eq!(unsafe { byte(&region, (3 << 20) - 1).read() }, 9);
        region.clear().unwrap();
        assert_eq!(region.backed_bytes(), 0);
        region.back(3 << 20).unwrap();
        // SAFETY: backed, and nothing else uses it.
        assert_eq!(unsafe { byte(&region, (3 << 20) - 1).read() }, 0);
    }

    #[test]
    fn threads_that_back_at_once_get_what_they_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let region = shared(&folder, 16 << 20);
        thread::scope(|scope| {
            for number in 0..4usize {
                let region = &region;
                scope.spawn(move || {
                    for step in 1..=64 {
                        let at = (step * 4 + number) * (32 << 10);
                        region.back(at + 1).unwrap();
                        // SAFETY: backed, and only this thread writes there.
                        unsafe { byte(region, at).write(number as u8 + 1) };
                    }
                });
            }
        });
        for at in 4..4 * 65 {
            // SAFETY: backed, and nobody writes any more.
            let found = unsafe { byte(&region, at * (32 << 10)).read() };
            assert_eq!(found, at as u8 % 4 + 1);
        }
    }

    #[test]
    fn collapsing_changes_no_byte_whatever_the_kernel_makes_of_it() {
        let folder = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let region = shared(&folder, 4 << 20);
        region.back(4 << 20).unwrap();
        for at in (0..4 << 20).step_by(4096) {
            // SAFETY: backed, and nothing else uses it.
            unsafe { byte(&region, at).write((at >> 12) as u8) };
        }
        let collapsed = region.collapse(1..(4 << 20) - 1);
        assert!(
            collapsed == 0,
            "no whole huge page lies inside: {collapsed}"
        );
        let collapsed = region.collapse(0..4 << 20);
        assert!(collapsed == 0 || collapsed == 4 << 20);
        for at in (0..4 << 20).step_by(4096) {
            // SAFETY: backed, and nothing else uses it.
            assert_eq!(unsafe { byte(&region, at).read() }, (at >> 12) as u8);
        }
    }
}
