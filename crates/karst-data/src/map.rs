//! Operations on maps, worked on the packed form.
//!
//! A map is stored in the order of its keys whatever its flags say, so an index is a position in that
//! order and a key is found by halving. Rank is the order of values, of equal ones by key. An operation
//! begins with an index of where keys and values begin; it is never stored.

use std::cmp::Ordering;

use crate::cdt::answer::{Answer, Telling};
use crate::cdt::entries::{Entries, partition_point};
use crate::cdt::offsets::{Offsets, scan};
use crate::cdt::selection::{Packed, Selection, Selector, Subject, owned};
use crate::cdt::{CdtError, Done};
use crate::msgpack::{
    FLAG_MAP_KEY_ORDERED, FLAGS_MAP, Head, Reader, compare, is_key, leading_ext, write_map_head,
};
use crate::work::Work;

mod change;
mod spot;

pub(crate) use spot::Spot;

/// One operation on a map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MapCall<'a> {
    SetType(u64),
    Put {
        key: Packed<'a>,
        value: Packed<'a>,
        order: u64,
        flags: WriteFlags,
    },
    PutItems {
        items: Packed<'a>,
        order: u64,
        flags: WriteFlags,
    },
    /// As [`MapCall::PutItems`] for keys that are there; there has to be a map.
    ReplaceItems {
        items: Packed<'a>,
    },
    Increment {
        key: Packed<'a>,
        delta: Packed<'a>,
        order: u64,
        /// It is taken away instead.
        down: bool,
    },
    Clear,
    Size,
    Get(Selection<'a>),
    Remove(Selection<'a>),
}

/// What a write to a map may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WriteFlags(pub(crate) u64);

impl WriteFlags {
    /// Only keys that are not there.
    pub(crate) const CREATE_ONLY: WriteFlags = WriteFlags(1);

    /// Only keys that are there.
    pub(crate) const UPDATE_ONLY: WriteFlags = WriteFlags(2);

    fn has(self, flags: WriteFlags) -> bool {
        self.0 & flags.0 != 0
    }

    /// What is not allowed is left undone instead of refused.
    fn no_fail(self) -> bool {
        self.0 & 4 != 0
    }

    /// Of many pairs, those that are not allowed are left out.
    fn partial(self) -> bool {
        self.0 & 8 != 0 && self.no_fail()
    }
}

impl MapCall<'_> {
    /// The same call, kept without its request.
    pub(crate) fn into_owned(self) -> MapCall<'static> {
        match self {
            MapCall::SetType(flags) => MapCall::SetType(flags),
            MapCall::Put {
                key,
                value,
                order,
                flags,
            } => MapCall::Put {
                key: owned(key),
                value: owned(value),
                order,
                flags,
            },
            MapCall::PutItems {
                items,
                order,
                flags,
            } => MapCall::PutItems {
                items: owned(items),
                order,
                flags,
            },
            MapCall::ReplaceItems { items } => MapCall::ReplaceItems {
                items: owned(items),
            },
            MapCall::Increment {
                key,
                delta,
                order,
                down,
            } => MapCall::Increment {
                key: owned(key),
                delta: owned(delta),
                order,
                down,
            },
            MapCall::Clear => MapCall::Clear,
            MapCall::Size => MapCall::Size,
            MapCall::Get(selection) => MapCall::Get(selection.into_owned()),
            MapCall::Remove(selection) => MapCall::Remove(selection.into_owned()),
        }
    }

    /// Whether it leaves the map as it is.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self, MapCall::Size | MapCall::Get(_))
    }

    /// Reads from a map.
    pub(crate) fn read<'v>(&self, packed: &'v [u8], work: &Work) -> Result<Answer<'v>, CdtError> {
        match self {
            MapCall::Size => Ok(Answer::count(head(packed)?.count)),
            MapCall::Get(selection) => match one_key(selection)? {
                Some((key, telling)) => {
                    let spot = Spot::of(packed, key, work)?;
                    Ok(spot.tell(telling))
                }
                None => Map::of(packed, work)?.get(selection),
            },
            MapCall::SetType(_)
            | MapCall::Put { .. }
            | MapCall::PutItems { .. }
            | MapCall::ReplaceItems { .. }
            | MapCall::Increment { .. }
            | MapCall::Clear
            | MapCall::Remove(_) => Err(CdtError::Parameter("a write among reads")),
        }
    }

    /// Changes a map, or makes one where there is none. The new map is appended to `out` if
    /// [`Done::changed`] says so; whatever was appended otherwise, or before an error, means nothing.
    pub(crate) fn modify<'v>(
        &self,
        before: Option<&'v [u8]>,
        work: &Work,
        out: &mut Vec<u8>,
    ) -> Result<Done<'v>, CdtError> {
        let spot = |key: &[u8], order: u64| match before {
            Some(packed) => Spot::of(packed, key, work),
            None => Ok(Spot::none(flags_of_order(order))),
        };
        match self {
            MapCall::SetType(flags) => change::set_type(before, *flags, out),
            MapCall::Put {
                key,
                value,
                order,
                flags,
            } => change::put(&spot(key, *order)?, key, value, *flags, out),
            MapCall::PutItems {
                items,
                order,
                flags,
            } => {
                let map = match before {
                    Some(packed) => Map::of(packed, work)?,
                    None => Map::none(flags_of_order(*order), work),
                };
                let done = change::put_items(&map, items, *flags, out)?;
                if before.is_some() || done.changed || head(items)?.count > 0 {
                    return Ok(done);
                }
                write_map_head(out, 0, map.flags)?;
                Ok(Done::changed(done.answer))
            }
            MapCall::ReplaceItems { items } => {
                let map = Map::of(before.ok_or(CdtError::ElementNotFound)?, work)?;
                change::put_items(&map, items, WriteFlags::UPDATE_ONLY, out)
            }
            MapCall::Increment {
                key,
                delta,
                order,
                down,
            } => change::increment(&spot(key, *order)?, key, delta, *down, out),
            MapCall::Clear => {
                let Some(packed) = before else {
                    return Ok(Done::nothing());
                };
                write_map_head(out, 0, head(packed)?.flags)?;
                Ok(Done::quietly())
            }
            MapCall::Remove(selection) => match before {
                Some(packed) => match one_key(selection)? {
                    Some((key, telling)) => Spot::of(packed, key, work)?.remove(telling, out),
                    None => Map::of(packed, work)?.remove(selection, out),
                },
                None => Ok(Done::nothing()),
            },
            MapCall::Size | MapCall::Get(_) => Err(CdtError::Parameter("a read among writes")),
        }
    }
}

/// The key that a selection looks for and what it tells of it, if that can be told without an index of the map.
fn one_key<'s>(selection: &'s Selection<'_>) -> Result<Option<(&'s [u8], Telling)>, CdtError> {
    let Selector::Key(key) = &selection.selector else {
        return Ok(None);
    };
    let telling = selection.telling(Subject::Map)?;
    let is_near = matches!(
        telling,
        Telling::Nothing
            | Telling::Index
            | Telling::ReverseIndex
            | Telling::Count
            | Telling::Exists
            | Telling::Key
            | Telling::Value
    );
    Ok((is_near && is_key(key)).then_some((key, telling)))
}

/// The flags of a map that is made with this order. Combinations that mean nothing are taken for none.
pub(crate) fn flags_of_order(order: u64) -> u8 {
    match order {
        0x01 | 0x11 => FLAG_MAP_KEY_ORDERED,
        0x03 | 0x13 => FLAGS_MAP,
        _ => 0,
    }
}

/// The head of a packed map.
pub(crate) struct MapHead {
    /// Pairs, without the flags.
    pub(crate) count: usize,
    pub(crate) flags: u8,
    /// Where the first key begins.
    pub(crate) from: usize,
}

/// Reads a map's head.
pub(crate) fn head(packed: &[u8]) -> Result<MapHead, CdtError> {
    let mut reader = Reader { rest: packed };
    let Ok(Head::Map(count)) = reader.head() else {
        return Err(CdtError::Damaged("no map where one was stored"));
    };
    let flags = leading_ext(&mut reader, count)?;
    if flags.is_some() {
        reader.head()?; // the nil that stands for the flags' value
    }
    Ok(MapHead {
        count: count as usize - usize::from(flags.is_some()),
        flags: flags.unwrap_or(0) & FLAGS_MAP,
        from: packed.len() - reader.rest.len(),
    })
}

/// A map with the index of its keys and values.
pub(crate) struct Map<'v, 'w> {
    packed: &'v [u8],
    /// Starts of keys, at even positions, and values; and the end.
    at: Offsets,
    pub(crate) flags: u8,
    work: &'w Work,
}

impl<'v, 'w> Map<'v, 'w> {
    /// Indexes a packed map.
    pub(crate) fn of(packed: &'v [u8], work: &'w Work) -> Result<Map<'v, 'w>, CdtError> {
        let head = head(packed)?;
        Ok(Map {
            packed,
            at: scan(packed, head.from, head.count * 2, work)?,
            flags: head.flags,
            work,
        })
    }

    /// A map without pairs.
    fn none(flags: u8, work: &'w Work) -> Map<'v, 'w> {
        Map {
            packed: &[],
            at: Offsets::from_slice(&[0]),
            flags,
            work,
        }
    }

    /// Where a pair begins; for the one after the last, where the map ends.
    pub(crate) fn start(&self, at: usize) -> usize {
        self.at[2 * at] as usize
    }

    /// Where the value of a pair begins.
    pub(crate) fn start_of_value(&self, at: usize) -> usize {
        self.at[2 * at + 1] as usize
    }

    pub(crate) fn packed(&self) -> &'v [u8] {
        self.packed
    }

    /// Where a key is, or where it would be.
    pub(crate) fn position(&self, key: &[u8]) -> Result<usize, usize> {
        self.position_from(0, key)
    }

    /// As [`Map::position`], when it is known to be no earlier.
    fn position_from(&self, from: usize, key: &[u8]) -> Result<usize, usize> {
        let is_less = |at: usize| compare(self.key(from + at), key) == Ordering::Less;
        let at = from + partition_point(self.len() - from, is_less);
        if at < self.len() && compare(self.key(at), key) == Ordering::Equal {
            Ok(at)
        } else {
            Err(at)
        }
    }
}

impl<'v> Entries<'v> for Map<'v, '_> {
    fn len(&self) -> usize {
        self.at.len() / 2
    }

    fn value(&self, at: usize) -> &'v [u8] {
        &self.packed[self.start_of_value(at)..self.start(at + 1)]
    }

    fn key(&self, at: usize) -> &'v [u8] {
        &self.packed[self.start(at)..self.start_of_value(at)]
    }

    fn pair(&self, at: usize) -> &'v [u8] {
        self.span(at, at + 1)
    }

    fn is_map(&self) -> bool {
        true
    }

    fn span(&self, from: usize, to: usize) -> &'v [u8] {
        &self.packed[self.start(from)..self.start(to)]
    }

    fn subject(&self) -> Subject {
        Subject::Map
    }

    fn write_head(&self, out: &mut Vec<u8>, count: usize) -> Result<(), CdtError> {
        write_map_head(out, count, self.flags)?;
        Ok(())
    }

    fn is_sorted(&self) -> bool {
        false
    }

    fn work(&self) -> &Work {
        self.work
    }
}
