//! Carrying out a selection: which elements it finds, and in which order they are told of.

use std::cmp::Ordering;

use super::CdtError;
use super::answer::Telling;
use super::entries::{Entries, partition_point};
use super::range::{Span, position, range, relative};
use super::selection::{Elements, Selection, Selector};
use crate::msgpack::compare;
use crate::work::{of_element, to_find};

/// How many elements more than there are may be told of, when a request names some of them twice.
const REPEATS_MAX: usize = 1 << 20;

/// At most this many values are looked for one by one; for more of them the elements are sorted.
const FEW: usize = 8;

/// The one element that a selection found, or did not.
pub(crate) struct Found {
    /// Its index.
    pub(crate) index: Option<usize>,
    /// Its rank, where it was made out on the way: of a value also if there is none.
    pub(crate) rank: Option<usize>,
    /// Where it would be, if there is none.
    pub(crate) vacancy: usize,
}

/// Carries out a selection of a single element.
///
/// # Errors
/// [`CdtError::NotApplicable`] if an index or rank does not exist.
pub(crate) fn find<'v>(
    entries: &impl Entries<'v>,
    selector: &Selector<'_>,
    telling: Telling,
) -> Result<Found, CdtError> {
    const OUTSIDE: CdtError = CdtError::NotApplicable("no element has this index or rank");
    let ranks = telling.is_rank_range() || matches!(telling, Telling::Rank | Telling::ReverseRank);
    let found = |index, rank, vacancy| Found {
        index,
        rank,
        vacancy,
    };
    Ok(match selector {
        Selector::Index(index) => {
            let index = position(*index, entries.len()).ok_or(OUTSIDE)?;
            let rank = ranks.then(|| entries.rank(index, !entries.is_map()));
            found(Some(index), rank, 0)
        }
        Selector::Rank(rank) => {
            let rank = position(*rank, entries.len()).ok_or(OUTSIDE)?;
            let one = Span {
                start: rank,
                count: 1,
            };
            let index = entries.ranked(one).first().map(|index| *index as usize);
            found(index, Some(rank), 0)
        }
        Selector::Value(value) => {
            let index = entries.first_of(value);
            let less = ranks.then(|| entries.less(value));
            let vacancy = if entries.is_sorted() {
                entries.less(value)
            } else {
                0
            };
            found(index, less, vacancy)
        }
        Selector::Key(key) => {
            let run = entries.key_run(key);
            let index = (run.count == 1).then_some(run.start);
            let rank = index.filter(|_| ranks);
            let rank = rank.map(|index| entries.rank(index, false));
            found(index, rank, run.start)
        }
        Selector::IndexRange(..)
        | Selector::RankRange(..)
        | Selector::AllOfValue(_)
        | Selector::Values(_)
        | Selector::ValueInterval(..)
        | Selector::RanksNear(..)
        | Selector::Keys(_)
        | Selector::KeyInterval(..)
        | Selector::IndexesNear(..) => return Err(CdtError::Parameter("many where one is due")),
    })
}

/// In which order the chosen are told of, where it is not the order of their indexes.
#[derive(Debug)]
pub(crate) enum Order {
    Ascending,
    /// Of keys and values; indexes are told ascending.
    Contents(Vec<u32>),
    /// Of indexes; keys and values are told ascending.
    Indexes(Vec<u32>),
    /// Of all.
    All(Vec<u32>),
}

/// Which ranks the chosen have.
#[derive(Debug)]
pub(crate) enum Ranks {
    /// All from here to there.
    Span(Span),
    /// To be made out for each.
    Each,
    /// These.
    Listed(Vec<u32>),
}

/// The elements that a selection of many found.
#[derive(Debug)]
pub(crate) struct Picked {
    /// Their indexes, ascending, each once.
    pub(crate) chosen: Vec<u32>,
    pub(crate) order: Order,
    /// The stretch that they are, if they are one by their nature.
    pub(crate) stretch: Option<Span>,
    pub(crate) ranks: Ranks,
}

fn numbers(span: Span) -> impl Iterator<Item = u32> {
    span.start as u32..span.end() as u32
}

/// All numbers below `len` that are not in `chosen`, which ascends.
fn others(chosen: &[u32], len: usize) -> Vec<u32> {
    let mut left = chosen.iter().copied().peekable();
    (0..len as u32)
        .filter(|at| left.next_if_eq(at).is_none())
        .collect()
}

/// Carries out a selection of many elements.
///
/// # Errors
/// [`CdtError::TooBig`] if a request names the same elements so often that no answer could hold them.
pub(crate) fn pick<'v>(
    entries: &impl Entries<'v>,
    selection: &Selection<'_>,
    telling: Telling,
) -> Result<Picked, CdtError> {
    let len = entries.len();
    let inverted = selection.is_inverted();
    let picked = match &selection.selector {
        Selector::IndexRange(start, count) => {
            return Ok(stretch(entries, range(*start, *count, len), inverted));
        }
        Selector::IndexesNear(key, offset, count) => {
            let span = relative(entries.keys_less(key), *offset, *count, len);
            return Ok(stretch(entries, span, inverted));
        }
        Selector::RankRange(start, count) => {
            return Ok(by_rank(entries, range(*start, *count, len), inverted));
        }
        Selector::RanksNear(value, offset, count) => {
            let span = relative(entries.less(value), *offset, *count, len);
            return Ok(by_rank(entries, span, inverted));
        }
        Selector::KeyInterval(begin, end) => {
            let start = entries.keys_less(begin);
            let end = end.as_ref().map_or(len, |end| entries.keys_less(end));
            return Ok(stretch(entries, Span::between(start, end), inverted));
        }
        Selector::AllOfValue(value) => by_value(entries, value, |at| compare(at, value)),
        Selector::ValueInterval(begin, end) => {
            let longest = end.as_ref().filter(|end| end.len() > begin.len());
            by_value(entries, longest.unwrap_or(begin), |at| {
                let from = compare(at, begin);
                match end {
                    _ if from == Ordering::Less => Ordering::Less,
                    Some(end) if compare(at, end) != Ordering::Less => Ordering::Greater,
                    _ => Ordering::Equal,
                }
            })
        }
        Selector::Values(values) => {
            let ranks = matches!(telling, Telling::Rank | Telling::ReverseRank);
            let picked = of_values(entries, values, ranks && !inverted)?;
            return Ok(match inverted {
                true => inverse_of_values(entries, picked, ranks),
                false => picked,
            });
        }
        Selector::Keys(keys) => of_keys(entries, keys)?,
        Selector::Index(_) | Selector::Rank(_) | Selector::Value(_) | Selector::Key(_) => {
            return Err(CdtError::Parameter("one where many are due"));
        }
    };
    Ok(if inverted {
        inverse(picked, len)
    } else {
        picked
    })
}

/// All elements but those that were picked, in the order of their indexes.
fn inverse(picked: Picked, len: usize) -> Picked {
    let ranks = match picked.ranks {
        Ranks::Span(span) => Ranks::Listed(others(&numbers(span).collect::<Vec<_>>(), len)),
        Ranks::Each | Ranks::Listed(_) => Ranks::Each,
    };
    Picked {
        chosen: others(&picked.chosen, len),
        order: Order::Ascending,
        stretch: None,
        ranks,
    }
}

/// As [`inverse`]; of lists the ranks are told ascending.
fn inverse_of_values<'v>(entries: &impl Entries<'v>, picked: Picked, tells_ranks: bool) -> Picked {
    let mut rest = inverse(picked, entries.len());
    if tells_ranks && !entries.is_map() {
        let mut ranks = entries.ranks(&rest.chosen, true);
        ranks.sort_unstable();
        rest.ranks = Ranks::Listed(ranks);
    }
    rest
}

/// What is left of a stretch's inverse if it is a stretch too: when the first one touches an end.
fn inverse_stretch(span: Span, len: usize) -> Option<Span> {
    if span.end() == len {
        Some(Span::between(0, span.start))
    } else if span.start == 0 {
        Some(Span::between(span.end(), len))
    } else {
        None
    }
}

/// Elements that lie beside each other.
fn stretch<'v>(entries: &impl Entries<'v>, span: Span, inverted: bool) -> Picked {
    let picked = |span| Picked {
        chosen: numbers(span).collect(),
        order: Order::Ascending,
        stretch: Some(span),
        ranks: if entries.is_sorted() {
            Ranks::Span(span)
        } else {
            Ranks::Each
        },
    };
    match inverse_stretch(span, entries.len()).filter(|_| inverted) {
        Some(rest) => picked(rest),
        None if inverted => inverse(picked(span), entries.len()),
        None => picked(span),
    }
}

/// Elements whose ranks lie beside each other.
fn by_rank<'v>(entries: &impl Entries<'v>, span: Span, inverted: bool) -> Picked {
    if entries.is_sorted() {
        return stretch(entries, span, inverted);
    }
    let len = entries.len();
    let picked = |span: Span| {
        let mut told = entries.ranked(span);
        let mut chosen = told.clone();
        chosen.sort_unstable();
        let order = if entries.is_map() {
            Order::All(told)
        } else {
            // Lists are told of from the nearer end on: known from the reference, nothing to rely on.
            if span.start <= len - span.end() {
                told.reverse();
            }
            Order::Contents(told)
        };
        Picked {
            chosen,
            order,
            stretch: None,
            ranks: Ranks::Span(span),
        }
    };
    match inverse_stretch(span, len).filter(|_| inverted) {
        Some(rest) => picked(rest),
        None if inverted => inverse(picked(span), len),
        None => picked(span),
    }
}

/// Elements on one side of which all are less and on the other all greater. `longest` is the longest value that
/// each is compared with.
fn by_value<'v>(
    entries: &impl Entries<'v>,
    longest: &[u8],
    side: impl Fn(&[u8]) -> Ordering,
) -> Picked {
    let len = entries.len();
    if entries.is_sorted() {
        let start = partition_point(len, |at| side(entries.value(at)) == Ordering::Less);
        let end = partition_point(len, |at| side(entries.value(at)) != Ordering::Greater);
        return stretch(entries, Span::between(start, end), false);
    }
    let (mut less, mut chosen) = (0, Vec::new());
    let may = entries.may_compare_all(longest) && entries.may_compare_all(longest);
    for at in 0..if may { len } else { 0 } {
        match side(entries.value(at)) {
            Ordering::Less => less += 1,
            Ordering::Equal => chosen.push(at as u32),
            Ordering::Greater => {}
        }
    }
    let ranks = Span {
        start: less,
        count: chosen.len(),
    };
    Picked {
        chosen,
        order: Order::Ascending,
        stretch: None,
        ranks: Ranks::Span(ranks),
    }
}

/// Collects the positions that values or keys of a request lead to.
struct Gathered {
    marked: Vec<bool>,
    told: Vec<u32>,
    told_max: usize,
}

impl Gathered {
    fn new(len: usize) -> Gathered {
        Gathered {
            marked: vec![false; len],
            told: Vec::new(),
            told_max: len + REPEATS_MAX,
        }
    }

    fn tell(&mut self, positions: impl ExactSizeIterator<Item = u32>) -> Result<(), CdtError> {
        if positions.len() > self.told_max - self.told.len() {
            return Err(CdtError::TooBig);
        }
        self.told.extend(positions);
        Ok(())
    }

    fn chosen(&self) -> Vec<u32> {
        let marked = (0u32..).zip(&self.marked);
        marked
            .filter_map(|(at, marked)| marked.then_some(at))
            .collect()
    }
}

fn of_keys<'v>(entries: &impl Entries<'v>, keys: &Elements<'_>) -> Result<Picked, CdtError> {
    let mut gathered = Gathered::new(entries.len());
    for key in keys.iter() {
        entries.work().spend(to_find(key, entries.len()))?;
        let run = entries.key_run(key);
        entries.work().spend(run.count as u64 * of_element(key))?;
        gathered.tell(run.start as u32..run.end() as u32)?;
        gathered.marked[run.start..run.end()].fill(true);
    }
    Ok(Picked {
        chosen: gathered.chosen(),
        order: Order::Indexes(gathered.told),
        stretch: None,
        ranks: Ranks::Each,
    })
}

fn of_values<'v>(
    entries: &impl Entries<'v>,
    values: &Elements<'_>,
    tells_ranks: bool,
) -> Result<Picked, CdtError> {
    if entries.is_sorted() {
        let mut gathered = Gathered::new(entries.len());
        for value in values.iter() {
            entries.work().spend(2 * to_find(value, entries.len()))?;
            let run = entries.sorted_run(value);
            entries.work().spend(run.count as u64)?;
            gathered.tell(run.start as u32..run.end() as u32)?;
            gathered.marked[run.start..run.end()].fill(true);
        }
        return Ok(Picked {
            chosen: gathered.chosen(),
            order: Order::All(gathered.told),
            stretch: None,
            ranks: Ranks::Each,
        });
    }
    let mut gathered = Gathered::new(entries.len());
    let all = Span {
        start: 0,
        count: entries.len(),
    };
    let sorted = (values.count > FEW).then(|| entries.ranked(all));
    let tells_ranks = tells_ranks && !entries.is_map();
    for value in values.iter() {
        let run = match &sorted {
            Some(sorted) => {
                entries.work().spend(to_find(value, entries.len()))?;
                let run = mark_sorted(entries, sorted, value, &mut gathered.marked);
                entries.work().spend(run.count as u64 * of_element(value))?;
                run
            }
            None if !entries.may_compare_all(value) => Span { start: 0, count: 0 },
            None => mark_each(entries, value, &mut gathered.marked),
        };
        if tells_ranks {
            gathered.tell(std::iter::repeat_n(run.start as u32, run.count))?;
        }
    }
    Ok(Picked {
        chosen: gathered.chosen(),
        order: Order::Ascending,
        stretch: None,
        ranks: if tells_ranks {
            Ranks::Listed(gathered.told)
        } else {
            Ranks::Each
        },
    })
}

/// Marks the elements equal to a value and returns their ranks.
fn mark_each<'v>(entries: &impl Entries<'v>, value: &[u8], marked: &mut [bool]) -> Span {
    let mut run = Span { start: 0, count: 0 };
    for (at, mark) in marked.iter_mut().enumerate() {
        match compare(entries.value(at), value) {
            Ordering::Less => run.start += 1,
            Ordering::Equal => {
                run.count += 1;
                *mark = true;
            }
            Ordering::Greater => {}
        }
    }
    run
}

/// As [`mark_each`], with the elements in the order of their ranks.
fn mark_sorted<'v>(
    entries: &impl Entries<'v>,
    sorted: &[u32],
    value: &[u8],
    marked: &mut [bool],
) -> Span {
    let side = |at: usize| compare(entries.value(sorted[at] as usize), value);
    let start = partition_point(sorted.len(), |at| side(at) == Ordering::Less);
    let is_equal = |at: &usize| side(*at) == Ordering::Equal;
    let count = (start..sorted.len()).take_while(is_equal).count();
    for at in &sorted[start..start + count] {
        marked[*at as usize] = true;
    }
    Span { start, count }
}
