//! Putting elements into a list and taking them out.

use std::cmp::Ordering;

use super::{INDEX_MAX, List, WriteFlags, head};
use crate::cdt::answer::Answer;
use crate::cdt::entries::{Entries, partition_point};
use crate::cdt::range::{Span, range};
use crate::cdt::{CdtError, Done};
use crate::msgpack::{Ranked, compare, compare_total, write_list_head};
use crate::work::{Work, of_ranked, to_find, to_sort};

/// Most elements that one operation fills up with nil: a record has no more bytes.
const PADDING_MAX: usize = 8 << 20;

/// More values than these are looked for in a sorted index instead of one by one.
const FEW: usize = 8;

impl List<'_, '_> {
    /// Writes the list with elements put in at `at`, in place of so many that were there. What lies
    /// between the end and `at` is filled up with nil.
    pub(super) fn splice(
        &self,
        at: usize,
        removed: usize,
        items: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<(), CdtError> {
        let len = self.len();
        let padding = at.saturating_sub(len);
        if padding > PADDING_MAX {
            return Err(CdtError::TooBig);
        }
        let before = at.min(len);
        let count = len + padding + items.len() - removed;
        write_list_head(out, count, self.ordered)?;
        out.extend_from_slice(self.span(0, before));
        out.resize(out.len() + padding, 0xc0);
        items.iter().for_each(|item| out.extend_from_slice(item));
        out.extend_from_slice(self.span(before + removed, len));
        Ok(())
    }

    /// The answer of a write that leaves everything as it is.
    pub(super) fn as_it_is<'v>(&self) -> Done<'v> {
        Done::unchanged(Answer::count(self.len()))
    }

    /// What comes of a request of which nothing is put in. An empty one makes an empty list.
    fn with_nothing_new<'v>(
        &self,
        items: &List<'_, '_>,
        out: &mut Vec<u8>,
    ) -> Result<Done<'v>, CdtError> {
        if self.packed().is_empty() && items.len() == 0 {
            write_list_head(out, 0, self.ordered)?;
            return Ok(Done::counting(0));
        }
        Ok(self.as_it_is())
    }
}

/// What a write does that its flags do not allow: nothing, or it fails.
pub(super) fn refuse(flags: WriteFlags, error: CdtError) -> Result<(), CdtError> {
    if flags.no_fail() { Ok(()) } else { Err(error) }
}

/// Where an index of a write lies, which may be beyond the end; `None` if the flags forbid it quietly.
///
/// # Errors
/// [`CdtError::NotApplicable`] if there can be no such place, or the flags forbid it.
pub(super) fn place(index: i64, len: usize, flags: WriteFlags) -> Result<Option<usize>, CdtError> {
    const OUTSIDE: CdtError = CdtError::NotApplicable("no element can have this index");
    let at = if index < 0 {
        index.saturating_add(len as i64)
    } else {
        index
    };
    if !(0..=INDEX_MAX).contains(&at) {
        return Err(OUTSIDE);
    }
    let at = at as usize;
    if at > len && flags.bounded() {
        return refuse(flags, OUTSIDE).map(|()| None);
    }
    Ok(Some(at))
}

pub(super) fn append<'v>(
    packed: &'v [u8],
    value: &[u8],
    flags: WriteFlags,
    work: &Work,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    let head = head(packed)?;
    if !head.ordered && !flags.unique() {
        write_list_head(out, head.count + 1, false)?;
        out.extend_from_slice(&packed[head.from..]);
        out.extend_from_slice(value);
        return Ok(Done::counting(head.count + 1));
    }
    let list = List::of(packed, work)?;
    let at = if list.ordered {
        list.place_of(value)
    } else {
        list.len()
    };
    if flags.unique() && list.first_of(value).is_some() {
        return refuse(flags, CdtError::ElementExists).map(|()| list.as_it_is());
    }
    list.splice(at, 0, &[value], out)?;
    Ok(Done::counting(list.len() + 1))
}

pub(super) fn append_items<'v>(
    list: &List<'_, '_>,
    items: &[u8],
    flags: WriteFlags,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    let items = List::of(items, list.work)?;
    let admitted = admitted(list, &items, flags)?;
    if admitted.is_empty() {
        return list.with_nothing_new(&items, out);
    }
    if list.ordered {
        merge(list, admitted.clone(), out)?;
    } else {
        list.splice(list.len(), 0, &admitted, out)?;
    }
    Ok(Done::counting(list.len() + admitted.len()))
}

/// Writes an ordered list with more elements, each in its place.
fn merge(list: &List<'_, '_>, mut items: Vec<&[u8]>, out: &mut Vec<u8>) -> Result<(), CdtError> {
    let pass: u64 = items.iter().map(|item| of_ranked(item)).sum();
    let to_place: u64 = items.iter().map(|item| to_find(item, list.len())).sum();
    list.work.spend(to_sort(pass, items.len()) + to_place)?;
    let order = Ranked::of(items.len(), |at| items[at]).into_ranks(0, items.len());
    items = order.iter().map(|at| items[*at as usize]).collect();
    write_list_head(out, list.len() + items.len(), true)?;
    let mut from = 0;
    for item in items {
        let at = list.place_of(item).max(from);
        out.extend_from_slice(list.span(from, at));
        out.extend_from_slice(item);
        from = at;
    }
    out.extend_from_slice(list.span(from, list.len()));
    Ok(())
}

pub(super) fn insert<'v>(
    list: &List<'_, '_>,
    index: i64,
    value: &[u8],
    flags: WriteFlags,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    let Some(at) = place_to_insert(list, index, flags)? else {
        return Ok(list.as_it_is());
    };
    if flags.unique() && list.first_of(value).is_some() {
        return refuse(flags, CdtError::ElementExists).map(|()| list.as_it_is());
    }
    list.splice(at, 0, &[value], out)?;
    Ok(Done::counting(list.len().max(at) + 1))
}

pub(super) fn insert_items<'v>(
    list: &List<'_, '_>,
    index: i64,
    items: &[u8],
    flags: WriteFlags,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    let Some(at) = place_to_insert(list, index, flags)? else {
        return Ok(list.as_it_is());
    };
    let items = List::of(items, list.work)?;
    let admitted = admitted(list, &items, flags)?;
    if admitted.is_empty() {
        return list.with_nothing_new(&items, out);
    }
    list.splice(at, 0, &admitted, out)?;
    Ok(Done::counting(list.len().max(at) + admitted.len()))
}

fn place_to_insert(
    list: &List<'_, '_>,
    index: i64,
    flags: WriteFlags,
) -> Result<Option<usize>, CdtError> {
    check_order(list)?;
    place(index, list.len(), flags)
}

fn check_order(list: &List<'_, '_>) -> Result<(), CdtError> {
    if list.ordered {
        Err(CdtError::NotApplicable("the order decides what goes where"))
    } else {
        Ok(())
    }
}

pub(super) fn set<'v>(
    list: &List<'_, '_>,
    index: i64,
    value: &[u8],
    flags: WriteFlags,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    let Some(at) = place_to_insert(list, index, flags)? else {
        return Ok(Done::nothing());
    };
    let is_other =
        |other: usize| other != at && compare(list.element(other), value) == Ordering::Equal;
    if flags.unique() && list.may_compare_all(value) && (0..list.len()).any(is_other) {
        return refuse(flags, CdtError::ElementExists).map(|()| Done::nothing());
    }
    list.splice(at, usize::from(at < list.len()), &[value], out)?;
    Ok(Done::quietly())
}

pub(super) fn trim<'v>(
    list: &List<'_, '_>,
    index: i64,
    count: u64,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    let kept = range(index, count, list.len());
    let removed = list.len() - kept.count;
    if removed == 0 {
        return Ok(Done::unchanged(Answer::Int(0)));
    }
    write_list_head(out, kept.count, list.ordered)?;
    out.extend_from_slice(list.span(kept.start, kept.end()));
    Ok(Done::counting(removed))
}

/// The elements of a request that a write puts in; none if its flags leave the whole of it undone.
fn admitted<'i>(
    list: &List<'_, '_>,
    items: &List<'i, '_>,
    flags: WriteFlags,
) -> Result<Vec<&'i [u8]>, CdtError> {
    if !flags.unique() {
        return Ok((0..items.len()).map(|at| items.element(at)).collect());
    }
    let all = Span {
        start: 0,
        count: list.len(),
    };
    let sorted = (items.len() > FEW && !list.ordered).then(|| list.ranked(all));
    let all = || (0..items.len()).map(|at| items.element(at));
    let pass: u64 = all().map(of_ranked).sum();
    let to_look: u64 = all().map(|item| to_find(item, list.len())).sum();
    list.work.spend(2 * to_sort(pass, items.len()) + to_look)?;
    let is_there = |item: &[u8]| match &sorted {
        Some(sorted) => is_among(list, sorted, item),
        None => list.first_of(item).is_some(),
    };
    let repeated = repeated(items);
    if !flags.partial() {
        if repeated.contains(&true) {
            let twice = CdtError::NotApplicable("the request holds a value twice");
            return refuse(flags, twice).map(|()| Vec::new());
        }
        if (0..items.len()).any(|at| is_there(items.element(at))) {
            return refuse(flags, CdtError::ElementExists).map(|()| Vec::new());
        }
    }
    let new = (0..items.len()).filter(|at| !repeated[*at]);
    Ok(new
        .map(|at| items.element(at))
        .filter(|item| !is_there(item))
        .collect())
}

fn is_among(list: &List<'_, '_>, sorted: &[u32], item: &[u8]) -> bool {
    let side = |at: usize| compare(list.element(sorted[at] as usize), item);
    let at = partition_point(sorted.len(), |at| side(at) == Ordering::Less);
    at < sorted.len() && side(at) == Ordering::Equal
}

/// Which elements of a request are equal to an earlier one of it.
fn repeated(items: &List<'_, '_>) -> Vec<bool> {
    let order = Ranked::of(items.len(), |at| items.element(at)).into_ranks(0, items.len());
    let mut repeated = vec![false; items.len()];
    for pair in order.windows(2) {
        let [a, b] = [pair[0], pair[1]].map(|at| items.element(at as usize));
        repeated[pair[1] as usize] = compare_total(a, b) == Ordering::Equal;
    }
    repeated
}
