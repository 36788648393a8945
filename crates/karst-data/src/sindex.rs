//! Secondary indexes, as far as they concern a record: what of it is indexed, and what a query looks for.
//!
//! ```text
//! Definition --> Extractor --> a record's values     what the index holds
//!                    '-------> Extractor::finds      whether a record is what a query wants
//! ```
//!
//! An index orders 64-bit values. An integer stands for itself; a string or a blob for a hash of it, so whoever
//! found a record by one has to look at the record before he believes it ([`Extractor::finds`]). The hash depends
//! on the bytes alone: clients go on with a query at another node after the value that they saw last. For a point
//! stands its cell on the globe, for a region stand the cells that cover it (see [`crate::geo`]): such a value is
//! found by several, and has to be looked at too.
//!
//! An index of a set ([`Kind::Set`]) takes no value out of records: that a record is of the set is all it says.
//!
//! What is not of the index's kind is not indexed, nor are strings and blobs longer than [`TEXT_BYTES_MAX`], which
//! no query can ask for either.

mod extract;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::sync::Arc;

use ripemd::{Digest as _, Ripemd160};
use serde::{Deserialize, Serialize};

use crate::geo::{self, Search, Shape};
use crate::msgpack::elements::Element;

pub use extract::{Extractor, Undefinable, ValueSlices};

/// Longest string or blob that is indexed, in bytes.
pub const TEXT_BYTES_MAX: usize = 2047;

/// Text of a record's regions in collections that are covered as well as can be, in bytes; the others are covered
/// roughly, so that a long list of them does not keep a partition waiting.
const FINE_BYTES_MAX: usize = 4 << 10;

/// Longest name of an index, in bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// Most indexes of a namespace.
pub const INDEXES_MAX: usize = 256;

/// Which values an index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Integers.
    Numeric,
    /// Strings.
    Text,
    /// Blobs.
    Blob,
    /// Points and regions of the globe.
    Geo,
    /// None: which records there are in the set.
    Set,
}

/// Where they are in a bin, or in what a context leads to or an expression computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Source {
    /// The bin's value itself.
    Bin,
    /// The elements of a list.
    List,
    /// The keys of a map.
    MapKeys,
    /// The values of a map.
    MapValues,
}

/// What an index is of. Two are the same index if they are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Definition {
    /// The set; empty for all records of the namespace, in sets or not.
    pub set: String,
    /// The bin; empty for what an expression computes, and for a set.
    pub bin: String,
    /// Which values.
    pub kind: Kind,
    /// Where in the bin.
    pub source: Source,
    /// The path to an element inside the bin, packed; empty for the bin itself. See [`crate::cdt::Context`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<u8>,
    /// The expression, packed; empty for a bin and for a set. See [`crate::expr::Expr`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expression: Vec<u8>,
}

impl Definition {
    /// Of a bin itself.
    pub fn of_bin(set: &str, bin: &str, kind: Kind, source: Source) -> Definition {
        Definition {
            set: set.into(),
            bin: bin.into(),
            kind,
            source,
            context: Vec::new(),
            expression: Vec::new(),
        }
    }

    /// Of which records there are in a set.
    pub fn of_set(set: &str) -> Definition {
        Definition::of_bin(set, "", Kind::Set, Source::Bin)
    }
}

/// What a query looks for in an index.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted<'a> {
    /// An integer between two, both included.
    Integers {
        /// The least.
        first: i64,
        /// The greatest.
        last: i64,
    },
    /// A string.
    Text(&'a [u8]),
    /// A blob.
    Blob(&'a [u8]),
    /// Points in a region, or regions around a point.
    Geo(Arc<Search>),
}

impl Wanted<'_> {
    /// Which index can tell.
    pub fn kind(&self) -> Kind {
        match self {
            Wanted::Integers { .. } => Kind::Numeric,
            Wanted::Text(_) => Kind::Text,
            Wanted::Blob(_) => Kind::Blob,
            Wanted::Geo(_) => Kind::Geo,
        }
    }

    /// The values that stand for it in an index: ranges in order, of which no two overlap.
    pub fn ranges(&self) -> Vec<RangeInclusive<i64>> {
        match self {
            Wanted::Integers { first, last } => vec![*first..=*last],
            Wanted::Text(bytes) | Wanted::Blob(bytes) => {
                let hash = hash(bytes);
                vec![hash..=hash]
            }
            Wanted::Geo(search) => search.ranges().to_vec(),
        }
    }

    /// Whether more than one value of a record can be in the ranges.
    pub fn may_find_twice(&self) -> bool {
        match self {
            Wanted::Integers { first, last } => first != last,
            Wanted::Text(_) | Wanted::Blob(_) => false,
            Wanted::Geo(_) => true,
        }
    }

    fn is(&self, value: Element<'_>) -> bool {
        match (self, value) {
            (Wanted::Integers { first, last }, Element::Integer(value)) => {
                (*first..=*last).contains(&value)
            }
            (Wanted::Text(wanted), Element::Text(found)) => *wanted == found,
            (Wanted::Blob(wanted), Element::Blob(found)) => *wanted == found,
            (Wanted::Geo(search), Element::GeoJson { text, .. }) => search.is_met_by(text),
            _ => false,
        }
    }
}

/// Adds what stands for a value in an index of this kind. `fine_bytes` counts the text of regions covered so far.
fn add_values(kind: Kind, value: Element<'_>, fine_bytes: &mut usize, out: &mut Vec<i64>) {
    match (kind, value) {
        (Kind::Geo, Element::GeoJson { cells: [], text }) => add_cells(text, fine_bytes, out),
        (Kind::Geo, Element::GeoJson { cells, .. }) => {
            let cells = cells.iter().map(|cell| u64::from_be_bytes(*cell));
            out.extend(cells.map(geo::index_value));
        }
        _ => out.extend(value_of(kind, value)),
    }
}

/// Adds the cells of a text that may be GeoJSON.
fn add_cells(text: &[u8], fine_bytes: &mut usize, out: &mut Vec<i64>) {
    let Ok(shape) = Shape::parse(text) else {
        return; // in a collection it can be anything
    };
    if shape.is_region() {
        *fine_bytes += text.len();
    }
    let cells = match *fine_bytes <= FINE_BYTES_MAX {
        true => shape.cells(),
        false => shape.coarse_cells(),
    };
    out.extend(cells.into_iter().map(geo::index_value));
}

/// What stands for a value in an index of this kind.
fn value_of(kind: Kind, value: Element<'_>) -> Option<i64> {
    match (kind, value) {
        (Kind::Numeric, Element::Integer(value)) => Some(value),
        (Kind::Text, Element::Text(bytes)) | (Kind::Blob, Element::Blob(bytes)) => {
            (bytes.len() <= TEXT_BYTES_MAX).then(|| hash(bytes))
        }
        _ => None,
    }
}

/// Stands for a string or a blob. Nobody can find many that have the same, and so have a query look at records in vain.
fn hash(bytes: &[u8]) -> i64 {
    let digest: [u8; 20] = Ripemd160::digest(bytes).into();
    let (front, _) = digest.split_first_chunk().expect("there are 20 bytes");
    i64::from_le_bytes(*front)
}
