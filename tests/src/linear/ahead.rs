//! What answers that are yet to come tell of the way to them: which states have to stay until they were seen, and what
//! has to follow a state.
//!
//! Every number is written once, and every element appended once. So a state that shows one is there once, and
//!   a state stays until everybody who is told of it has called
//!   a number that is read is written in the generation in which it is read
//!   a list that somebody is told the beginning of goes on as it was told, before it is deleted
//!   an element in doubt that nobody is told of is of use only where there is no record: it makes one
//!
//! Nothing is told of numbers that are added to, whose states may come back.

use std::collections::HashMap;

use super::model::{State, Step};
use super::operation::{Action, Operation, Outcome};
use super::search::Event;

/// What has to follow a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nothing is known, but that somebody is told of it or of what it leads to.
    Open,
    Is(State),
}

/// What is known of one key's states.
pub(super) struct Ahead {
    /// For each state that some operation is told of, the last call of one.
    told: HashMap<State, usize>,
    /// The states of lists that are only appended to and deleted; none for other records.
    lists: Option<HashMap<State, Next>>,
}

impl Ahead {
    pub(super) fn of(operations: &[&Operation], events: &[Event]) -> Option<Ahead> {
        let adds = |it: &&Operation| matches!(it.action, Action::Add { .. });
        if operations.iter().any(adds) {
            return None;
        }
        let calls = events.iter().enumerate();
        let calls = calls.filter(|(_, (_, answered, _))| !answered);
        let told = calls.filter_map(|(at, (_, _, operation))| {
            match &operations[*operation as usize].outcome {
                Outcome::Told(seen) => Some((State::of(seen), at)),
                _ => None,
            }
        });
        Some(Ahead {
            told: told.collect(), // the last one of each is kept
            lists: lists(operations),
        })
    }

    /// Whether somebody who has not called before this event is told of this state.
    pub(super) fn keeps(&self, state: State, now: usize) -> bool {
        self.told.get(&state).is_some_and(|last| *last > now)
    }

    /// Whether this change may lead to what is told.
    pub(super) fn leads_on(
        &self,
        step: &Step,
        before: State,
        after: State,
        in_doubt: bool,
    ) -> bool {
        let Some(lists) = &self.lists else {
            return !step.writes_what_is_read() || self.told.contains_key(&after);
        };
        if let Some(Next::Is(next)) = lists.get(&before) {
            return after == *next;
        }
        match step.appends() {
            Some(true) => lists.contains_key(&after),
            Some(false) => !in_doubt || !before.exists(),
            None => true,
        }
    }
}

fn lists(operations: &[&Operation]) -> Option<HashMap<State, Next>> {
    let appends = |it: &Operation| {
        matches!(
            it.action,
            Action::Read | Action::Append { .. } | Action::Delete
        )
    };
    if !operations.iter().all(|it| appends(it)) {
        return None;
    }
    let mut lists = HashMap::new();
    for operation in operations {
        let Outcome::Told(seen) = &operation.outcome else {
            continue;
        };
        let states = State::of_appending(seen).unwrap_or_default();
        for pair in states.windows(2) {
            lists.insert(pair[0], Next::Is(pair[1]));
        }
        if let Some(last) = states.last() {
            lists.entry(*last).or_insert(Next::Open);
        }
    }
    Some(lists)
}
