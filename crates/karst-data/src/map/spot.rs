//! Where one key of a map is, found without an index of all the others.

use std::cmp::Ordering;

use super::{MapHead, head};
use crate::cdt::answer::{Answer, Telling};
use crate::cdt::offsets::Walker;
use crate::cdt::{CdtError, Done};
use crate::msgpack::{compare, write_map_head};
use crate::work::Work;

/// Pairs that are stepped over before a key is looked at.
const STRIDE: usize = 64;

/// The place of a key in a packed map, whether it is there or not.
pub(crate) struct Spot<'v> {
    packed: &'v [u8],
    head: MapHead,
    /// How many pairs come before it.
    pub(crate) index: usize,
    /// Where its pair begins, or would.
    start: usize,
    /// Where its value begins and ends, if it is there.
    value: Option<(usize, usize)>,
}

impl<'v> Spot<'v> {
    /// In a map without pairs.
    pub(crate) fn none(flags: u8) -> Spot<'v> {
        Spot {
            packed: &[],
            head: MapHead {
                count: 0,
                flags,
                from: 0,
            },
            index: 0,
            start: 0,
            value: None,
        }
    }

    /// Looks for a key. It must be one that a map can have: those are equal only if they are the same.
    pub(crate) fn of(packed: &'v [u8], key: &[u8], work: &Work) -> Result<Spot<'v>, CdtError> {
        let head = head(packed)?;
        let mut walker = Walker::new(packed, head.from);
        let mut index = 0;
        // Whole strides of lesser keys first, then the pairs of the one in which it is.
        while index + STRIDE < head.count {
            work.spend(2 * STRIDE as u64)?;
            let mut ahead = walker;
            ahead.skip(2 * STRIDE)?;
            let next = ahead;
            ahead.step()?;
            if compare(&packed[next.at()..ahead.at()], key) == Ordering::Greater {
                break;
            }
            walker = next;
            index += STRIDE;
        }
        while index < head.count {
            work.spend(8)?;
            let start = walker.at();
            walker.step()?;
            let value = walker.at();
            let found = compare(&packed[start..value], key);
            if found == Ordering::Less {
                walker.step()?;
                index += 1;
                continue;
            }
            let value = match found {
                Ordering::Equal => {
                    walker.step()?;
                    Some((value, walker.at()))
                }
                _ => None,
            };
            return Ok(Spot {
                packed,
                head,
                index,
                start,
                value,
            });
        }
        Ok(Spot {
            packed,
            head,
            index,
            start: walker.at(),
            value: None,
        })
    }

    /// Tells of the key: nothing that depends on other pairs.
    pub(crate) fn tell(&self, telling: Telling) -> Answer<'v> {
        let is_there = self.value.is_some();
        let number = |at: usize| Answer::Int(if is_there { at as i64 } else { -1 });
        let element = |element: Option<&'v [u8]>| element.map_or(Answer::Nothing, Answer::Element);
        match telling {
            Telling::Index => number(self.index),
            Telling::ReverseIndex => number(self.head.count.wrapping_sub(1 + self.index)),
            Telling::Count => Answer::count(usize::from(is_there)),
            Telling::Exists => Answer::Bool(is_there),
            Telling::Key => element(self.key()),
            Telling::Value => element(self.value()),
            _ => Answer::Nothing,
        }
    }

    /// Writes the map without the key, if it is there, and tells of it.
    pub(crate) fn remove(&self, telling: Telling, out: &mut Vec<u8>) -> Result<Done<'v>, CdtError> {
        let answer = self.tell(telling);
        let Some((_, end)) = self.value else {
            return Ok(Done::unchanged(answer));
        };
        write_map_head(out, self.head.count - 1, self.head.flags)?;
        out.extend_from_slice(&self.packed[self.head.from..self.start]);
        out.extend_from_slice(&self.packed[end..]);
        Ok(Done::changed(answer))
    }

    /// How many pairs the map has.
    pub(crate) fn len(&self) -> usize {
        self.head.count
    }

    /// The key's value, if it is there.
    pub(crate) fn value(&self) -> Option<&'v [u8]> {
        self.value.map(|(start, end)| &self.packed[start..end])
    }

    /// The key as it is stored, if it is there.
    pub(crate) fn key(&self) -> Option<&'v [u8]> {
        self.value.map(|(end, _)| &self.packed[self.start..end])
    }

    /// Where the value begins and ends, if it is there.
    pub(crate) fn bounds(&self) -> Option<(usize, usize)> {
        self.value
    }

    /// Writes the map with this value of the key.
    pub(crate) fn write(
        &self,
        key: &[u8],
        value: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CdtError> {
        match self.value {
            Some((start, end)) => {
                out.extend_from_slice(&self.packed[..start]);
                out.extend_from_slice(value);
                out.extend_from_slice(&self.packed[end..]);
            }
            None => {
                write_map_head(out, self.head.count + 1, self.head.flags)?;
                out.extend_from_slice(&self.packed[self.head.from..self.start]);
                out.extend_from_slice(key);
                out.extend_from_slice(value);
                out.extend_from_slice(&self.packed[self.start..]);
            }
        }
        Ok(())
    }
}
