//! Lists in the model.

use super::Kind::{self, *};
use super::order::{compare, equal, less};
use super::pick::{By, Entry, From, select};
use super::{
    EXISTS, INCOMPATIBLE, NOT_APPLICABLE, Result, TOO_BIG, Told, count, int, number, range, sum,
};
use crate::tree::Tree;

/// What an operation takes, and how many of that it must get.
pub(super) fn arguments(code: i64) -> Option<(&'static [Kind], usize)> {
    Some(match code {
        0 => (&[Number], 1),
        1 => (&[Stored, Number, Number], 1),
        2 => (&[StoredList, Number, Number], 1),
        3 | 9 => (&[Number, Stored, Number], 2),
        4 => (&[Number, StoredList, Number], 2),
        5 | 7 | 17 => (&[Number], 1),
        6 | 8 | 18 => (&[Number, Number], 1),
        10 => (&[Number, Number], 2),
        11 | 16 => (&[], 0),
        12 => (&[Number, Delta, Number, Number], 1),
        13 => (&[Number], 0),
        19 | 21 | 32 | 34 => (&[Number, Number], 2),
        20 | 22 | 33 | 35 => (&[Number, Any], 2),
        23 | 36 => (&[Number, Wanted], 2),
        24 | 26 | 37 | 39 => (&[Number, Number, Number], 2),
        25 | 38 => (&[Number, Any, Any], 2),
        27 | 40 => (&[Number, Any, Number, Number], 3),
        _ => return None,
    })
}

fn by(code: i64) -> By {
    match code {
        19 | 32 => By::Index,
        20 | 33 => By::Value,
        21 | 34 => By::Rank,
        22 | 35 => By::AllOfValue,
        23 | 36 => By::Values,
        24 | 37 => By::IndexRange,
        25 | 38 => By::Interval,
        26 | 39 => By::RankRange,
        _ => By::Near,
    }
}

fn pick(
    code: i64,
    arguments: &[Tree],
    ordered: bool,
    items: &[Tree],
) -> Result<(Vec<usize>, Told)> {
    let entry = |value: &Tree| Entry {
        key: None,
        value: value.clone(),
    };
    let entries: Vec<_> = items.iter().map(entry).collect();
    let from = From {
        entries: &entries,
        is_map: false,
        ordered,
    };
    // The old operations are others with a fixed return type.
    let old = |by, kind| {
        let mut all = vec![Tree::Int(kind)];
        all.extend(arguments.iter().cloned());
        select(&from, by, &all)
    };
    match code {
        5 | 17 => old(By::Index, 7),
        6 | 18 => old(By::IndexRange, 7),
        7 => old(By::Index, 5),
        8 => old(By::IndexRange, 5),
        code => select(&from, by(code), arguments),
    }
}

pub(super) fn read(code: i64, arguments: &[Tree], ordered: bool, items: &[Tree]) -> Result<Told> {
    if code == 16 {
        return Ok(count(items.len()));
    }
    pick(code, arguments, ordered, items).map(|(_, told)| told)
}

/// On a list that is not there.
pub(super) fn begin(code: i64, arguments: &[Tree]) -> Result<(Option<Tree>, Told)> {
    let order_at = match code {
        1 | 2 => 1,
        12 => 2,
        0 | 3 | 4 | 9 => usize::MAX,
        13 => return Err(INCOMPATIBLE),
        _ => return Ok((None, None)),
    };
    let ordered = matches!(number(arguments, order_at, 0), 1 | 0x11);
    let (after, told) = modify(code, arguments, ordered, &[])?;
    // Putting nothing in makes a list all the same; leaving something out does not.
    let made = match (code, &arguments[0], arguments.get(1)) {
        (0, ..) => true,
        (2, Tree::List { items, .. }, _) | (4, _, Some(Tree::List { items, .. })) => {
            items.is_empty()
        }
        _ => false,
    };
    let empty = Tree::List {
        ordered,
        items: Vec::new(),
    };
    Ok((after.filter(|after| made || *after != empty), told))
}

/// Puts an element where an ordered list wants it.
fn put_in_order(items: &mut Vec<Tree>, item: Tree) {
    let at = items.iter().position(|other| less(&item, other));
    items.insert(at.unwrap_or(items.len()), item);
}

/// What flags of a write say.
struct Flags(i64);

impl Flags {
    fn unique(&self) -> bool {
        self.0 & 1 != 0
    }

    fn bounded(&self) -> bool {
        self.0 & 2 != 0
    }

    fn no_fail(&self) -> bool {
        self.0 & 4 != 0
    }

    fn partial(&self) -> bool {
        self.0 & 8 != 0 && self.no_fail()
    }

    /// An error, or nothing is done.
    fn fail<T>(&self, error: u8) -> Result<Option<T>> {
        if self.no_fail() { Ok(None) } else { Err(error) }
    }

    /// Where an index of a write is; `None` if nothing is to be done.
    fn place(&self, index: i64, len: usize) -> Result<Option<usize>> {
        let at = i128::from(index) + if index < 0 { len as i128 } else { 0 };
        if !(0..1 << 31).contains(&at) {
            return Err(NOT_APPLICABLE);
        }
        if at as usize > len && self.bounded() {
            return self.fail(NOT_APPLICABLE);
        }
        Ok(Some(at as usize))
    }

    /// The items that may be put in; `None` if nothing is to be done.
    fn admit(&self, list: &[Tree], new: &Tree) -> Result<Option<Vec<Tree>>> {
        let Tree::List { items: new, .. } = new else {
            panic!("no list");
        };
        if !self.unique() {
            return Ok(Some(new.clone()));
        }
        let repeated = |at: usize| new[..at].iter().any(|other| equal(other, &new[at]));
        let there = |at: usize| list.iter().any(|other| equal(other, &new[at]));
        if self.partial() {
            let admitted = (0..new.len()).filter(|at| !repeated(*at) && !there(*at));
            return Ok(Some(admitted.map(|at| new[at].clone()).collect()));
        }
        if (0..new.len()).any(repeated) {
            return self.fail(NOT_APPLICABLE);
        }
        if (0..new.len()).any(there) {
            return self.fail(EXISTS);
        }
        Ok(Some(new.clone()))
    }
}

/// Most nils that are put in by one operation.
const PADDING_MAX: usize = 8 << 20;

fn insert_at(items: &[Tree], at: usize, new: &[Tree]) -> Result<Vec<Tree>> {
    if at > items.len() + PADDING_MAX {
        return Err(TOO_BIG);
    }
    let mut after = items.to_vec();
    while after.len() < at {
        after.push(Tree::Nil);
    }
    after.splice(at..at, new.iter().cloned());
    Ok(after)
}

/// The items afterwards, `None` if they are as they were; and the answer.
type Changed = Result<(Option<Tree>, Told)>;

pub(super) fn modify(code: i64, arguments: &[Tree], ordered: bool, items: &[Tree]) -> Changed {
    let len = items.len();
    let list = |items| Some(Tree::List { ordered, items });
    let unchanged = || Ok((None, count(len)));
    let flags = |at| Flags(number(arguments, at, 0));
    Ok(match code {
        0 => {
            let wanted = int(&arguments[0]);
            if wanted & !0x11 != 0 {
                return Err(NOT_APPLICABLE);
            }
            let mut items = items.to_vec();
            if wanted & 1 != 0 && !ordered {
                items.sort_by(compare);
            }
            let ordered = wanted & 1 != 0;
            (Some(Tree::List { ordered, items }), None)
        }
        1 => {
            let (value, flags) = (&arguments[0], flags(2));
            if flags.unique() && items.iter().any(|other| equal(other, value)) {
                flags.fail::<()>(EXISTS)?;
                return unchanged();
            }
            let mut after = items.to_vec();
            if ordered {
                put_in_order(&mut after, value.clone());
            } else {
                after.push(value.clone());
            }
            (list(after), count(len + 1))
        }
        2 => {
            let Some(mut new) = flags(2).admit(items, &arguments[0])? else {
                return unchanged();
            };
            let mut after = items.to_vec();
            if ordered {
                new.sort_by(compare);
                new.into_iter()
                    .for_each(|item| put_in_order(&mut after, item));
            } else {
                after.extend(new);
            }
            let told = count(after.len());
            (list(after), told)
        }
        3 | 9 => return insert_or_set(code, arguments, ordered, items),
        4 => {
            if ordered {
                return Err(NOT_APPLICABLE);
            }
            let flags = flags(2);
            let Some(at) = flags.place(int(&arguments[0]), len)? else {
                return unchanged();
            };
            let new = flags.admit(items, &arguments[1])?.unwrap_or_default();
            if new.is_empty() {
                return Ok((list(items.to_vec()), count(len)));
            }
            let after = insert_at(items, at, &new)?;
            let told = count(after.len());
            (list(after), told)
        }
        10 => {
            let (start, end) = range(int(&arguments[0]), int(&arguments[1]), len);
            (list(items[start..end].to_vec()), count(len - (end - start)))
        }
        11 => (list(Vec::new()), None),
        12 => return increment(arguments, ordered, items),
        13 => {
            let flags = number(arguments, 0, 0);
            let mut after = items.to_vec();
            if !ordered {
                after.sort_by(compare);
            }
            if flags & 2 != 0 {
                after.dedup_by(|b, a| equal(a, b));
            }
            if flags & 1 != 0 && !ordered {
                after.reverse();
            }
            // Of one element or none nothing is looked at.
            (list(if len <= 1 { items.to_vec() } else { after }), None)
        }
        code => {
            let (chosen, told) = pick(code, arguments, ordered, items)?;
            let left = (0..len).filter(|at| !chosen.contains(at));
            (list(left.map(|at| items[at].clone()).collect()), told)
        }
    })
}

fn insert_or_set(code: i64, arguments: &[Tree], ordered: bool, items: &[Tree]) -> Changed {
    let (len, sets) = (items.len(), code == 9);
    let told = |len| if sets { None } else { count(len) };
    if ordered {
        return Err(NOT_APPLICABLE);
    }
    let (value, flags) = (&arguments[1], Flags(number(arguments, 2, 0)));
    let Some(at) = flags.place(int(&arguments[0]), len)? else {
        return Ok((None, told(len)));
    };
    let same = |(other, item): (usize, &Tree)| equal(item, value) && !(sets && other == at);
    if flags.unique() && items.iter().enumerate().any(same) {
        flags.fail::<()>(EXISTS)?;
        return Ok((None, told(len)));
    }
    let after = if sets && at < len {
        let mut after = items.to_vec();
        after[at] = value.clone();
        after
    } else {
        insert_at(items, at, std::slice::from_ref(value))?
    };
    let told = told(after.len());
    Ok((
        Some(Tree::List {
            ordered,
            items: after,
        }),
        told,
    ))
}

fn increment(arguments: &[Tree], ordered: bool, items: &[Tree]) -> Changed {
    let flags = Flags(number(arguments, 3, 0));
    let delta = arguments.get(1);
    sum(None, delta, false)?;
    let Some(at) = flags.place(int(&arguments[0]), items.len())? else {
        return Ok((None, None));
    };
    let new = sum(items.get(at), delta, false)?;
    let mut after = items.to_vec();
    if !ordered {
        if at < items.len() {
            after[at] = new.clone();
        } else {
            after = insert_at(items, at, std::slice::from_ref(&new))?;
        }
    } else if at > items.len() {
        return Err(NOT_APPLICABLE);
    } else {
        let same = |(other, item): (usize, &Tree)| other != at && equal(item, &new);
        if flags.unique() && items.iter().enumerate().any(same) {
            flags.fail::<()>(EXISTS)?;
            return Ok((None, None));
        }
        if at < items.len() {
            replace_in_order(&mut after, at, new.clone());
        } else {
            put_in_order(&mut after, new.clone());
        }
    }
    Ok((
        Some(Tree::List {
            ordered,
            items: after,
        }),
        Some(new),
    ))
}

/// Changes one element of an ordered list. It stays where it is if the order allows it.
pub(super) fn replace_in_order(items: &mut Vec<Tree>, at: usize, new: Tree) {
    let below = at == 0 || !less(&new, &items[at - 1]);
    let above = at + 1 == items.len() || !less(&items[at + 1], &new);
    if below && above {
        items[at] = new;
    } else {
        items.remove(at);
        put_in_order(items, new);
    }
}

/// As [`put_in_order`], for those who make elements on a path.
pub(super) fn add_in_order(items: &mut Vec<Tree>, new: Tree) {
    put_in_order(items, new);
}
