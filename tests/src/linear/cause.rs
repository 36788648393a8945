//! Which promise was broken, by asking what would have had to be otherwise: a history that has an order once certain
//! answers are believed less was spoilt by those.

use std::fmt::{self, Display, Formatter};

use super::operation::{Action, Operation, Outcome};
use super::search::{Verdict, search};

/// Configurations visited to find a cause: what is not found soon is something else.
const VISITED_MAX: usize = 10_000;

/// The promise that a key's history breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// What was told not to be applied was. Not said of deletes: a record that is gone was rather lost.
    Lied,
    /// A read was told what was no more, or not yet; in the end everything is there.
    Stale,
    /// An acknowledged change is missing.
    Lost,
    /// None of these explains it alone: a change came twice, for example.
    Other,
}

impl Display for Cause {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Cause::Lied => "a definite failure was applied",
            Cause::Stale => "a read was stale",
            Cause::Lost => "an acknowledged change is missing",
            Cause::Other => "something else",
        })
    }
}

/// Why a history that has no order has none.
pub(super) fn cause(operations: &[&Operation]) -> Cause {
    let doubted = |operation: &Operation, doubted: bool| Operation {
        outcome: match doubted {
            true => Outcome::InDoubt,
            false => operation.outcome.clone(),
        },
        ..operation.clone()
    };
    let last_ns = last_change_ns(operations);
    let failures = operations.iter().map(|it| doubted(it, has_failed(it)));
    let changes = operations.iter().map(|it| doubted(it, is_acknowledged(it)));
    let early = |it: &&&Operation| it.action == Action::Read && it.called_ns < last_ns;
    let others = operations.iter().filter(|it| !early(it));
    let others = others.map(|it| (*it).clone());
    let lost = has_order(changes);
    let lied = has_order(failures);
    match (lied, lost) {
        (true, false) => Cause::Lied,
        (_, _) if has_order(others) => Cause::Stale,
        (_, true) => Cause::Lost,
        (false, false) => Cause::Other,
    }
}

fn has_order(operations: impl Iterator<Item = Operation>) -> bool {
    let operations: Vec<Operation> = operations.collect();
    let operations: Vec<&Operation> = operations.iter().collect();
    search(&operations, VISITED_MAX) == Verdict::Linearizable
}

fn has_failed(operation: &Operation) -> bool {
    let refused = matches!(
        operation.outcome,
        Outcome::Failed | Outcome::OtherGeneration | Outcome::Exists | Outcome::Absent
    );
    refused && operation.action.changes() && operation.action != Action::Delete
}

fn is_acknowledged(operation: &Operation) -> bool {
    let done = matches!(operation.outcome, Outcome::Done | Outcome::Told(_));
    done && operation.action.changes()
}

/// When the last change was answered that was.
fn last_change_ns(operations: &[&Operation]) -> u64 {
    let changes = operations.iter().filter(|it| is_acknowledged(it));
    changes.map(|it| it.returned_ns).max().unwrap_or_default()
}
