//! Many paths at once: selecting what lies under them, or changing it, with expressions to decide.
//!
//! Each level says which elements of a collection are meant; those that are collections are gone into
//! with the next level. What an expression says of an element is asked of whoever runs the operation,
//! by the [`Evaluate`] that it lends.

use std::borrow::Cow;

use super::entries::Entries;
use super::parse::Arguments;
use super::selection::{Elements, Packed, owned};
use super::view::View;
use super::{Access, Answer, CdtError, kind_of};
use crate::list::List;
use crate::map::Map;
use crate::msgpack::{Collection, Ranked, holds_wild, storable, write_list_head, write_map_head};
use crate::work::{Work, of_bytes, of_element, of_ranked, to_find, to_sort};

/// Most levels of one operation.
const LEVELS_MAX: usize = 64;

const OF_LISTS: u64 = 0x10;
const OF_MAPS: u64 = 0x20;

/// The number of a second condition on the level before.
const ALSO: u64 = 0x204;

const NO_FAIL: u64 = 0x10;

/// An expression that an operation holds, as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expression<'a> {
    /// Which one of its operation: what was made of it at first can be found again.
    pub number: usize,
    /// Its packed form; empty if the operation is kept without its request.
    pub packed: &'a [u8],
    /// Whether it is a condition: it has to be a truth.
    pub decides: bool,
}

/// The element that an expression is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'v> {
    /// Its key, packed, if it lies in a map.
    pub key: Option<&'v [u8]>,
    /// Its value, packed.
    pub value: &'v [u8],
    /// Its index, if it lies in a list.
    pub index: Option<usize>,
}

/// What an expression makes of an element.
#[derive(Clone, Debug, PartialEq)]
pub enum Replacement {
    /// Another value, packed.
    Value(Vec<u8>),
    /// It is removed.
    Remove,
    /// Unknown.
    Unknown,
}

/// Whoever can evaluate expressions.
pub trait Evaluate {
    /// Whether an expression is true of an element; `None` if that is unknown.
    fn holds(&mut self, expression: Expression<'_>, item: Item<'_>) -> Option<bool>;

    /// What an expression makes of an element.
    fn replace(&mut self, expression: Expression<'_>, item: Item<'_>) -> Replacement;
}

/// Knows the value of no expression.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoExpressions;

impl Evaluate for NoExpressions {
    fn holds(&mut self, _: Expression<'_>, _: Item<'_>) -> Option<bool> {
        None
    }

    fn replace(&mut self, _: Expression<'_>, _: Item<'_>) -> Replacement {
        Replacement::Unknown
    }
}

/// A condition on elements.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Condition<'a> {
    Always,
    Expression(Expression<'a>),
}

/// Which elements of a collection a level means.
#[derive(Clone, Debug, PartialEq)]
enum Which<'a> {
    Index(i64),
    Rank(i64),
    Key(Packed<'a>),
    Value(Packed<'a>),
    Keys(Elements<'a>),
    All(Condition<'a>),
}

#[derive(Clone, Debug, PartialEq)]
struct Level<'a> {
    which: Which<'a>,
    of_lists: bool,
    of_maps: bool,
    also: Option<Condition<'a>>,
}

/// What is done with what the last level means.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Purpose<'a> {
    Tree,
    Values,
    Keys,
    KeysAndValues,
    Apply(Expression<'a>),
}

/// A selection by path.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Select<'a> {
    levels: Vec<Level<'a>>,
    purpose: Purpose<'a>,
    /// What is unknown or has no key is passed over.
    no_fail: bool,
}

impl<'a> Select<'a> {
    pub(super) fn parse(
        arguments: &mut Arguments<'a>,
        access: Access,
    ) -> Result<Select<'a>, CdtError> {
        match access {
            Access::Read => arguments.expect(2, 2)?,
            Access::Modify => arguments.expect(3, 3)?,
        }
        let mut expressions = 0;
        let levels = Level::parse_all(arguments.list()?, &mut expressions)?;
        let flags = arguments.number()?;
        let purpose = match (flags & 0x0f, access) {
            (0, Access::Read) => Purpose::Tree,
            (1, Access::Read) => Purpose::Values,
            (2, Access::Read) => Purpose::Keys,
            (3, Access::Read) => Purpose::KeysAndValues,
            (4, Access::Modify) => Purpose::Apply(Expression {
                number: expressions,
                packed: arguments.element()?,
                decides: false,
            }),
            _ => return Err(CdtError::Parameter("no such selection")),
        };
        Ok(Select {
            levels,
            purpose,
            no_fail: flags & NO_FAIL != 0,
        })
    }

    /// The same selection, kept without its request.
    pub(super) fn into_owned(self) -> Select<'static> {
        Select {
            levels: self.levels.into_iter().map(Level::into_owned).collect(),
            purpose: match self.purpose {
                Purpose::Tree => Purpose::Tree,
                Purpose::Values => Purpose::Values,
                Purpose::Keys => Purpose::Keys,
                Purpose::KeysAndValues => Purpose::KeysAndValues,
                Purpose::Apply(expression) => Purpose::Apply(expression.without_bytes()),
            },
            no_fail: self.no_fail,
        }
    }

    pub(super) fn expressions(&self) -> impl Iterator<Item = Expression<'a>> {
        let of_level = |level: &Level<'a>| {
            let own = match &level.which {
                Which::All(condition) => Some(*condition),
                _ => None,
            };
            [own, level.also]
        };
        let conditions: Vec<_> = self.levels.iter().flat_map(of_level).flatten().collect();
        let applied = match self.purpose {
            Purpose::Apply(expression) => Some(Condition::Expression(expression)),
            _ => None,
        };
        let all = conditions.into_iter().chain(applied);
        all.filter_map(|condition| match condition {
            Condition::Always => None,
            Condition::Expression(expression) => Some(expression),
        })
    }

    pub(super) fn read<'v>(
        &self,
        packed: &'v [u8],
        expressions: &mut dyn Evaluate,
        work: &Work,
    ) -> Result<Answer<'v>, CdtError> {
        let mut run = Run {
            select: self,
            expressions,
            work,
        };
        let mut out = Vec::new();
        if self.purpose == Purpose::Tree {
            run.tree(&self.levels, packed, &mut out)?;
            return Ok(match kind_of(packed) {
                Some(Collection::Map) => Answer::Map(out),
                _ => Answer::List(out),
            });
        }
        let count = run.leaves(&self.levels, packed, &mut out)?;
        let mut list = Vec::with_capacity(out.len() + 5);
        write_list_head(&mut list, count, false)?;
        list.extend_from_slice(&out);
        Ok(Answer::List(list))
    }

    /// Writes the changed collection; returns whether anything changed.
    pub(super) fn apply(
        &self,
        packed: &[u8],
        expressions: &mut dyn Evaluate,
        work: &Work,
        out: &mut Vec<u8>,
    ) -> Result<bool, CdtError> {
        let Purpose::Apply(expression) = self.purpose else {
            return Err(CdtError::Parameter("a read among writes"));
        };
        let mut run = Run {
            select: self,
            expressions,
            work,
        };
        run.apply(&self.levels, packed, expression, out)
    }
}

impl<'a> Level<'a> {
    fn into_owned(self) -> Level<'static> {
        Level {
            which: match self.which {
                Which::Index(index) => Which::Index(index),
                Which::Rank(rank) => Which::Rank(rank),
                Which::Key(key) => Which::Key(owned(key)),
                Which::Value(value) => Which::Value(owned(value)),
                Which::Keys(keys) => Which::Keys(keys.into_owned()),
                Which::All(condition) => Which::All(condition.without_bytes()),
            },
            of_lists: self.of_lists,
            of_maps: self.of_maps,
            also: self.also.map(Condition::without_bytes),
        }
    }

    fn parse_all(
        mut arguments: Arguments<'a>,
        expressions: &mut usize,
    ) -> Result<Vec<Level<'a>>, CdtError> {
        let left = arguments.left();
        if left == 0 || !left.is_multiple_of(2) || left > 2 * LEVELS_MAX {
            return Err(CdtError::Parameter("a path is made of 1 to 64 pairs"));
        }
        let mut levels: Vec<Level<'a>> = Vec::with_capacity(left / 2);
        while arguments.left() > 0 {
            let id = arguments.number()?;
            if id == ALSO {
                let condition = Condition::parse(&mut arguments, expressions)?;
                let before = levels.last_mut().filter(|before| before.takes_another());
                let before = before.ok_or(CdtError::Parameter("nothing to add a condition to"))?;
                before.also = Some(condition);
            } else {
                levels.push(Level::parse(id, &mut arguments, expressions)?);
            }
        }
        Ok(levels)
    }

    fn takes_another(&self) -> bool {
        self.also.is_none() && !matches!(self.which, Which::All(_))
    }

    fn parse(
        id: u64,
        arguments: &mut Arguments<'a>,
        expressions: &mut usize,
    ) -> Result<Level<'a>, CdtError> {
        let which = match id & !(OF_LISTS | OF_MAPS) {
            0 => Which::Index(arguments.index()?),
            1 => Which::Rank(arguments.index()?),
            2 => Which::Key(arguments.comparable()?),
            3 => Which::Value(arguments.comparable()?),
            4 => Which::All(Condition::parse(arguments, expressions)?),
            10 => Which::Keys(arguments.elements()?),
            _ => return Err(CdtError::Parameter("no such step of a path")),
        };
        Ok(Level {
            which,
            of_lists: id & OF_LISTS != 0,
            of_maps: id & OF_MAPS != 0,
            also: None,
        })
    }
}

impl Expression<'_> {
    /// Only the number is left.
    fn without_bytes(self) -> Expression<'static> {
        Expression {
            number: self.number,
            packed: &[],
            decides: self.decides,
        }
    }
}

impl<'a> Condition<'a> {
    fn without_bytes(self) -> Condition<'static> {
        match self {
            Condition::Always => Condition::Always,
            Condition::Expression(expression) => Condition::Expression(expression.without_bytes()),
        }
    }

    fn parse(
        arguments: &mut Arguments<'a>,
        expressions: &mut usize,
    ) -> Result<Condition<'a>, CdtError> {
        let packed = arguments.element()?;
        if packed == [0xc3] {
            return Ok(Condition::Always);
        }
        if kind_of(packed) != Some(Collection::List) {
            return Err(CdtError::Parameter("an expression is due"));
        }
        let number = *expressions;
        *expressions += 1;
        Ok(Condition::Expression(Expression {
            number,
            packed,
            decides: true,
        }))
    }
}

/// One run of a selection through a value.
struct Run<'r, 'a> {
    select: &'r Select<'a>,
    expressions: &'r mut dyn Evaluate,
    work: &'r Work,
}

fn view_of<'v, 'w>(packed: &'v [u8], work: &'w Work) -> Result<View<'v, 'w>, CdtError> {
    View::of(packed, work)?.ok_or(CdtError::Damaged("no collection where one was found"))
}

impl<'a> Run<'_, 'a> {
    /// Indexes of the elements that a level means, ascending.
    fn meant(&mut self, level: &Level<'a>, view: &View<'_, '_>) -> Result<Vec<usize>, CdtError> {
        let wrong_kind = if view.is_map() {
            level.of_lists
        } else {
            level.of_maps
        };
        const KIND: CdtError = CdtError::Parameter("a step into the other kind of collection");
        if wrong_kind {
            return Err(KIND);
        }
        let mut meant: Vec<usize> = match (&level.which, view) {
            (Which::Index(index), _) => {
                let at = super::range::position(*index, view.len());
                at.into_iter().collect()
            }
            (Which::Rank(rank), _) => view.ranked(*rank).into_iter().collect(),
            (Which::Value(value), _) => view.first_of(value).into_iter().collect(),
            (Which::Key(key), View::Map(map)) => map.position(key).ok().into_iter().collect(),
            (Which::Keys(keys), View::Map(map)) => of_keys(map, keys)?,
            (Which::Key(_) | Which::Keys(_), View::List(_)) => return Err(KIND),
            (Which::All(_), _) => (0..view.len()).collect(),
        };
        if let Which::All(condition) = &level.which {
            self.keep(*condition, view, &mut meant)?;
        }
        if let Some(condition) = level.also {
            self.keep(condition, view, &mut meant)?;
        }
        Ok(meant)
    }

    /// Keeps the elements of which a condition is true.
    fn keep(
        &mut self,
        condition: Condition<'a>,
        view: &View<'_, '_>,
        meant: &mut Vec<usize>,
    ) -> Result<(), CdtError> {
        let Condition::Expression(expression) = condition else {
            return Ok(());
        };
        let (mut unknown, work) = (false, self.work);
        meant.retain(|at| {
            if !work.allows(20) {
                return false;
            }
            let holds = self.expressions.holds(expression, item(view, *at));
            unknown |= holds.is_none();
            holds == Some(true)
        });
        if work.is_exhausted() {
            return Err(CdtError::Exhausted);
        }
        if unknown && !self.select.no_fail {
            return Err(CdtError::Parameter("whether a condition holds is unknown"));
        }
        Ok(())
    }

    /// Appends the keys or values that the last level means, and returns how many elements that were.
    fn leaves(
        &mut self,
        levels: &[Level<'a>],
        packed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<usize, CdtError> {
        let Some((level, rest)) = levels.split_first() else {
            return Ok(0);
        };
        let view = view_of(packed, self.work)?;
        let meant = self.meant(level, &view)?;
        if rest.is_empty() {
            return self.tell(&view, &meant, out);
        }
        let mut count = 0;
        for at in meant {
            if kind_of(view.value(at)).is_some() {
                count += self.leaves(rest, view.value(at), out)?;
            }
        }
        Ok(count)
    }

    fn tell(
        &self,
        view: &View<'_, '_>,
        meant: &[usize],
        out: &mut Vec<u8>,
    ) -> Result<usize, CdtError> {
        let (keys, values) = match self.select.purpose {
            Purpose::Keys => (true, false),
            Purpose::KeysAndValues => (true, true),
            Purpose::Values | Purpose::Tree | Purpose::Apply(_) => (false, true),
        };
        if keys && !view.is_map() {
            return if self.select.no_fail {
                Ok(0)
            } else {
                Err(CdtError::Incompatible)
            };
        }
        self.work.spend(4 * meant.len() as u64)?;
        for at in meant {
            if keys {
                out.extend_from_slice(view.key(*at).unwrap_or_default());
            }
            if values {
                out.extend_from_slice(view.value(*at));
            }
        }
        Ok(meant.len() * (usize::from(keys) + usize::from(values)))
    }

    /// Appends a collection of the same shape, with the branches that are meant alone.
    fn tree(
        &mut self,
        levels: &[Level<'a>],
        packed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CdtError> {
        let view = view_of(packed, self.work)?;
        self.work.spend(of_bytes(packed.len()))?;
        if view.len() == 0 {
            out.extend_from_slice(packed);
            return Ok(());
        }
        let Some((level, rest)) = levels.split_first() else {
            return Ok(());
        };
        let meant = self.meant(level, &view)?;
        if view.is_map() {
            write_map_head(out, meant.len(), 0)?;
        } else {
            write_list_head(out, meant.len(), false)?;
        }
        for at in meant {
            out.extend_from_slice(view.key(at).unwrap_or_default());
            if rest.is_empty() || kind_of(view.value(at)).is_none() {
                out.extend_from_slice(view.value(at));
            } else {
                self.tree(rest, view.value(at), out)?;
            }
        }
        Ok(())
    }

    /// Appends a collection in which what is meant is changed; returns whether anything was.
    fn apply(
        &mut self,
        levels: &[Level<'a>],
        packed: &[u8],
        expression: Expression<'a>,
        out: &mut Vec<u8>,
    ) -> Result<bool, CdtError> {
        let Some((level, rest)) = levels.split_first() else {
            return Ok(false);
        };
        let view = view_of(packed, self.work)?;
        let mut values: Vec<Option<Cow<'_, [u8]>>> = (0..view.len())
            .map(|at| Some(Cow::Borrowed(view.value(at))))
            .collect();
        let mut changed = false;
        for at in self.meant(level, &view)? {
            if !rest.is_empty() {
                let mut inner = Vec::new();
                if kind_of(view.value(at)).is_some()
                    && self.apply(rest, view.value(at), expression, &mut inner)?
                {
                    values[at] = Some(Cow::Owned(inner));
                    changed = true;
                }
                continue;
            }
            self.work.spend(20)?;
            match self.expressions.replace(expression, item(&view, at)) {
                Replacement::Value(value) => {
                    self.work.spend(2 * value.len() as u64)?;
                    values[at] = Some(Cow::Owned(checked(value)?));
                }
                Replacement::Remove => values[at] = None,
                Replacement::Unknown if self.select.no_fail => continue,
                Replacement::Unknown => return Err(CdtError::NoValue),
            }
            changed = true;
        }
        if changed {
            self.work.spend(of_bytes(packed.len()))?;
            write(&view, values, out)?;
        }
        Ok(changed)
    }
}

/// A value that an expression made, in stored form.
fn checked(value: Vec<u8>) -> Result<Vec<u8>, CdtError> {
    if holds_wild(&value) {
        return Err(CdtError::Incompatible);
    }
    Ok(storable(&value)?.into_owned())
}

/// Writes a collection with other values; without those that are gone.
fn write(
    view: &View<'_, '_>,
    values: Vec<Option<Cow<'_, [u8]>>>,
    out: &mut Vec<u8>,
) -> Result<(), CdtError> {
    let count = values.iter().flatten().count();
    match view {
        View::List(List { ordered, work, .. }) => {
            let mut values: Vec<_> = values.into_iter().flatten().collect();
            if *ordered {
                let element = |at: usize| &*values[at];
                let pass: u64 = (0..values.len()).map(|at| of_ranked(element(at))).sum();
                work.spend(to_sort(pass, values.len()))?;
                let order = Ranked::of(values.len(), element).into_ranks(0, values.len());
                values = order
                    .iter()
                    .map(|at| values[*at as usize].clone())
                    .collect();
            }
            write_list_head(out, count, *ordered)?;
            values.iter().for_each(|value| out.extend_from_slice(value));
        }
        View::Map(map) => {
            write_map_head(out, count, map.flags)?;
            for (at, value) in values.iter().enumerate() {
                if let Some(value) = value {
                    out.extend_from_slice(map.key(at));
                    out.extend_from_slice(value);
                }
            }
        }
    }
    Ok(())
}

fn item<'v>(view: &View<'v, '_>, at: usize) -> Item<'v> {
    Item {
        key: view.key(at),
        value: view.value(at),
        index: (!view.is_map()).then_some(at),
    }
}

/// Indexes of the pairs with these keys, ascending.
fn of_keys(map: &Map<'_, '_>, keys: &Elements<'_>) -> Result<Vec<usize>, CdtError> {
    let mut marked = vec![false; map.len()];
    for key in keys.iter() {
        map.work().spend(to_find(key, map.len()))?;
        let run = map.key_run(key);
        map.work().spend(run.count as u64 * of_element(key))?;
        marked[run.start..run.end()].fill(true);
    }
    let marks = marked.into_iter().enumerate();
    let marks = marks.filter_map(|(at, marked)| marked.then_some(at));
    Ok(marks.collect())
}
