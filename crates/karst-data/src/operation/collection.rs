//! Operations of a command on lists and maps in bins.

use std::borrow::Cow;

use crate::cdt::{Access, Answer, CdtError, CdtOp, NoExpressions, Subject};
use crate::value::Value;

/// An operation on a list or map, as it was read from the request.
///
/// What is wrong with it is told when its turn comes: of a bin that is missing nothing is read, whatever
/// the operation says.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection<'a>(Box<Result<CdtOp<'a>, CdtError>>);

impl<'a> Collection<'a> {
    /// Reads an operation as a client packs it.
    pub fn parse(payload: &'a [u8], access: Access) -> Collection<'a> {
        Collection(Box::new(CdtOp::parse(payload, access)))
    }

    fn op(&self) -> Result<&CdtOp<'a>, CdtError> {
        self.0.as_ref().as_ref().map_err(|error| *error)
    }
}

/// What is told: `None` for nothing, `Some(None)` for nil.
type Told<'v> = Option<Option<Value<'v>>>;

fn told<'v>(answer: Answer<'v>) -> Told<'v> {
    match answer {
        Answer::Nothing => None,
        answer => Some(answer.into_value()),
    }
}

/// Reads from a bin. In a command that writes something is told of a bin that is there, if only nil.
pub(super) fn read<'a>(
    bin: Option<&Value<'a>>,
    call: &Collection<'_>,
    writes: bool,
) -> Result<Told<'a>, CdtError> {
    let Some(value) = bin else {
        return Ok(None);
    };
    let told = match &value.bytes {
        Cow::Borrowed(bytes) => read_from(Subject::of_particle(value.particle, bytes), call)?,
        Cow::Owned(bytes) => {
            let told = read_from(Subject::of_particle(value.particle, bytes), call)?;
            told.map(|value| value.map(Value::into_owned))
        }
    };
    Ok(if writes { Some(told.flatten()) } else { told })
}

fn read_from<'v>(subject: Subject<'v>, call: &Collection<'_>) -> Result<Told<'v>, CdtError> {
    call.op()?.read(subject, &mut NoExpressions).map(told)
}

/// Changes a bin of a record in the making: its new value, if it changes, and what is told.
pub(super) fn modify<'a>(
    bin: Option<&Value<'a>>,
    call: &Collection<'_>,
) -> Result<(Option<Value<'a>>, Told<'a>), CdtError> {
    let mut modified = call.op()?.modify(Subject::of(bin), &mut NoExpressions)?;
    let value = modified.take_value();
    let told = told(modified.answer).map(|value| value.map(Value::into_owned));
    Ok((value, told))
}
