//! Address space straight from the kernel: anonymous memory that is zero until written and costs
//! nothing until touched, or a file's memory.
//!
//! Owns one mapping from creation to drop. Does not own any rule about who may read or write the
//! bytes: that belongs to the types built on it, which hand out references.

use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// Where a huge page may start, in bytes (x86-64, and aarch64 with 4 KiB pages).
pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;

/// A readable and writable mapping; unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    mapped: NonNull<u8>,
    mapped_bytes: usize,
    base: NonNull<u8>,
}

// SAFETY: a mapping belongs to the process, not to the thread that made it, and `Mapping` itself
// gives out only addresses.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method of `Mapping` reads or writes the memory.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps at least `bytes` (at least one page) of anonymous memory. `extra` flags join private and
    /// anonymous.
    pub(crate) fn new(bytes: usize, extra: MapFlags) -> io::Result<Mapping> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        Mapping::anonymous(bytes, access, extra)
    }

    /// As [`Mapping::new`], with the first byte where a huge page may start.
    pub(crate) fn aligned(bytes: usize, extra: MapFlags) -> io::Result<Mapping> {
        let mapping = Mapping::new(with_slack(bytes)?, extra)?;
        Ok(mapping.on_boundary())
    }

    /// Maps the first `bytes` of a file, shared with it, the first byte where a huge page may start.
    /// Beyond the file's end there are addresses and no memory: who touches them there dies.
    pub(crate) fn shared(file: impl AsFd, bytes: usize) -> io::Result<Mapping> {
        let nothing = ProtFlags::empty();
        let mapping = Mapping::anonymous(with_slack(bytes)?, nothing, MapFlags::NORESERVE)?;
        let mapping = mapping.on_boundary();
        if bytes == 0 {
            return Ok(mapping);
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let over = MapFlags::SHARED | MapFlags::FIXED;
        // SAFETY: base + bytes lies inside what was mapped just now, which nobody knows of yet, so
        // MAP_FIXED replaces nothing else.
        unsafe { mmap(mapping.base.as_ptr().cast(), bytes, access, over, file, 0) }?;
        Ok(mapping)
    }

    fn anonymous(bytes: usize, access: ProtFlags, extra: MapFlags) -> io::Result<Mapping> {
        let bytes = bytes.max(1);
        let flags = MapFlags::PRIVATE | extra;
        // SAFETY: without MAP_FIXED the kernel picks unused addresses, so no memory that Rust knows
        // of is affected.
        let mapped = unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, flags) }?;
        let mapped = NonNull::new(mapped.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping {
            mapped,
            mapped_bytes: bytes,
            base: mapped,
        })
    }

    /// Moves the first byte up to where a huge page may start; there must be slack for it.
    fn on_boundary(mut self) -> Mapping {
        let slack = self.mapped.align_offset(HUGE_PAGE_BYTES);
        assert!(slack < HUGE_PAGE_BYTES && slack < self.mapped_bytes);
        // SAFETY: just asserted to lie inside the mapping.
        self.base = unsafe { self.mapped.add(slack) };
        self
    }

    /// First byte, aligned to a page.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

/// Enough that `bytes` are left from the first huge page's boundary on.
fn with_slack(bytes: usize) -> io::Result<usize> {
    let with_slack = bytes.checked_add(HUGE_PAGE_BYTES);
    with_slack.ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: address and length are those of the mapping made in `anonymous`; every reference
        // into it borrows a value that owns `self`, so none is left. The kernel refuses only bad
        // arguments.
        let unmapped = unsafe { munmap(self.mapped.as_ptr().cast(), self.mapped_bytes) };
        debug_assert!(unmapped.is_ok());
    }
}
