//! Operations of a command on lists and maps in bins.

use crate::cdt::{Access, CdtError, CdtOp, Subject, Told};
use crate::expr::{ExprError, PathExpressions};
use crate::value::Value;
use crate::work::Work;

/// An operation on a list or map, as it was read from the request.
///
/// What is wrong with it is told when its turn comes: of a bin that is missing nothing is read, whatever
/// the operation says.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection<'a>(Box<Result<Parsed<'a>, CdtError>>);

#[derive(Clone, Debug, PartialEq)]
struct Parsed<'a> {
    op: CdtOp<'a>,
    expressions: PathExpressions,
}

impl<'a> Collection<'a> {
    /// Reads an operation as a client packs it.
    pub fn parse(payload: &'a [u8], access: Access) -> Collection<'a> {
        Collection(Box::new(Parsed::parse(payload, access)))
    }

    /// Size of the compiled patterns in its expressions, in bytes.
    pub(super) fn pattern_bytes(&self) -> usize {
        let parsed = self.parsed();
        parsed.map_or(0, |parsed| parsed.expressions.pattern_bytes())
    }

    fn parsed(&self) -> Result<&Parsed<'a>, CdtError> {
        self.0.as_ref().as_ref().map_err(|error| *error)
    }
}

impl<'a> Parsed<'a> {
    fn parse(payload: &'a [u8], access: Access) -> Result<Parsed<'a>, CdtError> {
        let op = CdtOp::parse(payload, access)?;
        match PathExpressions::parse(&op) {
            Ok(expressions) => Ok(Parsed { op, expressions }),
            Err(ExprError::Malformed(why)) => Err(CdtError::Parameter(why)),
            Err(ExprError::Unsupported(why)) => Err(CdtError::Unsupported(why)),
        }
    }
}

/// Reads from a bin. In a command that writes something is told of a bin that is there, if only nil.
pub(super) fn read<'a>(
    bin: Option<&Value<'a>>,
    call: &Collection<'_>,
    writes: bool,
    work: &Work,
) -> Result<Told<'a>, CdtError> {
    let Some(value) = bin else {
        return Ok(None);
    };
    let call = call.parsed()?;
    let mut expressions = call.expressions.lent(work);
    let told = call.op.read_value(value, &mut expressions, work)?;
    Ok(if writes { Some(told.flatten()) } else { told })
}

/// Changes a bin of a record in the making: its new value, if it changes, and what is told.
pub(super) fn modify<'a>(
    bin: Option<&Value<'a>>,
    call: &Collection<'_>,
    work: &Work,
) -> Result<(Option<Value<'a>>, Told<'a>), CdtError> {
    let call = call.parsed()?;
    let mut expressions = call.expressions.lent(work);
    let mut modified = call.op.modify(Subject::of(bin), &mut expressions, work)?;
    let value = modified.take_value();
    let told = modified.answer.told();
    Ok((value, told.map(|told| told.map(Value::into_owned))))
}
