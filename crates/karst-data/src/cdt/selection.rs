//! Which elements an operation is about: by position, rank, value or key, and what is told of them.

use std::borrow::Cow;

use super::CdtError;
use super::answer::Telling;
use crate::msgpack::Reader;

/// A packed element, in the form that stored ones have.
pub(crate) type Packed<'a> = Cow<'a, [u8]>;

/// Which elements are meant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Selector<'a> {
    Index(i64),
    IndexRange(i64, u64),
    Rank(i64),
    RankRange(i64, u64),
    /// The first element of this value.
    Value(Packed<'a>),
    /// All elements of this value.
    AllOfValue(Packed<'a>),
    Values(Elements<'a>),
    /// From the first value on, up to but without the second.
    ValueInterval(Packed<'a>, Option<Packed<'a>>),
    /// So many ranks, counted from where this value is or would be.
    RanksNear(Packed<'a>, i64, u64),
    Key(Packed<'a>),
    Keys(Elements<'a>),
    KeyInterval(Packed<'a>, Option<Packed<'a>>),
    /// So many indexes, counted from where this key is or would be.
    IndexesNear(Packed<'a>, i64, u64),
}

/// Keeps an element without the request that it came in.
pub(crate) fn owned(packed: Packed<'_>) -> Packed<'static> {
    Packed::Owned(packed.into_owned())
}

impl Selector<'_> {
    fn into_owned(self) -> Selector<'static> {
        match self {
            Selector::Index(index) => Selector::Index(index),
            Selector::IndexRange(start, count) => Selector::IndexRange(start, count),
            Selector::Rank(rank) => Selector::Rank(rank),
            Selector::RankRange(start, count) => Selector::RankRange(start, count),
            Selector::Value(value) => Selector::Value(owned(value)),
            Selector::AllOfValue(value) => Selector::AllOfValue(owned(value)),
            Selector::Values(values) => Selector::Values(values.into_owned()),
            Selector::ValueInterval(begin, end) => {
                Selector::ValueInterval(owned(begin), end.map(owned))
            }
            Selector::RanksNear(value, offset, count) => {
                Selector::RanksNear(owned(value), offset, count)
            }
            Selector::Key(key) => Selector::Key(owned(key)),
            Selector::Keys(keys) => Selector::Keys(keys.into_owned()),
            Selector::KeyInterval(begin, end) => {
                Selector::KeyInterval(owned(begin), end.map(owned))
            }
            Selector::IndexesNear(key, offset, count) => {
                Selector::IndexesNear(owned(key), offset, count)
            }
        }
    }

    /// Whether it means at most one element by its nature.
    pub(crate) fn is_single(&self) -> bool {
        match self {
            Selector::Index(_) | Selector::Rank(_) | Selector::Value(_) | Selector::Key(_) => true,
            Selector::IndexRange(..)
            | Selector::RankRange(..)
            | Selector::AllOfValue(_)
            | Selector::Values(_)
            | Selector::ValueInterval(..)
            | Selector::RanksNear(..)
            | Selector::Keys(_)
            | Selector::KeyInterval(..)
            | Selector::IndexesNear(..) => false,
        }
    }
}

/// A list of elements that a client sent to look for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Elements<'a> {
    /// The elements one behind the other, without the list's head.
    pub(crate) packed: Packed<'a>,
    /// How many.
    pub(crate) count: usize,
}

impl Elements<'_> {
    pub(crate) fn into_owned(self) -> Elements<'static> {
        Elements {
            packed: owned(self.packed),
            count: self.count,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut reader = Reader { rest: &self.packed };
        (0..self.count).map_while(move |_| reader.element().ok())
    }
}

/// A selector with what is to be told of the elements that it finds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selection<'a> {
    pub(crate) selector: Selector<'a>,
    /// The return type as it came: it is looked at when there is something to be told of.
    pub(crate) return_type: u64,
}

const INVERTED: u64 = 0x10000;

impl Selection<'_> {
    pub(crate) fn into_owned(self) -> Selection<'static> {
        Selection {
            selector: self.selector.into_owned(),
            return_type: self.return_type,
        }
    }

    /// Whether all other elements are meant.
    pub(crate) fn is_inverted(&self) -> bool {
        self.return_type & INVERTED != 0
    }

    /// What is told, if it can be told of these elements.
    ///
    /// # Errors
    /// [`CdtError::NotApplicable`] for return types that do not go with the selector.
    pub(crate) fn telling(&self, of: Subject) -> Result<Telling, CdtError> {
        let telling = Telling::from_wire(self.return_type as u16)?;
        let ranges = telling.is_index_range() || telling.is_rank_range();
        if self.is_inverted() && (ranges || self.selector.is_single()) {
            return Err(CdtError::NotApplicable(
                "single elements and ranges have no inverse",
            ));
        }
        let refused = match &self.selector {
            Selector::Index(_)
            | Selector::IndexRange(..)
            | Selector::Key(_)
            | Selector::KeyInterval(..)
            | Selector::IndexesNear(..) => telling.is_rank_range() && of != Subject::OrderedList,
            Selector::Rank(_)
            | Selector::RankRange(..)
            | Selector::Value(_)
            | Selector::AllOfValue(_)
            | Selector::ValueInterval(..)
            | Selector::RanksNear(..) => telling.is_index_range() && of != Subject::OrderedList,
            Selector::Values(_) => ranges,
            Selector::Keys(_) => ranges || matches!(telling, Telling::Rank | Telling::ReverseRank),
        };
        if refused || (telling.is_of_maps() && of != Subject::Map) {
            return Err(CdtError::NotApplicable(
                "this cannot be told of such a selection",
            ));
        }
        Ok(telling)
    }
}

/// What a selection is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    List,
    OrderedList,
    Map,
}
