//! Expressions: small programs over a record, which filter commands and compute values.
//!
//! One arrives as MessagePack: an array `[code, arguments...]` is an instruction, everything else a
//! literal. [`Expr::parse`] reads it once per request, checks every type, and keeps a flat program; what it
//! accepts can be run on any record. Running allocates nothing as long as it meets metadata, scalars, bins as they
//! are stored, and calls that find a pair or element of a collection; other calls make new values. Everything that
//! may take long is paid for out of the [`Work`] that is lent to a run.
//!
//! Every instruction may find that it does not know: a bin that is missing or of another type, a division
//! by zero, a call that fails. Unknown is a value ([`Datum::Unknown`]), not an error: it passes through
//! whatever depends on it, and a filter that is unknown filters out.
//!
//! Invariants
//!   an instruction's arguments come before it in the program, so a program ends
//!   a program has at most [`NODES_MAX`] instructions, nested at most [`DEPTH_MAX`] deep
//!   static types are right: what runs never meets a value of another type, only unknown ones

mod arithmetic;
mod call;
mod element;
mod eval;
mod filter;
mod instruction;
mod operation;
mod parse;
mod pattern;
mod program;
mod subject;
#[cfg(test)]
mod tests;
mod value;

pub use self::element::PathExpressions;
pub use self::filter::{Filter, Verdict};
pub use self::operation::{Change, ExpressionRead, ExpressionWrite};
pub use self::subject::{Iteration, Lookup, Metadata, Subject};
pub use self::value::Datum;

use self::program::Program;
use crate::work::Work;

/// Longest expression in bytes.
pub const BYTES_MAX: usize = (1 << 20) - 1;

/// Most instructions and literals of one expression.
pub const NODES_MAX: usize = 1 << 16;

/// Deepest nesting of instructions.
pub const DEPTH_MAX: usize = 256;

/// The type of a value, by its number in expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum Type {
    Nil = 0,
    Bool = 1,
    Int = 2,
    String = 3,
    List = 4,
    Map = 5,
    Blob = 6,
    Float = 7,
    GeoJson = 8,
    Hll = 9,
}

impl Type {
    /// From its number.
    pub fn from_wire(number: u64) -> Option<Type> {
        Some(match number {
            0 => Type::Nil,
            1 => Type::Bool,
            2 => Type::Int,
            3 => Type::String,
            4 => Type::List,
            5 => Type::Map,
            6 => Type::Blob,
            7 => Type::Float,
            8 => Type::GeoJson,
            9 => Type::Hll,
            _ => return None,
        })
    }
}

/// Why bytes were refused as an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// They are none, or one whose types do not fit.
    #[error("not an expression: {0}")]
    Malformed(&'static str),
    /// They are one that this server cannot run.
    #[error("{0}")]
    Unsupported(&'static str),
}

/// An expression that was found right, ready to run. Two are equal if their bytes are.
#[derive(Clone)]
pub struct Expr {
    program: Program,
}

impl Expr {
    /// Parses the bytes of an expression.
    ///
    /// # Errors
    /// Anything but exactly one well-formed and well-typed expression within the limits.
    pub fn parse(bytes: &[u8]) -> Result<Expr, ExprError> {
        parse::whole(bytes).map(|program| Expr { program })
    }

    /// The type of what it computes, if it is known.
    pub fn result_type(&self) -> Type {
        self.program.result
    }

    /// Whether it asks for the record's key or bins: if not, metadata say all.
    pub fn reads_record(&self) -> bool {
        self.program.reads_record
    }

    /// Whether what it computes can change while the record does not.
    pub fn depends_on_time(&self) -> bool {
        self.program.depends_on_time()
    }

    /// Whether it takes a few microseconds at most, whatever it is run on.
    pub fn is_short(&self) -> bool {
        const NODES: usize = 256;
        !self.program.is_long && self.program.nodes.len() <= NODES
    }

    /// Size of its compiled patterns in bytes.
    pub fn pattern_bytes(&self) -> usize {
        let within = |call: &program::Call| call.inner.pattern_bytes();
        self.program.pattern_bytes() + self.program.calls.iter().map(within).sum::<usize>()
    }

    /// Runs it. When more work is asked for than there is, what it gives means nothing: who lends the work looks.
    pub fn evaluate<'v, S: Subject + ?Sized>(
        &'v self,
        subject: &'v S,
        work: &'v Work,
    ) -> Datum<'v> {
        eval::run(&self.program, subject, work)
    }

    /// Its bytes as they came.
    pub fn source(&self) -> &[u8] {
        self.program.source()
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Expr) -> bool {
        self.source() == other.source()
    }
}

impl std::fmt::Debug for Expr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Expr(")?;
        self.source()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}
