//! Selecting elements and telling of them, for lists and maps alike.

use super::order::{compare, equal, less};
use super::{NOT_APPLICABLE, Result, Told, count, int, number, range};
use crate::tree::Tree;

/// An element of a list, or a pair of a map.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Option<Tree>,
    pub(super) value: Tree,
}

/// What is selected from.
pub(super) struct From<'e> {
    pub(super) entries: &'e [Entry],
    pub(super) is_map: bool,
    /// An ordered list.
    pub(super) ordered: bool,
}

/// Selections by their place among the numbers of operations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum By {
    Index,
    Value,
    Rank,
    AllOfValue,
    Values,
    IndexRange,
    Interval,
    RankRange,
    Near,
    Key,
    Keys,
    KeyInterval,
    KeysNear,
}

use By::*;

const INVERTED: i64 = 0x10000;
const TO_THE_END: i64 = 0xffff_ffff;

/// The indexes of what was selected, ascending, and the answer.
pub(super) fn select(from: &From<'_>, by: By, arguments: &[Tree]) -> Result<(Vec<usize>, Told)> {
    let (kind, inverted) = (
        int(&arguments[0]) & 0xffff,
        int(&arguments[0]) & INVERTED != 0,
    );
    refuse(from, by, kind, inverted)?;
    let arguments = &arguments[1..];
    if matches!(by, Index | Value | Rank | Key) {
        return single(from, by, kind, &arguments[0]);
    }
    many(from, by, kind, inverted, arguments)
}

fn refuse(from: &From<'_>, by: By, kind: i64, inverted: bool) -> Result<()> {
    let of_index = matches!(kind, 9 | 10);
    let of_rank = matches!(kind, 11 | 12);
    let refused = match kind {
        0..=5 | 7 | 9..=13 => false,
        6 | 8 | 16 | 17 => !from.is_map,
        _ => true,
    };
    let inverse = inverted && (of_index || of_rank || matches!(by, Index | Value | Rank | Key));
    let unfit = match by {
        _ if from.ordered && by != Values => false, // rank and index are the same
        Index | IndexRange | Key | KeyInterval | KeysNear => of_rank,
        Rank | RankRange | Value | AllOfValue | Interval | Near => of_index,
        Values => of_index || of_rank,
        Keys => of_index || of_rank || matches!(kind, 3 | 4),
    };
    if refused || inverse || unfit {
        return Err(NOT_APPLICABLE);
    }
    Ok(())
}

impl From<'_> {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn value(&self, at: usize) -> &Tree {
        &self.entries[at].value
    }

    fn key(&self, at: usize) -> &Tree {
        self.entries[at].key.as_ref().expect("a map")
    }

    /// Values less than this one.
    fn less(&self, than: &Tree) -> usize {
        self.entries
            .iter()
            .filter(|entry| less(&entry.value, than))
            .count()
    }

    fn keys_less(&self, than: &Tree) -> usize {
        (0..self.len())
            .filter(|at| less(self.key(*at), than))
            .count()
    }

    /// Indexes in the order of values; of equal ones the lower index first.
    fn by_rank(&self) -> Vec<usize> {
        let mut indexes: Vec<usize> = (0..self.len()).collect();
        indexes.sort_by(|a, b| compare(self.value(*a), self.value(*b)));
        indexes
    }

    /// The rank of one among all.
    fn rank(&self, at: usize) -> usize {
        self.by_rank()
            .iter()
            .position(|other| *other == at)
            .expect("it is there")
    }

    /// The rank as lists tell it where elements are not selected by it.
    fn told_rank(&self, at: usize) -> usize {
        if self.is_map || self.ordered {
            self.rank(at)
        } else {
            self.less(self.value(at))
        }
    }

    fn map_of(&self, indexes: &[usize], flags: u8) -> Tree {
        let pair = |at: &usize| (self.key(*at).clone(), self.value(*at).clone());
        Tree::Map {
            flags,
            pairs: indexes.iter().map(pair).collect(),
        }
    }
}

fn pair(start: usize, count: usize) -> Told {
    let numbers = [start, count].map(|number| Tree::Int(number as i64));
    Some(Tree::list(numbers.to_vec()))
}

fn single(from: &From<'_>, by: By, kind: i64, wanted: &Tree) -> Result<(Vec<usize>, Told)> {
    let len = from.len();
    let position = |at: i64| {
        let at = i128::from(at) + if at < 0 { len as i128 } else { 0 };
        usize::try_from(at)
            .ok()
            .filter(|at| *at < len)
            .ok_or(NOT_APPLICABLE)
    };
    let (found, rank, vacancy) = match by {
        Index => {
            let at = position(int(wanted))?;
            (Some(at), from.told_rank(at), 0)
        }
        Rank => {
            let rank = position(int(wanted))?;
            (Some(from.by_rank()[rank]), rank, 0)
        }
        Value => {
            let found = (0..len).find(|at| equal(from.value(*at), wanted));
            let less = from.less(wanted);
            (found, less, if from.ordered { less } else { 0 })
        }
        _ => {
            let same: Vec<_> = (0..len).filter(|at| equal(from.key(*at), wanted)).collect();
            let found = same.first().copied().filter(|_| same.len() == 1);
            (
                found,
                found.map_or(0, |at| from.rank(at)),
                from.keys_less(wanted),
            )
        }
    };
    let (index, hits) = (found.unwrap_or(vacancy), usize::from(found.is_some()));
    let number = |at: usize| Some(Tree::Int(found.map_or(-1, |_| at as i64)));
    let chosen: Vec<usize> = found.into_iter().collect();
    let told = match kind {
        0 => None,
        1 => number(index),
        2 => number(len.wrapping_sub(index + 1)),
        3 => number(rank),
        4 => number(len.wrapping_sub(rank + 1)),
        5 => count(hits),
        6 => found.map(|at| from.key(at).clone()),
        7 => found.map(|at| from.value(at).clone()),
        8 => Some(from.map_of(&chosen, 8)),
        9 => pair(index, hits),
        10 => pair(len - index - hits, hits),
        11 => pair(rank, hits),
        12 => pair(len - rank - hits, hits),
        13 => Some(Tree::Bool(hits > 0)),
        16 => Some(from.map_of(&chosen, 0)),
        _ => Some(from.map_of(&chosen, 1)),
    };
    Ok((chosen, told))
}

/// Items of a request list.
fn wanted(list: &Tree) -> &[Tree] {
    match list {
        Tree::List { items, .. } => items,
        other => panic!("{other} is no list"),
    }
}

fn many(
    from: &From<'_>,
    by: By,
    kind: i64,
    mut inverted: bool,
    arguments: &[Tree],
) -> Result<(Vec<usize>, Told)> {
    let len = from.len();
    // Ranges of indexes or ranks, with their ends.
    let to_the_end = |at| number(arguments, at, TO_THE_END);
    let near = |base: usize| {
        let start = base as i128 + i128::from(int(&arguments[1]));
        let lost = (-start).clamp(0, i128::from(u64::MAX)) as u64;
        let count = (to_the_end(2) as u64).saturating_sub(lost);
        let start = start.clamp(0, i128::from(i64::MAX)) as i64;
        range(start, count as i64, len)
    };
    let mut span = match by {
        IndexRange | RankRange => Some(range(int(&arguments[0]), to_the_end(1), len)),
        Near => Some(near(from.less(&arguments[0]))),
        KeysNear => Some(near(from.keys_less(&arguments[0]))),
        KeyInterval => {
            let start = from.keys_less(&arguments[0]);
            let end = arguments.get(1).map_or(len, |end| from.keys_less(end));
            Some((start, end.max(start)))
        }
        _ => None,
    };
    if let (true, Some((start, end))) = (inverted, span) {
        // An inverse that is a range itself is that range.
        if end == len {
            (span, inverted) = (Some((0, start)), false);
        } else if start == 0 {
            (span, inverted) = (Some((end, len)), false);
        }
    }
    let by_rank = from.by_rank();
    let within = |at: usize| span.is_some_and(|(start, end)| (start..end).contains(&at));
    let matches = |at: usize| match by {
        IndexRange | KeyInterval | KeysNear => within(at),
        RankRange | Near => within(from.rank(at)),
        AllOfValue => equal(from.value(at), &arguments[0]),
        Interval => {
            !less(from.value(at), &arguments[0])
                && arguments.get(1).is_none_or(|end| less(from.value(at), end))
        }
        Values => wanted(&arguments[0])
            .iter()
            .any(|value| equal(from.value(at), value)),
        _ => wanted(&arguments[0])
            .iter()
            .any(|key| equal(from.key(at), key)),
    };
    let chosen: Vec<usize> = (0..len).filter(|at| matches(*at) != inverted).collect();
    let ranked = || by_rank.iter().copied().filter(|at| chosen.contains(at));
    // Every hit of every item of the request, in its order.
    let in_request = |equals: &dyn Fn(usize, &Tree) -> bool| -> Vec<usize> {
        let hits = |item| (0..len).filter(move |at| equals(*at, item));
        wanted(&arguments[0]).iter().flat_map(hits).collect()
    };
    let of_ranks = matches!(by, RankRange | Near) && !inverted && !from.ordered;
    let contents: Vec<usize> = match by {
        _ if of_ranks && from.is_map => ranked().collect(),
        _ if of_ranks => {
            let (start, end) = span.expect("a range");
            let mut told: Vec<_> = ranked().collect();
            if start <= len - end {
                told.reverse();
            }
            told
        }
        Values if from.ordered && !inverted => in_request(&|at, item| equal(from.value(at), item)),
        _ => chosen.clone(),
    };
    let indexes = match by {
        _ if of_ranks && !from.is_map => chosen.clone(),
        Keys if !inverted => in_request(&|at, item| equal(from.key(at), item)),
        _ => contents.clone(),
    };
    let mut ranks: Vec<usize> = match by {
        Values if !from.is_map && !from.ordered && !inverted => {
            let hits = in_request(&|at, item| equal(from.value(at), item));
            // As many elements as are less than the item, which is not always those less than the hit.
            let mut ranks = Vec::new();
            let mut hits = hits.into_iter();
            for item in wanted(&arguments[0]) {
                let count = (0..len).filter(|at| equal(from.value(*at), item)).count();
                ranks.extend(hits.by_ref().take(count).map(|_| from.less(item)));
            }
            ranks
        }
        AllOfValue | Interval | RankRange | Near => {
            chosen.iter().map(|at| from.rank(*at)).collect()
        }
        _ => indexes.iter().map(|at| from.told_rank(*at)).collect(),
    };
    if matches!(by, AllOfValue | Interval | RankRange | Near)
        || (by == Values && inverted && !from.is_map && !from.ordered)
    {
        ranks.sort_unstable();
    }
    let numbers = |all: &[usize], reverse: bool| {
        let number = |at: &usize| Tree::Int(if reverse { len - 1 - at } else { *at } as i64);
        Some(Tree::list(all.iter().map(number).collect()))
    };
    let hits = chosen.len();
    let first_index = span
        .filter(|_| !matches!(by, RankRange | Near))
        .map(|(start, _)| start);
    let first_rank = match by {
        AllOfValue | Interval => from.less(&arguments[0]),
        _ => span.map_or(0, |(start, _)| start),
    };
    let first = if from.ordered {
        first_rank
    } else {
        first_index.unwrap_or(0)
    };
    let told = match kind {
        0 => None,
        1 => numbers(&indexes, false),
        2 => numbers(&indexes, true),
        3 => numbers(&ranks, false),
        4 => numbers(&ranks, true),
        5 => count(hits),
        6 => Some(Tree::list(
            contents.iter().map(|at| from.key(*at).clone()).collect(),
        )),
        7 => Some(Tree::list(
            contents.iter().map(|at| from.value(*at).clone()).collect(),
        )),
        8 => Some(from.map_of(&contents, 8)),
        9 => pair(first, hits),
        10 => pair(len - first - hits, hits),
        11 => pair(first_rank, hits),
        12 => pair(len - first_rank - hits, hits),
        13 => Some(Tree::Bool(hits > 0)),
        16 => Some(from.map_of(&contents, 0)),
        _ => Some(from.map_of(&chosen, 1)),
    };
    Ok((chosen, told))
}
