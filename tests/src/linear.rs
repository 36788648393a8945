//! Is a recorded history of requests linearizable: is there one order, that respects who was answered before who
//! asked, in which a single correct record would have given every answer?
//!
//! [`operation`] what a client noted of one request, and the file it is noted in · [`model`] the single correct
//! record · [`search`] looks for the order, key by key, and `ahead` at what is told later · [`cause`] says which promise
//! was broken if there is none, and [`explain`] by which answer.
//!
//! The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993) as Lowe made it practical
//! ("Testing for linearizability", 2017): an operation is given its place only when some answer needs it (just in
//! time), configurations that were met are not entered again, and every key is a history of its own, since records
//! are independent of each other.
//!
//! What always holds
//!   a definite failure has no effect: if it had one, no order explains what is read afterwards
//!   what is in doubt takes effect at any moment after it was asked, once or never
//!   a search that would grow too large is given up as undecided, which is never the same as passed

mod ahead;
pub mod cause;
mod configuration;
pub mod explain;
pub mod model;
pub mod operation;
pub mod search;

use std::collections::BTreeMap;

pub use cause::Cause;
pub use explain::Violation;
pub use operation::{Action, Content, Expect, Operation, Outcome, Seen};
pub use search::Verdict;

/// What became of the search over all keys.
#[derive(Debug, Default)]
pub struct Report {
    /// Keys that were used.
    pub keys: usize,
    /// Keys whose history has no order.
    pub violations: Vec<Violation>,
    /// Keys whose search was given up.
    pub undecided: Vec<i64>,
}

impl Report {
    /// Whether every key's history has an order.
    pub fn passed(&self) -> bool {
        self.violations.is_empty() && self.undecided.is_empty()
    }
}

/// Looks for an order of every key's operations.
pub fn check(history: &[Operation]) -> Report {
    let mut by_key: BTreeMap<i64, Vec<&Operation>> = BTreeMap::new();
    for operation in history {
        by_key.entry(operation.key).or_default().push(operation);
    }
    let mut report = Report {
        keys: by_key.len(),
        ..Report::default()
    };
    for (key, operations) in by_key {
        match search::search(&operations, search::VISITED_MAX) {
            Verdict::Linearizable => {}
            Verdict::Undecided => report.undecided.push(key),
            Verdict::Refused(refusal) => {
                let violation = Violation::of(key, &operations, &refusal);
                report.violations.push(violation);
            }
        }
    }
    report
}

#[cfg(test)]
mod tests;
