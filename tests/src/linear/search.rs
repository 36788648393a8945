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
//!   what later answers tell of the way on is gone, and no other: `ahead`
//!   of changes that are the same, one that was answered goes before one in doubt, and of those that also have the same
//!   answer the one that was answered first: they may change places
//!   of writes in doubt that nobody reads, one that demands the generation there is goes before one that demands
//!   nothing, which can be used anywhere instead
//!   a change in doubt other than a delete is made only if something open needs a later generation than there is
//!
//! Most histories are explained by placing few of the changes in doubt, and what is told in its order. So the walk goes on
//! with the most promising configuration and keeps only so many of them. When it is stuck it goes some events back and comes again with more of them,
//! then farther back with still more. Only a walk that never left one out refuses.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::ahead::Ahead;
use super::configuration::{ANSWERED, Configuration, IN_DOUBT, UNEXPECTED};
use super::model::{ReadNumbers, State, Step};
use super::operation::{Operation, Outcome};

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

/// One key's operations with a step, and the walk over them.
struct Walk {
    steps: Vec<Option<Step>>,
    in_doubt: Vec<bool>,
    answered_ns: Vec<u64>,
    /// Called, and to be answered.
    open: Vec<u32>,
    /// Changes in doubt that were called: those with the same effect together, in order of their calls.
    doubtful: Vec<(Step, Vec<u32>)>,
    /// If the walk looks ahead.
    ahead: Option<Ahead>,
    /// The event that is being taken.
    now: usize,
    /// All that explain every answer so far, or those that placed fewest.
    configurations: Vec<Configuration>,
    width: usize,
    visited: usize,
    visited_max: usize,
}

/// A call or an answer: when, whether it is an answer, and of which operation.
pub(super) type Event = (u64, bool, u32);

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
    walk.ahead = Ahead::of(operations, &events);
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
            answered_ns: operations.iter().map(|it| it.returned_ns).collect(),
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
                configuration = configuration.with(*operation, configuration.state, ANSWERED);
            }
        }
        configuration
    }

    /// What can be made of these configurations so that the operation has its place, which is not needed any more,
    /// beginning with the most promising, and whether there may be more; `None` if too much had to be visited.
    fn answer(
        &mut self,
        before: &[Configuration],
        operation: u32,
    ) -> Option<(Vec<Configuration>, bool)> {
        let mut after = vec![];
        let mut seen: HashSet<Configuration> = before.iter().cloned().collect();
        let mut known: Vec<Configuration> = before.to_vec();
        let known_so_far = known.iter().enumerate();
        let waiting = known_so_far.map(|(at, it)| (it.promise, Reverse(at)));
        let mut waiting: BinaryHeap<(i64, Reverse<usize>)> = waiting.collect();
        let enough = self
            .visited
            .saturating_add(self.width.saturating_mul(VISITS));
        while let Some((_, Reverse(at))) = waiting.pop() {
            if self.visited > self.visited_max {
                return None;
            }
            if after.len() >= self.width || (!after.is_empty() && self.visited > enough) {
                return Some((after, true));
            }
            let configuration = known[at].clone();
            if configuration.has(operation) {
                after.push(configuration.without(operation));
                continue;
            }
            for next in self.continued(&configuration, operation) {
                self.visited += 1;
                if seen.insert(next.clone()) {
                    waiting.push((next.promise, Reverse(known.len())));
                    known.push(next);
                }
            }
        }
        Some((after, false))
    }

    /// The configuration with one more change, on the way to one in which the operation has its place.
    fn continued(&self, configuration: &Configuration, operation: u32) -> Vec<Configuration> {
        let state = configuration.state;
        if self
            .ahead
            .as_ref()
            .is_some_and(|it| it.keeps(state, self.now))
        {
            return vec![];
        }
        let open = self.open_changes(configuration);
        let doubtful = self.doubtful_changes(configuration);
        let deletes = |(_, step): &(u32, &Step)| step.deletes();
        let may_begin_anew = open.iter().any(deletes) || doubtful.iter().any(deletes);
        if !may_begin_anew && self.step(operation).is_past(state) {
            return vec![];
        }
        let doubtful = self.worth_trying(configuration, &open, doubtful);
        let is_expected = |step: &Step| step.is_told() && step.take(state).is_some();
        let one_is_expected = open.iter().any(|(_, step)| is_expected(step));
        let changes = open.into_iter().chain(doubtful);
        let next = changes.filter_map(|(change, step)| {
            let after = step.take(state)?;
            let in_doubt = self.in_doubt[change as usize];
            let ahead = self.ahead.as_ref();
            if ahead.is_some_and(|it| !it.leads_on(step, state, after, in_doubt)) {
                return None;
            }
            let worth = if in_doubt { IN_DOUBT } else { ANSWERED };
            let worth = match one_is_expected && !is_expected(step) {
                true => worth + UNEXPECTED,
                false => worth,
            };
            Some(self.look(configuration.with(change, after, worth)))
        });
        next.collect()
    }

    /// Changes that were called and are to be answered: of those with the same answer the one that is answered first.
    fn open_changes(&self, configuration: &Configuration) -> Vec<(u32, &Step)> {
        let mut first: Vec<(u32, &Step)> = vec![];
        for open in self.open.iter().filter(|open| !configuration.has(**open)) {
            let step = self.step(*open);
            if step.only_looks() {
                continue;
            }
            let answered_ns = |it: u32| self.answered_ns[it as usize];
            match first.iter_mut().find(|(_, same)| *same == step) {
                Some((other, _)) if answered_ns(*open) < answered_ns(*other) => *other = *open,
                Some(_) => {}
                None => first.push((*open, step)),
            }
        }
        first
    }

    /// Changes in doubt, of those with the same effect the one that was called first.
    fn doubtful_changes(&self, configuration: &Configuration) -> Vec<(u32, &Step)> {
        // They were placed in this order, so those that were are at the beginning.
        let first = |all: &[u32]| {
            let at = all.partition_point(|it| configuration.has(*it));
            all.get(at).copied()
        };
        let doubtful = self.doubtful.iter();
        let doubtful = doubtful.filter_map(|(step, all)| Some((first(all)?, step)));
        doubtful.collect()
    }

    /// Those of the changes in doubt that no other one replaces and that something open needs.
    fn worth_trying<'a>(
        &self,
        configuration: &Configuration,
        open: &[(u32, &Step)],
        doubtful: Vec<(u32, &'a Step)>,
    ) -> Vec<(u32, &'a Step)> {
        let state = configuration.state;
        let owed = self.open.iter().filter(|it| !configuration.has(**it));
        let needs_more = owed.map(|it| self.step(*it)).any(|it| it.needs_more(state));
        let narrow = doubtful
            .iter()
            .any(|(_, step)| step.writes_unread_over(state));
        let is_worth = |step: &Step| {
            let replaced = open
                .iter()
                .any(|(_, other)| other.does_the_same(step) && other.take(state).is_some());
            let wide = narrow && step.writes_unread_over_any();
            !replaced && !wide && (needs_more || step.deletes())
        };
        let worth = doubtful.into_iter().filter(|(_, step)| is_worth(step));
        worth.collect()
    }

    /// Leaves out the configurations that another one can replace.
    fn least(&self, mut all: Vec<Configuration>) -> Vec<Configuration> {
        let mut groups: HashMap<(State, Vec<u32>), Vec<Vec<u32>>> = HashMap::new();
        // What is in doubt rather comes true soon than late: the latest first.
        let order = |it: &Configuration| {
            let placed = Reverse(it.placed.clone());
            (Reverse(it.promise), it.placed.len(), placed, it.state)
        };
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
