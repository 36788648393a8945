//! What an operation on a list or map returns.

use std::borrow::Cow;

use super::CdtError;
use crate::geo;
use crate::msgpack::{Head, Reader};
use crate::value::{ParticleType, Value};

/// An operation's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer<'v> {
    /// There is nothing to tell: nothing was asked for, or what was asked for is not there.
    Nothing,
    /// A number: a size, an index, a rank, a count.
    Int(i64),
    /// A number that an increment made.
    Double(f64),
    /// Whether something is there.
    Bool(bool),
    /// One element, packed as it is (or was) stored.
    Element(&'v [u8]),
    /// A packed list.
    List(Vec<u8>),
    /// A packed map. In rank order it is not canonical: see [`crate::msgpack::normalise`].
    Map(Vec<u8>),
}

/// What is told: `None` for nothing, `Some(None)` for nil.
pub type Told<'v> = Option<Option<Value<'v>>>;

impl<'v> Answer<'v> {
    pub(crate) fn count(count: usize) -> Answer<'v> {
        Answer::Int(count as i64)
    }

    /// What is told.
    pub(crate) fn told(self) -> Told<'v> {
        match self {
            Answer::Nothing => None,
            answer => Some(answer.into_value()),
        }
    }

    /// The answer as a value of its particle type; `None` for nothing and for nil.
    pub fn into_value(self) -> Option<Value<'v>> {
        let owned = |particle, bytes| {
            Some(Value {
                particle,
                bytes: Cow::Owned(bytes),
            })
        };
        match self {
            Answer::Nothing => None,
            Answer::Int(value) => Some(Value::integer(value)),
            Answer::Double(value) => owned(ParticleType::Float, value.to_be_bytes().to_vec()),
            Answer::Bool(value) => owned(ParticleType::Bool, vec![u8::from(value)]),
            Answer::Element(packed) => element_value(packed),
            Answer::List(packed) => owned(ParticleType::List, packed),
            Answer::Map(packed) => owned(ParticleType::Map, packed),
        }
    }
}

/// One packed element as a value of its own; `None` for nil.
pub fn element_value(packed: &[u8]) -> Option<Value<'_>> {
    let owned = |particle, bytes: Vec<u8>| Value {
        particle,
        bytes: Cow::Owned(bytes),
    };
    let borrowed = |particle, bytes| Value {
        particle,
        bytes: Cow::Borrowed(bytes),
    };
    Some(match (Reader { rest: packed }).head().ok()? {
        Head::Nil | Head::Ext { .. } => return None,
        Head::Bool(value) => owned(ParticleType::Bool, vec![u8::from(value)]),
        Head::Int { value, .. } => Value::integer(value),
        Head::Double(value) => owned(ParticleType::Float, value.to_be_bytes().to_vec()),
        Head::List(_) => borrowed(ParticleType::List, packed),
        Head::Map(_) => borrowed(ParticleType::Map, packed),
        Head::Raw([]) => borrowed(ParticleType::Blob, &[][..]),
        Head::Raw([23, text @ ..]) => owned(ParticleType::GeoJson, geo::without_cells(text)),
        Head::Raw([kind, content @ ..]) => match ParticleType::from_wire(*kind) {
            Some(kind) if kind.is_text_or_blob() || kind == ParticleType::Hll => {
                borrowed(kind, content)
            }
            _ => borrowed(ParticleType::Blob, content),
        },
    })
}

/// What of the selected elements a client wants to be told, from its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    Nothing,
    Index,
    ReverseIndex,
    Rank,
    ReverseRank,
    Count,
    Key,
    Value,
    KeyValueMap,
    IndexRange,
    ReverseIndexRange,
    RankRange,
    ReverseRankRange,
    Exists,
    UnorderedMap,
    OrderedMap,
}

impl Telling {
    /// # Errors
    /// [`CdtError::NotApplicable`] for numbers that nobody uses.
    pub(crate) fn from_wire(number: u16) -> Result<Telling, CdtError> {
        Ok(match number {
            0 => Telling::Nothing,
            1 => Telling::Index,
            2 => Telling::ReverseIndex,
            3 => Telling::Rank,
            4 => Telling::ReverseRank,
            5 => Telling::Count,
            6 => Telling::Key,
            7 => Telling::Value,
            8 => Telling::KeyValueMap,
            9 => Telling::IndexRange,
            10 => Telling::ReverseIndexRange,
            11 => Telling::RankRange,
            12 => Telling::ReverseRankRange,
            13 => Telling::Exists,
            16 => Telling::UnorderedMap,
            17 => Telling::OrderedMap,
            _ => return Err(CdtError::NotApplicable("no such return type")),
        })
    }

    pub(crate) fn is_index_range(self) -> bool {
        matches!(self, Telling::IndexRange | Telling::ReverseIndexRange)
    }

    pub(crate) fn is_rank_range(self) -> bool {
        matches!(self, Telling::RankRange | Telling::ReverseRankRange)
    }

    pub(crate) fn is_of_maps(self) -> bool {
        matches!(
            self,
            Telling::Key | Telling::KeyValueMap | Telling::UnorderedMap | Telling::OrderedMap
        )
    }
}
