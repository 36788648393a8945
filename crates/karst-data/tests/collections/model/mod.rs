//! The model: the same operations on trees, slow and obvious, written from the reference alone.
//!
//! Nothing here is shared with the code under test. A list is a `Vec`, a search looks at everything, a
//! rank is a count, and every operation makes a new tree.

use crate::run::Outcome;
use crate::tree::Tree;

mod list;
mod map;
mod order;
mod path;
mod pick;
mod select;

pub(crate) use order::{canonical, is_map_key};

/// An answer; `None` for nothing.
type Told = Option<Tree>;

/// A changed value and an answer. The value is `None` if there is none, changed or not.
type Result<T> = std::result::Result<T, u8>;

const PARAMETER: u8 = 4;
const INCOMPATIBLE: u8 = 12;
const TOO_BIG: u8 = 13;
const NOT_FOUND: u8 = 23;
const EXISTS: u8 = 24;
const NOT_APPLICABLE: u8 = 26;

const SELECT: i64 = 0xfe;

/// Carries out an operation: its number, arguments, and path if it has one.
pub(crate) fn run(
    before: Option<&Tree>,
    path: Option<&Tree>,
    code: i64,
    arguments: &[Tree],
    reads: bool,
) -> Outcome {
    let told = |told| (before.cloned(), told);
    if code == SELECT && path.is_none() {
        return select::run(before, arguments, reads);
    }
    let call = Call::of(code, arguments)?;
    if call.reads() != reads {
        return Err(PARAMETER);
    }
    let steps = path.map(path::steps).transpose()?.unwrap_or_default();
    match before {
        None if reads => return Ok((None, None)),
        None | Some(Tree::List { .. } | Tree::Map { .. }) => {}
        Some(_) if path.is_some() => return Err(PARAMETER),
        Some(_) => return Err(INCOMPATIBLE),
    }
    if reads {
        let target = path::resolve(&steps, before.expect("a value"))?;
        return call.read(target).map(told);
    }
    let (after, answer) = path::modify(&steps, before, &call)?;
    Ok((after.or(before.cloned()), answer))
}

/// A call with arguments that have been looked at.
pub(crate) enum Call {
    List(i64, Vec<Tree>),
    Map(i64, Vec<Tree>),
    /// Its arguments mean nothing.
    Malformed(i64),
}

/// Kinds of arguments.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Number,
    /// Compared only.
    Any,
    Stored,
    StoredList,
    StoredMap,
    Key,
    /// A list to look for.
    Wanted,
    /// A number to add, or nil.
    Delta,
}

impl Call {
    fn of(code: i64, arguments: &[Tree]) -> Result<Call> {
        let (kinds, least) = if code < 64 {
            list::arguments(code)
        } else {
            map::arguments(code)
        }
        .ok_or(PARAMETER)?;
        let arguments = match kinds {
            [] => Vec::new(), // whatever comes with those is not looked at
            kinds if (least..=kinds.len()).contains(&arguments.len()) => {
                let of_kind = |(kind, argument): (&Kind, &Tree)| argument_of(*kind, argument);
                match kinds.iter().zip(arguments).map(of_kind).collect() {
                    Ok(arguments) => arguments,
                    Err(_) => return Ok(Call::Malformed(code)),
                }
            }
            _ => return Ok(Call::Malformed(code)),
        };
        Ok(if code < 64 {
            Call::List(code, arguments)
        } else {
            Call::Map(code, arguments)
        })
    }

    fn reads(&self) -> bool {
        match self {
            Call::List(code, _) => (16..=27).contains(code),
            Call::Map(code, _) => *code >= 96,
            Call::Malformed(code) => (16..=27).contains(code) || *code >= 96,
        }
    }

    fn read(&self, target: &Tree) -> Result<Told> {
        match (self, target) {
            (Call::List(code, arguments), Tree::List { ordered, items }) => {
                list::read(*code, arguments, *ordered, items)
            }
            (Call::Map(code, arguments), Tree::Map { pairs, .. }) => {
                map::read(*code, arguments, pairs)
            }
            (Call::Malformed(..64), Tree::List { .. }) => Err(PARAMETER),
            (Call::Malformed(64..), Tree::Map { .. }) => Err(PARAMETER),
            _ => Err(INCOMPATIBLE),
        }
    }

    /// The new value, `None` if it is as before or still missing, and the answer.
    fn modify(&self, target: Option<&Tree>) -> Result<(Option<Tree>, Told)> {
        let (after, told) = match (self, target) {
            (Call::List(code, arguments), None) => list::begin(*code, arguments)?,
            (Call::List(code, arguments), Some(Tree::List { ordered, items })) => {
                list::modify(*code, arguments, *ordered, items)?
            }
            (Call::Map(code, arguments), None) => map::begin(*code, arguments)?,
            (Call::Map(code, arguments), Some(Tree::Map { flags, pairs })) => {
                map::modify(*code, arguments, *flags, pairs)?
            }
            // What takes away does nothing where nothing is, whatever it says.
            (Call::Malformed(5..=8 | 10 | 32..=40 | 76..=89), None) => (None, None),
            (Call::Malformed(_), None)
            | (Call::Malformed(..64), Some(Tree::List { .. }))
            | (Call::Malformed(64..), Some(Tree::Map { .. })) => return Err(PARAMETER),
            _ => return Err(INCOMPATIBLE),
        };
        Ok((after.filter(|after| Some(after) != target), told))
    }
}

fn argument_of(kind: Kind, argument: &Tree) -> Result<Tree> {
    let stored = || canonical(argument, true).ok_or(PARAMETER);
    match (kind, argument) {
        (Kind::Number, Tree::Int(_)) => Ok(argument.clone()),
        (Kind::Number, _) => Err(PARAMETER),
        (Kind::Any, _) => canonical(argument, false).ok_or(PARAMETER),
        (Kind::Wanted, Tree::List { .. }) => canonical(argument, false).ok_or(PARAMETER),
        (Kind::Wanted, _) => Err(PARAMETER),
        (Kind::Stored | Kind::Delta, _) => stored(),
        (Kind::StoredList, Tree::List { .. }) | (Kind::StoredMap, Tree::Map { .. }) => stored(),
        (Kind::StoredList | Kind::StoredMap, _) => Err(PARAMETER),
        (Kind::Key, key) if is_map_key(key) => Ok(key.clone()),
        (Kind::Key, _) => Err(PARAMETER),
    }
}

fn int(tree: &Tree) -> i64 {
    match tree {
        Tree::Int(value) => *value,
        other => panic!("{other} is no integer"),
    }
}

/// The argument at a position, or what it is when it is left out.
fn number(arguments: &[Tree], at: usize, otherwise: i64) -> i64 {
    arguments.get(at).map_or(otherwise, int)
}

fn count(tree: usize) -> Told {
    Some(Tree::Int(tree as i64))
}

/// Where a range of positions begins and ends.
fn range(start: i64, count: i64, len: usize) -> (usize, usize) {
    let len = len as i128;
    let count = i128::from(count as u64);
    let start = i128::from(start);
    let (from, to) = if start < 0 {
        // What would lie before the first is lost.
        ((start + len).max(0), start + len + count)
    } else {
        (start, start + count)
    };
    let from = from.min(len);
    (from as usize, to.clamp(from, len) as usize)
}

/// Adds to a number inside a collection.
fn sum(before: Option<&Tree>, delta: Option<&Tree>, down: bool) -> Result<Tree> {
    let delta = match delta {
        None | Some(Tree::Nil) => Tree::Int(1),
        Some(number @ (Tree::Int(_) | Tree::Float(_))) => number.clone(),
        Some(_) => return Err(PARAMETER),
    };
    let delta = match delta {
        Tree::Int(value) if down => Tree::Int(value.wrapping_neg()),
        Tree::Float(value) if down => Tree::Float(-value),
        other => other,
    };
    Ok(match (before, delta) {
        (None, delta) => delta,
        (Some(Tree::Int(a)), Tree::Int(b)) => Tree::Int(a.wrapping_add(b)),
        (Some(Tree::Int(a)), Tree::Float(b)) => Tree::Int(a.wrapping_add(b.trunc() as i64)),
        (Some(Tree::Float(a)), Tree::Int(b)) => Tree::Float(a + b as f64),
        (Some(Tree::Float(a)), Tree::Float(b)) => Tree::Float(a + b),
        (Some(_), _) => return Err(PARAMETER),
    })
}
