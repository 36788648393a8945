//! Paths in the model.

use super::list::{add_in_order, replace_in_order};
use super::order::{canonical, compare, equal, is_map_key, is_wild};
use super::{Call, NOT_APPLICABLE, PARAMETER, Result, TOO_BIG, Told, int};
use crate::tree::Tree;

/// Number and value.
pub(super) type Step = (i64, Tree);

const PADDING_MAX: usize = 8 << 20;

pub(super) fn steps(path: &Tree) -> Result<Vec<Step>> {
    // Flags are an element like others here, and none that means anything.
    let Tree::List {
        ordered: false,
        items,
    } = path
    else {
        return Err(PARAMETER);
    };
    if items.is_empty() || items.len() % 2 != 0 {
        return Err(PARAMETER);
    }
    let step = |pair: &[Tree]| {
        let Tree::Int(id) = pair[0] else {
            return Err(PARAMETER);
        };
        if matches!(id & 0x0f, 0 | 1) && !matches!(pair[1], Tree::Int(_)) {
            return Err(PARAMETER);
        }
        Ok((id, canonical(&pair[1], false).ok_or(PARAMETER)?))
    };
    items.chunks(2).map(step).collect()
}

/// Where a step leads in a collection; `None` if there is no such element.
pub(super) fn find((id, wanted): &Step, target: &Tree) -> Result<Option<usize>> {
    let values: Vec<&Tree> = match target {
        Tree::List { items, .. } if id & 0x20 == 0 => items.iter().collect(),
        Tree::Map { pairs, .. } if id & 0x10 == 0 => pairs.iter().map(|(_, value)| value).collect(),
        _ => return Err(NOT_APPLICABLE),
    };
    if *id & !0x1ff != 0 {
        return Err(NOT_APPLICABLE);
    }
    let position = |at: i64| {
        let at = i128::from(at) + if at < 0 { values.len() as i128 } else { 0 };
        usize::try_from(at).ok().filter(|at| *at < values.len())
    };
    Ok(match (id & 0x0f, target) {
        (0, _) => position(int(wanted)),
        (1, _) => {
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|a, b| compare(values[*a], values[*b]));
            position(int(wanted)).map(|rank| order[rank])
        }
        (2, Tree::Map { pairs, .. }) => pairs.iter().position(|(key, _)| equal(key, wanted)),
        (3, _) => values.iter().position(|value| equal(value, wanted)),
        _ => return Err(NOT_APPLICABLE),
    })
}

fn element(target: &Tree, at: usize) -> &Tree {
    match target {
        Tree::List { items, .. } => &items[at],
        Tree::Map { pairs, .. } => &pairs[at].1,
        other => panic!("{other} is no collection"),
    }
}

pub(super) fn resolve<'t>(steps: &[Step], target: &'t Tree) -> Result<&'t Tree> {
    let mut target = target;
    for step in steps {
        let at = find(step, target)?.ok_or(NOT_APPLICABLE)?;
        target = element(target, at);
    }
    Ok(target)
}

/// The new value, `None` if it is as before or still missing, and the answer.
pub(super) fn modify(
    steps: &[Step],
    before: Option<&Tree>,
    call: &Call,
) -> Result<(Option<Tree>, Told)> {
    let Some((step, rest)) = steps.split_first() else {
        return call.modify(before);
    };
    let creates = step.0 & 0xc0 != 0;
    let Some(before) = before else {
        if !creates || rest.iter().any(|(id, _)| id & 0x100 != 0) {
            return Err(NOT_APPLICABLE);
        }
        return make(steps, call);
    };
    if let Some(at) = find(step, before)? {
        let (inner, told) = modify(rest, Some(element(before, at)), call)?;
        return Ok((inner.map(|inner| replaced(before, at, inner)), told));
    }
    if !creates || rest.iter().any(|(id, _)| id & 0x100 != 0) {
        return Err(NOT_APPLICABLE);
    }
    let mut after = before.clone();
    match &mut after {
        Tree::List { ordered, items } if step.0 & 0x1f == 0x10 => {
            let len = items.len();
            let at = match int(&step.1) {
                -1 if len == 0 => 0,
                at => usize::try_from(at).map_err(|_| NOT_APPLICABLE)?,
            };
            let pads = step.0 & 0xc0 == 0x80;
            if at > len && !*ordered && !pads {
                return Err(NOT_APPLICABLE);
            }
            if at > len + PADDING_MAX && !*ordered {
                return Err(TOO_BIG);
            }
            let (inner, told) = make(rest, call)?;
            let Some(inner) = inner else {
                return Ok((None, told));
            };
            if *ordered {
                add_in_order(items, inner);
            } else {
                while items.len() < at {
                    items.push(Tree::Nil);
                }
                items.push(inner);
            }
            Ok((Some(after), told))
        }
        Tree::Map { pairs, .. } if step.0 & 0x2f == 0x22 => {
            check_key(&step.1)?;
            let (inner, told) = make(rest, call)?;
            let Some(inner) = inner else {
                return Ok((None, told));
            };
            super::map::put(pairs, &step.1, inner);
            Ok((Some(after), told))
        }
        _ => Err(NOT_APPLICABLE),
    }
}

fn check_key(key: &Tree) -> Result<()> {
    if is_wild(key) {
        return Err(NOT_APPLICABLE);
    }
    if is_map_key(key) {
        Ok(())
    } else {
        Err(PARAMETER)
    }
}

fn replaced(before: &Tree, at: usize, inner: Tree) -> Tree {
    let mut after = before.clone();
    match &mut after {
        Tree::List {
            ordered: true,
            items,
        } => replace_in_order(items, at, inner),
        Tree::List { items, .. } => items[at] = inner,
        Tree::Map { pairs, .. } => pairs[at].1 = inner,
        other => panic!("{other} is no collection"),
    }
    after
}

/// Makes a path from its beginning.
fn make(steps: &[Step], call: &Call) -> Result<(Option<Tree>, Told)> {
    let Some(((id, wanted), rest)) = steps.split_first() else {
        return call.modify(None);
    };
    let creation = id & 0xc0;
    let list_step = id & !0x1c0 == 0x10;
    let map_step = id & !0x1c0 == 0x22;
    let padding = if list_step {
        let index = int(wanted);
        match creation {
            _ if index < -1 => return Err(NOT_APPLICABLE),
            0xc0 => 0,
            0x80 if index as i128 > PADDING_MAX as i128 => return Err(TOO_BIG),
            0x80 => index.max(0) as usize,
            _ if index > 0 => return Err(NOT_APPLICABLE),
            _ => 0,
        }
    } else if map_step {
        check_key(wanted)?;
        0
    } else {
        return Err(NOT_APPLICABLE);
    };
    let (inner, told) = make(rest, call)?;
    let made = inner.map(|inner| {
        if list_step {
            let mut items = vec![Tree::Nil; padding];
            items.push(inner);
            Tree::List {
                ordered: creation == 0xc0,
                items,
            }
        } else {
            let flags = match creation {
                0x80 => 1,
                0xc0 => 3,
                _ => 0,
            };
            Tree::Map {
                flags,
                pairs: vec![(wanted.clone(), inner)],
            }
        }
    });
    Ok((made, told))
}
