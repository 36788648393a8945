//! What clients ask for, drawn from the seed.

use karst_data::key::Digest;
use karst_data::operation::{Operand, Operation};
use karst_data::policy::Exists;
use karst_data::time::Ttl;
use karst_data::value::{ParticleType, Value};

use crate::rng::Rng;

/// Names of sets; the empty one stands for none.
pub const SETS: [&[u8]; 3] = [b"", b"demo", b"other"];

/// Partitions that the records of a run share: few, so that a sweep or a scan of all costs little.
pub const PARTITIONS: [u16; 3] = [0, 1207, 4095];

/// A bin: its name is one letter. `n` holds an integer, the others bytes.
pub type Bin = u8;

/// The bin of integers.
pub const NUMBER: Bin = b'n';

/// The bins of bytes.
pub const BLOBS: [Bin; 3] = [b'a', b'b', b'c'];

/// How large values are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    small_max: u64,
    large_max: u64,
    /// One in so many is large; 0 for none.
    large_one_in: u64,
}

impl Sizes {
    pub(crate) fn draw(rng: &mut Rng, block_bytes: usize) -> Sizes {
        let block = block_bytes as u64;
        let (small_max, large_max, large_one_in) = match rng.below(4) {
            0 => (200, 0, 0),
            1 => (800, block / 4, 6),
            2 => (block / 8, 0, 0),
            _ => (400, block - 320, 25),
        };
        Sizes {
            small_max,
            large_max,
            large_one_in,
        }
    }

    /// What a record takes, roughly.
    pub fn typical_bytes(&self) -> u64 {
        let large = self.large_max.checked_div(2 * self.large_one_in.max(1));
        120 + self.small_max / 2 + large.unwrap_or(0)
    }

    /// Whether some records take more than a quarter of a block, so that blocks cannot be packed well.
    pub fn are_bulky(&self, block_bytes: usize) -> bool {
        self.large_max > block_bytes as u64 / 4
    }

    fn one(&self, rng: &mut Rng) -> usize {
        let is_large = self.large_one_in != 0 && rng.one_in(self.large_one_in);
        let max = if is_large {
            self.large_max
        } else {
            self.small_max
        };
        rng.between(16, max) as usize
    }
}

/// One operation on a record, owned: requests outlive many turns.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// Sets a bin of bytes.
    Put(Bin, Vec<u8>),
    /// Removes a bin.
    Remove(Bin),
    /// Adds to the integer.
    Add(i64),
    /// Puts bytes behind those of a bin.
    Append(Bin, Vec<u8>),
    /// Puts bytes before those of a bin.
    Prepend(Bin, Vec<u8>),
    /// Counts as a write.
    Touch,
    /// Removes all bins.
    RemoveAll,
}

impl Deed {
    /// As the engine wants it.
    pub fn operation(&self) -> Operation<'_> {
        match self {
            Deed::Put(bin, bytes) => Operation::Write(name(bin), Some(blob(bytes))),
            Deed::Remove(bin) => Operation::Write(name(bin), None),
            Deed::Add(delta) => Operation::Increment(
                b"n",
                Operand::Value(Value {
                    particle: ParticleType::Integer,
                    bytes: delta.to_be_bytes().to_vec().into(),
                }),
            ),
            Deed::Append(bin, bytes) => Operation::Append(name(bin), blob(bytes)),
            Deed::Prepend(bin, bytes) => Operation::Prepend(name(bin), blob(bytes)),
            Deed::Touch => Operation::Touch,
            Deed::RemoveAll => Operation::DeleteAll,
        }
    }
}

fn name(bin: &Bin) -> &[u8] {
    std::slice::from_ref(bin)
}

fn blob(bytes: &[u8]) -> Value<'_> {
    Value {
        particle: ParticleType::Blob,
        bytes: bytes.into(),
    }
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub enum Ask {
    /// All of a record.
    Read,
    /// A write.
    Write {
        /// Which state of the record it accepts.
        exists: Exists,
        /// Only this generation, if it names one.
        generation: Option<u32>,
        /// The life of the record after it.
        ttl: Ttl,
        /// What it does, in order.
        deeds: Vec<Deed>,
    },
    /// A delete.
    Delete,
}

impl Ask {
    /// Draws one. `generation` is what a client believes the record's to be.
    pub fn draw(rng: &mut Rng, sizes: &Sizes, generation: u16) -> Ask {
        match rng.below(100) {
            0..=24 => Ask::Read,
            25..=36 => Ask::Delete,
            _ => Ask::draw_write(rng, sizes, generation),
        }
    }

    fn draw_write(rng: &mut Rng, sizes: &Sizes, generation: u16) -> Ask {
        let exists = match rng.below(12) {
            0..=4 => Exists::Replace,
            5 => Exists::CreateOnly,
            6 => Exists::UpdateOnly,
            7 => Exists::ReplaceOnly,
            _ => Exists::Any,
        };
        let deeds = if exists.replaces() {
            vec![Deed::Put(BLOBS[0], bytes(rng, sizes))]
        } else {
            (0..rng.between(1, 3))
                .map(|_| draw_deed(rng, sizes))
                .collect()
        };
        let ttl = match rng.below(10) {
            0..=4 => Ttl::Never,
            5 => Ttl::Default,
            6 => Ttl::Keep,
            _ => Ttl::Seconds(rng.between(1, 12) as u32),
        };
        // A client that names a generation is a little out of date now and then.
        let generation = rng
            .one_in(8)
            .then(|| u32::from(generation).saturating_sub(u32::from(rng.one_in(4))));
        Ask::Write {
            exists,
            generation,
            ttl,
            deeds,
        }
    }
}

fn draw_deed(rng: &mut Rng, sizes: &Sizes) -> Deed {
    let bin = *rng.pick(&BLOBS[..2]);
    match rng.below(20) {
        0..=8 => Deed::Put(bin, bytes(rng, sizes)),
        9..=12 => Deed::Add(rng.between(0, 1000) as i64 - 400),
        13 => Deed::Append(bin, few_bytes(rng)),
        14 => Deed::Prepend(bin, few_bytes(rng)),
        15 | 16 => Deed::Touch,
        17 => Deed::RemoveAll,
        _ => Deed::Remove(bin),
    }
}

/// Bytes that no other write of the run has: they begin with a tag of their own.
fn bytes(rng: &mut Rng, sizes: &Sizes) -> Vec<u8> {
    let size = sizes.one(rng);
    let mut tag = rng.clone();
    rng.next();
    let mut bytes = Vec::with_capacity(size + 8);
    let packs_well = tag.one_in(2);
    let mut word = tag.next();
    while bytes.len() < size {
        bytes.extend_from_slice(&word.to_le_bytes());
        word = if packs_well { word } else { tag.next() };
    }
    bytes.truncate(size);
    bytes
}

fn few_bytes(rng: &mut Rng) -> Vec<u8> {
    let bytes = rng.next().to_le_bytes();
    bytes[..rng.between(1, 8) as usize].to_vec()
}

/// A record that clients know of.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name.
    pub digest: Digest,
    /// The set it is in mostly, as an index into [`SETS`].
    pub set: usize,
    /// The key that its writers send and want stored.
    pub sent: Option<Vec<u8>>,
}

impl Key {
    /// The key of this number, among keys of so many sets.
    pub fn numbered(number: usize, sets: usize) -> Key {
        let mut drawn = Rng::from_seed(0x6b65_7973 + number as u64);
        let mut bytes = [0; 20];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&drawn.next().to_le_bytes()[..chunk.len()]);
        }
        let partition = PARTITIONS[number % PARTITIONS.len()];
        bytes[0] = partition as u8;
        bytes[1] = (bytes[1] & 0xf0) | (partition >> 8) as u8;
        let sent = [&[3u8], format!("key {number}").as_bytes()].concat();
        Key {
            digest: Digest(bytes),
            set: number / 2 % sets,
            sent: number.is_multiple_of(3).then_some(sent),
        }
    }
}
