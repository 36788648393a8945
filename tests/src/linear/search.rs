//! The search for an order of one key's operations.
//!
//! Walks over calls and answers in the order of time, with the set of all configurations that explain every answer
//! so far. A configuration is the record's state, and which of the operations that are still open have been given
//! their place. When an answer arrives, each configuration in which that operation has no place yet is continued in
//! every way that gives it one, by placing open operations one after the other; those that cannot are dropped. When
//! none is left, the answer that arrived is the one that cannot be explained.
//!
//! ```text
//! called a --- called b --- answered b --- in doubt c --- answered a
//!              open: a, b   place b, or   open: a, c      place a, or c and a
//!                           a and b
//! ```
//!
//! What keeps the set small, and why nothing is lost by it
//!   what only looks is given its place as soon as it fits: it changes nothing, and a debt is gone
//!   of changes in doubt with the same effect the one asked first is placed first: all of them stay open for ever
//!   of two configurations that differ only in which changes in doubt were used, the one that used fewer (a part
//!   of the other's) can do all that the other can
//!   what is written once and read by somebody who has not called yet is not changed before, and is written in the
//!   generation in which it is read: it does not come again
//!   a record whose generation is past the one that was read has to be deleted first, if a delete is open
//!
//! Most histories are explained by placing few of the changes in doubt. So the walk keeps only so many
//! configurations, those that placed fewest. When it is stuck it goes some events back and comes again with more of them,
//! then farther back with still more. Only a walk that never left one out refuses.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use super::model::{ReadNumbers, State, Step};
use super::operation::{Action, Operation, Outcome};

/// Configurations that are kept, and how many events back that begins: at first, and each time the walk is stuck at
/// the same event.
const TRIES: [(usize, usize); 5] = [
    (16, 0),
    (128, 16),
    (512, 32),
    (2048, 128),
    (usize::MAX, usize::MAX),
];

/// Configurations visited for one key before its search is given up: seconds, and some 100 MB.
pub(super) const VISITED_MAX: usize = 1_000_000;

/// Configurations visited for one that is kept, once some explain an answer: others place more, and are many.
const VISITS: usize = 32;

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none.
    Refused(Refusal),
    /// Nobody knows: the search grew too large.
    Undecided,
}

/// An answer that no order explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which of the operations.
    pub operation: usize,
    /// Those whose answer was outstanding when it was answered.
    pub open: Vec<usize>,
    /// What the record may have been before.
    pub states: Vec<State>,
}

/// The record, and which open operations have been given their place, in order of their number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Configuration {
    state: State,
    placed: Rc<[u32]>,
}

impl Configuration {
    /// Before anything was asked.
    fn first() -> Configuration {
        Configuration {
            state: State::ABSENT,
            placed: Rc::new([]),
        }
    }

    fn has(&self, operation: u32) -> bool {
        self.placed.binary_search(&operation).is_ok()
    }

    fn with(&self, operation: u32, state: State) -> Configuration {
        let at = self.placed.partition_point(|other| *other < operation);
        let (below, above) = self.placed.split_at(at);
        let placed = below.iter().chain([&operation]).chain(above);
        Configuration {
            state,
            placed: placed.copied().collect(),
        }
    }

    fn without(&self, operation: u32) -> Configuration {
        let placed = self.placed.iter().filter(|other| **other != operation);
        Configuration {
            state: self.state,
            placed: placed.copied().collect(),
        }
    }
}

/// One key's operations with a step, and the walk over them.
struct Walk {
    steps: Vec<Option<Step>>,
    in_doubt: Vec<bool>,
    /// Called, and to be answered.
    open: Vec<u32>,
    /// Changes in doubt that were called: those with the same effect together, in order of their calls.
    doubtful: Vec<(Step, Vec<u32>)>,
    /// If the walk looks ahead: of every state that somebody is told of, the last call of one who is.
    ahead: Option<HashMap<State, usize>>,
    /// The event that is being taken.
    now: usize,
    /// All that explain every answer so far, or those that placed fewest.
    configurations: Vec<Configuration>,
    width: usize,
    visited: usize,
    visited_max: usize,
}

/// A call or an answer: when, whether it is an answer, and of which operation.
type Event = (u64, bool, u32);

/// How far the walk had come after an event.
struct Stop {
    configurations: Vec<Configuration>,
    /// Whether there may have been more.
    cut: bool,
}

/// How an event was taken.
enum Passed {
    Explained(Stop),
    /// No configuration that was kept explains it.
    Stuck(Refusal),
    TooMuch,
}

/// Looks for an order of the operations of one key, which begins with no record. No more configurations than these
/// are visited.
pub(super) fn search(operations: &[&Operation], visited_max: usize) -> Verdict {
    let events = events(operations);
    let mut walk = Walk::new(operations, visited_max);
    walk.ahead = ahead(operations, &events);
    let verdict = walk.over(&events);
    // Who does not look ahead is stuck later, at the answer that a person would name.
    match (&verdict, Walk::new(operations, visited_max)) {
        (Verdict::Refused(_), mut walk) => match walk.over(&events) {
            Verdict::Refused(refusal) => Verdict::Refused(refusal),
            Verdict::Linearizable | Verdict::Undecided => verdict,
        },
        (Verdict::Linearizable | Verdict::Undecided, _) => verdict,
    }
}

/// What happens at the same time may be in any order: calls come first, which allows most.
fn events(operations: &[&Operation]) -> Vec<Event> {
    let numbered = operations.iter().zip(0..);
    let both = numbered.flat_map(|(operation, number)| {
        let answered = operation.outcome != Outcome::InDoubt;
        let answer = answered.then_some((operation.returned_ns, true, number));
        [(operation.called_ns, false, number)]
            .into_iter()
            .chain(answer)
    });
    let mut events: Vec<Event> = both.collect();
    events.sort_unstable();
    events
}

/// For each state that some operation is told of, the last call of one. Nothing of numbers that are added to: a state of
/// theirs may come back.
fn ahead(operations: &[&Operation], events: &[Event]) -> Option<HashMap<State, usize>> {
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
    Some(told.collect()) // the last one of each is kept
}

impl Walk {
    fn new(operations: &[&Operation], visited_max: usize) -> Walk {
        let read = ReadNumbers::of(operations);
        let steps = operations
            .iter()
            .map(|operation| Step::of(operation, &read));
        let steps: Vec<Option<Step>> = steps.collect();
        let doubtful = |operation: &&Operation| operation.outcome == Outcome::InDoubt;
        let in_doubt: Vec<bool> = operations.iter().map(doubtful).collect();
        Walk {
            steps,
            in_doubt,
            open: vec![],
            doubtful: vec![],
            configurations: vec![Configuration::first()],
            ahead: None,
            now: 0,
            width: 0,
            visited: 0,
            visited_max,
        }
    }

    fn over(&mut self, events: &[Event]) -> Verdict {
        let mut stops: Vec<Stop> = vec![];
        let (mut tries, mut stuck_at) = (0, 0);
        while let Some(event) = events.get(stops.len()) {
            if stops.len() > stuck_at {
                tries = 0;
            }
            self.width = TRIES[tries].0;
            self.now = stops.len();
            match self.pass(event) {
                Passed::Explained(stop) => stops.push(stop),
                Passed::TooMuch => return Verdict::Undecided,
                Passed::Stuck(refusal) if !stops.iter().any(|stop| stop.cut) => {
                    return Verdict::Refused(refusal);
                }
                Passed::Stuck(_) if tries + 1 == TRIES.len() => return Verdict::Undecided,
                Passed::Stuck(_) => {
                    tries += 1;
                    stuck_at = stuck_at.max(stops.len());
                    stops.truncate(stuck_at.saturating_sub(TRIES[tries].1));
                    self.go_back(&stops, events);
                }
            }
        }
        Verdict::Linearizable
    }

    /// Takes one event.
    fn pass(&mut self, (_, answered, operation): &Event) -> Passed {
        let mut cut = false;
        if self.steps[*operation as usize].is_none() {
            // It says nothing.
        } else if !answered {
            self.call(*operation);
        } else {
            let before = std::mem::take(&mut self.configurations);
            let Some((after, more)) = self.answer(&before, *operation) else {
                return Passed::TooMuch;
            };
            if after.is_empty() {
                return Passed::Stuck(self.refusal(&before, *operation));
            }
            cut = more;
            self.open.retain(|open| open != operation);
            self.configurations = self.least(after);
        }
        let configurations = self.configurations.clone();
        Passed::Explained(Stop {
            configurations,
            cut,
        })
    }

    /// Stands where it stood after these stops.
    fn go_back(&mut self, stops: &[Stop], events: &[Event]) {
        self.open.clear();
        self.doubtful.clear();
        for (_, answered, operation) in &events[..stops.len()] {
            match answered {
                true => self.open.retain(|open| open != operation),
                false if self.steps[*operation as usize].is_some() => self.call(*operation),
                false => {}
            }
        }
        self.configurations = match stops.last() {
            Some(stop) => stop.configurations.clone(),
            None => vec![Configuration::first()],
        };
    }

    fn call(&mut self, operation: u32) {
        let step = *self.step(operation);
        if self.in_doubt[operation as usize] {
            match self.doubtful.iter_mut().find(|(same, _)| *same == step) {
                Some((_, operations)) => operations.push(operation),
                None => self.doubtful.push((step, vec![operation])),
            }
            return;
        }
        self.open.push(operation);
        if !step.only_looks() {
            return;
        }
        let known = std::mem::take(&mut self.configurations);
        let known = known.into_iter().map(|known| self.look(known));
        self.configurations = known.collect();
    }

    fn step(&self, operation: u32) -> &Step {
        let step = self.steps[operation as usize].as_ref();
        step.expect("operations without a step are left out")
    }

    /// Gives a place to everything that only looks and fits.
    fn look(&self, mut configuration: Configuration) -> Configuration {
        for operation in &self.open {
            let step = self.step(*operation);
            let fits = step.only_looks() && step.take(configuration.state).is_some();
            if fits && !configuration.has(*operation) {
                configuration = configuration.with(*operation, configuration.state);
            }
        }
        configuration
    }

    /// What can be made of these configurations so that the operation has its place, which is not needed any more,
    /// beginning with what places fewest, and whether there may be more; `None` if too much had to be visited.
    fn answer(
        &mut self,
        before: &[Configuration],
        operation: u32,
    ) -> Option<(HashSet<Configuration>, bool)> {
        let mut after = HashSet::new();
        let mut seen: HashSet<Configuration> = before.iter().cloned().collect();
        let mut waiting: VecDeque<Configuration> = before.iter().cloned().collect();
        let enough = self
            .visited
            .saturating_add(self.width.saturating_mul(VISITS));
        while let Some(configuration) = waiting.pop_front() {
            if self.visited > self.visited_max {
                return None;
            }
            if after.len() >= self.width || (!after.is_empty() && self.visited > enough) {
                return Some((after, true));
            }
            if configuration.has(operation) {
                after.insert(configuration.without(operation));
                continue;
            }
            for next in self.continued(&configuration, operation) {
                self.visited += 1;
                if seen.insert(next.clone()) {
                    waiting.push_back(next);
                }
            }
        }
        Some((after, false))
    }

    /// The configuration with one more change, on the way to one in which the operation has its place.
    fn continued(&self, configuration: &Configuration, operation: u32) -> Vec<Configuration> {
        let free = |open: &&u32| !configuration.has(**open);
        let open = self.open.iter().filter(free);
        let open = open.map(|open| (*open, self.step(*open)));
        let open = open.filter(|(_, step)| !step.only_looks());
        let doubtful = self.doubtful.iter();
        let doubtful =
            doubtful.filter_map(|(step, all)| all.iter().find(free).map(|first| (*first, step)));
        let changes: Vec<(u32, &Step)> = open.chain(doubtful).collect();
        let wanted = self.step(operation);
        let deletes = changes.iter().any(|(_, step)| step.deletes());
        if self.is_needed(configuration.state) || !deletes && wanted.is_past(configuration.state) {
            return vec![];
        }
        let next = changes.iter().filter_map(|(open, step)| {
            let state = step.take(configuration.state)?;
            if step.writes_what_is_read() && !self.is_told(state) {
                return None;
            }
            Some(self.look(configuration.with(*open, state)))
        });
        next.collect()
    }

    /// Whether somebody who has not called yet is told of this state.
    fn is_needed(&self, state: State) -> bool {
        let ahead = self.ahead.as_ref();
        let last = ahead.and_then(|ahead| ahead.get(&state));
        last.is_some_and(|last| *last > self.now)
    }

    /// Whether anybody is told of this state, if the walk looks ahead.
    fn is_told(&self, state: State) -> bool {
        let ahead = self.ahead.as_ref();
        ahead.is_none_or(|ahead| ahead.contains_key(&state))
    }

    /// Leaves out the configurations that another one can replace.
    fn least(&self, all: HashSet<Configuration>) -> Vec<Configuration> {
        let mut groups: HashMap<(State, Vec<u32>), Vec<Vec<u32>>> = HashMap::new();
        let mut all: Vec<Configuration> = all.into_iter().collect();
        // What is in doubt rather comes true soon than late: the latest first.
        let order = |it: &Configuration| (it.placed.len(), Reverse(it.placed.clone()), it.state);
        all.sort_unstable_by_key(order);
        let mut least = vec![];
        for configuration in all {
            let placed = configuration.placed.iter().copied();
            let (used, owed): (Vec<u32>, Vec<u32>) =
                placed.partition(|operation| self.in_doubt[*operation as usize]);
            let group = groups.entry((configuration.state, owed)).or_default();
            let is_part =
                |fewer: &Vec<u32>| fewer.iter().all(|one| used.binary_search(one).is_ok());
            if !group.iter().any(is_part) {
                group.push(used);
                least.push(configuration);
            }
        }
        least
    }

    fn refusal(&self, before: &[Configuration], operation: u32) -> Refusal {
        let mut states: Vec<State> = before.iter().map(|it| it.state).collect();
        states.sort_unstable();
        states.dedup();
        let others = self.open.iter().filter(|open| **open != operation);
        let doubtful = self.doubtful.iter().flat_map(|(_, all)| all);
        let mut open: Vec<usize> = others.chain(doubtful).map(|open| *open as usize).collect();
        open.sort_unstable();
        Refusal {
            operation: operation as usize,
            open,
            states,
        }
    }
}
