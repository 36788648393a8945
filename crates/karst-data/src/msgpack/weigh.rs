//! How much work it is to read packed elements: found out before it is done, and sooner than that.
//!
//! What is in canonical form is only looked at; what is not is made anew, element by element, and the pairs of maps
//! are put in order. Which of the two it will be is not known before, so maps that do not say that they are in order
//! count as if they were not. The steps are those of [`crate::work`].

use super::canonical::{SIZES_PLAIN, end_of_single};
use super::{Head, Reader, are_small_numbers};
use crate::work::of_bytes;

/// Steps to look at an element, and to make it anew.
const STEPS_OF_ELEMENT: (u64, u64) = (4, 12);

/// The same of a collection's head.
const STEPS_OF_COLLECTION: (u64, u64) = (6, 100);

/// Steps to see that an element or pair is in order, beside looking at it.
const STEPS_OF_ORDER: u64 = 24;

/// Steps to make a pair of a map anew and to keep its place, and for each doubling of the pairs that are sorted.
const STEPS_OF_PAIR: (u64, u64) = (40, 8);

/// Steps that it takes about, at most, to bring some packed elements into canonical form. There is no end to looking for
/// that: the count ends where it is more than `most`.
pub fn steps_to_take_in(packed: &[u8], most: u64) -> u64 {
    let mut weight = Weight::default();
    let mut at = 0;
    while at < packed.len() && weight.steps() <= most {
        if are_small_numbers(packed, at) {
            weight.add((4, 8 * STEPS_OF_ELEMENT.1));
            at += 8;
            continue;
        }
        let size = usize::from(SIZES_PLAIN[usize::from(packed[at])]);
        if size > 0 {
            weight.add(STEPS_OF_ELEMENT);
            at += size;
            continue;
        }
        match weight.other(packed, at) {
            Some(end) => at = end,
            None => break, // who reads it comes no further
        }
    }
    weight.steps()
}

/// What was counted so far.
#[derive(Default)]
struct Weight {
    /// Steps if all is in canonical form.
    looked_at: u64,
    /// Steps if it has to be made anew.
    made_anew: u64,
    /// Whether something was met that is not in canonical form, or may not be.
    is_anew: bool,
}

impl Weight {
    fn steps(&self) -> u64 {
        match self.is_anew {
            true => self.made_anew,
            false => self.looked_at,
        }
    }

    fn add(&mut self, (looked_at, made_anew): (u64, u64)) {
        self.looked_at += looked_at;
        self.made_anew += made_anew;
    }

    /// Adds an element, or the head of a collection, and tells where the next one begins; `None` if it is none.
    fn other(&mut self, packed: &[u8], at: usize) -> Option<usize> {
        if let Some(end) = end_of_single(packed, at) {
            self.add(STEPS_OF_ELEMENT);
            self.add((0, of_bytes(end - at)));
            return Some(end);
        }
        let mut reader = Reader {
            rest: packed.get(at..)?,
        };
        let head = reader.head().ok()?;
        let end = packed.len() - reader.rest.len();
        let is_flagged = reader.rest.first() == Some(&0xc7);
        match head {
            Head::List(count) => {
                let count = u64::from(count).min(reader.rest.len() as u64);
                let in_order = STEPS_OF_ORDER * count * u64::from(is_flagged);
                self.add(STEPS_OF_COLLECTION);
                self.add((in_order, in_order));
            }
            Head::Map(count) => {
                // A claim of more pairs than there are bytes for is not believed.
                let count = u64::from(count).min(reader.rest.len() as u64 / 2);
                let (pair, doubling) = STEPS_OF_PAIR;
                let to_sort = count * (pair + doubling * u64::from(count.max(2).ilog2()));
                self.add(STEPS_OF_COLLECTION);
                self.add((STEPS_OF_ORDER * count, to_sort));
                self.is_anew |= count > 1 && !is_flagged;
            }
            Head::Ext { .. } => self.add(STEPS_OF_ELEMENT), // flags, nearly always
            Head::Nil | Head::Bool(_) | Head::Int { .. } | Head::Double(_) | Head::Raw(_) => {
                self.add(STEPS_OF_ELEMENT);
                self.add((0, of_bytes(end - at)));
                self.is_anew = true;
            }
        }
        Some(end)
    }
}
