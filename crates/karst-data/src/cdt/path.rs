//! The path to a collection inside others, and making what is missing on it.
//!
//! Each step is taken in the collection that the step before led to; the operation works on what the
//! last one leads to. A step that finds nothing may make it, if the request says so and what would be
//! found is a list's element or a map's value. From there on the rest of the path is made too. What a
//! step says about creation describes the collection in which the step is taken, not what it leads to:
//! that one is made by the next step, or by the operation.

use super::entries::Entries;
use super::parse::Arguments;
use super::range::position;
use super::selection::{Packed, owned};
use super::view::View;
use super::{Call, CdtError, Done, kind_of};
use crate::list::List;
use crate::map::Spot;
use crate::msgpack::{Collection, holds_wild, is_key, write_list_head, write_map_head};
use crate::work::Work;

/// Most nils that a path may put before what it makes: a record has no more bytes.
const PADDING_MAX: usize = 8 << 20;

const NOT_FOUND: CdtError = CdtError::NotApplicable("the path leads nowhere");

const OF_LISTS: u64 = 0x10;
const OF_MAPS: u64 = 0x20;
const CREATES: u64 = 0xc0;
const WITH_INDEX: u64 = 0x100;

/// How one step finds its element.
#[derive(Clone, Debug, PartialEq)]
enum By<'a> {
    Index(i64),
    Rank(i64),
    Key(Packed<'a>),
    Value(Packed<'a>),
    /// In a way that paths do not have.
    Nothing,
}

/// What a step makes of a collection that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Creation {
    /// The step does not say.
    Unsaid,
    /// An unordered list or map.
    Unordered,
    /// A list in which nils may come before what is put in; a map ordered by key.
    PaddedOrByKey,
    /// An ordered list; a map ordered by key and value.
    OrderedOrByKeyAndValue,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step<'a> {
    by: By<'a>,
    of_lists: bool,
    of_maps: bool,
    creation: Creation,
    with_index: bool,
}

impl<'a> Step<'a> {
    /// The same step, kept without its request.
    pub(super) fn into_owned(self) -> Step<'static> {
        Step {
            by: match self.by {
                By::Index(index) => By::Index(index),
                By::Rank(rank) => By::Rank(rank),
                By::Key(key) => By::Key(owned(key)),
                By::Value(value) => By::Value(owned(value)),
                By::Nothing => By::Nothing,
            },
            of_lists: self.of_lists,
            of_maps: self.of_maps,
            creation: self.creation,
            with_index: self.with_index,
        }
    }

    /// Reads a path: numbers, each followed by what to look for.
    pub(super) fn parse_all(mut arguments: Arguments<'a>) -> Result<Vec<Step<'a>>, CdtError> {
        if arguments.left() == 0 || !arguments.left().is_multiple_of(2) {
            return Err(CdtError::Parameter("a path is made of pairs"));
        }
        let mut path = Vec::with_capacity(arguments.left().min(16) / 2);
        while arguments.left() > 0 {
            path.push(Step::parse(&mut arguments)?);
        }
        Ok(path)
    }

    fn parse(arguments: &mut Arguments<'a>) -> Result<Step<'a>, CdtError> {
        let id = arguments.number()?;
        let by = match id & 0x0f {
            0 => By::Index(arguments.index()?),
            1 => By::Rank(arguments.index()?),
            2 => By::Key(arguments.comparable()?),
            3 => By::Value(arguments.comparable()?),
            _ => {
                arguments.element()?;
                By::Nothing
            }
        };
        let known = 0x0f | OF_LISTS | OF_MAPS | CREATES | WITH_INDEX;
        let both = OF_LISTS | OF_MAPS;
        let means_something = id & !known == 0 && id & both != both;
        Ok(Step {
            by: if means_something { by } else { By::Nothing },
            of_lists: id & OF_LISTS != 0,
            of_maps: id & OF_MAPS != 0,
            creation: match id & CREATES {
                0 => Creation::Unsaid,
                0x40 => Creation::Unordered,
                0x80 => Creation::PaddedOrByKey,
                _ => Creation::OrderedOrByKeyAndValue,
            },
            with_index: id & WITH_INDEX != 0,
        })
    }

    /// Where the element begins and ends that the step leads to, if that can be told without an index of the
    /// collection; `Some(None)` if there is no such element.
    fn bounds(
        &self,
        packed: &[u8],
        work: &Work,
    ) -> Result<Option<Option<(usize, usize)>>, CdtError> {
        let By::Key(key) = &self.by else {
            return Ok(None);
        };
        if self.of_lists || kind_of(packed) != Some(Collection::Map) || !is_key(key) {
            return Ok(None);
        }
        Ok(Some(Spot::of(packed, key, work)?.bounds()))
    }

    /// The element that the step leads to; `None` if there is none.
    fn find(&self, view: &View<'_, '_>) -> Result<Option<usize>, CdtError> {
        let wrong_kind = if view.is_map() {
            self.of_lists
        } else {
            self.of_maps
        };
        if wrong_kind {
            return Err(NOT_FOUND);
        }
        Ok(match (&self.by, view) {
            (By::Index(index), _) => position(*index, view.len()),
            (By::Rank(rank), _) => view.ranked(*rank),
            (By::Key(key), View::Map(map)) => map.position(key).ok(),
            (By::Value(value), _) => view.first_of(value),
            (By::Key(_), View::List(_)) | (By::Nothing, _) => return Err(NOT_FOUND),
        })
    }
}

/// Follows a path.
pub(super) fn resolve<'v>(
    path: &[Step<'_>],
    packed: &'v [u8],
    work: &Work,
) -> Result<&'v [u8], CdtError> {
    let mut packed = packed;
    for step in path {
        if let Some(bounds) = step.bounds(packed, work)? {
            let (start, end) = bounds.ok_or(NOT_FOUND)?;
            packed = &packed[start..end];
            continue;
        }
        let view = View::of(packed, work)?.ok_or(NOT_FOUND)?;
        let at = step.find(&view)?.ok_or(NOT_FOUND)?;
        packed = view.value(at);
    }
    Ok(packed)
}

/// Carries out an operation at the end of a path, and writes the outermost collection anew if that
/// changed anything.
pub(super) fn modify<'v>(
    path: &[Step<'_>],
    call: &Call<'_>,
    before: Option<&'v [u8]>,
    work: &Work,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    let Some((step, rest)) = path.split_first() else {
        return call.modify(before, work, out);
    };
    let Some(packed) = before else {
        if step.creation == Creation::Unsaid {
            return Err(NOT_FOUND);
        }
        check_deeper(&path[1..])?;
        return make(path, call, work, out);
    };
    if let Some(Some(bounds)) = step.bounds(packed, work)? {
        return in_place(packed, bounds, rest, call, work, out);
    }
    let view = View::of(packed, work)?.ok_or(NOT_FOUND)?;
    let Some(at) = step.find(&view)? else {
        return add(&view, step, rest, call, work, out);
    };
    match view {
        View::List(list) if list.ordered => in_ordered(&list, at, rest, call, out),
        View::List(list) => {
            let bounds = (list.start(at), list.start(at + 1));
            in_place(list.packed(), bounds, rest, call, work, out)
        }
        View::Map(map) => {
            let bounds = (map.start_of_value(at), map.start(at + 1));
            in_place(map.packed(), bounds, rest, call, work, out)
        }
    }
}

/// Goes on in an element that stays where it is, whatever becomes of it.
fn in_place<'v>(
    packed: &'v [u8],
    (start, end): (usize, usize),
    rest: &[Step<'_>],
    call: &Call<'_>,
    work: &Work,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    let begun = out.len();
    out.extend_from_slice(&packed[..start]);
    let inner = out.len();
    let done = modify(rest, call, Some(&packed[start..end]), work, out)?;
    if done.changed {
        debug_assert!(out.len() > inner);
        out.extend_from_slice(&packed[end..]);
    } else {
        out.truncate(begun);
    }
    Ok(done)
}

/// Goes on in an element of an ordered list, which is put where it belongs then.
fn in_ordered<'v>(
    list: &List<'v, '_>,
    at: usize,
    rest: &[Step<'_>],
    call: &Call<'_>,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    let mut inner = Vec::with_capacity(list.element(at).len() + 64);
    let done = modify(rest, call, Some(list.element(at)), list.work, &mut inner)?;
    if done.changed {
        list.move_to_its_place(at, &inner, out)?;
    }
    Ok(done)
}

/// Adds to a collection what a step did not find in it.
fn add<'v>(
    view: &View<'_, '_>,
    step: &Step<'_>,
    rest: &[Step<'_>],
    call: &Call<'_>,
    work: &Work,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    if step.creation == Creation::Unsaid {
        return Err(NOT_FOUND);
    }
    check_deeper(rest)?;
    match (view, &step.by) {
        (View::List(list), By::Index(index)) if step.of_lists => {
            let at = place_in(list, *index, step.creation)?;
            let mut inner = Vec::new();
            let done = make(rest, call, work, &mut inner)?;
            if done.changed {
                put_into_list(list, at, &inner, out)?;
            }
            Ok(done)
        }
        (View::Map(map), By::Key(key)) if step.of_maps => {
            check_key(key)?;
            let mut inner = Vec::new();
            let done = make(rest, call, work, &mut inner)?;
            if done.changed {
                Spot::of(map.packed(), key, work)?.write(key, &inner, out)?;
            }
            Ok(done)
        }
        _ => Err(NOT_FOUND),
    }
}

/// Refuses steps that would make something with an index inside something else.
fn check_deeper(steps: &[Step<'_>]) -> Result<(), CdtError> {
    if steps.iter().any(|step| step.with_index) {
        return Err(CdtError::NotApplicable("only a whole value has an index"));
    }
    Ok(())
}

/// Where a new element goes that a path wants at an index that does not exist.
fn place_in(list: &List<'_, '_>, index: i64, creation: Creation) -> Result<usize, CdtError> {
    let len = list.len();
    if index == -1 && len == 0 {
        return Ok(0);
    }
    let at = usize::try_from(index).map_err(|_| NOT_FOUND)?;
    let pads = creation == Creation::PaddedOrByKey && !list.ordered;
    if at > len && !pads && !list.ordered {
        return Err(NOT_FOUND);
    }
    if at - len > PADDING_MAX && !list.ordered {
        return Err(CdtError::TooBig);
    }
    Ok(at)
}

fn put_into_list(
    list: &List<'_, '_>,
    at: usize,
    element: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CdtError> {
    let len = list.len();
    if list.ordered {
        let at = list.place_of(element);
        write_list_head(out, len + 1, true)?;
        out.extend_from_slice(list.span(0, at));
        out.extend_from_slice(element);
        out.extend_from_slice(list.span(at, len));
        return Ok(());
    }
    write_list_head(out, at + 1, false)?;
    out.extend_from_slice(list.span(0, len));
    out.resize(out.len() + (at - len), 0xc0);
    out.extend_from_slice(element);
    Ok(())
}

fn check_key(key: &[u8]) -> Result<(), CdtError> {
    if holds_wild(key) {
        return Err(NOT_FOUND);
    }
    if is_key(key) {
        Ok(())
    } else {
        Err(CdtError::Parameter("no map has such a key"))
    }
}

/// Makes the rest of a path and what the operation makes at its end. Nothing, if that makes nothing.
fn make<'v>(
    path: &[Step<'_>],
    call: &Call<'_>,
    work: &Work,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    let Some((step, rest)) = path.split_first() else {
        return call.modify(None, work, out);
    };
    let mut inner = Vec::new();
    match &step.by {
        By::Index(index) if step.of_lists => {
            let padding = padding(*index, step.creation)?;
            let done = make(rest, call, work, &mut inner)?;
            if done.changed {
                let ordered = step.creation == Creation::OrderedOrByKeyAndValue;
                write_list_head(out, padding + 1, ordered)?;
                out.resize(out.len() + padding, 0xc0);
                out.extend_from_slice(&inner);
            }
            Ok(done)
        }
        By::Key(key) if step.of_maps => {
            check_key(key)?;
            let done = make(rest, call, work, &mut inner)?;
            if done.changed {
                let flags = match step.creation {
                    Creation::Unsaid | Creation::Unordered => 0,
                    Creation::PaddedOrByKey => 0x01,
                    Creation::OrderedOrByKeyAndValue => 0x03,
                };
                write_map_head(out, 1, flags)?;
                out.extend_from_slice(key);
                out.extend_from_slice(&inner);
            }
            Ok(done)
        }
        _ => Err(NOT_FOUND),
    }
}

/// How many nils come before the element of a list that is made.
fn padding(index: i64, creation: Creation) -> Result<usize, CdtError> {
    let index = match index {
        -1 => 0,
        index => usize::try_from(index).map_err(|_| NOT_FOUND)?,
    };
    match creation {
        Creation::OrderedOrByKeyAndValue => Ok(0),
        Creation::PaddedOrByKey if index > PADDING_MAX => Err(CdtError::TooBig),
        Creation::PaddedOrByKey => Ok(index),
        Creation::Unsaid | Creation::Unordered if index > 0 => Err(NOT_FOUND),
        Creation::Unsaid | Creation::Unordered => Ok(0),
    }
}
