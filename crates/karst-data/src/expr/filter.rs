//! Expressions as filters.

use super::subject::{Metadata, Subject};
use super::value::Datum;
use super::{Expr, ExprError, Type};
use crate::work::Work;

/// What a filter says of a record whose metadata alone are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The record passes, whatever is in it.
    Passes,
    /// The record is filtered out, whatever is in it.
    FilteredOut,
    /// The record has to be read.
    Undecided,
}

/// An expression that computes a truth. A record passes if that is true; false and unknown filter it out.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Expr);

impl Filter {
    /// Parses the bytes of a filter.
    ///
    /// # Errors
    /// As [`Expr::parse`], and whatever computes no truth.
    pub fn parse(bytes: &[u8]) -> Result<Filter, ExprError> {
        let expr = Expr::parse(bytes)?;
        if expr.result_type() == Type::Bool {
            Ok(Filter(expr))
        } else {
            Err(ExprError::Malformed("a filter that is no truth"))
        }
    }

    /// Its bytes as they came.
    pub fn source(&self) -> &[u8] {
        self.0.source()
    }

    /// Whether it takes a few microseconds at most, whatever it is asked about.
    pub fn is_short(&self) -> bool {
        self.0.is_short()
    }

    /// Looks at what the index knows, so that a record need not be read if that decides. When more work is asked
    /// for than there is, what it says means nothing.
    pub fn by_metadata(&self, metadata: &Metadata<'_>, work: &Work) -> Verdict {
        match self.0.evaluate(metadata, work) {
            Datum::Bool(true) => Verdict::Passes,
            Datum::Bool(false) => Verdict::FilteredOut,
            _ if self.0.reads_record() => Verdict::Undecided,
            _ => Verdict::FilteredOut,
        }
    }

    /// Whether a record that was read passes. When more work is asked for than there is, that means nothing.
    pub fn passes<S: Subject + ?Sized>(&self, record: &S, work: &Work) -> bool {
        self.0.evaluate(record, work) == Datum::Bool(true)
    }
}
