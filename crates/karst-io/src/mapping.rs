//! Anonymous memory straight from the kernel: zero until written, and costing nothing until
//! touched.
//!
//! Owns one mapping from creation to drop. Does not own any rule about who may read or write the
//! bytes: that belongs to the types built on it, which hand out references.

use std::io;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// A private, readable and writable anonymous mapping; unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping belongs to the process, not to the thread that made it, and `Mapping` itself
// gives out only addresses.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method of `Mapping` reads or writes the memory.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps at least `bytes` (at least one page). `extra` flags join private and anonymous.
    pub(crate) fn new(bytes: usize, extra: MapFlags) -> io::Result<Mapping> {
        let bytes = bytes.max(1);
        // SAFETY: without MAP_FIXED the kernel picks unused addresses, so no memory that Rust knows
        // of is affected.
        let base = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | extra,
            )
        }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { base, bytes })
    }

    /// First byte, aligned to a page.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping made in `new`; every reference into it
        // borrows a value that owns `self`, so none is left. The kernel refuses only bad arguments.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok());
    }
}
