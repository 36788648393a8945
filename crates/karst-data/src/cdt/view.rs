//! A list or a map, for those who walk into either.

use super::CdtError;
use super::entries::Entries;
use crate::list::List;
use crate::map::Map;
use crate::msgpack::Collection;
use crate::work::Work;

/// An indexed collection.
pub(super) enum View<'v, 'w> {
    List(List<'v, 'w>),
    Map(Map<'v, 'w>),
}

impl<'v, 'w> View<'v, 'w> {
    /// Indexes a packed element; `None` if it is no collection.
    pub(super) fn of(packed: &'v [u8], work: &'w Work) -> Result<Option<View<'v, 'w>>, CdtError> {
        Ok(match super::kind_of(packed) {
            Some(Collection::List) => Some(View::List(List::of(packed, work)?)),
            Some(Collection::Map) => Some(View::Map(Map::of(packed, work)?)),
            None => None,
        })
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self, View::Map(_))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            View::List(list) => list.len(),
            View::Map(map) => map.len(),
        }
    }

    /// One element, or the value of one pair.
    pub(super) fn value(&self, at: usize) -> &'v [u8] {
        match self {
            View::List(list) => list.value(at),
            View::Map(map) => map.value(at),
        }
    }

    /// The key of one pair; `None` in lists.
    pub(super) fn key(&self, at: usize) -> Option<&'v [u8]> {
        match self {
            View::List(_) => None,
            View::Map(map) => Some(map.key(at)),
        }
    }

    /// The first element of this value.
    pub(super) fn first_of(&self, value: &[u8]) -> Option<usize> {
        match self {
            View::List(list) => list.first_of(value),
            View::Map(map) => map.first_of(value),
        }
    }

    /// The element of this rank, if there is one.
    pub(super) fn ranked(&self, rank: i64) -> Option<usize> {
        let one = super::range::Span {
            start: super::range::position(rank, self.len())?,
            count: 1,
        };
        let found = match self {
            View::List(list) => list.ranked(one),
            View::Map(map) => map.ranked(one),
        };
        found.first().map(|at| *at as usize)
    }
}
