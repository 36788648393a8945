//! Operations on collections: lists, maps, and what lies inside them.
//!
//! A client packs an operation as one list: a number and arguments, perhaps with a path to a collection
//! inside others. [`CdtOp::parse`] reads it once into a typed operation; that works on any packed list
//! or map, be it a bin's or one that an expression made. Collections are never unpacked into trees: an
//! operation indexes where the elements of the collections on its path begin, and copies the rest.
//!
//! What is stored is canonical (see [`crate::msgpack`]) and stays so. The reference's flag by which a
//! collection is stored together with its index is accepted everywhere and kept nowhere.
//!
//! ```text
//! parse       payload -> CdtOp         list, map   the operations
//! selection   which elements           pick, tell  finding them, telling of them
//! path        into nested collections  select      many paths at once, with expressions
//! ```

use std::borrow::Cow;

use crate::list::ListCall;
use crate::map::MapCall;
use crate::msgpack::{Collection, Head, InvalidCollection, Reader};
use crate::value::{ParticleType, Value};
use crate::work::{Exhausted, Work, of_bytes};

pub(crate) mod answer;
pub(crate) mod entries;
pub(crate) mod number;
pub(crate) mod offsets;
mod parse;
mod path;
pub(crate) mod pick;
pub(crate) mod range;
mod select;
pub(crate) mod selection;
pub(crate) mod tell;
mod view;

pub use answer::{Answer, Told, element_value};
use path::Step;
pub use select::{Evaluate, Expression, Item, NoExpressions, Replacement};

/// Why an operation on a collection was refused; the collection is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CdtError {
    /// The request cannot be read, or does not mean anything.
    #[error("the operation is malformed: {0}")]
    Parameter(&'static str),
    /// The operation is for another kind of value.
    #[error("the operation is for another kind of value")]
    Incompatible,
    /// Something that has to be there is not.
    #[error("no such element")]
    ElementNotFound,
    /// Something that must not be there is.
    #[error("there is such an element")]
    ElementExists,
    /// The request makes sense, but not for this collection.
    #[error("the operation does not apply: {0}")]
    NotApplicable(&'static str),
    /// The result would exceed what a record can hold or an answer can carry.
    #[error("the result is too long")]
    TooBig,
    /// It is well-formed and is not served.
    #[error("not supported: {0}")]
    Unsupported(&'static str),
    /// An expression that should have given a new value gave none.
    #[error("an expression has no value")]
    NoValue,
    /// It takes more work than one request may make.
    #[error("it takes more work than one request may make")]
    Exhausted,
    /// The stored bytes are no canonical collection.
    #[error("the stored collection is damaged: {0}")]
    Damaged(&'static str),
}

impl From<InvalidCollection> for CdtError {
    fn from(invalid: InvalidCollection) -> CdtError {
        CdtError::Parameter(invalid.0)
    }
}

impl From<Exhausted> for CdtError {
    fn from(_: Exhausted) -> CdtError {
        CdtError::Exhausted
    }
}

/// Which half of a request an operation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It leaves the value as it is.
    Read,
    /// It may change the value.
    Modify,
}

/// What an operation is to be done at the end of its path.
#[derive(Clone, Debug, PartialEq)]
enum Call<'a> {
    List(ListCall<'a>),
    Map(MapCall<'a>),
    Select(select::Select<'a>),
    /// It cannot be done, and says so when its turn comes.
    Malformed(parse::Malformed),
}

/// One operation on a list or map, read from a request.
#[derive(Clone, Debug, PartialEq)]
pub struct CdtOp<'a> {
    path: Vec<Step<'a>>,
    call: Call<'a>,
}

/// The value that an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'v> {
    /// There is none.
    Missing,
    /// A packed list, canonical.
    List(&'v [u8]),
    /// A packed map, canonical.
    Map(&'v [u8]),
    /// Something else.
    Other,
}

impl<'v> Subject<'v> {
    /// A bin's value.
    pub fn of(value: Option<&'v Value<'_>>) -> Subject<'v> {
        match value {
            None => Subject::Missing,
            Some(value) => Subject::of_particle(value.particle, &value.bytes),
        }
    }

    /// A value by its type and its stored bytes.
    pub fn of_particle(particle: ParticleType, bytes: &'v [u8]) -> Subject<'v> {
        match particle {
            ParticleType::List => Subject::List(bytes),
            ParticleType::Map => Subject::Map(bytes),
            _ => Subject::Other,
        }
    }

    /// The bytes, if it is a collection.
    fn collection(self) -> Option<&'v [u8]> {
        match self {
            Subject::List(packed) | Subject::Map(packed) => Some(packed),
            Subject::Missing | Subject::Other => None,
        }
    }
}

/// What a modifying operation did to one collection.
pub(crate) struct Done<'v> {
    pub(crate) answer: Answer<'v>,
    /// Whether there is a new collection.
    pub(crate) changed: bool,
}

impl<'v> Done<'v> {
    pub(crate) fn changed(answer: Answer<'v>) -> Done<'v> {
        Done {
            answer,
            changed: true,
        }
    }

    pub(crate) fn unchanged(answer: Answer<'v>) -> Done<'v> {
        Done {
            answer,
            changed: false,
        }
    }

    /// Changed, with nothing to tell.
    pub(crate) fn quietly() -> Done<'v> {
        Done::changed(Answer::Nothing)
    }

    /// Changed, and this many there are now.
    pub(crate) fn counting(count: usize) -> Done<'v> {
        Done::changed(Answer::count(count))
    }

    /// Unchanged, with nothing to tell.
    pub(crate) fn nothing() -> Done<'v> {
        Done::unchanged(Answer::Nothing)
    }
}

/// What a modifying operation did.
#[derive(Clone, Debug, PartialEq)]
pub struct Modified<'v> {
    /// What the client is told.
    pub answer: Answer<'v>,
    /// The new collection; `None` if it is as it was, or still missing.
    pub value: Option<(Collection, Vec<u8>)>,
}

impl Modified<'_> {
    /// The new collection as a bin's value.
    pub fn take_value(&mut self) -> Option<Value<'static>> {
        let (kind, packed) = self.value.take()?;
        let particle = match kind {
            Collection::List => ParticleType::List,
            Collection::Map => ParticleType::Map,
        };
        Some(Value {
            particle,
            bytes: Cow::Owned(packed),
        })
    }
}

impl<'a> CdtOp<'a> {
    /// Reads an operation as a client packs it.
    ///
    /// # Errors
    /// [`CdtError::Parameter`] for malformed bytes, unknown numbers and an operation of the other half of
    /// requests. A wrong count or kind of arguments is told when the operation is carried out: there it
    /// comes after what is wrong with the path or the value, and may not matter.
    pub fn parse(payload: &'a [u8], access: Access) -> Result<CdtOp<'a>, CdtError> {
        parse::operation(payload, access)
    }

    /// The same operation, kept without its request. Of its expressions only the numbers are kept: who evaluates
    /// them has parsed them.
    pub(crate) fn into_owned(self) -> CdtOp<'static> {
        CdtOp {
            path: self.path.into_iter().map(Step::into_owned).collect(),
            call: match self.call {
                Call::List(call) => Call::List(call.into_owned()),
                Call::Map(call) => Call::Map(call.into_owned()),
                Call::Select(select) => Call::Select(select.into_owned()),
                Call::Malformed(call) => Call::Malformed(call),
            },
        }
    }

    /// The expressions that it holds, in the order of their numbers.
    pub fn expressions(&self) -> impl Iterator<Item = Expression<'a>> + '_ {
        match &self.call {
            Call::Select(select) => Some(select),
            Call::List(_) | Call::Map(_) | Call::Malformed(_) => None,
        }
        .into_iter()
        .flat_map(select::Select::expressions)
    }

    /// Reads from a value. Of a missing one there is nothing to tell.
    ///
    /// # Errors
    /// See [`CdtError`].
    pub fn read<'v>(
        &self,
        subject: Subject<'v>,
        expressions: &mut dyn Evaluate,
        work: &Work,
    ) -> Result<Answer<'v>, CdtError> {
        if subject == Subject::Missing {
            return Ok(Answer::Nothing);
        }
        let packed = subject.collection().ok_or_else(|| self.misfit())?;
        let answer = self.read_from(packed, expressions, work);
        if work.is_exhausted() {
            return Err(CdtError::Exhausted); // what was found since means nothing
        }
        answer
    }

    fn read_from<'v>(
        &self,
        packed: &'v [u8],
        expressions: &mut dyn Evaluate,
        work: &Work,
    ) -> Result<Answer<'v>, CdtError> {
        if let Call::Select(select) = &self.call {
            return select.read(packed, expressions, work);
        }
        let packed = path::resolve(&self.path, packed, work)?;
        match (&self.call, kind_of(packed)) {
            (Call::List(call), Some(Collection::List)) => call.read(packed, work),
            (Call::Map(call), Some(Collection::Map)) => call.read(packed, work),
            (Call::Malformed(call), Some(kind)) if call.kind == kind => Err(call.error),
            _ => Err(CdtError::Incompatible),
        }
    }

    /// Reads from a value, and tells as much of it by reference as can be: `None` for nothing, `Some(None)`
    /// for nil.
    ///
    /// # Errors
    /// See [`CdtError`].
    pub fn read_value<'v>(
        &self,
        value: &Value<'v>,
        expressions: &mut dyn Evaluate,
        work: &Work,
    ) -> Result<Told<'v>, CdtError> {
        Ok(match &value.bytes {
            Cow::Borrowed(bytes) => {
                let subject = Subject::of_particle(value.particle, bytes);
                self.read(subject, expressions, work)?.told()
            }
            Cow::Owned(bytes) => {
                let subject = Subject::of_particle(value.particle, bytes);
                let told = self.read(subject, expressions, work)?.told();
                told.map(|told| told.map(Value::into_owned))
            }
        })
    }

    /// Changes a value, or makes one.
    ///
    /// # Errors
    /// See [`CdtError`]. Nothing was changed then.
    pub fn modify<'v>(
        &self,
        subject: Subject<'v>,
        expressions: &mut dyn Evaluate,
        work: &Work,
    ) -> Result<Modified<'v>, CdtError> {
        let before = subject.collection();
        if before.is_none() && subject != Subject::Missing {
            return Err(self.misfit());
        }
        let before_bytes = before.map_or(0, <[u8]>::len);
        work.spend(of_bytes(before_bytes))?;
        let mut out = Vec::with_capacity(before_bytes + 64);
        let done = match &self.call {
            Call::Select(select) => {
                let before = before.ok_or(CdtError::Incompatible)?;
                let changed = select.apply(before, expressions, work, &mut out);
                changed.map(|changed| Done {
                    answer: Answer::Nothing,
                    changed,
                })
            }
            call => path::modify(&self.path, call, before, work, &mut out),
        };
        if work.is_exhausted() {
            return Err(CdtError::Exhausted); // what was found since, wrong or right, means nothing
        }
        let done = done?;
        let kind = kind_of(&out).filter(|_| done.changed);
        Ok(Modified {
            answer: done.answer,
            value: kind.map(|kind| (kind, out)),
        })
    }

    /// What is said of a value that is no collection.
    fn misfit(&self) -> CdtError {
        if self.path.is_empty() {
            CdtError::Incompatible
        } else {
            CdtError::Parameter("a path into a value that is no collection")
        }
    }
}

impl Call<'_> {
    /// Changes the collection that the operation is for, or makes it.
    fn modify<'v>(
        &self,
        before: Option<&'v [u8]>,
        work: &Work,
        out: &mut Vec<u8>,
    ) -> Result<Done<'v>, CdtError> {
        let kind = before.map(kind_of);
        match (self, kind) {
            (Call::List(call), None | Some(Some(Collection::List))) => {
                call.modify(before, work, out)
            }
            (Call::Map(call), None | Some(Some(Collection::Map))) => call.modify(before, work, out),
            (Call::Malformed(call), None) if call.removes => Ok(Done::nothing()),
            (Call::Malformed(call), None) => Err(call.error),
            (Call::Malformed(call), Some(Some(kind))) if call.kind == kind => Err(call.error),
            _ => Err(CdtError::Incompatible),
        }
    }
}

/// Whether there is an operation of this number in that half of requests.
pub(crate) fn is_code(code: i64, access: Access) -> bool {
    parse::Malformed::of(code).is_some_and(|call| call.is_read == (access == Access::Read))
}

/// Whether a packed element is a list or a map, if it is either.
pub(crate) fn kind_of(packed: &[u8]) -> Option<Collection> {
    match (Reader { rest: packed }).head() {
        Ok(Head::List(_)) => Some(Collection::List),
        Ok(Head::Map(_)) => Some(Collection::Map),
        _ => None,
    }
}
