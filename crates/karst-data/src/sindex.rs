//! Secondary indexes, as far as they concern a record: what of it is indexed, and what a query looks for.
//!
//! An index orders 64-bit values. An integer stands for itself; a string or a blob for a hash of it, so whoever
//! found a record by one has to look at the record before he believes it ([`Wanted::is_met_by`]). The hash depends
//! on the bytes alone: clients go on with a query at another node after the value that they saw last. For a point
//! stands its cell on the globe, for a region stand the cells that cover it (see [`crate::geo`]): such a value is
//! found by several, and has to be looked at too.
//!
//! What is not of the index's kind is not indexed, nor are strings and blobs longer than [`TEXT_BYTES_MAX`], which
//! no query can ask for either.

#[cfg(test)]
mod tests;

use std::ops::{ControlFlow, RangeInclusive};

use ripemd::{Digest as _, Ripemd160};
use serde::{Deserialize, Serialize};

use crate::bin::BinRef;
use crate::geo::{self, Search, Shape};
use crate::msgpack::elements::{Element, Part, each_element};
use crate::value::ParticleType;

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
}

/// Where in a bin they are.
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

/// What an index is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Definition {
    /// The set; empty for all records of the namespace, in sets or not.
    pub set: String,
    /// The bin.
    pub bin: String,
    /// Which values.
    pub kind: Kind,
    /// Where in the bin.
    pub source: Source,
}

impl Definition {
    /// Adds the values of a record with these bins, in order, each once.
    pub fn values<'b>(&self, bins: impl IntoIterator<Item = BinRef<'b>>, out: &mut Vec<i64>) {
        let mut bins = bins.into_iter();
        let Some(bin) = bins.find(|bin| bin.name == self.bin.as_bytes()) else {
            return;
        };
        let begin = out.len();
        let mut fine_bytes = 0;
        each_value(&bin, self.source, |value| {
            add_values(self.kind, value, &mut fine_bytes, out);
            ControlFlow::Continue(())
        });
        if out.len() - begin > 1 {
            let mut values = out.split_off(begin);
            values.sort_unstable();
            values.dedup();
            out.append(&mut values);
        }
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
    Geo(Box<Search>),
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

    /// Whether a bin has it.
    pub fn is_met_by(&self, source: Source, bin: &BinRef<'_>) -> bool {
        let mut met = false;
        each_value(bin, source, |value| {
            met = self.is(value);
            if met {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        met
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

/// Visits the values of a bin, of whatever kind, until `see` breaks.
fn each_value(
    bin: &BinRef<'_>,
    source: Source,
    mut see: impl FnMut(Element<'_>) -> ControlFlow<()>,
) {
    let wanted = match (source, bin.particle) {
        (Source::Bin, _) => {
            if let Some(value) = whole(bin) {
                let _ = see(value);
            }
            return;
        }
        (Source::List, ParticleType::List) => Part::Element,
        (Source::MapKeys, ParticleType::Map) => Part::Key,
        (Source::MapValues, ParticleType::Map) => Part::Value,
        _ => return,
    };
    each_element(bin.value, |part, element| match part == wanted {
        true => see(element),
        false => ControlFlow::Continue(()),
    });
}

/// The value of a bin that is one by itself.
fn whole<'b>(bin: &BinRef<'b>) -> Option<Element<'b>> {
    match bin.particle {
        ParticleType::Integer => {
            let bytes = bin.value.try_into().ok()?;
            Some(Element::Integer(i64::from_be_bytes(bytes)))
        }
        ParticleType::String => Some(Element::Text(bin.value)),
        ParticleType::Blob => Some(Element::Blob(bin.value)),
        ParticleType::GeoJson => {
            let (cells, text) = geo::split(bin.value)?;
            Some(Element::GeoJson { cells, text })
        }
        _ => None,
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
