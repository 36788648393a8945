//! Asking an index: the records of a partition that have a value in a range, a slice at a time.
//!
//! A slice names records as they were when it was taken. Whoever reads them then asks each whether it is what was
//! wanted ([`karst_data::sindex::Extractor::finds`]): it may have changed meanwhile, and of a string the index
//! knows a hash only.
//!
//! A record that is late ([`super::late`]) may have any value. It is named as if it had the first of those that are
//! asked for, in the order of digests among the others: whoever goes on behind a position has seen those before it.

use std::collections::btree_set;
use std::iter::Peekable;
use std::ops::{Bound, ControlFlow, RangeInclusive};

use karst_data::key::{Digest, PartitionId};
use karst_data::sindex::Definition;
use karst_data::time::Now;
use karst_storage::sindex::{From, Position, Stamp};

use super::{Index, Named, Part};
use crate::namespace::Namespace;
use crate::walk::SLICE_ENTRIES_MAX;

/// What a slice is of.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// The partition.
    pub partition: PartitionId,
    /// The index.
    pub index: &'a Index,
    /// The values: ranges in order, of which no two overlap.
    pub ranges: &'a [RangeInclusive<i64>],
    /// Only records of this set.
    pub set_id: Option<u16>,
    /// Most records of the slice.
    pub records_max: usize,
}

/// A slice of a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuerySlice {
    /// Records that are alive and had the value when they were written last, in order.
    pub hits: Vec<Position>,
    /// Where the next slice begins; `None` when the partition is done.
    pub next: Option<Position>,
}

impl Namespace {
    /// The index of this name.
    pub fn sindex_named(&self, name: &[u8]) -> Option<Named> {
        let sindexes = self.sindexes();
        let found = sindexes.iter().find(|it| it.name.as_bytes() == name);
        found.cloned()
    }

    /// The index that can answer a query: one of this definition, else the same of the whole namespace. An empty
    /// `set` is the whole namespace.
    pub fn sindex_for(&self, wanted: &Definition) -> Option<Named> {
        let sindexes = self.sindexes();
        let find = |set: &str| {
            let is_it = |of: &Definition| {
                of.set == set
                    && (of.kind, of.source) == (wanted.kind, wanted.source)
                    && (&of.bin, &of.context, &of.expression)
                        == (&wanted.bin, &wanted.context, &wanted.expression)
            };
            let found = sindexes.iter().find(|it| is_it(&it.index.definition));
            found.cloned()
        };
        find(&wanted.set).or_else(|| find(""))
    }

    /// The next records of a query behind a position; `None` if the index is there no more, or not yet.
    pub fn query_slice(
        &self,
        query: &Query<'_>,
        behind: Option<Position>,
        now: Now,
    ) -> Option<QuerySlice> {
        let partition = self.partition(query.partition);
        let part = partition.parts.of(query.index).filter(|it| it.is_built)?;
        let Some(first) = query.ranges.first().map(|range| *range.start()) else {
            return Some(QuerySlice::default());
        };
        let behind = behind.filter(|behind| behind.0 >= first); // it was given by a client
        let mut late = late_behind(part, first, behind).peekable();
        let (mut slice, mut visited) = (QuerySlice::default(), 0);
        let mut take = |position: Position, stamp: Option<Stamp>| {
            visited += 1;
            let entry = partition.directory.get(&position.1);
            let entry = entry.filter(|it| stamp.is_none_or(|made| made == Stamp::of(it.version())));
            let in_set = |set_id| query.set_id.is_none_or(|wanted| wanted == set_id);
            if entry.is_some_and(|it| in_set(it.set_id()) && self.is_alive(it, now)) {
                slice.hits.push(position);
            }
            if slice.hits.len() >= query.records_max || visited >= SLICE_ENTRIES_MAX {
                slice.next = Some(position);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let mut is_full = false;
        let ended = |range: &RangeInclusive<i64>| behind.is_some_and(|it| *range.end() < it.0);
        for range in &query.ranges[query.ranges.partition_point(ended)..] {
            let from = match behind {
                Some(behind) if range.contains(&behind.0) => From::Behind(behind),
                _ => From::Value(*range.start()),
            };
            part.items.walk(from, &mut |item| {
                if item.value > *range.end() {
                    return ControlFlow::Break(());
                }
                while let Some(before) = late_before(&mut late, first, item.position()) {
                    if take(before, None).is_break() {
                        is_full = true;
                        return ControlFlow::Break(());
                    }
                }
                late.next_if(|digest| (first, **digest) == item.position()); // it stands where the item does
                let is_late = !part.late.is_empty() && part.late.contains(&item.digest);
                let taken = take(item.position(), Some(item.stamp).filter(|_| !is_late));
                is_full = taken.is_break();
                taken
            });
            if is_full {
                break;
            }
        }
        while !is_full && let Some(digest) = late.next() {
            is_full = take((first, *digest), None).is_break();
        }
        Some(slice)
    }
}

/// The late records that stand behind a position, each with the first value.
fn late_behind(part: &Part, first: i64, behind: Option<Position>) -> btree_set::Range<'_, Digest> {
    let after = match behind {
        None => Bound::Unbounded,
        Some((value, digest)) if value == first => Bound::Excluded(digest),
        Some(_) => Bound::Excluded(Digest([u8::MAX; Digest::BYTES])), // all were named before
    };
    part.late.range((after, Bound::Unbounded))
}

/// The next late record, if it stands before a position.
fn late_before(
    late: &mut Peekable<btree_set::Range<'_, Digest>>,
    first: i64,
    position: Position,
) -> Option<Position> {
    let next = late.next_if(|digest| (first, **digest) < position)?;
    Some((first, *next))
}
