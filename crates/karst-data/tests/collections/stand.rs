//! Stand-ins for expressions, of which this room knows nothing.
//!
//! `[">", 5]` is true of integers above, unknown of what is no integer; `["key", "a"]` and `["index", 0]`
//! look at the place; `["add", 1]`, `["drop"]`, `["wild"]` make something of a value.

use karst_data::cdt::{Evaluate, Expression, Item, Replacement};

use crate::tree::Tree;

/// Evaluates them.
pub(crate) struct Stand;

/// What becomes of a value.
pub(crate) enum Fate {
    Value(Tree),
    Gone,
    Unknown,
}

/// An element with its place.
pub(crate) struct Place {
    pub(crate) key: Option<Tree>,
    pub(crate) index: Option<usize>,
    pub(crate) value: Tree,
}

fn parts(expression: &Tree) -> (&str, Option<&Tree>) {
    match expression {
        Tree::List { items, .. } => match items.as_slice() {
            [Tree::Text(name), rest @ ..] => (name, rest.first()),
            _ => ("", None),
        },
        _ => ("", None),
    }
}

pub(crate) fn holds(expression: &Tree, place: &Place) -> Option<bool> {
    match (parts(expression), &place.value) {
        ((">", Some(Tree::Int(than))), Tree::Int(found)) => Some(found > than),
        (("key", wanted), _) => Some(place.key.as_ref() == wanted),
        (("index", Some(Tree::Int(wanted))), _) => {
            Some(place.index.is_some_and(|at| at as i64 == *wanted))
        }
        _ => None,
    }
}

pub(crate) fn fate(expression: &Tree, place: &Place) -> Fate {
    match (parts(expression), &place.value) {
        (("add", Some(Tree::Int(more))), Tree::Int(found)) => {
            Fate::Value(Tree::Int(found.wrapping_add(*more)))
        }
        (("drop", _), _) => Fate::Gone,
        (("wild", _), _) => Fate::Value(Tree::Wild),
        _ => Fate::Unknown,
    }
}

fn place_of(item: Item<'_>) -> Place {
    Place {
        key: item.key.map(Tree::unpacked),
        index: item.index,
        value: Tree::unpacked(item.value),
    }
}

impl Evaluate for Stand {
    fn holds(&mut self, expression: Expression<'_>, item: Item<'_>) -> Option<bool> {
        holds(&Tree::unpacked(expression.packed), &place_of(item))
    }

    fn replace(&mut self, expression: Expression<'_>, item: Item<'_>) -> Replacement {
        match fate(&Tree::unpacked(expression.packed), &place_of(item)) {
            Fate::Value(value) => Replacement::Value(value.packed()),
            Fate::Gone => Replacement::Remove,
            Fate::Unknown => Replacement::Unknown,
        }
    }
}
