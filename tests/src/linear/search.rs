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
//!   a record whose generation is past the one that was read has to be deleted first, if a delete is open
//!
//! Most histories are explained by placing few of the changes in doubt. So the walk first keeps only so many
//! configurations, those that placed fewest; only when it fails is it repeated with more, and only a walk that kept
//! all of them refuses.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use super::model::{ReadNumbers, State, Step};
use super::operation::{Operation, Outcome};

/// Configurations that one walk after the other keeps.
const WIDTHS: [usize; 3] = [16, 1024, usize::MAX];

/// Configurations visited in one walk over a key's history before it is given up: seconds at most, and some 50 MB.
pub(super) const VISITED_MAX: usize = 200_000;

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
    /// All that explain every answer so far; some of them, if `width` of them were found.
    configurations: Vec<Configuration>,
    width: usize,
    /// Whether there may have been more than were kept.
    cut: bool,
    visited: usize,
    visited_max: usize,
}

/// Looks for an order of the operations of one key, which begins with no record. No walk visits more configurations
/// than this.
pub(super) fn search(operations: &[&Operation], visited_max: usize) -> Verdict {
    let events = events(operations);
    for width in WIDTHS {
        let mut walk = Walk::new(operations, width, visited_max);
        match walk.over(&events) {
            Verdict::Refused(_) | Verdict::Undecided if walk.cut => {}
            verdict => return verdict,
        }
    }
    Verdict::Undecided
}

/// When, whether it is an answer, and of which operation. What happens at the same time may be in any order: calls
/// come first, which allows most.
fn events(operations: &[&Operation]) -> Vec<(u64, bool, u32)> {
    let numbered = operations.iter().zip(0..);
    let both = numbered.flat_map(|(operation, number)| {
        let answered = operation.outcome != Outcome::InDoubt;
        let answer = answered.then_some((operation.returned_ns, true, number));
        [(operation.called_ns, false, number)]
            .into_iter()
            .chain(answer)
    });
    let mut events: Vec<_> = both.collect();
    events.sort_unstable();
    events
}

impl Walk {
    fn new(operations: &[&Operation], width: usize, visited_max: usize) -> Walk {
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
            configurations: vec![Configuration {
                state: State::ABSENT,
                placed: Rc::new([]),
            }],
            width,
            cut: false,
            visited: 0,
            visited_max,
        }
    }

    fn over(&mut self, events: &[(u64, bool, u32)]) -> Verdict {
        for (_, answered, operation) in events {
            if self.steps[*operation as usize].is_none() {
                continue;
            }
            if !answered {
                self.call(*operation);
                continue;
            }
            let before = std::mem::take(&mut self.configurations);
            let Some(after) = self.answer(&before, *operation) else {
                return Verdict::Undecided;
            };
            if after.is_empty() {
                let refusal = self.refusal(&before, *operation);
                return Verdict::Refused(refusal);
            }
            self.open.retain(|open| open != operation);
            self.configurations = self.least(after);
        }
        Verdict::Linearizable
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
    /// beginning with what places fewest; `None` if too much had to be visited.
    fn answer(
        &mut self,
        before: &[Configuration],
        operation: u32,
    ) -> Option<HashSet<Configuration>> {
        let mut after = HashSet::new();
        let mut seen: HashSet<Configuration> = before.iter().cloned().collect();
        let mut waiting: VecDeque<Configuration> = before.iter().cloned().collect();
        while let Some(configuration) = waiting.pop_front() {
            self.visited += 1;
            if self.visited > self.visited_max {
                return None;
            }
            if configuration.has(operation) {
                after.insert(configuration.without(operation));
                if after.len() >= self.width {
                    self.cut = true;
                    break;
                }
                continue;
            }
            for next in self.continued(&configuration, operation) {
                if seen.insert(next.clone()) {
                    waiting.push_back(next);
                }
            }
        }
        Some(after)
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
        if !deletes && wanted.is_past(configuration.state) {
            return vec![];
        }
        let next = changes.iter().filter_map(|(open, step)| {
            let state = step.take(configuration.state)?;
            Some(self.look(configuration.with(*open, state)))
        });
        next.collect()
    }

    /// Leaves out the configurations that another one can replace.
    fn least(&self, all: HashSet<Configuration>) -> Vec<Configuration> {
        let mut groups: HashMap<(State, Vec<u32>), Vec<Vec<u32>>> = HashMap::new();
        let mut all: Vec<Configuration> = all.into_iter().collect();
        all.sort_unstable_by_key(|configuration| configuration.placed.len());
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
