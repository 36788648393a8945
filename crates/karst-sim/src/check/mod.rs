//! What must hold, one file per promise.

pub mod converged;
pub mod durable;
mod in_order;
pub mod index_matches_log;
pub mod linearizable;
pub mod map_agreed;
pub mod resurrection;
pub mod serves;
pub mod space;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{check}: {what}")]
pub struct Violation {
    /// Which promise.
    pub check: &'static str,
    /// What was found.
    pub what: String,
}

impl Violation {
    /// One of a promise.
    pub fn new(check: &'static str, what: impl Into<String>) -> Violation {
        Violation {
            check,
            what: what.into(),
        }
    }
}
