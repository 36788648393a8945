//! From the elements that a selection found to its answer.

use super::CdtError;
use super::answer::{Answer, Telling};
use super::entries::Entries;
use super::pick::{Found, Order, Picked, Ranks};
use super::range::Span;
use crate::msgpack::{FLAG_MAP_KEY_ORDERED, write_int, write_list_head, write_map_head};

/// Longest packed answer. A record is shorter, but a request may name its elements twice.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Flag of a map whose order is to be kept by clients. Only ever sent.
const FLAG_MAP_PRESERVE: u8 = 0x08;

/// Tells of the one element that was found, or was not.
pub(crate) fn of_one<'v>(
    entries: &impl Entries<'v>,
    found: &Found,
    telling: Telling,
) -> Result<Answer<'v>, CdtError> {
    let len = entries.len();
    let count = usize::from(found.index.is_some());
    let number = |at: Option<usize>| Answer::Int(at.map_or(-1, |at| at as i64));
    let reverse = |at: usize| len - 1 - at;
    let rank = found.index.and(found.rank);
    let indexes = Span {
        start: found.index.unwrap_or(found.vacancy),
        count,
    };
    let ranks = Span {
        start: found.rank.unwrap_or(0),
        count,
    };
    let map = |flags| {
        let chosen: Vec<u32> = found.index.iter().map(|index| *index as u32).collect();
        of_pairs(entries, &chosen, flags)
    };
    Ok(match telling {
        Telling::Nothing => Answer::Nothing,
        Telling::Index => number(found.index),
        Telling::ReverseIndex => number(found.index.map(reverse)),
        Telling::Rank => number(rank),
        Telling::ReverseRank => number(rank.map(reverse)),
        Telling::Count => Answer::count(count),
        Telling::Exists => Answer::Bool(count > 0),
        Telling::Key => found
            .index
            .map_or(Answer::Nothing, |index| Answer::Element(entries.key(index))),
        Telling::Value => found.index.map_or(Answer::Nothing, |index| {
            Answer::Element(entries.value(index))
        }),
        Telling::KeyValueMap => map(FLAG_MAP_PRESERVE)?,
        Telling::UnorderedMap => map(0)?,
        Telling::OrderedMap => map(FLAG_MAP_KEY_ORDERED)?,
        Telling::IndexRange => of_range(indexes, None),
        Telling::ReverseIndexRange => of_range(indexes, Some(len)),
        Telling::RankRange => of_range(ranks, None),
        Telling::ReverseRankRange => of_range(ranks, Some(len)),
    })
}

/// Tells of all elements that were picked.
pub(crate) fn of_many<'v>(
    entries: &impl Entries<'v>,
    picked: &Picked,
    telling: Telling,
) -> Result<Answer<'v>, CdtError> {
    let len = entries.len();
    let (contents, indexes) = match &picked.order {
        Order::Ascending => (&picked.chosen, &picked.chosen),
        Order::Contents(told) => (told, &picked.chosen),
        Order::Indexes(told) => (&picked.chosen, told),
        Order::All(told) => (told, told),
    };
    let stretch = picked.stretch.unwrap_or(Span { start: 0, count: 0 });
    Ok(match telling {
        Telling::Nothing => Answer::Nothing,
        Telling::Index => of_numbers(indexes, None)?,
        Telling::ReverseIndex => of_numbers(indexes, Some(len))?,
        Telling::Rank => of_numbers(&ranks(entries, picked, indexes), None)?,
        Telling::ReverseRank => of_numbers(&ranks(entries, picked, indexes), Some(len))?,
        Telling::Count => Answer::count(picked.chosen.len()),
        Telling::Exists => Answer::Bool(!picked.chosen.is_empty()),
        Telling::Key => of_elements(contents, |at| entries.key(at))?,
        Telling::Value => of_elements(contents, |at| entries.value(at))?,
        Telling::KeyValueMap => of_pairs(entries, contents, FLAG_MAP_PRESERVE)?,
        Telling::UnorderedMap => of_pairs(entries, contents, 0)?,
        Telling::OrderedMap => of_pairs(entries, &picked.chosen, FLAG_MAP_KEY_ORDERED)?,
        Telling::IndexRange => of_range(stretch, None),
        Telling::ReverseIndexRange => of_range(stretch, Some(len)),
        Telling::RankRange | Telling::ReverseRankRange => {
            let span = match picked.ranks {
                Ranks::Span(span) => span,
                Ranks::Each | Ranks::Listed(_) => stretch,
            };
            let len = (telling == Telling::ReverseRankRange).then_some(len);
            of_range(span, len)
        }
    })
}

fn ranks<'v>(entries: &impl Entries<'v>, picked: &Picked, told: &[u32]) -> Vec<u32> {
    match &picked.ranks {
        Ranks::Span(span) => (span.start as u32..span.end() as u32).collect(),
        Ranks::Each => entries.ranks(told, !entries.is_map()),
        Ranks::Listed(ranks) => ranks.clone(),
    }
}

/// Start and count, or the same counted from the end of `len` elements.
fn of_range<'e>(span: Span, len: Option<usize>) -> Answer<'e> {
    let start = len.map_or(span.start, |len| len - span.end());
    let mut out = vec![0x92];
    write_int(&mut out, start as i64, false);
    write_int(&mut out, span.count as i64, false);
    Answer::List(out)
}

/// Positions, or the same counted from the end of `len` elements.
fn of_numbers<'e>(positions: &[u32], len: Option<usize>) -> Result<Answer<'e>, CdtError> {
    let mut out = Vec::with_capacity(5 + positions.len() * 3);
    write_list_head(&mut out, positions.len(), false)?;
    for at in positions {
        let at = i64::from(*at);
        write_int(&mut out, len.map_or(at, |len| len as i64 - 1 - at), false);
    }
    Ok(Answer::List(out))
}

fn of_elements<'e, 'v>(
    positions: &[u32],
    element: impl Fn(usize) -> &'v [u8],
) -> Result<Answer<'e>, CdtError> {
    let bytes: usize = positions.iter().map(|at| element(*at as usize).len()).sum();
    if bytes > ANSWER_BYTES_MAX {
        return Err(CdtError::TooBig);
    }
    let mut out = Vec::with_capacity(5 + bytes);
    write_list_head(&mut out, positions.len(), false)?;
    for at in positions {
        out.extend_from_slice(element(*at as usize));
    }
    Ok(Answer::List(out))
}

fn of_pairs<'v>(
    entries: &impl Entries<'v>,
    positions: &[u32],
    flags: u8,
) -> Result<Answer<'v>, CdtError> {
    let pairs = || positions.iter().map(|at| entries.pair(*at as usize));
    let mut out = Vec::with_capacity(9 + pairs().map(<[u8]>::len).sum::<usize>());
    write_map_head(&mut out, positions.len(), flags)?;
    pairs().for_each(|pair| out.extend_from_slice(pair));
    Ok(Answer::Map(out))
}
