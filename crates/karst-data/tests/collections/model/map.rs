//! Maps in the model: pairs in the order of their keys.

use super::Kind::{self, *};
use super::order::{equal, less};
use super::pick::{By, Entry, From, select};
use super::{EXISTS, NOT_APPLICABLE, NOT_FOUND, Result, Told, count, int, number, sum};
use crate::tree::Tree;

type Pairs = [(Tree, Tree)];

/// What an operation takes, and how many of that it must get.
pub(super) fn arguments(code: i64) -> Option<(&'static [Kind], usize)> {
    Some(match code {
        64 => (&[Number], 1),
        65 => (&[Key, Stored, Number], 2),
        66 => (&[StoredMap, Number], 1),
        67 => (&[Key, Stored, Number, Number], 2),
        68 => (&[StoredMap, Number, Number], 1),
        69 => (&[Key, Stored], 2),
        70 => (&[StoredMap], 1),
        73 | 74 => (&[Key, Delta, Number], 1),
        75 | 96 => (&[], 0),
        76 | 78 | 82 | 97 | 99 | 102 => (&[Number, Any], 2),
        77 | 79 | 98 | 100 => (&[Number, Number], 2),
        81 | 83 | 107 | 108 => (&[Number, Wanted], 2),
        84 | 86 | 103 | 105 => (&[Number, Any, Any], 2),
        85 | 87 | 104 | 106 => (&[Number, Number, Number], 2),
        88 | 89 | 109 | 110 => (&[Number, Any, Number, Number], 3),
        _ => return None,
    })
}

fn by(code: i64) -> By {
    match code {
        76 | 97 => By::Key,
        77 | 98 => By::Index,
        78 | 99 => By::Value,
        79 | 100 => By::Rank,
        81 | 107 => By::Keys,
        82 | 102 => By::AllOfValue,
        83 | 108 => By::Values,
        84 | 103 => By::KeyInterval,
        85 | 104 => By::IndexRange,
        86 | 105 => By::Interval,
        87 | 106 => By::RankRange,
        88 | 109 => By::KeysNear,
        _ => By::Near,
    }
}

fn pick(code: i64, arguments: &[Tree], pairs: &Pairs) -> Result<(Vec<usize>, Told)> {
    let entry = |(key, value): &(Tree, Tree)| Entry {
        key: Some(key.clone()),
        value: value.clone(),
    };
    let entries: Vec<_> = pairs.iter().map(entry).collect();
    let from = From {
        entries: &entries,
        is_map: true,
        ordered: false,
    };
    select(&from, by(code), arguments)
}

pub(super) fn read(code: i64, arguments: &[Tree], pairs: &Pairs) -> Result<Told> {
    if code == 96 {
        return Ok(count(pairs.len()));
    }
    pick(code, arguments, pairs).map(|(_, told)| told)
}

/// On a map that is not there.
pub(super) fn begin(code: i64, arguments: &[Tree]) -> Result<(Option<Tree>, Told)> {
    let order_at = match code {
        64 => usize::MAX,
        65 | 67 | 73 | 74 => 2,
        66 | 68 => 1,
        69 | 70 => return Err(NOT_FOUND),
        _ => return Ok((None, None)),
    };
    // The order of PUT, ADD, INCREMENT is the third argument, of the others the second.
    let order = number(arguments, order_at, 0);
    let flags = match order & !0x10 {
        flags @ (1 | 3) if order == flags || order == flags + 0x10 => flags as u8,
        _ => 0,
    };
    let (after, told) = modify(code, arguments, flags, &[])?;
    let made = match (code, &arguments[0]) {
        (64, _) => true,
        (66 | 68, Tree::Map { pairs, .. }) => pairs.is_empty(),
        _ => false,
    };
    let empty = Tree::Map {
        flags,
        pairs: Vec::new(),
    };
    Ok((after.filter(|after| made || *after != empty), told))
}

/// Puts a pair in its place.
pub(super) fn put(pairs: &mut Vec<(Tree, Tree)>, key: &Tree, value: Tree) {
    match pairs.iter().position(|(other, _)| equal(other, key)) {
        Some(at) => pairs[at].1 = value,
        None => {
            let at = pairs.iter().position(|(other, _)| less(key, other));
            pairs.insert(at.unwrap_or(pairs.len()), (key.clone(), value));
        }
    }
}

pub(super) fn modify(
    code: i64,
    arguments: &[Tree],
    flags: u8,
    pairs: &Pairs,
) -> Result<(Option<Tree>, Told)> {
    let map = |pairs| Some(Tree::Map { flags, pairs });
    Ok(match code {
        64 => {
            let wanted = int(&arguments[0]);
            if wanted & !0x13 != 0 {
                return Err(NOT_APPLICABLE);
            }
            let flags = if wanted & 1 == 0 { 0 } else { wanted as u8 & 3 };
            let pairs = pairs.to_vec();
            (Some(Tree::Map { flags, pairs }), None)
        }
        65..=70 => {
            let (new, rules) = match (code, &arguments[0]) {
                (65, key) => (vec![(key.clone(), arguments[1].clone())], 1),
                (67, key) => {
                    let rules = number(arguments, 3, 0);
                    (vec![(key.clone(), arguments[1].clone())], rules)
                }
                (69, key) => (vec![(key.clone(), arguments[1].clone())], 2),
                (66, Tree::Map { pairs, .. }) => (pairs.clone(), 1),
                (68, Tree::Map { pairs, .. }) => (pairs.clone(), number(arguments, 2, 0)),
                (_, Tree::Map { pairs, .. }) => (pairs.clone(), 2),
                (_, other) => panic!("{other} is no map"),
            };
            let mut after = pairs.to_vec();
            let (no_fail, partial) = (rules & 4 != 0, rules & 12 == 12 && matches!(code, 68));
            for (key, value) in new {
                let there = pairs.iter().any(|(other, _)| equal(other, &key));
                let error = match there {
                    true if rules & 1 != 0 => EXISTS,
                    false if rules & 2 != 0 => NOT_FOUND,
                    _ => {
                        put(&mut after, &key, value);
                        continue;
                    }
                };
                if !no_fail {
                    return Err(error);
                }
                if !partial {
                    return Ok((None, count(pairs.len())));
                }
            }
            let told = count(after.len());
            (map(after), told)
        }
        73 | 74 => {
            let key = &arguments[0];
            let before = pairs.iter().find(|(other, _)| equal(other, key));
            let delta = arguments.get(1);
            let new = sum(before.map(|(_, value)| value), delta, code == 74)?;
            let mut after = pairs.to_vec();
            put(&mut after, key, new.clone());
            (map(after), Some(new))
        }
        75 => (map(Vec::new()), None),
        code => {
            let (chosen, told) = pick(code, arguments, pairs)?;
            let left = (0..pairs.len()).filter(|at| !chosen.contains(at));
            (map(left.map(|at| pairs[at].clone()).collect()), told)
        }
    })
}
