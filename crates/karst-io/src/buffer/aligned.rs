//! Owned aligned buffers, and the pool a core keeps of them.

use std::alloc::{self, Layout};
use std::fmt;
use std::ptr::NonNull;
use std::slice;

use super::BUFFER_ALIGN;

/// Owned heap memory on a 4096-byte boundary. Always initialised; the length may be anything up to
/// the capacity, and the capacity is a multiple of 4096.
pub struct AlignedBuffer {
    base: NonNull<u8>,
    len: usize,
    capacity: usize,
}

// SAFETY: the buffer is the only owner of its memory, and the allocator may be called from any
// thread.
unsafe impl Send for AlignedBuffer {}
// SAFETY: `&AlignedBuffer` only permits reads.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// A zeroed buffer whose length is `bytes` and whose capacity is that, rounded up to 4096.
    ///
    /// Zero bytes allocate nothing.
    ///
    /// # Panics
    ///
    /// If `bytes` exceeds the address space. Running out of memory aborts, as with any allocation.
    pub fn with_capacity(bytes: usize) -> AlignedBuffer {
        let layout = layout_for(bytes);
        if layout.size() == 0 {
            let base = NonNull::without_provenance(ALIGN_NON_ZERO);
            return AlignedBuffer {
                base,
                len: 0,
                capacity: 0,
            };
        }
        // SAFETY: the layout's size is not zero.
        let base = unsafe { alloc::alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else {
            alloc::handle_alloc_error(layout)
        };
        AlignedBuffer {
            base,
            len: bytes,
            capacity: layout.size(),
        }
    }

    /// Bytes in use: what a read fills, and what the slices cover.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the length is zero.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes allocated.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Changes the length without touching the bytes; growing shows whatever they last held.
    ///
    /// # Panics
    ///
    /// If `bytes` exceeds the capacity.
    pub fn set_len(&mut self, bytes: usize) {
        assert!(bytes <= self.capacity);
        self.len = bytes;
    }

    /// The bytes in use.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `len <= capacity` bytes from `base` are allocated, were zeroed when allocated,
        // and are shared only while `self` is.
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }

    /// The bytes in use, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; `&mut self` makes this the only reference.
        unsafe { slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }
}

const ALIGN_NON_ZERO: std::num::NonZeroUsize = std::num::NonZeroUsize::new(BUFFER_ALIGN).unwrap();

fn layout_for(bytes: usize) -> Layout {
    let layout = Layout::from_size_align(bytes, BUFFER_ALIGN).expect("size fits the address space");
    layout.pad_to_align()
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        if self.capacity > 0 {
            // SAFETY: the memory came from `alloc_zeroed` with this very layout: `layout_for` of a
            // multiple of the alignment is that multiple.
            unsafe { alloc::dealloc(self.base.as_ptr(), layout_for(self.capacity)) };
        }
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AlignedBuffer { len, capacity, .. } = self;
        formatter
            .debug_struct("AlignedBuffer")
            .field("len", len)
            .field("capacity", capacity)
            .finish()
    }
}

const CLASS_BITS_MIN: u32 = 12; // 4 KiB
const CLASS_BITS_MAX: u32 = 24; // 16 MiB
const CLASSES: usize = (CLASS_BITS_MAX - CLASS_BITS_MIN + 1) as usize;

/// Buffers kept for reuse by one core, in classes of powers of two from 4 KiB to 16 MiB.
///
/// Keeps at most `retained_bytes_max`; a buffer given back beyond that is freed, so a burst of
/// large reads does not stay in memory. The pool never limits how many buffers are out.
#[derive(Debug)]
pub struct BufferPool {
    classes: [Vec<AlignedBuffer>; CLASSES],
    retained_bytes: usize,
    retained_bytes_max: usize,
}

impl BufferPool {
    /// An empty pool that will keep up to `retained_bytes_max` bytes.
    pub fn new(retained_bytes_max: usize) -> BufferPool {
        let classes = [const { Vec::new() }; CLASSES];
        BufferPool {
            classes,
            retained_bytes: 0,
            retained_bytes_max,
        }
    }

    /// A buffer of length `bytes`. Its content is unspecified: zeros, or what an earlier user left.
    ///
    /// More than 16 MiB is allocated to measure and freed when given back.
    pub fn take(&mut self, bytes: usize) -> AlignedBuffer {
        let size_bytes = bytes.max(1 << CLASS_BITS_MIN).next_power_of_two();
        let kept = class_of(size_bytes).and_then(|class| self.classes[class].pop());
        if let Some(mut buffer) = kept {
            self.retained_bytes -= buffer.capacity();
            buffer.set_len(bytes);
            return buffer;
        }
        let allocated_bytes = if class_of(size_bytes).is_some() {
            size_bytes
        } else {
            bytes
        };
        let mut buffer = AlignedBuffer::with_capacity(allocated_bytes);
        buffer.set_len(bytes);
        buffer
    }

    /// Returns a buffer, from this pool or not, for later use or to be freed.
    pub fn give(&mut self, buffer: AlignedBuffer) {
        let capacity = buffer.capacity();
        let Some(class) = class_of(capacity) else {
            return;
        };
        if capacity <= self.retained_bytes_max - self.retained_bytes {
            self.retained_bytes += capacity;
            self.classes[class].push(buffer);
        }
    }

    /// Bytes held by buffers that wait for reuse; never above the maximum.
    pub fn retained_bytes(&self) -> usize {
        self.retained_bytes
    }
}

/// The class whose buffers are exactly `bytes` big.
fn class_of(bytes: usize) -> Option<usize> {
    let in_range = (1 << CLASS_BITS_MIN..=1 << CLASS_BITS_MAX).contains(&bytes);
    (in_range && bytes.is_power_of_two()).then(|| (bytes.ilog2() - CLASS_BITS_MIN) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_zero_whatever_its_size() {
        for bytes in [0, 1, 511, 4096, 4097, 1 << 20] {
            let mut buffer = AlignedBuffer::with_capacity(bytes);
            assert_eq!(buffer.len(), bytes);
            assert_eq!(
                buffer.as_slice().as_ptr().addr() % BUFFER_ALIGN,
                0,
                "{bytes} bytes"
            );
            assert_eq!(buffer.capacity(), bytes.next_multiple_of(BUFFER_ALIGN));
            assert!(
                buffer.as_slice().iter().all(|byte| *byte == 0),
                "{bytes} bytes"
            );
            buffer.as_mut_slice().fill(7);
            assert_eq!(buffer.as_slice(), vec![7; bytes]);
        }
    }

    #[test]
    #[should_panic(expected = "bytes <= self.capacity")]
    fn a_buffer_never_grows_past_its_memory() {
        AlignedBuffer::with_capacity(100).set_len(4097);
    }

    #[test]
    fn a_buffer_given_back_is_the_next_one_taken_of_its_class() {
        let mut pool = BufferPool::new(1 << 20);
        let buffer = pool.take(5000);
        assert_eq!((buffer.len(), buffer.capacity()), (5000, 8192));
        let address = buffer.as_slice().as_ptr();
        pool.give(buffer);
        assert_eq!(pool.retained_bytes(), 8192);
        let again = pool.take(8192);
        assert_eq!(again.as_slice().as_ptr(), address);
        assert_eq!((again.len(), pool.retained_bytes()), (8192, 0));
    }

    #[test]
    fn a_pool_never_retains_more_than_its_bound() {
        let mut pool = BufferPool::new(20_000);
        let taken: Vec<_> = (0..8).map(|_| pool.take(4096)).collect();
        taken.into_iter().for_each(|buffer| pool.give(buffer));
        assert_eq!(pool.retained_bytes(), 16_384);
        pool.give(AlignedBuffer::with_capacity(8192));
        assert_eq!(pool.retained_bytes(), 16_384);
    }

    #[test]
    fn sizes_outside_every_class_are_served_and_not_kept() {
        let mut pool = BufferPool::new(usize::MAX);
        for bytes in [(16 << 20) + 1, 12_288] {
            let buffer = AlignedBuffer::with_capacity(bytes);
            pool.give(buffer);
            assert_eq!(pool.retained_bytes(), 0, "{bytes} bytes");
        }
        let large = pool.take((16 << 20) + 1);
        assert_eq!(large.capacity(), (16 << 20) + 4096);
        assert_eq!(pool.take(0).len(), 0);
    }
}
