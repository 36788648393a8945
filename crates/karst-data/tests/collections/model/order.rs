//! How elements compare, and what may be stored.

use std::cmp::Ordering;

use crate::tree::Tree;

/// The order of types.
fn class(tree: &Tree) -> u8 {
    match tree {
        Tree::Nil => 0,
        Tree::Bool(false) => 1,
        Tree::Bool(true) => 2,
        Tree::Int(_) => 3,
        Tree::Text(_) => 4,
        Tree::List { .. } => 5,
        Tree::Map { .. } => 6,
        Tree::Blob(_) => 7,
        Tree::Float(_) => 8,
        Tree::Infinity => 9,
        Tree::Wild => panic!("a wildcard has no place"),
    }
}

/// `Err` when a wildcard was met: equal, whatever follows.
fn walk(a: &Tree, b: &Tree) -> Result<Ordering, ()> {
    if *a == Tree::Wild || *b == Tree::Wild {
        return Err(());
    }
    Ok(match (a, b) {
        (Tree::Int(a), Tree::Int(b)) => a.cmp(b),
        (Tree::Text(a), Tree::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Tree::Blob(a), Tree::Blob(b)) => a.cmp(b),
        (Tree::Float(a), Tree::Float(b)) => a.partial_cmp(b).expect("no NaN in the model"),
        (Tree::List { items: a, .. }, Tree::List { items: b, .. }) => {
            for (a, b) in a.iter().zip(b) {
                match walk(a, b)? {
                    Ordering::Equal => {}
                    unequal => return Ok(unequal),
                }
            }
            a.len().cmp(&b.len())
        }
        (Tree::Map { pairs: a, .. }, Tree::Map { pairs: b, .. }) => {
            if a.len() != b.len() {
                return Ok(a.len().cmp(&b.len()));
            }
            for ((key_a, value_a), (key_b, value_b)) in a.iter().zip(b) {
                match walk(key_a, key_b)? {
                    Ordering::Equal => {}
                    unequal => return Ok(unequal),
                }
                match walk(value_a, value_b)? {
                    Ordering::Equal => {}
                    unequal => return Ok(unequal),
                }
            }
            Ordering::Equal
        }
        (a, b) => class(a).cmp(&class(b)),
    })
}

pub(super) fn compare(a: &Tree, b: &Tree) -> Ordering {
    walk(a, b).unwrap_or(Ordering::Equal)
}

pub(super) fn equal(a: &Tree, b: &Tree) -> bool {
    compare(a, b) == Ordering::Equal
}

pub(super) fn less(a: &Tree, b: &Tree) -> bool {
    compare(a, b) == Ordering::Less
}

/// Whether an element may be a map's key.
pub(crate) fn is_map_key(tree: &Tree) -> bool {
    matches!(tree, Tree::Int(_) | Tree::Text(_) | Tree::Blob(_))
}

pub(super) fn is_wild(tree: &Tree) -> bool {
    match tree {
        Tree::Wild | Tree::Infinity => true,
        Tree::List { items, .. } => items.iter().any(is_wild),
        Tree::Map { pairs, .. } => pairs
            .iter()
            .any(|(key, value)| is_wild(key) || is_wild(value)),
        _ => false,
    }
}

/// The form in which an element is stored, or compared with what is stored; `None` if it may not be.
pub(crate) fn canonical(tree: &Tree, stored: bool) -> Option<Tree> {
    match tree {
        Tree::Wild | Tree::Infinity if stored => None,
        Tree::List { ordered, items } => {
            let items: Vec<_> = items
                .iter()
                .map(|item| canonical(item, stored))
                .collect::<Option<_>>()?;
            let out_of_order = items.windows(2).any(|pair| less(&pair[1], &pair[0]));
            if stored && *ordered && out_of_order {
                return None;
            }
            Some(Tree::List {
                ordered: *ordered,
                items,
            })
        }
        Tree::Map { flags, pairs } => {
            let flags = if flags & 1 == 0 { 0 } else { flags & 3 };
            let mut pairs = pairs
                .iter()
                .map(|(key, value)| Some((canonical(key, stored)?, canonical(value, stored)?)))
                .collect::<Option<Vec<_>>>()?;
            if stored {
                if pairs.iter().any(|(key, _)| !is_map_key(key)) {
                    return None;
                }
                let ascends = pairs.windows(2).all(|pair| less(&pair[0].0, &pair[1].0));
                if flags != 0 && !ascends {
                    return None;
                }
            }
            if !pairs.iter().any(|(key, _)| is_wild(key)) {
                pairs.sort_by(|a, b| compare(&a.0, &b.0));
            }
            let twice = pairs.windows(2).any(|pair| equal(&pair[0].0, &pair[1].0));
            if stored && twice {
                return None;
            }
            Some(Tree::Map { flags, pairs })
        }
        other => Some(other.clone()),
    }
}
