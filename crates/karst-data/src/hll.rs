//! HyperLogLog: how many different elements a bin has seen, in a few kilobytes.
//!
//! ```text
//!   0..1   flags, zero
//!   1..2   index bits p, 4 to 16
//!   2..3   minhash bits q, 0 or 4 to 51; p + q at most 64
//!   3..11  count as last computed, little-endian; 0: not known
//!  11..    2^p registers of 6 + q bits, from the left: 6 of rank, q of minhash
//! ```
//!
//! Byte for byte what the Aerospike server stores, hash function and all, so that sketches made by one are
//! counted, joined and compared by the other. An element's hash chooses a register and what it would hold;
//! a register keeps the greatest it was offered. A call is parsed once ([`HllRead::parse`],
//! [`HllModify::parse`]) and works on bytes, those of a bin or of a value inside an expression.

use std::borrow::Cow;

mod estimate;
mod hash;
mod modify;
mod parse;
mod read;
mod sketch;
#[cfg(test)]
mod tests;

pub use self::modify::Done;
pub(crate) use self::parse::{is_modify_code, is_read_code};
use self::sketch::View;
use crate::call::WriteFlags;

/// A call that reads.
#[derive(Clone, Debug, PartialEq)]
pub struct HllRead<'a>(Reading<'a>);

#[derive(Clone, Debug, PartialEq)]
enum Reading<'a> {
    Count,
    Union(Sketches<'a>),
    UnionCount(Sketches<'a>),
    IntersectCount(Sketches<'a>),
    Similarity(Sketches<'a>),
    Describe,
    MayContain(Elements<'a>),
}

/// A call that changes.
#[derive(Clone, Debug, PartialEq)]
pub struct HllModify<'a> {
    kind: Change<'a>,
    flags: WriteFlags,
}

#[derive(Clone, Debug, PartialEq)]
enum Change<'a> {
    Init(Wanted),
    Add(Elements<'a>, Wanted),
    Union(Sketches<'a>),
    RefreshCount,
    Fold(u8),
}

/// Steps to look at a register's share of a byte, once.
const STEPS_PER_BYTE: u64 = 5;

/// Steps to hash an element.
const STEPS_PER_ELEMENT: u64 = 100;

/// Sketches that a call brings: each was found to be one.
#[derive(Clone, Debug, PartialEq)]
struct Sketches<'a>(Vec<Cow<'a, [u8]>>);

impl Sketches<'_> {
    fn views(&self) -> Vec<View<'_>> {
        self.0.iter().filter_map(|bytes| View::new(bytes)).collect()
    }

    fn into_owned(self) -> Sketches<'static> {
        let owned = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        Sketches(self.0.into_iter().map(owned).collect())
    }

    /// Steps to look at each register of them.
    fn steps(&self) -> u64 {
        let bytes = |bytes: &Cow<'_, [u8]>| bytes.len() as u64;
        self.0.iter().map(|it| STEPS_PER_BYTE * bytes(it)).sum()
    }
}

impl HllRead<'_> {
    /// The same call, kept without its request.
    pub(crate) fn into_owned(self) -> HllRead<'static> {
        HllRead(match self.0 {
            Reading::Count => Reading::Count,
            Reading::Union(sketches) => Reading::Union(sketches.into_owned()),
            Reading::UnionCount(sketches) => Reading::UnionCount(sketches.into_owned()),
            Reading::IntersectCount(sketches) => Reading::IntersectCount(sketches.into_owned()),
            Reading::Similarity(sketches) => Reading::Similarity(sketches.into_owned()),
            Reading::Describe => Reading::Describe,
            Reading::MayContain(elements) => Reading::MayContain(elements.into_owned()),
        })
    }

    /// Steps that asking a sketch of so many bytes takes.
    pub fn steps(&self, sketch_bytes: usize) -> u64 {
        let own = 10 + STEPS_PER_BYTE * sketch_bytes as u64;
        match &self.0 {
            Reading::Count | Reading::Describe => own,
            Reading::Union(views) | Reading::UnionCount(views) => 2 * own + views.steps(),
            Reading::IntersectCount(views) | Reading::Similarity(views) => {
                5 * (own + views.steps())
            }
            Reading::MayContain(elements) => elements.steps(),
        }
    }
}

impl HllModify<'_> {
    /// The same call, kept without its request.
    pub(crate) fn into_owned(self) -> HllModify<'static> {
        let kind = match self.kind {
            Change::Init(wanted) => Change::Init(wanted),
            Change::Add(elements, wanted) => Change::Add(elements.into_owned(), wanted),
            Change::Union(sketches) => Change::Union(sketches.into_owned()),
            Change::RefreshCount => Change::RefreshCount,
            Change::Fold(index_bits) => Change::Fold(index_bits),
        };
        HllModify {
            kind,
            flags: self.flags,
        }
    }

    /// Steps that changing a sketch of so many bytes takes.
    pub fn steps(&self, sketch_bytes: usize) -> u64 {
        let own = 10 + STEPS_PER_BYTE * sketch_bytes as u64;
        match &self.kind {
            Change::Init(_) | Change::Fold(_) | Change::RefreshCount => own,
            Change::Add(elements, _) => own + elements.steps(),
            Change::Union(views) => own + views.steps(),
        }
    }

    /// Whether it answers something, if it is carried out.
    pub fn answers(&self) -> bool {
        matches!(self.kind, Change::Add(..) | Change::RefreshCount)
    }
}

/// What a call says of the shape of a sketch: each part, if it says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    index_bits: Option<u8>,
    minhash_bits: Option<u8>,
}

/// A list of scalars, packed one behind the other.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Elements<'a> {
    packed: Cow<'a, [u8]>,
    count: u32,
}

impl Elements<'_> {
    fn into_owned(self) -> Elements<'static> {
        Elements {
            packed: Cow::Owned(self.packed.into_owned()),
            count: self.count,
        }
    }

    /// Steps to hash them all.
    fn steps(&self) -> u64 {
        STEPS_PER_ELEMENT * u64::from(self.count) + self.packed.len() as u64
    }
}

/// Whether bytes are a sketch.
pub(crate) fn is_sketch(bytes: &[u8]) -> bool {
    View::new(bytes).is_some()
}
