//! Append buffers side by side in one region, each with notes beside it that say what it holds.
//!
//! ```text
//! notes of slot 0 | notes of slot 1 | ...   64 bytes each: filled, durable, label (3 words), unused
//! ... to the next 2 MiB
//! slot 0          | slot 1          | ...   the buffers
//! ```
//!
//! In a shared region all of this outlives the process. Whoever finds it afterwards learns from a
//! slot's notes which bytes of it were appended and which of them are durable ([`Slots::left`]).
//!
//! Order of stores, which is all that a process that is killed can promise:
//!   bytes of an append, then `filled`
//!   the first two words of a label, then its third, which is not zero: then the label counts
//!   a label's third word back to zero, then everything else: the slot is nobody's

use std::io;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::buffer::{AppendBuffer, Carver, Words};

/// Words of a slot's notes: one cache line.
pub(super) const NOTE_WORDS: usize = 8;
pub(super) const NOTE_FILLED: usize = 0;
pub(super) const NOTE_DURABLE: usize = 1;
pub(super) const NOTE_LABEL: usize = 2;

/// Bytes that are backed at a time.
const PIECE_BYTES: usize = 8 << 20;

const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Append buffers side by side in one region, with notes beside each; how they lie is at the head of this
/// file.
pub struct Slots {
    carver: Mutex<Carver>,
    notes: Words,
    begins: usize,
    slot_bytes: usize,
    slots_max: usize,
    next: Mutex<usize>,
}

impl Slots {
    /// Bytes of a region that these slots take from `begins` on.
    pub fn size(begins: usize, slot_bytes: usize, slots_max: usize) -> usize {
        let notes = begins.next_multiple_of(64) + slots_max * NOTE_WORDS * 8;
        notes.next_multiple_of(HUGE_PAGE_BYTES) + slots_max * slot_bytes
    }

    /// Lays out `slots_max` slots of `slot_bytes`, a multiple of 4096, in the rest of a region, and backs
    /// what describes them. Where the region is smaller than [`Slots::size`] says, only those count that
    /// fit.
    ///
    /// # Errors
    ///
    /// The memory file system has no room.
    ///
    /// # Panics
    ///
    /// If not even the notes fit.
    pub fn new(mut carver: Carver, slot_bytes: usize, slots_max: usize) -> io::Result<Slots> {
        assert!(slot_bytes.is_multiple_of(4096) && slot_bytes > 0);
        carver.align(64);
        let notes = carver.words(slots_max * NOTE_WORDS);
        carver.region().back(carver.at())?;
        carver.align(HUGE_PAGE_BYTES);
        let begins = carver.at();
        let room = carver.region().len().saturating_sub(begins) / slot_bytes;
        Ok(Slots {
            carver: Mutex::new(carver),
            notes,
            begins,
            slot_bytes,
            slots_max: slots_max.min(room),
            next: Mutex::new(0),
        })
    }

    /// A slot that was not handed out yet, empty; `None` when all were.
    ///
    /// # Errors
    ///
    /// The memory file system has no room for it.
    pub fn take(&self) -> io::Result<Option<AppendBuffer>> {
        let mut next = self.next.lock();
        if *next == self.slots_max {
            return Ok(None);
        }
        let mut carver = self.carver.lock();
        let end = self.begins + (*next + 1) * self.slot_bytes;
        if end > carver.region().backed_bytes() {
            let piece = end.next_multiple_of(PIECE_BYTES);
            carver.region().back(piece.min(carver.region().len()))?;
        }
        let begins = carver.cut(self.slot_bytes);
        assert_eq!(
            begins,
            end - self.slot_bytes,
            "slots are handed out in order"
        );
        let notes = self.notes.part(*next * NOTE_WORDS, NOTE_WORDS);
        *next += 1;
        Ok(Some(AppendBuffer::in_slot(
            carver.region().clone(),
            begins,
            self.slot_bytes,
            notes,
        )))
    }

    /// Hands out every slot that an earlier process may have used, with what it left there. To be called
    /// once, before [`Slots::take`].
    ///
    /// # Errors
    ///
    /// As [`Slots::take`]; not when all is as the earlier process left it.
    pub fn left(&self) -> io::Result<Vec<AppendBuffer>> {
        let backed = self.carver.lock().region().backed_bytes();
        let used = backed.saturating_sub(self.begins) / self.slot_bytes;
        let mut left = Vec::new();
        for _ in 0..used.min(self.slots_max) {
            left.extend(self.take()?);
        }
        left.iter_mut().for_each(AppendBuffer::find_again);
        Ok(left)
    }
}

/// What the notes of a slot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notes {
    /// Bytes that were appended.
    pub filled: usize,
    /// Bytes from the front that are durable elsewhere.
    pub durable: usize,
    /// What the buffer is for, in its user's words; the third is never zero.
    pub label: [u64; 3],
}

impl Notes {
    /// Reads a slot's notes; `None` when it is nobody's, or they contradict each other.
    pub(super) fn read(notes: &Words, capacity: usize) -> Option<Notes> {
        let word = |at: usize| notes[at].load(Ordering::Acquire);
        let label = [word(NOTE_LABEL), word(NOTE_LABEL + 1), word(NOTE_LABEL + 2)];
        let filled = usize::try_from(word(NOTE_FILLED)).ok()?;
        let durable = usize::try_from(word(NOTE_DURABLE)).ok()?;
        (label[2] != 0 && filled <= capacity && durable <= filled).then_some(Notes {
            filled,
            durable,
            label,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Region;

    const SLOT: usize = 8192;

    fn slots(count: usize) -> Slots {
        let region = Region::reserve(Slots::size(0, SLOT, count)).unwrap();
        Slots::new(Carver::new(region), SLOT, count).unwrap()
    }

    #[test]
    fn as_many_slots_are_handed_out_as_there_are_and_none_touches_another() {
        let slots = slots(3);
        let mut buffers: Vec<_> = (0..3).map(|_| slots.take().unwrap().unwrap()).collect();
        assert!(slots.take().unwrap().is_none());
        for (mark, buffer) in buffers.iter().enumerate() {
            assert_eq!(
                buffer.append(SLOT, |room| room.fill(mark as u8 + 1)),
                Some(0)
            );
        }
        buffers[1].reset();
        assert_eq!(buffers[0].bytes(0..SLOT).unwrap(), [1; SLOT]);
        assert_eq!(buffers[2].bytes(0..SLOT).unwrap(), [3; SLOT]);
        assert_eq!(
            buffers[1].append(SLOT, |room| assert_eq!(room, [0; SLOT])),
            Some(0)
        );
    }

    #[test]
    fn notes_tell_what_was_appended_and_which_front_of_it_is_durable() {
        let slots = slots(1);
        let mut buffer = slots.take().unwrap().unwrap();
        assert_eq!(buffer.notes(), None, "nobody's yet");
        buffer.append(100, |room| room.fill(1)).unwrap();
        buffer.label([7, 8, 9]);
        let durable = |buffer: &AppendBuffer| {
            let notes = buffer.notes().unwrap();
            assert_eq!(notes.label, [7, 8, 9]);
            (notes.filled, notes.durable)
        };
        assert_eq!(durable(&buffer), (100, 0));
        for end in [512, 1024, 1536] {
            buffer.pad_to(512);
            assert_eq!(durable(&buffer).0, end);
            buffer.append(1, |room| room.fill(1)).unwrap();
        }
        buffer.settle(512..1024);
        assert_eq!(
            durable(&buffer).1,
            0,
            "what is in front of it is not durable"
        );
        buffer.settle(1024..1536);
        buffer.settle(0..512);
        assert_eq!(durable(&buffer).1, 1536);
        buffer.reset();
        assert_eq!(buffer.notes(), None);
    }
}
