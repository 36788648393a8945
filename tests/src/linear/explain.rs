//! Why a key's history has no order, in as few lines as a person needs.

use std::fmt::{self, Display, Formatter};

use super::cause::{Cause, cause};
use super::model::State;
use super::operation::Operation;
use super::search::Refusal;

/// Answered operations before the one that cannot be explained that are shown.
const EARLIER: usize = 8;

/// Operations in doubt that are shown.
const IN_DOUBT: usize = 8;

/// States that are shown.
const STATES: usize = 4;

/// A key whose history has no order.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The key.
    pub key: i64,
    /// The operation whose answer cannot be explained.
    pub operation: Operation,
    /// The promise that was broken.
    pub cause: Cause,
    earlier: Vec<Operation>,
    open: Vec<Operation>,
    states: Vec<State>,
}

impl Violation {
    pub(super) fn of(key: i64, operations: &[&Operation], refusal: &Refusal) -> Violation {
        let operation = operations[refusal.operation];
        let open = refusal.open.iter().map(|at| operations[*at].clone());
        let open: Vec<Operation> = open.collect();
        let before = operations.iter().filter(|it| {
            it.returned_ns <= operation.returned_ns && **it != operation && !open.contains(it)
        });
        let mut earlier: Vec<Operation> = before.map(|it| (*it).clone()).collect();
        earlier.sort_by_key(|it| it.returned_ns);
        earlier.drain(..earlier.len().saturating_sub(EARLIER));
        Violation {
            key,
            operation: operation.clone(),
            cause: cause(operations),
            earlier,
            open,
            states: refusal.states.clone(),
        }
    }
}

/// Milliseconds from one moment to another.
fn ms(from: u64, to: u64) -> String {
    format!("{:+.3}", (to as f64 - from as f64) / 1e6)
}

impl Display for Violation {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let at = self.operation.called_ns;
        writeln!(
            out,
            "key {}, {}: nothing explains the last of these answers (ms relative to its call)",
            self.key, self.cause
        )?;
        let line = |out: &mut Formatter<'_>, it: &Operation, note: &str| {
            let (called, returned) = (ms(at, it.called_ns), ms(at, it.returned_ns));
            writeln!(
                out,
                "  {called:>12} {returned:>12}  client {:<4} {} -> {}{}{}{note}",
                it.client,
                it.action,
                it.outcome,
                if it.note.is_empty() { "" } else { ": " },
                it.note
            )
        };
        for earlier in &self.earlier {
            line(out, earlier, "")?;
        }
        for open in self.open.iter().rev().take(IN_DOUBT) {
            line(out, open, "  (still open)")?;
        }
        if self.open.len() > IN_DOUBT {
            writeln!(out, "  and {} more still open", self.open.len() - IN_DOUBT)?;
        }
        line(out, &self.operation, "  <-- this")?;
        let states = self.states.iter().take(STATES).map(State::to_string);
        let states: Vec<String> = states.collect();
        let more = match self.states.len() > STATES {
            true => format!(", or {} more", self.states.len() - STATES),
            false => String::new(),
        };
        write!(
            out,
            "  before it the record was: {}{more}",
            states.join(", or ")
        )
    }
}
