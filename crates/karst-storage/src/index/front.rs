//! What lies before the pages of an arena: whose index it is, the names of sets, the control lines.
//!
//! ```text
//! 0          header       one page
//! 4 KiB      names        4096 slots of 64 bytes, by number; the first is not used
//! 260 KiB    controls     one of 128 bytes for every partition
//! 2 MiB      pages        of 64 entries
//! ```
//!
//! All of it is made of atomics, so it can be read and written by any thread at any time, and any bytes
//! are valid to the compiler. What they mean is checked once, at attach.
//!
//! An anonymous arena has the same front, of which only names and control lines are used.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};

use karst_data::key::{Digest, NAMESPACE_BYTES_MAX, PARTITIONS, SET_BYTES_MAX};

use super::Flags;
use super::arena::{PAGE_BYTES, PAGE_ENTRIES};
use super::entry::{Entry, NewEntry};
use super::hash::{HashKey, fold};
use super::undo::Control;
use crate::place::{DeviceId, Place, Rblocks, Version};

/// Bytes before the first page: as many as one huge page.
pub(super) const FRONT_BYTES: usize = 2 << 20;

/// Sets that can have a name.
pub const NAMES_MAX: usize = 4095;

/// Raised with every change of the layout or of its meaning.
const LAYOUT: u64 = 2;

const MAGIC: u64 = u64::from_le_bytes(*b"KARSTIDX");

#[derive(Debug)]
#[repr(C, align(4096))]
pub(super) struct Front {
    pub(super) header: Header,
    names: [Name; NAMES_MAX + 1],
    controls: [Control; PARTITIONS],
}

const _: () = {
    assert!(size_of::<Front>() <= FRONT_BYTES);
    assert!(offset_of!(Front, names) == 4 << 10);
    assert!(offset_of!(Front, controls) == 260 << 10);
    assert!(NAMES_MAX <= u16::MAX as usize);
};

impl Front {
    /// A partition's control line.
    #[inline]
    pub(super) fn control(&self, partition: usize) -> &Control {
        &self.controls[partition]
    }

    /// All control lines.
    pub(super) fn controls(&self) -> &[Control] {
        &self.controls
    }

    /// Writes the name of the next set, then counts it.
    ///
    /// # Panics
    /// If `number` is not the next one, or no set can have this name.
    pub(super) fn add_name(&self, number: u16, name: &[u8]) {
        let count = self.header.names.load(Ordering::Relaxed);
        assert!(u64::from(number) == count + 1, "sets are numbered in order");
        assert!(usize::from(number) <= NAMES_MAX);
        self.names[usize::from(number)].set(name);
        self.header.names.store(count + 1, Ordering::Release);
    }

    /// The names of sets 1, 2, ...; `None` if that cannot be what the table held.
    pub(super) fn names(&self) -> Option<Vec<Box<[u8]>>> {
        let count = usize::try_from(self.header.names.load(Ordering::Acquire)).ok()?;
        let named = self.names[1..].get(..count)?;
        named.iter().map(Name::get).collect()
    }
}

/// A set's name: its length in one byte, then its bytes.
#[derive(Debug)]
#[repr(C, align(64))]
struct Name([AtomicU64; NAME_WORDS]);

const NAME_WORDS: usize = 8;

const _: () = assert!(SET_BYTES_MAX < NAME_WORDS * 8);

impl Name {
    fn set(&self, name: &[u8]) {
        let words = packed::<NAME_WORDS>(name).expect("no set has a name that long");
        assert!(!name.is_empty());
        self.0
            .iter()
            .zip(words)
            .for_each(|(at, word)| at.store(word, Ordering::Relaxed));
    }

    fn get(&self) -> Option<Box<[u8]>> {
        let words = self.0.each_ref().map(|word| word.load(Ordering::Relaxed));
        unpacked(words).filter(|name| !name.is_empty())
    }
}

/// A short text in whole words: its length in one byte, its bytes, then zeros.
fn packed<const WORDS: usize>(text: &[u8]) -> Option<[u64; WORDS]> {
    let mut bytes = vec![0; WORDS * 8];
    bytes[0] = u8::try_from(text.len()).ok()?;
    bytes.get_mut(1..=text.len())?.copy_from_slice(text);
    let (words, _) = bytes.as_chunks::<8>();
    Some(std::array::from_fn(|at| u64::from_le_bytes(words[at])))
}

fn unpacked<const WORDS: usize>(words: [u64; WORDS]) -> Option<Box<[u8]>> {
    let bytes = words.map(u64::to_le_bytes);
    let bytes = bytes.as_flattened();
    bytes.get(1..=usize::from(bytes[0])).map(Into::into)
}

/// Who an index belongs to. It is attached by the same owner only.
#[derive(Clone, Copy)]
pub struct Owner<'a> {
    /// The machine's boot: shared memory does not outlive it.
    pub boot_id: [u8; 16],
    /// The cluster.
    pub cluster_id: [u8; 16],
    /// The namespace's name, of at most 31 bytes.
    pub namespace: &'a [u8],
    /// The cluster's hash key. A value computed from it is kept, not the key.
    pub key: HashKey,
}

/// What an index is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum State {
    /// Records are missing that the log holds: it is being filled after a start without it.
    Building = 1,
    /// It says what the log says, as far as the process came.
    Serving = 2,
    /// As `Serving`, and the process stopped in order.
    Stopped = 3,
}

impl State {
    fn from_number(number: u64) -> Option<State> {
        let all = [State::Building, State::Serving, State::Stopped];
        all.into_iter().find(|state| *state as u64 == number)
    }
}

const NAMESPACE_WORDS: usize = 4;

const _: () = assert!(NAMESPACE_BYTES_MAX < NAMESPACE_WORDS * 8);

/// The first page.
#[derive(Debug)]
#[repr(C, align(4096))]
pub(super) struct Header {
    magic: AtomicU64,                        //   0..8
    layout: AtomicU64,                       //   8..16
    fingerprint: AtomicU64,                  //  16..24
    boot_id: [AtomicU64; 2],                 //  24..40
    cluster_id: [AtomicU64; 2],              //  40..56
    namespace: [AtomicU64; NAMESPACE_WORDS], //  56..88
    key_check: AtomicU64,                    //  88..96
    session: AtomicU64,                      //  96..104
    state: AtomicU64,                        // 104..112
    names: AtomicU64,                        // 112..120  sets that have a name
}

/// Why an index in shared memory is not used. The log is scanned instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing is there.
    #[error("there is no index in shared memory")]
    Empty,
    /// It is something else, or made by another version.
    #[error(
        "the index in shared memory has another layout: {what} is {found:#x}, not {expected:#x}"
    )]
    Layout {
        /// What differs.
        what: &'static str,
        /// What is there.
        found: u64,
        /// What this version writes.
        expected: u64,
    },
    /// It was made before the machine was started, so it is a copy and may be old.
    #[error("the index in shared memory is of another boot of this machine")]
    Boot,
    /// It belongs to something else.
    #[error("the index in shared memory is of another {what}")]
    Stranger {
        /// Cluster, namespace, or hash key.
        what: &'static str,
    },
    /// Another process used the devices since.
    #[error(
        "the index in shared memory is of session {found}, the devices are of session {expected}"
    )]
    Session {
        /// What it says.
        found: u64,
        /// What the devices say.
        expected: u64,
    },
    /// Its process ended before it was complete.
    #[error("the index in shared memory was still being built")]
    Building,
    /// Something in it cannot be.
    #[error("the index in shared memory is damaged: {what}")]
    Damaged {
        /// What.
        what: String,
    },
}

impl Header {
    /// Claims zero memory for an owner, in session 0 and in state building.
    ///
    /// # Panics
    /// If the namespace's name is longer than one can be.
    pub(super) fn claim(&self, owner: &Owner<'_>) {
        self.state.store(State::Building as u64, Ordering::Release);
        let namespace = packed(owner.namespace).expect("no namespace has a name that long");
        store(&self.boot_id, halves(owner.boot_id));
        store(&self.cluster_id, halves(owner.cluster_id));
        store(&self.namespace, namespace);
        self.key_check
            .store(key_check(&owner.key), Ordering::Relaxed);
        self.fingerprint.store(fingerprint(), Ordering::Relaxed);
        self.layout.store(LAYOUT, Ordering::Relaxed);
        self.magic.store(MAGIC, Ordering::Release);
    }

    /// Whether this is a complete index of this owner and session.
    pub(super) fn check(&self, owner: &Owner<'_>, session: u64) -> Result<(), Refused> {
        let same = |what, found: &AtomicU64, expected| match found.load(Ordering::Acquire) {
            found if found == expected => Ok(()),
            found => Err(Refused::Layout {
                what,
                found,
                expected,
            }),
        };
        same("the first word", &self.magic, MAGIC)?;
        same("its number", &self.layout, LAYOUT)?;
        same("its fingerprint", &self.fingerprint, fingerprint())?;
        if load(&self.boot_id) != halves(owner.boot_id) {
            return Err(Refused::Boot);
        }
        let stranger = |what| Err(Refused::Stranger { what });
        if load(&self.cluster_id) != halves(owner.cluster_id) {
            return stranger("cluster");
        }
        if Some(load(&self.namespace)) != packed(owner.namespace) {
            return stranger("namespace");
        }
        if self.key_check.load(Ordering::Relaxed) != key_check(&owner.key) {
            return stranger("hash key");
        }
        match self.state() {
            Some(State::Serving | State::Stopped) => {}
            Some(State::Building) => return Err(Refused::Building),
            None => {
                let what = "its state is none that there is".to_owned();
                return Err(Refused::Damaged { what });
            }
        }
        match self.session() {
            found if found == session => Ok(()),
            found => Err(Refused::Session {
                found,
                expected: session,
            }),
        }
    }

    pub(super) fn session(&self) -> u64 {
        self.session.load(Ordering::Acquire)
    }

    pub(super) fn set_session(&self, session: u64) {
        self.session.store(session, Ordering::Release);
    }

    pub(super) fn state(&self) -> Option<State> {
        State::from_number(self.state.load(Ordering::Acquire))
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u64, Ordering::Release);
    }
}

fn store<const WORDS: usize>(at: &[AtomicU64; WORDS], words: [u64; WORDS]) {
    at.iter()
        .zip(words)
        .for_each(|(at, word)| at.store(word, Ordering::Relaxed));
}

fn load<const WORDS: usize>(at: &[AtomicU64; WORDS]) -> [u64; WORDS] {
    at.each_ref().map(|word| word.load(Ordering::Relaxed))
}

fn halves(id: [u8; 16]) -> [u64; 2] {
    let id = u128::from_le_bytes(id);
    [id as u64, (id >> 64) as u64]
}

/// Differs for different keys, and does not tell the key.
fn key_check(key: &HashKey) -> u64 {
    key.hash(&Digest(*b"karst index hash key"))
}

/// Differs when an offset, a size or the way of checking entries does.
fn fingerprint() -> u64 {
    let numbers = [
        size_of::<Front>(),
        offset_of!(Front, names),
        offset_of!(Front, controls),
        size_of::<Name>(),
        size_of::<Control>(),
        FRONT_BYTES,
        PAGE_BYTES,
        PAGE_ENTRIES,
        PARTITIONS,
        NAMES_MAX,
    ];
    let mut sum = MAGIC;
    for number in numbers
        .into_iter()
        .map(|number| number as u64)
        .chain(sample_entry())
    {
        sum = fold(sum ^ number, LAYOUT.wrapping_add(0x9e37_79b9_7f4a_7c15));
    }
    sum
}

/// An entry's words, each field unlike the others, so that one that moves changes them.
fn sample_entry() -> impl Iterator<Item = u64> {
    let new = NewEntry {
        digest: Digest(std::array::from_fn(|at| at as u8 + 1)),
        place: Place {
            device: DeviceId(0x21),
            start: Rblocks(0x12_2324_2526),
            length: Rblocks(0x2_7282),
        },
        version: Version {
            regime: 0x3132_3334,
            sequence: 0x3536_3738_393a,
        },
        update_time_ms: 0x4142_4344_4546_4748,
        void_time_s: 0x5152_5354,
        generation: 0x6162,
        set_id: 0x7172,
        flags: Flags::from_bits(0x8182),
    };
    Entry::new(&new).words().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_of_this_number_is_fixed_for_good() {
        // A layout that changes must change its number too: people read numbers, not fingerprints.
        assert_eq!((LAYOUT, fingerprint()), (2, 7_835_259_274_915_660_341));
    }

    #[test]
    fn a_short_text_is_packed_whole_or_not_at_all() {
        for text in [&b""[..], b"a", &[7; 31]] {
            let words = packed::<4>(text).expect("it fits");
            assert_eq!(unpacked(words).as_deref(), Some(text));
        }
        assert_eq!(packed::<4>(&[7; 32]), None);
        assert_eq!(packed::<4>(&[7; 300]), None);
        assert_eq!(unpacked([32u64, 0, 0, 0]), None);
    }
}
