//! One record's place in DRAM: 64 bytes, one cache line, touched only through typed accessors.
//!
//! An entry never changes its digest: [`EntryMut`] lends everything but the digest and the chain
//! link, which belong to the directory. Every pattern of 64 bytes is a valid entry to the compiler.
//!
//! **What a killed process leaves behind.** A slot whose generation is 0 is vacant, whatever else is in
//! it. Any other is a record whose check must be right: a sum over all fields but the chain link, which
//! an index that is attached again makes anew. A record appears with the store of its generation, the
//! last of an insert, and vanishes with another, the first of a remove; in between, a change of it is
//! covered by the partition's undo (`undo`).
//!
//! Times are counted from 2010-01-01T00:00:00Z, the epoch of the Aerospike protocol.

use std::fmt;
use std::mem::{offset_of, size_of, transmute};
use std::ops::Deref;
use std::sync::atomic::{AtomicU16, Ordering, compiler_fence};

use karst_data::key::Digest;

use super::hash::fold;
use super::link::Link;
use super::undo::Undo;
use crate::place::{Place, Version};

/// What is known of a record without reading its device.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Entry {
    digest: Digest,   //  0..20  in full: keys are never told apart by reading the device
    void_time_s: u32, // 20..24  0: does not expire; a tombstone keeps the log's fill number here
    place: u64,       // 24..32  device 7 bits | start 37 | length 20, in rblocks
    update_time_ms: u64, // 32..40
    next: Link,       // 40..44  next in the bucket; in a vacant slot, the next vacant one
    check: u32,       // 44..48  sum of all other fields but `next`
    set_id: u16,      // 48..50
    generation: u16,  // 50..52  0: the slot holds no record
    flags: u16,       // 52..54
    version: [u8; 10], // 54..64  regime 4 | sequence 6
}

/// Words of an entry.
pub(super) const ENTRY_WORDS: usize = 8;

const _: () = {
    assert!(size_of::<Entry>() == 64);
    assert!(size_of::<Entry>() == ENTRY_WORDS * size_of::<u64>());
    assert!(align_of::<Entry>() == 64);
    assert!(offset_of!(Entry, void_time_s) == 20);
    assert!(offset_of!(Entry, place) == 24);
    assert!(offset_of!(Entry, next) == 40);
    assert!(offset_of!(Entry, generation) == 50); // one store writes it: it is aligned
    assert!(offset_of!(Entry, version) + 10 == size_of::<Entry>()); // no hidden padding
};

impl Entry {
    /// The entry of a new record, not yet linked into a chain.
    pub(super) fn new(new: &NewEntry) -> Entry {
        assert!(new.generation != 0, "generation 0 marks a vacant slot");
        let mut entry = Entry {
            digest: new.digest,
            void_time_s: new.void_time_s,
            place: new.place.pack(),
            update_time_ms: new.update_time_ms,
            next: Link::END,
            check: 0,
            set_id: new.set_id,
            generation: new.generation,
            flags: new.flags.bits(),
            version: new.version.pack(),
        };
        assert!(entry.place() == new.place);
        assert!(entry.version() == new.version);
        entry.seal();
        entry
    }

    /// The 20 bytes that name the record.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Where the record's bytes lie.
    pub fn place(&self) -> Place {
        Place::unpack(self.place)
    }

    /// Which write made the record.
    pub fn version(&self) -> Version {
        Version::unpack(self.version)
    }

    /// When the record expires, in seconds since 2010; 0 if it does not. A tombstone does not.
    pub fn void_time_s(&self) -> u32 {
        if self.is_tombstone() {
            0
        } else {
            self.void_time_s
        }
    }

    /// For a tombstone, how many blocks the log had begun to fill when the record was deleted: once
    /// all those are gone or rewritten, no older copy can come back and the tombstone may go.
    pub fn tombstone_fill(&self) -> Option<u32> {
        self.is_tombstone().then_some(self.void_time_s)
    }

    /// When the record was last written, in milliseconds since 2010.
    pub fn update_time_ms(&self) -> u64 {
        self.update_time_ms
    }

    /// How often the record was written, wrapping; 0 only in a slot that holds no record.
    pub fn generation(&self) -> u16 {
        self.generation
    }

    /// The set, as numbered by the namespace; 0 for none.
    pub fn set_id(&self) -> u16 {
        self.set_id
    }

    /// All flags.
    pub fn flags(&self) -> Flags {
        Flags(self.flags)
    }

    /// Whether this remembers a delete rather than a record.
    pub fn is_tombstone(&self) -> bool {
        self.flags().contains(Flags::TOMBSTONE)
    }

    /// Everything but the chain link, as [`super::Directory::insert`] takes it.
    pub fn to_new(&self) -> NewEntry {
        NewEntry {
            digest: self.digest,
            place: self.place(),
            version: self.version(),
            update_time_ms: self.update_time_ms,
            void_time_s: self.void_time_s,
            generation: self.generation,
            set_id: self.set_id,
            flags: self.flags(),
        }
    }

    /// The next entry of the bucket; for a vacant slot the next vacant one.
    pub(super) fn next(&self) -> Link {
        self.next
    }

    /// Sets what [`Entry::next`] returns.
    pub(super) fn set_next(&mut self, next: Link) {
        self.next = next;
    }

    /// Turns a vacant slot into `new`, at once for who finds this memory later.
    pub(super) fn occupy(&mut self, new: &Entry) {
        assert!(self.is_vacant() && !new.is_vacant());
        *self = Entry {
            generation: 0,
            ..*new
        };
        self.publish_generation(new.generation);
    }

    /// Turns a record into a vacant slot, at once for who finds this memory later, and chains it to
    /// the next such slot.
    pub(super) fn vacate(&mut self, next: Link) {
        self.publish_generation(0);
        self.next = next;
    }

    /// Stores the generation after everything that comes before in the program and before everything
    /// that comes after.
    fn publish_generation(&mut self, generation: u16) {
        // SAFETY: the field is aligned and borrowed for change, so nobody else touches it.
        let field = unsafe { AtomicU16::from_ptr(&raw mut self.generation) };
        field.store(generation, Ordering::Release);
        compiler_fence(Ordering::SeqCst);
    }

    /// Makes the check right.
    pub(super) fn seal(&mut self) {
        self.check = self.sum();
    }

    /// Whether the check is right.
    pub(super) fn is_sealed(&self) -> bool {
        self.check == self.sum()
    }

    /// Stirs all fields but link and check: some 3 ns. For changes that stopped half way, which are no
    /// adversary's; who can write this memory can write anything.
    fn sum(&self) -> u32 {
        const STIR: [u64; 7] = [
            0xa076_1d64_78bd_642f,
            0xe703_7ed1_a0b4_28db,
            0x8ebc_6af0_9c88_c6e3,
            0x5899_65cc_7537_4cc3,
            0x1d8e_4e27_c47d_124f,
            0xeb44_acca_b455_d165,
            0x2d35_8dcc_aa6c_78a5,
        ];
        let [a, b, c, place, update_time, _, small, version] = self.words();
        let sum = fold(a ^ STIR[0], b ^ STIR[1])
            ^ fold(c ^ STIR[2], place ^ STIR[3]).rotate_left(21)
            ^ fold(update_time ^ STIR[4], small ^ STIR[5]).rotate_left(42);
        let sum = fold(sum ^ version, STIR[6]);
        (sum >> 32) as u32 ^ sum as u32
    }

    /// All 64 bytes.
    #[inline]
    pub(super) fn words(&self) -> [u64; ENTRY_WORDS] {
        // SAFETY: as many bytes, none of them padding (asserted above).
        unsafe { transmute(*self) }
    }

    /// The reverse of [`Entry::words`]; any bytes are an entry.
    pub(super) fn from_words(words: [u64; ENTRY_WORDS]) -> Entry {
        // SAFETY: as many bytes, and every field takes any.
        unsafe { transmute(words) }
    }

    /// Whether the slot holds no record.
    pub(super) fn is_vacant(&self) -> bool {
        self.generation == 0
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_new().fmt(f)
    }
}

/// What a caller says about a record that the index is to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// The 20 bytes that name the record.
    pub digest: Digest,
    /// Where the record's bytes lie; its parts must fit [`Place::pack`].
    pub place: Place,
    /// Which write made the record.
    pub version: Version,
    /// When the record was written, in milliseconds since 2010.
    pub update_time_ms: u64,
    /// When the record expires, in seconds since 2010, 0 if it does not; with [`Flags::TOMBSTONE`]
    /// the log's fill number at the delete ([`Entry::tombstone_fill`]).
    pub void_time_s: u32,
    /// How often the record was written; never 0.
    pub generation: u16,
    /// The set, as numbered by the namespace; 0 for none.
    pub set_id: u16,
    /// Tombstone, key stored, and so on.
    pub flags: Flags,
}

impl NewEntry {
    /// Whether this remembers a delete rather than a record.
    pub fn is_tombstone(&self) -> bool {
        self.flags.contains(Flags::TOMBSTONE)
    }
}

/// Yes-or-no facts about a record, and a small number. Bits without a name are free and are kept as given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u16);

impl Flags {
    /// None of them.
    pub const NONE: Flags = Flags(0);
    /// The record was deleted; the entry keeps older copies from coming back.
    pub const TOMBSTONE: Flags = Flags(1);
    /// The client's key is stored with the record.
    pub const KEY_STORED: Flags = Flags(1 << 1);
    /// The newest version is not yet known to be on enough replicas.
    pub const UNREPLICATED: Flags = Flags(1 << 2);
    /// A start found the record damaged: header and set known, the rest not.
    pub const DAMAGED: Flags = Flags(1 << 3);
    /// An earlier version was deleted, or had expired or been evicted: when a truncation takes the record,
    /// a tombstone has to stay in its stead, or what lies below would come back.
    pub const OVER_TOMBSTONE: Flags = Flags(1 << 4);

    /// Beside flags, in the upper eight bits: see [`Flags::moves`].
    const MOVES_SHIFT: u32 = 8;

    /// How often defrag has moved the version that the index points at, 255 for that and more.
    pub const fn moves(self) -> u8 {
        (self.0 >> Flags::MOVES_SHIFT) as u8
    }

    /// These, with that many moves.
    #[must_use]
    pub const fn with_moves(self, moves: u8) -> Flags {
        let flags = self.0 & ((1 << Flags::MOVES_SHIFT) - 1);
        Flags(flags | (moves as u16) << Flags::MOVES_SHIFT)
    }

    /// Any 16 bits are flags.
    pub const fn from_bits(bits: u16) -> Flags {
        Flags(bits)
    }

    /// The 16 bits.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether all of `other` are set.
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and `other`.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// These but not `other`.
    #[must_use]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// These, with `other` set or cleared as `on` says.
    #[must_use]
    pub const fn when(self, other: Flags, on: bool) -> Flags {
        if on {
            self.with(other)
        } else {
            self.without(other)
        }
    }
}

/// An entry lent for change: all of it but the digest and the chain link.
///
/// Not a plain `&mut Entry`, through which two entries could be swapped and chains torn. All changes
/// through one of these are one change to who attaches the index after a crash: it finds all of them
/// or none. So it must be dropped, and never forgotten.
pub struct EntryMut<'a> {
    entry: &'a mut Entry,
    undo: Undo<'a>,
}

impl<'a> EntryMut<'a> {
    pub(super) fn new(entry: &'a mut Entry, undo: Undo<'a>) -> EntryMut<'a> {
        EntryMut { entry, undo }
    }

    /// The entry, about to be changed.
    fn change(&mut self) -> &mut Entry {
        self.undo.before_change(self.entry);
        self.entry
    }

    /// Takes over all that `new` says, as one write of the record does.
    ///
    /// # Panics
    /// If `new` is about another digest, or cannot be an entry: generation 0, or a place or
    /// version whose parts do not fit.
    pub fn rewrite(&mut self, new: &NewEntry) {
        assert!(
            new.digest == self.entry.digest,
            "an entry keeps its digest for life"
        );
        let next = self.entry.next();
        let new = Entry {
            next,
            ..Entry::new(new)
        };
        *self.change() = new;
    }

    /// The record's bytes now lie here.
    ///
    /// # Panics
    /// If a part of `place` does not fit its bits.
    pub fn set_place(&mut self, place: Place) {
        let packed = place.pack();
        assert!(Place::unpack(packed) == place);
        self.change().place = packed;
    }

    /// This write made the record.
    ///
    /// # Panics
    /// If the sequence does not fit 48 bits.
    pub fn set_version(&mut self, version: Version) {
        let packed = version.pack();
        assert!(Version::unpack(packed) == version);
        self.change().version = packed;
    }

    /// The record lives, and expires then, in seconds since 2010; with 0 it does not expire.
    pub fn set_void_time_s(&mut self, void_time_s: u32) {
        let flags = self.flags().without(Flags::TOMBSTONE).bits();
        let entry = self.change();
        entry.flags = flags;
        entry.void_time_s = void_time_s;
    }

    /// The record was deleted when the log had begun to fill this many blocks.
    pub fn set_tombstone(&mut self, fill: u32) {
        let flags = self.flags().with(Flags::TOMBSTONE).bits();
        let entry = self.change();
        entry.flags = flags;
        entry.void_time_s = fill;
    }

    /// The record was last written then, in milliseconds since 2010.
    pub fn set_update_time_ms(&mut self, update_time_ms: u64) {
        self.change().update_time_ms = update_time_ms;
    }

    /// The record was written this often.
    ///
    /// # Panics
    /// If 0, which marks a vacant slot: a generation that wraps goes on at 1.
    pub fn set_generation(&mut self, generation: u16) {
        assert!(generation != 0, "generation 0 marks a vacant slot");
        self.change().generation = generation;
    }

    /// The record is in this set, as numbered by the namespace.
    pub fn set_set_id(&mut self, set_id: u16) {
        self.change().set_id = set_id;
    }

    /// Replaces all flags but [`Flags::TOMBSTONE`], which changes only together with what it gives
    /// a meaning to: see [`EntryMut::set_void_time_s`] and [`EntryMut::set_tombstone`].
    pub fn set_flags(&mut self, flags: Flags) {
        let bits = flags.when(Flags::TOMBSTONE, self.is_tombstone()).bits();
        self.change().flags = bits;
    }
}

impl Drop for EntryMut<'_> {
    fn drop(&mut self) {
        self.undo.complete(self.entry);
    }
}

impl Deref for EntryMut<'_> {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        self.entry
    }
}

impl fmt::Debug for EntryMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::link::{HANDLES_MAX, Handle};
    use crate::index::undo::{Control, SlotNumber};
    use crate::place::{DeviceId, Rblocks};
    use proptest::prelude::*;

    prop_compose! {
        fn any_new_entry()(
            digest in any::<[u8; 20]>(),
            place in any::<u64>(),
            version in any::<[u8; 10]>(),
            update_time_ms: u64,
            void_time_s: u32,
            generation in 1..=u16::MAX,
            set_id: u16,
            flags: u16,
        ) -> NewEntry {
            NewEntry {
                digest: Digest(digest),
                place: Place::unpack(place),
                version: Version::unpack(version),
                update_time_ms,
                void_time_s,
                generation,
                set_id,
                flags: Flags::from_bits(flags),
            }
        }
    }

    /// Lends an entry out, and takes it back.
    fn change(entry: &mut Entry, change: impl FnOnce(&mut EntryMut<'_>)) {
        let control = Control::default();
        change(&mut EntryMut::new(
            entry,
            Undo::new(&control, SlotNumber(0)),
        ));
        assert!(control.is_idle());
    }

    fn any_link(bits: u32) -> Link {
        Link::to(Handle(bits % HANDLES_MAX), (bits >> 24) as u8)
    }

    proptest! {
        #[test]
        fn an_entry_gives_back_every_field_it_was_given(new in any_new_entry(), link: u32) {
            let mut entry = Entry::new(&new);
            entry.set_next(any_link(link));
            prop_assert_eq!(entry.to_new(), new);
            prop_assert_eq!(entry.next(), any_link(link));
        }

        #[test]
        fn a_rewrite_changes_everything_but_the_chain(
            old in any_new_entry(),
            new in any_new_entry(),
            link: u32,
        ) {
            let new = NewEntry { digest: old.digest, ..new };
            let mut entry = Entry::new(&old);
            entry.set_next(any_link(link));
            change(&mut entry, |entry| entry.rewrite(&new));
            prop_assert_eq!(entry.to_new(), new);
            prop_assert_eq!(entry.next(), any_link(link));
        }

        #[test]
        fn setting_one_field_leaves_the_others(old in any_new_entry(), new in any_new_entry()) {
            let set = |set: fn(&mut EntryMut<'_>, &NewEntry)| {
                let mut entry = Entry::new(&old);
                change(&mut entry, |entry| set(entry, &new));
                assert!(entry.is_sealed());
                entry.to_new()
            };
            let flags = new.flags.when(Flags::TOMBSTONE, old.flags.contains(Flags::TOMBSTONE));
            let NewEntry { place, version, update_time_ms, generation, set_id, .. } = new;
            prop_assert_eq!(set(|to, new| to.set_place(new.place)), NewEntry { place, ..old });
            prop_assert_eq!(set(|to, new| to.set_version(new.version)), NewEntry { version, ..old });
            prop_assert_eq!(
                set(|to, new| to.set_update_time_ms(new.update_time_ms)),
                NewEntry { update_time_ms, ..old }
            );
            prop_assert_eq!(
                set(|to, new| to.set_generation(new.generation)),
                NewEntry { generation, ..old }
            );
            prop_assert_eq!(set(|to, new| to.set_set_id(new.set_id)), NewEntry { set_id, ..old });
            prop_assert_eq!(set(|to, new| to.set_flags(new.flags)), NewEntry { flags, ..old });
        }
    }

    fn sample() -> NewEntry {
        NewEntry {
            digest: Digest([7; 20]),
            place: Place {
                device: DeviceId(0),
                start: Rblocks(1),
                length: Rblocks(2),
            },
            version: Version {
                regime: 1,
                sequence: 2,
            },
            update_time_ms: 3,
            void_time_s: 4,
            generation: 5,
            set_id: 6,
            flags: Flags::KEY_STORED,
        }
    }

    #[test]
    fn a_tombstone_never_expires_and_a_living_record_has_no_fill_number() {
        let mut entry = Entry::new(&sample());
        assert_eq!((entry.void_time_s(), entry.tombstone_fill()), (4, None));
        change(&mut entry, |entry| entry.set_tombstone(9));
        assert_eq!((entry.void_time_s(), entry.tombstone_fill()), (0, Some(9)));
        change(&mut entry, |entry| entry.set_void_time_s(8));
        assert_eq!((entry.void_time_s(), entry.tombstone_fill()), (8, None));
        assert_eq!(entry.flags(), Flags::KEY_STORED);
    }

    #[test]
    #[should_panic(expected = "vacant slot")]
    fn generation_zero_is_refused_because_it_means_vacant() {
        Entry::new(&NewEntry {
            generation: 0,
            ..sample()
        });
    }

    #[test]
    #[should_panic(expected = "keeps its digest")]
    fn a_rewrite_under_another_digest_is_refused() {
        let mut entry = Entry::new(&sample());
        let new = NewEntry {
            digest: Digest([8; 20]),
            ..sample()
        };
        change(&mut entry, |entry| entry.rewrite(&new));
    }
}
