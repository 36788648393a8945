//! A partition's control line: what a change of one entry was before, and the partition's counter.
//!
//! A process can be killed between any two stores. So that a shared index holds no half-changed entry
//! afterwards, whoever changes one first copies it here:
//!
//! ```text
//! copy the entry's 64 bytes to `saved`       slot = 0     attach: nothing to do
//! slot = the entry's slot                    armed        attach: copies `saved` back
//! change the entry, make its check right     armed        attach: copies `saved` back
//! slot = 0                                   slot = 0     attach: the change is there
//! ```
//!
//! The order is that of the program. A killed thread's stores up to the instruction where it ended all
//! reach memory and later ones do not, so what must be kept from reordering them is the compiler alone.
//!
//! One entry of a partition is changed at a time: the directory is borrowed for it. Inserts and removes
//! need no undo: the two bytes of the generation make a record appear or vanish at once.

use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use super::directory::prefetch_line;
use super::entry::{ENTRY_WORDS, Entry};

/// Two cache lines: CPUs fetch them in pairs.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(super) struct Control {
    /// The entry as it was before the change that is going on.
    saved: [AtomicU64; ENTRY_WORDS], //   0..64
    /// Number of the slot being changed, plus one; 0 if none is.
    slot: AtomicU64, //  64..72
    /// Number of the last write of the partition.
    sequence: AtomicU64, //  72..80
    _free: [AtomicU64; 6], // 80..128
}

const _: () = assert!(size_of::<Control>() == 128);

impl Control {
    /// Copies an entry here, after which it may be changed.
    #[inline]
    fn arm(&self, entry: &Entry, slot: SlotNumber) {
        assert!(
            self.is_idle(),
            "one entry of a partition is changed at a time"
        );
        for (saved, word) in self.saved.iter().zip(entry.words()) {
            saved.store(word, Ordering::Relaxed);
        }
        self.slot.store(slot.0 + 1, Ordering::Release); // after the copy,
        compiler_fence(Ordering::SeqCst); // and before the change
    }

    /// The change is complete.
    #[inline]
    fn disarm(&self) {
        self.slot.store(0, Ordering::Release); // after the change
    }

    /// Whether no change is going on.
    pub(super) fn is_idle(&self) -> bool {
        self.slot.load(Ordering::Relaxed) == 0
    }

    /// What a change that was not completed must be undone with, and where.
    pub(super) fn unfinished(&self) -> Option<(SlotNumber, Entry)> {
        let slot = self.slot.load(Ordering::Acquire).checked_sub(1)?;
        let saved = std::array::from_fn(|at| self.saved[at].load(Ordering::Relaxed));
        Some((SlotNumber(slot), Entry::from_words(saved)))
    }

    /// Says that [`Control::unfinished`] was carried out.
    pub(super) fn undone(&self) {
        self.disarm();
    }

    /// Number of the last write of the partition.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Relaxed)
    }

    /// Asks the CPU for what [`Control::sequence`] reads.
    #[inline]
    pub(super) fn prefetch_sequence(&self) {
        prefetch_line(&self.sequence);
    }

    /// Sets what [`Control::sequence`] returns.
    pub(super) fn set_sequence(&self, sequence: u64) {
        self.sequence.store(sequence, Ordering::Relaxed);
    }
}

/// Number of an entry's slot among all of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotNumber(pub(super) u64);

/// How one entry's change is undone if it does not come to its end.
#[derive(Debug)]
pub(super) struct Undo<'a> {
    control: &'a Control,
    slot: SlotNumber,
    armed: bool,
}

impl<'a> Undo<'a> {
    /// Nothing is changed yet.
    pub(super) fn new(control: &'a Control, slot: SlotNumber) -> Undo<'a> {
        Undo {
            control,
            slot,
            armed: false,
        }
    }

    /// The entry is about to be changed.
    #[inline]
    pub(super) fn before_change(&mut self, entry: &Entry) {
        if !self.armed {
            self.control.arm(entry, self.slot);
            self.armed = true;
        }
    }

    /// Makes the change complete, if there was one.
    #[inline]
    pub(super) fn complete(&mut self, entry: &mut Entry) {
        if self.armed {
            entry.seal();
            self.control.disarm();
            self.armed = false;
        }
    }
}
