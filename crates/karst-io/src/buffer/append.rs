//! An open write block: appended to, read and flushed at the same time.

use std::fmt;
use std::io;
use std::mem;
use std::ops::Range;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::buffer::slots::{NOTE_DURABLE, NOTE_FILLED, NOTE_LABEL, NOTE_WORDS, Notes};
use crate::buffer::{Region, Words};

/// Shared memory of fixed size that is only ever appended to.
///
/// ```text
/// 0            filled              capacity
/// | immutable  | zero, one writer  |
/// ```
///
/// Invariants
///   `filled` only grows, except in `reset`, which needs the only reference
///   bytes below `filled` never change, so `&[u8]` over them is sound while others append
///   bytes from `filled` up are zero, except those a running `append` is writing
///
/// Memory that was never touched costs nothing. Touching it the first time costs a page fault per
/// 4 KiB, or per 2 MiB where the kernel has huge pages to give, so a full buffer is better reset and
/// reused than dropped, and several are better carved from one piece.
pub struct AppendBuffer {
    piece: Arc<Region>,
    /// Where in the piece this buffer begins.
    begins: usize,
    capacity: usize,
    filled: AtomicUsize,
    writer: Mutex<()>,
    /// In memory that outlives the process: what it would have to know of this buffer.
    notes: Option<Words>,
    settled: Mutex<Settled>,
}

/// Which bytes are durable elsewhere.
#[derive(Default)]
struct Settled {
    /// All below this.
    prefix: usize,
    /// And these, further up.
    beyond: Vec<Range<usize>>,
}

impl AppendBuffer {
    /// A buffer of `bytes`, all zero, starting on a 4096-byte boundary.
    ///
    /// # Errors
    ///
    /// What the kernel says when it will not map that much.
    pub fn new(bytes: usize) -> io::Result<AppendBuffer> {
        let piece = Arc::new(Region::reserve(bytes)?);
        Ok(AppendBuffer::at(piece, 0, bytes))
    }

    /// Several buffers of `bytes`, a multiple of 4096, side by side in one piece of memory, on huge
    /// pages where there are some. The piece is given back when the last of them is dropped.
    ///
    /// # Errors
    ///
    /// What the kernel says when it will not map that much.
    ///
    /// # Panics
    ///
    /// If `bytes` is no multiple of 4096.
    pub fn carve(bytes: usize, count: usize) -> io::Result<Vec<AppendBuffer>> {
        assert!(bytes.is_multiple_of(4096));
        let whole = bytes.checked_mul(count).ok_or(io::ErrorKind::OutOfMemory)?;
        let piece = Arc::new(Region::reserve(whole)?);
        let _ = piece.advise_huge_pages(); // without them it works as well, more slowly
        let carved = |at| AppendBuffer::at(piece.clone(), at * bytes, bytes);
        Ok((0..count).map(carved).collect())
    }

    /// The part of a piece that lies `begins..begins + bytes`, which no other buffer may have.
    fn at(piece: Arc<Region>, begins: usize, bytes: usize) -> AppendBuffer {
        assert!(begins + bytes <= piece.len());
        AppendBuffer {
            piece,
            begins,
            capacity: bytes,
            filled: AtomicUsize::new(0),
            writer: Mutex::new(()),
            notes: None,
            settled: Mutex::default(),
        }
    }

    /// A slot of a piece, as [`AppendBuffer::at`], whose state is kept in `notes` too.
    pub(super) fn in_slot(
        piece: Arc<Region>,
        begins: usize,
        bytes: usize,
        notes: Words,
    ) -> AppendBuffer {
        assert!(notes.len() == NOTE_WORDS);
        AppendBuffer {
            notes: Some(notes),
            ..AppendBuffer::at(piece, begins, bytes)
        }
    }

    /// Takes over what an earlier process left in the slot. What lies above the bytes it appended may
    /// be half an append, so it is wiped.
    pub(super) fn find_again(&mut self) {
        let notes = self.notes.as_ref().expect("a slot has notes");
        let found = Notes::read(notes, self.capacity);
        let filled = found.map_or(0, |found| found.filled);
        // SAFETY: from `filled` to the capacity is inside the buffer's part of the piece; `&mut self` rules
        // out every other reference.
        unsafe {
            self.base()
                .add(filled)
                .write_bytes(0, self.capacity - filled)
        };
        *self.filled.get_mut() = filled;
        self.settled.get_mut().prefix = found.map_or(0, |found| found.durable);
        if found.is_none() {
            self.note(NOTE_LABEL + 2, 0);
            self.note(NOTE_FILLED, 0);
            self.note(NOTE_DURABLE, 0);
        }
    }

    fn note(&self, word: usize, value: u64) {
        if let Some(notes) = &self.notes {
            notes[word].store(value, Ordering::Release);
        }
    }

    /// Says what the buffer is for, to whoever finds it after this process is gone. The third word must
    /// not be zero. Without memory that outlives the process this does nothing.
    ///
    /// # Panics
    ///
    /// If the third word is zero.
    pub fn label(&self, label: [u64; 3]) {
        assert!(label[2] != 0);
        self.note(NOTE_LABEL, label[0]);
        self.note(NOTE_LABEL + 1, label[1]);
        self.note(NOTE_LABEL + 2, label[2]);
    }

    /// What somebody who finds the buffer after this process is gone would learn of it.
    pub fn notes(&self) -> Option<Notes> {
        Notes::read(self.notes.as_ref()?, self.capacity)
    }

    /// Notes that bytes are durable elsewhere. Ranges may come in any order; what counts is the part
    /// from the front that is covered.
    pub fn settle(&self, range: Range<usize>) {
        if self.notes.is_none() {
            return;
        }
        let mut settled = self.settled.lock();
        settled.beyond.push(range);
        let mut prefix = settled.prefix;
        while let Some(at) = settled
            .beyond
            .iter()
            .position(|range| range.start <= prefix)
        {
            prefix = prefix.max(settled.beyond.swap_remove(at).end);
        }
        settled.prefix = prefix;
        self.note(NOTE_DURABLE, prefix as u64);
    }

    /// First byte of the buffer.
    fn base(&self) -> *mut u8 {
        // SAFETY: the buffer's part lies inside the piece: see `at`.
        unsafe { self.piece.as_ptr().as_ptr().add(self.begins) }
    }

    /// Bytes the buffer can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes appended so far, padding included. All of them are visible to whoever sees this value.
    pub fn filled(&self) -> usize {
        self.filled.load(Ordering::Acquire)
    }

    /// Appends `len` bytes, which `fill` writes into a slice that arrives zeroed; returns where
    /// they start. `None`, without calling `fill`, when they do not fit.
    ///
    /// Writers take turns. `fill` must not append to the same buffer: it would wait for itself.
    pub fn append(&self, len: usize, fill: impl FnOnce(&mut [u8])) -> Option<usize> {
        let _turn = self.writer.lock();
        let start = self.filled.load(Ordering::Relaxed); // only changed under the lock
        let end = start.checked_add(len).filter(|end| *end <= self.capacity)?;
        // SAFETY: start..end lies inside the buffer's part of the piece. The lock keeps other writers out and `bytes`
        // shows nothing at or above `filled`, so this is the only reference to these bytes.
        let room = unsafe { slice::from_raw_parts_mut(self.base().add(start), len) };
        let wipe = WipeOnUnwind(room);
        fill(wipe.0);
        mem::forget(wipe);
        self.filled.store(end, Ordering::Release);
        self.note(NOTE_FILLED, end as u64);
        Some(start)
    }

    /// Advances `filled` to a multiple of `align` and returns it; the padding is zero. Stops at the
    /// capacity, which the caller chooses as a multiple of every alignment it uses.
    ///
    /// # Panics
    ///
    /// If `align` is zero.
    pub fn pad_to(&self, align: usize) -> usize {
        let _turn = self.writer.lock();
        let filled = self.filled.load(Ordering::Relaxed); // only changed under the lock
        let padded = filled.checked_next_multiple_of(align).unwrap_or(usize::MAX);
        let padded = padded.min(self.capacity);
        self.filled.store(padded, Ordering::Release); // what is skipped is zero: see the invariants
        self.note(NOTE_FILLED, padded as u64);
        padded
    }

    /// Bytes that were appended. `None` when the range is not wholly below `filled`.
    pub fn bytes(&self, range: Range<usize>) -> Option<&[u8]> {
        if range.start > range.end || range.end > self.filled() {
            return None;
        }
        // SAFETY: the range lies below `filled`, so inside the buffer's part of the piece; those bytes stay as they
        // are until `reset`, which needs `&mut self`. The acquire load saw the writer's bytes.
        Some(unsafe { slice::from_raw_parts(self.base().add(range.start), range.len()) })
    }

    /// Empties the buffer for reuse: all bytes are zero again.
    ///
    /// Zeroing by hand beats handing the pages back at every size from 16 KiB to 16 MiB: 13 us
    /// against 530 us for 1 MiB that is filled again (2 cores, virtual machine, 4 KiB pages).
    pub fn reset(&mut self) {
        self.note(NOTE_LABEL + 2, 0);
        self.note(NOTE_DURABLE, 0);
        self.note(NOTE_FILLED, 0);
        *self.settled.get_mut() = Settled::default();
        let filled = mem::take(self.filled.get_mut());
        // SAFETY: below `filled` is inside the buffer's part of the piece; `&mut self` rules out every other
        // reference.
        unsafe { self.base().write_bytes(0, filled) };
    }
}

impl fmt::Debug for AppendBuffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (filled, capacity) = (self.filled(), self.capacity);
        write!(formatter, "AppendBuffer({filled} of {capacity} bytes)")
    }
}

/// Zeroes what a panicking `fill` left behind, so that bytes from `filled` up stay zero.
struct WipeOnUnwind<'a>(&'a mut [u8]);

impl Drop for WipeOnUnwind<'_> {
    fn drop(&mut self) {
        self.0.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    use super::*;

    #[test]
    fn readers_see_whole_records_while_two_writers_append() {
        const RECORD: usize = 48; // crosses cache lines and pages
        const PER_WRITER: usize = 20_000;
        let buffer = AppendBuffer::new(2 * PER_WRITER * RECORD).unwrap();
        thread::scope(|scope| {
            for mark in [1u8, 2] {
                let buffer = &buffer;
                scope.spawn(move || {
                    for _ in 0..PER_WRITER {
                        let start = buffer.append(RECORD, |room| {
                            assert!(
                                room.iter().all(|byte| *byte == 0),
                                "room was handed out twice"
                            );
                            room.fill(mark);
                        });
                        assert_eq!(start.unwrap() % RECORD, 0);
                    }
                });
            }
            let mut checked = 0;
            while checked < buffer.capacity() {
                let filled = buffer.filled();
                for record in buffer.bytes(checked..filled).unwrap().chunks(RECORD) {
                    assert!(record.len() == RECORD && (record[0] == 1 || record[0] == 2));
                    assert!(record.iter().all(|byte| *byte == record[0]), "torn record");
                }
                checked = filled;
            }
        });
        assert_eq!(buffer.append(1, |_| unreachable!()), None);
    }

    #[test]
    fn buffers_carved_from_one_piece_do_not_touch_each_other() {
        let mut buffers = AppendBuffer::carve(4096, 3).unwrap();
        for (mark, buffer) in buffers.iter().enumerate() {
            assert_eq!(
                buffer.append(4096, |room| room.fill(mark as u8 + 1)),
                Some(0)
            );
        }
        buffers[1].reset();
        assert_eq!(
            buffers[1].append(4096, |room| assert_eq!(*room, [0; 4096])),
            Some(0)
        );
        for (mark, buffer) in [(1u8, &buffers[0]), (3, &buffers[2])] {
            assert!(
                buffer
                    .bytes(0..4096)
                    .unwrap()
                    .iter()
                    .all(|byte| *byte == mark)
            );
        }
    }

    #[test]
    fn bytes_at_or_above_filled_are_never_shown() {
        let buffer = AppendBuffer::new(8192).unwrap();
        assert_eq!(buffer.append(10, |room| room.fill(9)), Some(0));
        assert_eq!(buffer.bytes(2..10), Some(&[9u8; 8][..]));
        assert_eq!(buffer.bytes(10..10), Some(&[][..]));
        #[expect(
            clippy::reversed_empty_ranges,
            reason = "a backward range must be refused"
        )]
        let refused = [0..11, 11..11, 9..8, 0..usize::MAX];
        for range in refused {
            assert_eq!(buffer.bytes(range.clone()), None, "{range:?}");
        }
    }

    #[test]
    fn padding_is_zero_and_stops_at_the_capacity() {
        let buffer = AppendBuffer::new(1000).unwrap();
        buffer.append(5, |room| room.fill(9)).unwrap();
        assert_eq!(buffer.pad_to(512), 512);
        assert_eq!(buffer.pad_to(512), 512);
        assert!(buffer.bytes(5..512).unwrap().iter().all(|byte| *byte == 0));
        buffer.append(1, |room| room.fill(9)).unwrap();
        assert_eq!(buffer.pad_to(512), 1000);
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let buffer = AppendBuffer::new(100).unwrap();
        for len in [101, usize::MAX] {
            assert_eq!(buffer.append(len, |_| panic!("called without room")), None);
        }
        assert_eq!(buffer.append(100, |_| ()), Some(0));
        assert_eq!(buffer.append(0, |_| ()), Some(100));
        assert_eq!(AppendBuffer::new(0).unwrap().append(1, |_| ()), None);
    }

    #[test]
    fn a_reset_buffer_is_zero_again() {
        let mut buffer = AppendBuffer::new(3 * 4096).unwrap();
        buffer.append(9000, |room| room.fill(9)).unwrap();
        buffer.reset();
        assert_eq!(buffer.filled(), 0);
        let start = buffer.append(3 * 4096, |room| assert!(room.iter().all(|byte| *byte == 0)));
        assert_eq!(start, Some(0));
    }

    #[test]
    fn a_panic_while_filling_leaves_no_bytes_behind() {
        let buffer = AppendBuffer::new(4096).unwrap();
        let failed = catch_unwind(AssertUnwindSafe(|| {
            buffer.append(64, |room| {
                room.fill(9);
                panic!("half way");
            })
        }));
        assert!(failed.is_err());
        assert_eq!(buffer.pad_to(64), 0);
        buffer.append(64, |room| assert_eq!(room, [0; 64])).unwrap();
    }
}
