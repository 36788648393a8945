//! Expressions of paths into collections: each is run at an element, with no record around it.

use super::subject::Iteration;
use super::value::Datum;
use super::{Expr, ExprError, Type, parse};
use crate::cdt::{CdtOp, Evaluate, Expression, Item, Replacement};
use crate::work::{Work, of_bytes};

/// What such an expression counts for in the nesting of the one around it. Who runs an expression for each
/// element of a list inside one that is run for each element of another multiplies the work: this leaves two.
const DEPTH: usize = 100;

const _: () = assert!(2 * DEPTH < super::DEPTH_MAX && 3 * DEPTH > super::DEPTH_MAX);

/// The expressions that an operation on a collection holds, parsed; by their numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PathExpressions(Vec<Expr>);

impl PathExpressions {
    /// Parses them.
    ///
    /// # Errors
    /// As [`Expr::parse`], and a condition that computes no truth.
    pub fn parse(op: &CdtOp<'_>) -> Result<PathExpressions, ExprError> {
        PathExpressions::parse_within(op, 0)
    }

    /// Lends them what may be done to evaluate them.
    pub(crate) fn lent<'e>(&'e self, work: &'e Work) -> Lent<'e> {
        Lent {
            expressions: &self.0,
            work,
        }
    }

    /// Size of their compiled patterns in bytes.
    pub(crate) fn pattern_bytes(&self) -> usize {
        self.0.iter().map(Expr::pattern_bytes).sum()
    }

    /// Parses those of a call inside an expression that nests so deeply there.
    pub(super) fn parse_within(op: &CdtOp<'_>, depth: usize) -> Result<PathExpressions, ExprError> {
        let mut parsed = Vec::new();
        for expression in op.expressions() {
            let program = parse::nested(expression.packed, depth + DEPTH)?;
            if expression.decides && program.result != Type::Bool {
                return parse::malformed("a condition that is no truth");
            }
            parsed.push(Expr { program });
        }
        Ok(PathExpressions(parsed))
    }
}

/// Path expressions with what may be done to evaluate them.
pub(crate) struct Lent<'e> {
    expressions: &'e [Expr],
    work: &'e Work,
}

impl Evaluate for Lent<'_> {
    fn holds(&mut self, expression: Expression<'_>, item: Item<'_>) -> Option<bool> {
        let at = iteration(item);
        let expr = self.expressions.get(expression.number)?;
        match expr.evaluate(&at, self.work) {
            Datum::Bool(truth) => Some(truth),
            _ => None,
        }
    }

    fn replace(&mut self, expression: Expression<'_>, item: Item<'_>) -> Replacement {
        let at = iteration(item);
        let Some(expr) = self.expressions.get(expression.number) else {
            return Replacement::Unknown;
        };
        match expr.evaluate(&at, self.work) {
            Datum::Remove => Replacement::Remove,
            Datum::Bytes(_, bytes) if !self.work.allows(of_bytes(bytes.len())) => {
                Replacement::Unknown
            }
            datum => {
                let mut packed = Vec::new();
                if datum.pack(&mut packed) {
                    Replacement::Value(packed)
                } else {
                    Replacement::Unknown
                }
            }
        }
    }
}

fn iteration(item: Item<'_>) -> Iteration<'_> {
    Iteration {
        key: item.key,
        value: item.value,
        index: item.index.map(|index| index as i64),
    }
}
