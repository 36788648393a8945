//! Elements by index, whether of a list or a map's values, and how they rank among each other.
//!
//! A rank is a position in the order of values; of equal values the one with the lower index comes
//! first.

use std::cmp::Ordering;

use super::answer::Answer;
use super::range::Span;
use super::selection::{Selection, Subject};
use super::{CdtError, Done, pick, tell};
use crate::msgpack::{Ranked, compare, compare_total};
use crate::work::{Work, of_element, of_ranked};

/// The elements of a list, or the pairs of a map in the order of their keys.
pub(crate) trait Entries<'v> {
    /// How many there are.
    fn len(&self) -> usize;

    /// One value.
    fn value(&self, at: usize) -> &'v [u8];

    /// One key, of a map; lists have none.
    fn key(&self, at: usize) -> &'v [u8];

    /// A value with the key before it, as they are packed.
    fn pair(&self, at: usize) -> &'v [u8];

    /// Whether it is a map.
    fn is_map(&self) -> bool;

    /// Whether values ascend with the index, so that rank and index are the same.
    fn is_sorted(&self) -> bool;

    /// The elements, or pairs, from one to before another, as they are packed.
    fn span(&self, from: usize, to: usize) -> &'v [u8];

    /// What may be done with them.
    fn work(&self) -> &Work;

    /// Spends what it takes to compare every value with this one; whether that may be done.
    fn may_compare_all(&self, value: &[u8]) -> bool {
        self.work().allows(self.len() as u64 * of_element(value))
    }

    /// What is asked about when something is selected here.
    fn subject(&self) -> Subject;

    /// Writes the head of a collection like this one, of so many elements or pairs.
    fn write_head(&self, out: &mut Vec<u8>, count: usize) -> Result<(), CdtError>;

    /// Tells of the elements that a selection finds.
    fn get(&self, selection: &Selection<'_>) -> Result<Answer<'v>, CdtError>
    where
        Self: Sized,
    {
        let telling = selection.telling(self.subject())?;
        if selection.selector.is_single() {
            let found = pick::find(self, &selection.selector, telling)?;
            return tell::of_one(self, &found, telling);
        }
        tell::of_many(self, &pick::pick(self, selection, telling)?, telling)
    }

    /// Writes the collection without the elements that a selection finds, and tells of those.
    fn remove(&self, selection: &Selection<'_>, out: &mut Vec<u8>) -> Result<Done<'v>, CdtError>
    where
        Self: Sized,
    {
        let telling = selection.telling(self.subject())?;
        if selection.selector.is_single() {
            let found = pick::find(self, &selection.selector, telling)?;
            let answer = tell::of_one(self, &found, telling)?;
            let Some(index) = found.index else {
                return Ok(Done::unchanged(answer));
            };
            self.write_without(&[index as u32], out)?;
            return Ok(Done::changed(answer));
        }
        let picked = pick::pick(self, selection, telling)?;
        let answer = tell::of_many(self, &picked, telling)?;
        if picked.chosen.is_empty() {
            return Ok(Done::unchanged(answer));
        }
        self.write_without(&picked.chosen, out)?;
        Ok(Done::changed(answer))
    }

    /// Writes the collection without some of its elements, which ascend.
    fn write_without(&self, removed: &[u32], out: &mut Vec<u8>) -> Result<(), CdtError> {
        self.write_head(out, self.len() - removed.len())?;
        self.work().spend(4 * removed.len() as u64)?;
        let mut from = 0;
        for at in removed {
            out.extend_from_slice(self.span(from, *at as usize));
            from = *at as usize + 1;
        }
        out.extend_from_slice(self.span(from, self.len()));
        Ok(())
    }

    /// How many keys are less than this one.
    fn keys_less(&self, than: &[u8]) -> usize {
        partition_point(self.len(), |at| {
            compare(self.key(at), than) == Ordering::Less
        })
    }

    /// Where the keys equal to this one are: one, unless it holds a wildcard.
    fn key_run(&self, of: &[u8]) -> Span {
        let start = self.keys_less(of);
        let is_equal = |at: &usize| compare(self.key(*at), of) == Ordering::Equal;
        let count = (start..self.len()).take_while(is_equal).count();
        Span { start, count }
    }

    /// How many values are less than this one.
    fn less(&self, than: &[u8]) -> usize {
        let is_less = |at: usize| compare(self.value(at), than) == Ordering::Less;
        if self.is_sorted() {
            return partition_point(self.len(), is_less);
        }
        if !self.may_compare_all(than) {
            return 0;
        }
        (0..self.len()).filter(|at| is_less(*at)).count()
    }

    /// Where the values equal to this one are, in a collection that is sorted.
    fn sorted_run(&self, of: &[u8]) -> Span {
        let start = self.less(of);
        let end = partition_point(self.len(), |at| {
            compare(self.value(at), of) != Ordering::Greater
        });
        Span::between(start, end)
    }

    /// Where the first value is that is equal to this one.
    fn first_of(&self, value: &[u8]) -> Option<usize> {
        if self.is_sorted() {
            let run = self.sorted_run(value);
            return (run.count > 0).then_some(run.start);
        }
        if !self.may_compare_all(value) {
            return None;
        }
        (0..self.len()).find(|at| compare(self.value(*at), value) == Ordering::Equal)
    }

    /// Indexes of the elements with these ranks, in the order of ranks.
    fn ranked(&self, ranks: Span) -> Vec<u32> {
        if self.is_sorted() {
            return (ranks.start as u32..ranks.end() as u32).collect();
        }
        if ranks.count == 0 {
            return Vec::new();
        }
        let weight = |at: usize| of_ranked(self.value(at));
        let all_once: u64 = (0..self.len()).map(weight).sum();
        let deep = u64::from(ranks.count.ilog2()) * ranks.count as u64 / self.len() as u64;
        if !self
            .work()
            .allows(16 * self.len() as u64 + all_once * (2 + deep))
        {
            return (ranks.start as u32..ranks.end() as u32).collect();
        }
        Ranked::of(self.len(), |at| self.value(at)).into_ranks(ranks.start, ranks.count)
    }

    /// The rank of one element. With `shared`, equal values have the rank of the first of them.
    fn rank(&self, at: usize, shared: bool) -> usize {
        if self.is_sorted() {
            return at;
        }
        let value = self.value(at);
        if !self.may_compare_all(value) {
            return 0;
        }
        let before = |other: usize| match compare_total(self.value(other), value) {
            Ordering::Less => true,
            Ordering::Equal => !shared && other < at,
            Ordering::Greater => false,
        };
        (0..self.len()).filter(|other| before(*other)).count()
    }

    /// The ranks of some elements, as [`Entries::rank`].
    fn ranks(&self, of: &[u32], shared: bool) -> Vec<u32> {
        const FEW: usize = 4; // counting for each is cheaper than sorting all
        if of.len() <= FEW || self.is_sorted() {
            let rank = |at: &u32| self.rank(*at as usize, shared) as u32;
            return of.iter().map(rank).collect();
        }
        let all = Span {
            start: 0,
            count: self.len(),
        };
        if !self.work().allows(80 * self.len() as u64) {
            return of.to_vec();
        }
        let mut ranks = vec![0; self.len()];
        let mut previous: Option<(u32, u32)> = None; // index and rank
        for (position, at) in (0u32..).zip(self.ranked(all)) {
            let rank = match previous {
                Some((before, rank)) if shared && self.is_equal(before, at) => rank,
                _ => position,
            };
            ranks[at as usize] = rank;
            previous = Some((at, rank));
        }
        of.iter().map(|at| ranks[*at as usize]).collect()
    }

    /// Whether two values are equal.
    fn is_equal(&self, a: u32, b: u32) -> bool {
        compare_total(self.value(a as usize), self.value(b as usize)) == Ordering::Equal
    }
}

/// How many positions from the first on fulfil a condition that no later one fulfils.
pub(crate) fn partition_point(len: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
