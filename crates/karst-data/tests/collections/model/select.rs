//! Selecting and changing by path in the model.

use super::order::{canonical, compare, equal, is_wild};
use super::{INCOMPATIBLE, PARAMETER, Result, int};
use crate::run::Outcome;
use crate::stand::{Fate, Place, fate, holds};
use crate::tree::Tree;

/// Number, what is looked for, and a second condition.
struct Level {
    id: i64,
    wanted: Tree,
    also: Option<Tree>,
}

struct Run {
    mode: i64,
    no_fail: bool,
}

const NO_VALUE: u8 = 1;

pub(super) fn run(before: Option<&Tree>, arguments: &[Tree], reads: bool) -> Outcome {
    let (levels, flags, expression) = match (arguments, reads) {
        ([levels, Tree::Int(flags)], true) if flags & 0x0f < 4 => (levels, *flags, &Tree::Nil),
        ([levels, Tree::Int(flags), expression], false) if flags & 0x0f == 4 => {
            (levels, *flags, expression)
        }
        _ => return Err(PARAMETER),
    };
    let levels = parse(levels)?;
    let run = Run {
        mode: flags & 0x0f,
        no_fail: flags & 0x10 != 0,
    };
    let target = match before {
        None if reads => return Ok((None, None)),
        Some(target @ (Tree::List { .. } | Tree::Map { .. })) => target,
        _ => return Err(INCOMPATIBLE),
    };
    match run.mode {
        0 => Ok((before.cloned(), Some(run.tree(&levels, target)?))),
        4 => Ok((Some(run.apply(&levels, target, expression)?), None)),
        _ => {
            let mut leaves = Vec::new();
            run.leaves(&levels, target, &mut leaves)?;
            Ok((before.cloned(), Some(Tree::list(leaves))))
        }
    }
}

fn parse(path: &Tree) -> Result<Vec<Level>> {
    // Flags are an element like others here, and none that means anything.
    let Tree::List {
        ordered: false,
        items,
    } = path
    else {
        return Err(PARAMETER);
    };
    if items.is_empty() || items.len() % 2 != 0 || items.len() > 128 {
        return Err(PARAMETER);
    }
    let mut levels: Vec<Level> = Vec::new();
    for pair in items.chunks(2) {
        let (Tree::Int(id), wanted) = (&pair[0], &pair[1]) else {
            return Err(PARAMETER);
        };
        let is_condition = matches!(wanted, Tree::List { .. } | Tree::Bool(true));
        let fits = match (id & !0x30, wanted) {
            (0 | 1, Tree::Int(_)) | (2 | 3, _) | (10, Tree::List { .. }) => true,
            (4, _) | (0x204, _) => is_condition,
            _ => false,
        };
        if !fits {
            return Err(PARAMETER);
        }
        if *id == 0x204 {
            let before = levels.last_mut().ok_or(PARAMETER)?;
            if before.also.is_some() || before.id & 0x0f == 4 {
                return Err(PARAMETER);
            }
            before.also = Some(wanted.clone());
            continue;
        }
        if id & 0x204 == 0x204 {
            return Err(PARAMETER);
        }
        levels.push(Level {
            id: *id,
            wanted: if id & 0x0f == 4 {
                wanted.clone()
            } else {
                canonical(wanted, false).ok_or(PARAMETER)?
            },
            also: None,
        });
    }
    Ok(levels)
}

fn is_collection(tree: &Tree) -> bool {
    matches!(tree, Tree::List { .. } | Tree::Map { .. })
}

fn places(target: &Tree) -> Vec<Place> {
    match target {
        Tree::List { items, .. } => items
            .iter()
            .enumerate()
            .map(|(index, value)| Place {
                key: None,
                index: Some(index),
                value: value.clone(),
            })
            .collect(),
        Tree::Map { pairs, .. } => pairs
            .iter()
            .map(|(key, value)| Place {
                key: Some(key.clone()),
                index: None,
                value: value.clone(),
            })
            .collect(),
        other => panic!("{other} is no collection"),
    }
}

impl Run {
    fn meant(&self, level: &Level, target: &Tree) -> Result<Vec<(usize, Place)>> {
        let is_map = matches!(target, Tree::Map { .. });
        let selector = level.id & 0x0f;
        let wrong = if is_map { 0x10 } else { 0x20 };
        if level.id & wrong != 0 || (!is_map && matches!(selector, 2 | 10)) {
            return Err(PARAMETER);
        }
        let places = places(target);
        let wanted = &level.wanted;
        let position = |at: i64| {
            let at = i128::from(at) + if at < 0 { places.len() as i128 } else { 0 };
            usize::try_from(at).ok().filter(|at| *at < places.len())
        };
        let one = match selector {
            0 => position(int(wanted)),
            1 => {
                let mut order: Vec<usize> = (0..places.len()).collect();
                order.sort_by(|a, b| compare(&places[*a].value, &places[*b].value));
                position(int(wanted)).map(|rank| order[rank])
            }
            3 => places.iter().position(|place| equal(&place.value, wanted)),
            _ => None,
        };
        let mut meant = Vec::new();
        for (at, place) in places.into_iter().enumerate() {
            let is_key = |key: &Tree| place.key.as_ref().is_some_and(|own| equal(own, key));
            let included = match (selector, wanted) {
                (2, key) => is_key(key),
                (10, Tree::List { items, .. }) => items.iter().any(is_key),
                (4, condition) => self.holds(condition, &place)?,
                _ => one == Some(at),
            };
            if included {
                meant.push((at, place));
            }
        }
        if let Some(also) = &level.also {
            let mut left = Vec::new();
            for (at, place) in meant {
                if self.holds(also, &place)? {
                    left.push((at, place));
                }
            }
            meant = left;
        }
        Ok(meant)
    }

    fn holds(&self, condition: &Tree, place: &Place) -> Result<bool> {
        if *condition == Tree::Bool(true) {
            return Ok(true);
        }
        match holds(condition, place) {
            Some(holds) => Ok(holds),
            None if self.no_fail => Ok(false),
            None => Err(PARAMETER),
        }
    }

    fn leaves(&self, levels: &[Level], target: &Tree, out: &mut Vec<Tree>) -> Result<()> {
        let meant = self.meant(&levels[0], target)?;
        if levels.len() > 1 {
            for (_, place) in meant {
                if is_collection(&place.value) {
                    self.leaves(&levels[1..], &place.value, out)?;
                }
            }
            return Ok(());
        }
        if self.mode >= 2 && matches!(target, Tree::List { .. }) {
            return if self.no_fail {
                Ok(())
            } else {
                Err(INCOMPATIBLE)
            };
        }
        for (_, place) in meant {
            out.extend(place.key.filter(|_| self.mode >= 2));
            if self.mode != 2 {
                out.push(place.value);
            }
        }
        Ok(())
    }

    fn tree(&self, levels: &[Level], target: &Tree) -> Result<Tree> {
        if places(target).is_empty() {
            return Ok(target.clone());
        }
        let mut items = Vec::new();
        for (_, place) in self.meant(&levels[0], target)? {
            let value = if levels.len() > 1 && is_collection(&place.value) {
                self.tree(&levels[1..], &place.value)?
            } else {
                place.value
            };
            items.push((place.key, value));
        }
        Ok(match target {
            Tree::Map { .. } => Tree::Map {
                flags: 0,
                pairs: items
                    .into_iter()
                    .map(|(key, value)| (key.expect("a key"), value))
                    .collect(),
            },
            _ => Tree::list(items.into_iter().map(|(_, value)| value).collect()),
        })
    }

    fn apply(&self, levels: &[Level], target: &Tree, expression: &Tree) -> Result<Tree> {
        let mut values: Vec<Option<Tree>> = places(target)
            .into_iter()
            .map(|place| Some(place.value))
            .collect();
        for (at, place) in self.meant(&levels[0], target)? {
            if levels.len() > 1 {
                if is_collection(&place.value) {
                    values[at] = Some(self.apply(&levels[1..], &place.value, expression)?);
                }
                continue;
            }
            match fate(expression, &place) {
                Fate::Value(value) if is_wild(&value) => return Err(INCOMPATIBLE),
                Fate::Value(value) => values[at] = Some(value),
                Fate::Gone => values[at] = None,
                Fate::Unknown if self.no_fail => {}
                Fate::Unknown => return Err(NO_VALUE),
            }
        }
        Ok(match target {
            Tree::List { ordered, .. } => {
                let mut items: Vec<_> = values.into_iter().flatten().collect();
                if *ordered {
                    items.sort_by(compare);
                }
                Tree::List {
                    ordered: *ordered,
                    items,
                }
            }
            Tree::Map { flags, pairs } => Tree::Map {
                flags: *flags,
                pairs: pairs
                    .iter()
                    .zip(values)
                    .filter_map(|((key, _), value)| Some((key.clone(), value?)))
                    .collect(),
            },
            other => panic!("{other} is no collection"),
        })
    }
}
