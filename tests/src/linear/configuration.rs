//! How far a walk over one key's operations has come.

use std::hash::{Hash, Hasher};
use std::rc::Rc;

use super::model::State;

/// What an operation with an answer that is given its place adds to the promise.
pub(super) const ANSWERED: i64 = 1;

/// The same for one in doubt: it costs as much as going back by a few others.
pub(super) const IN_DOUBT: i64 = -4;

/// What it adds if the state was the one that somebody open is told to have changed, and another change is made.
pub(super) const UNEXPECTED: i64 = -4;

/// The record, and which open operations have been given their place, in order of their number.
#[derive(Clone, Debug)]
pub(super) struct Configuration {
    pub(super) state: State,
    pub(super) placed: Rc<[u32]>,
    /// How likely it is to lead on, whatever it is compared with. Says in which order configurations are tried, and
    /// nothing of what they come to.
    pub(super) promise: i64,
}

impl PartialEq for Configuration {
    fn eq(&self, other: &Configuration) -> bool {
        (self.state, &self.placed) == (other.state, &other.placed)
    }
}

impl Eq for Configuration {}

impl Hash for Configuration {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.state, &self.placed).hash(hasher);
    }
}

impl Configuration {
    /// Before anything was asked.
    pub(super) fn first() -> Configuration {
        Configuration {
            state: State::ABSENT,
            placed: Rc::new([]),
            promise: 0,
        }
    }

    pub(super) fn has(&self, operation: u32) -> bool {
        self.placed.binary_search(&operation).is_ok()
    }

    /// With an operation in its place, which adds so much to the promise.
    pub(super) fn with(&self, operation: u32, state: State, worth: i64) -> Configuration {
        let at = self.placed.partition_point(|other| *other < operation);
        let (below, above) = self.placed.split_at(at);
        let placed = below.iter().chain([&operation]).chain(above);
        Configuration {
            state,
            placed: placed.copied().collect(),
            promise: self.promise + worth,
        }
    }

    /// Without one whose place is not needed any more.
    pub(super) fn without(&self, operation: u32) -> Configuration {
        let placed = self.placed.iter().filter(|other| **other != operation);
        Configuration {
            placed: placed.copied().collect(),
            ..self.clone()
        }
    }
}
