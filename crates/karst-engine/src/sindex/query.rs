//! Asking an index: the records of a partition that have a value in a range, a slice at a time.
//!
//! A slice names records as they were when it was taken. Whoever reads them then asks each whether it is what was
//! wanted ([`karst_data::sindex::Wanted::is_met_by`]): it may have changed meanwhile, and of a string the index
//! knows a hash only.

use std::ops::{ControlFlow, RangeInclusive};

use karst_data::key::PartitionId;
use karst_data::sindex::{Kind, Source};
use karst_data::time::Now;
use karst_storage::sindex::{From, Position, Stamp};

use super::{Index, Named};
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

    /// The index that can answer a query of a set: the set's own, else one of the whole namespace. An empty
    /// `set` is the whole namespace.
    pub fn sindex_for(&self, set: &[u8], bin: &[u8], kind: Kind, source: Source) -> Option<Named> {
        let sindexes = self.sindexes();
        let find = |set: &[u8]| {
            let mut sindexes = sindexes.iter();
            let found = sindexes.find(|it| {
                let of = &it.index.definition;
                (of.set.as_bytes(), of.bin.as_bytes()) == (set, bin)
                    && (of.kind, of.source) == (kind, source)
            });
            found.cloned()
        };
        find(set).or_else(|| find(b""))
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
        let (mut slice, mut visited) = (QuerySlice::default(), 0);
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
                visited += 1;
                let entry = partition.directory.get(&item.digest);
                let entry = entry.filter(|it| Stamp::of(it.version()) == item.stamp);
                let in_set = |set_id| query.set_id.is_none_or(|wanted| wanted == set_id);
                if entry.is_some_and(|it| in_set(it.set_id()) && self.is_alive(it, now)) {
                    slice.hits.push(item.position());
                }
                if slice.hits.len() >= query.records_max || visited >= SLICE_ENTRIES_MAX {
                    slice.next = Some(item.position());
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
            if slice.next.is_some() {
                break;
            }
        }
        Some(slice)
    }
}
