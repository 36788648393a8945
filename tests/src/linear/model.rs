//! The single correct record: what it is, and which answers it gives.
//!
//! A state is small and compared whole: a list is known by its length and a fingerprint over its elements in
//! order, and a number that nobody ever reads is like any other such number.

use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};

use super::operation::{Action, Content, Expect, Operation, Outcome, Seen};

/// Stands for every number that is written and never read.
const UNREAD: i64 = i64::MIN;

/// Generations up to which nobody comes near the last one by one history's changes in doubt.
const GENERATION_SURE: u16 = 60_000;

/// A record, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State {
    /// 0 for no record.
    generation: u16,
    /// Elements of a list; 0 for a number.
    length: u32,
    /// The number, or a fingerprint of the list.
    mark: i64,
}

impl State {
    /// No record.
    pub const ABSENT: State = State {
        generation: 0,
        length: 0,
        mark: 0,
    };

    /// The state in which a record is seen like this.
    pub fn of(seen: &Seen) -> State {
        let none = State {
            generation: seen.generation,
            ..State::ABSENT
        };
        match &seen.content {
            Content::Number(number) => State {
                mark: *number,
                ..none
            },
            Content::List(elements) => elements
                .iter()
                .fold(none, |state, element| state.with_element(*element)),
        }
    }

    /// All states of a list that is only appended to, from its first element to all that are seen, if its generation is
    /// one that it comes to in this way.
    pub fn of_appending(seen: &Seen) -> Option<Vec<State>> {
        let Content::List(elements) = &seen.content else {
            return None;
        };
        if elements.is_empty() || elements.len() != usize::from(seen.generation) {
            return None;
        }
        let states = elements.iter().scan(State::ABSENT, |state, element| {
            *state = state.with_element(*element).written();
            Some(*state)
        });
        Some(states.collect())
    }

    /// Whether there is a record.
    pub fn exists(self) -> bool {
        self.generation != 0
    }

    fn with_element(self, element: i64) -> State {
        State {
            length: self.length + 1,
            mark: mixed(self.mark, element),
            ..self
        }
    }

    /// The state with its next generation; zero is never used.
    fn written(self) -> State {
        State {
            generation: self.generation.checked_add(1).unwrap_or(1),
            ..self
        }
    }
}

/// Depends on every bit of both, and on their order (the finalizer of splitmix64).
fn mixed(mark: i64, element: i64) -> i64 {
    let mut bits =
        (mark as u64).rotate_left(23) ^ (element as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits ^ (bits >> 31)) as i64
}

impl Display for State {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match (self.exists(), self.length) {
            (false, _) => write!(out, "no record"),
            (true, 0) if self.mark == UNREAD => {
                write!(
                    out,
                    "a number nobody read in generation {}",
                    self.generation
                )
            }
            (true, 0) => write!(out, "{} in generation {}", self.mark, self.generation),
            (true, length) => write!(
                out,
                "a list of {length} elements in generation {}",
                self.generation
            ),
        }
    }
}

/// Every number and element that a history's answers show.
pub struct ReadNumbers(HashSet<i64>);

impl ReadNumbers {
    /// Collects them.
    pub fn of(history: &[&Operation]) -> ReadNumbers {
        let mut read = HashSet::new();
        for operation in history {
            if let Outcome::Told(seen) = &operation.outcome {
                match &seen.content {
                    Content::Number(number) => _ = read.insert(*number),
                    Content::List(elements) => read.extend(elements),
                }
            }
        }
        ReadNumbers(read)
    }

    /// The number, or what stands for all that nobody reads.
    fn known(&self, number: i64) -> i64 {
        match self.0.contains(&number) {
            true => number,
            false => UNREAD,
        }
    }
}

/// What a change does to a record. Two changes that are the same have the same effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Change {
    Write { value: i64, expect: Expecting },
    Delete,
    Add { amount: i64 },
    Append { element: i64 },
}

/// [`Expect`] as a map's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Expecting {
    Any,
    Generation(u16),
}

impl Change {
    fn of(action: &Action, read: &ReadNumbers) -> Option<Change> {
        Some(match action {
            Action::Read => return None,
            Action::Write { value, expect } => Change::Write {
                value: read.known(*value),
                expect: match expect {
                    Expect::Any => Expecting::Any,
                    Expect::Absent => Expecting::Generation(0),
                    Expect::Generation(generation) => Expecting::Generation(*generation),
                },
            },
            Action::Delete => Change::Delete,
            Action::Add { amount } => Change::Add { amount: *amount },
            Action::Append { element } => Change::Append {
                element: read.known(*element),
            },
        })
    }

    /// The record afterwards, if it can be made then.
    fn make(self, state: State) -> Option<State> {
        Some(match self {
            Change::Write { value, expect } => {
                if let Expecting::Generation(generation) = expect
                    && generation != state.generation
                {
                    return None;
                }
                State {
                    length: 0,
                    mark: value,
                    ..state
                }
                .written()
            }
            Change::Delete if state.exists() => State::ABSENT,
            Change::Delete => return None,
            Change::Add { amount } => State {
                mark: state.mark.wrapping_add(amount),
                ..state
            }
            .written(),
            Change::Append { element } => state.with_element(element).written(),
        })
    }
}

/// What an answer demands of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Demand {
    Nothing,
    Is(State),
    Absent,
    Exists,
    GenerationIsNot(u16),
    /// No correct record answers so.
    Impossible,
}

impl Demand {
    fn of(operation: &Operation) -> Demand {
        match (&operation.outcome, &operation.action) {
            (Outcome::Told(seen), _) => Demand::Is(State::of(seen)),
            (Outcome::Absent, Action::Read | Action::Delete) => Demand::Absent,
            (Outcome::Absent | Outcome::OtherGeneration, Action::Write { expect, .. }) => {
                match (expect, &operation.outcome) {
                    (Expect::Generation(_), Outcome::Absent) => Demand::Absent,
                    (Expect::Generation(expected), _) => Demand::GenerationIsNot(*expected),
                    (Expect::Any | Expect::Absent, _) => Demand::Impossible,
                }
            }
            (Outcome::Exists, Action::Write { expect, .. }) => match expect {
                Expect::Absent => Demand::Exists,
                Expect::Any | Expect::Generation(_) => Demand::Impossible,
            },
            (Outcome::Done | Outcome::InDoubt, action) if action.changes() => Demand::Nothing,
            (
                Outcome::Done
                | Outcome::InDoubt
                | Outcome::Failed
                | Outcome::Absent
                | Outcome::OtherGeneration
                | Outcome::Exists,
                _,
            ) => Demand::Impossible,
        }
    }

    fn met(self, state: State) -> bool {
        match self {
            Demand::Nothing => true,
            Demand::Is(seen) => seen == state,
            Demand::Absent => !state.exists(),
            Demand::Exists => state.exists(),
            Demand::GenerationIsNot(generation) => generation != state.generation,
            Demand::Impossible => false,
        }
    }
}

/// One operation as the search sees it: a change or none, and what its answer demands of the record afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    change: Option<Change>,
    demand: Demand,
}

impl Step {
    /// The step of an operation; none for one that has no effect and says nothing.
    pub fn of(operation: &Operation, read: &ReadNumbers) -> Option<Step> {
        let change = Change::of(&operation.action, read);
        let change = match &operation.outcome {
            Outcome::Failed => return None,
            Outcome::InDoubt => Some(change?),
            Outcome::Done | Outcome::Told(_) => change,
            Outcome::Absent | Outcome::OtherGeneration | Outcome::Exists => None,
        };
        let demand = Demand::of(operation);
        Some(Step { change, demand })
    }

    /// Whether it leaves the record as it is.
    pub fn only_looks(&self) -> bool {
        self.change.is_none()
    }

    /// Whether its answer tells the state that it led to.
    pub fn is_told(&self) -> bool {
        matches!(self.demand, Demand::Is(_))
    }

    /// Whether it writes a number that somebody is told of.
    pub fn writes_what_is_read(&self) -> bool {
        match self.change {
            Some(Change::Write { value, .. }) => value != UNREAD,
            Some(Change::Delete | Change::Add { .. } | Change::Append { .. }) | None => false,
        }
    }

    /// Whether it writes a number that nobody is told of, whatever is there.
    pub fn writes_unread_over_any(&self) -> bool {
        let expect = Expecting::Any;
        self.change
            == Some(Change::Write {
                value: UNREAD,
                expect,
            })
    }

    /// Whether it writes a number that nobody is told of and demands the generation of this state.
    pub fn writes_unread_over(&self, state: State) -> bool {
        let expect = Expecting::Generation(state.generation);
        self.change
            == Some(Change::Write {
                value: UNREAD,
                expect,
            })
    }

    /// Whether it appends an element that somebody is told of, or one that nobody is.
    pub fn appends(&self) -> Option<bool> {
        match self.change {
            Some(Change::Append { element }) => Some(element != UNREAD),
            Some(Change::Delete | Change::Add { .. } | Change::Write { .. }) | None => None,
        }
    }

    /// Whether both change the record, and in the same way.
    pub fn does_the_same(&self, other: &Step) -> bool {
        self.change.is_some() && self.change == other.change
    }

    /// Whether it matters to the step, or to what is told after it, that this record is changed once more before it,
    /// otherwise than by deleting it.
    pub fn needs_more(&self, state: State) -> bool {
        let demanded = match self.demand {
            Demand::Is(seen) => seen.generation,
            Demand::Exists => 1,
            Demand::GenerationIsNot(generation) if generation == state.generation => return true,
            Demand::GenerationIsNot(_) | Demand::Nothing | Demand::Absent | Demand::Impossible => 0,
        };
        let expected = match self.change {
            Some(Change::Delete) => 1,
            Some(Change::Write {
                expect: Expecting::Generation(expected),
                ..
            }) => expected,
            // Its own generation is not told, but what comes later may depend on it.
            Some(_) if self.demand == Demand::Nothing => return true,
            Some(Change::Write { .. } | Change::Add { .. } | Change::Append { .. }) | None => 0,
        };
        state.generation < demanded.max(expected) || state.generation >= GENERATION_SURE
    }

    /// Whether it may begin the record's generations anew.
    pub fn deletes(&self) -> bool {
        self.change == Some(Change::Delete)
    }

    /// Whether no number of changes can lead from this state to one in which the step can be taken, as long as the
    /// record is not deleted. Generations close to where they wrap say nothing.
    pub fn is_past(&self, state: State) -> bool {
        let wanted = match self.demand {
            Demand::Is(seen) => seen.generation,
            Demand::Absent => 0,
            Demand::Nothing | Demand::Exists | Demand::GenerationIsNot(_) | Demand::Impossible => {
                return false;
            }
        };
        state.generation > wanted && state.generation < GENERATION_SURE
    }

    /// The record afterwards, if the step can be taken in this state.
    pub fn take(&self, state: State) -> Option<State> {
        let after = match self.change {
            Some(change) => change.make(state)?,
            None => state,
        };
        self.demand.met(after).then_some(after)
    }
}
