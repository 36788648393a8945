//! What was asked of each key and what was promised about it, and so which states may be seen later.
//!
//! One writer per key, its requests in order. A request that was answered with success is *promised*;
//! one that was sent and not answered is in doubt: it may have happened or not, but nothing older than
//! the last promise may be seen.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::client::version_of;

/// A record of limited life may be seen this much longer than it was asked to live: expiry counts whole
/// seconds, and a reply takes its time.
const EXPIRY_SLACK: Duration = Duration::from_millis(2500);

/// What a request makes of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Absent,
    Version(u64),
    /// A version that lives for so long.
    Expiring(u64, Duration),
}

/// One request.
#[derive(Clone, Copy, Debug)]
struct Step {
    state: State,
    sent: Instant,
    promised: Option<Instant>,
}

/// The requests of one key, oldest first. What came before the first of them is "absent".
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    steps: Vec<Step>,
    next_version: u64,
}

/// The histories of many keys.
pub(crate) type Histories = BTreeMap<u64, History>;

impl History {
    /// A version that this key never had.
    pub(crate) fn new_version(&mut self) -> u64 {
        self.next_version += 1;
        self.next_version
    }

    /// Notes that a request was sent.
    pub(crate) fn sent(&mut self, state: State) {
        self.steps.push(Step {
            state,
            sent: Instant::now(),
            promised: None,
        });
    }

    /// Notes that the oldest request that is still open was answered with success.
    ///
    /// Requests of a key are answered in order, so all before it are settled too.
    pub(crate) fn promised(&mut self) {
        let open = self.steps.iter_mut().find(|step| step.promised.is_none());
        open.expect("an answer has its request").promised = Some(Instant::now());
    }

    /// How many requests were answered with success since it was last settled.
    pub(crate) fn promises(&self) -> usize {
        self.steps
            .iter()
            .filter(|step| step.promised.is_some())
            .count()
    }

    /// Checks what is there now. Promises younger than `kept` need not have been kept.
    ///
    /// # Panics
    /// When it is nothing that may be there.
    pub(crate) fn check(&self, key: u64, found: Option<&[u8]>, kept: Instant) {
        let now = Instant::now();
        let found = found.map(|value| version_of(key, value));
        let promised = |step: &Step| step.promised.is_some_and(|at| at <= kept);
        let oldest = self.steps.iter().rposition(promised);
        let mut possible = self.steps[oldest.unwrap_or(0)..].iter();
        let fits =
            oldest.is_none() && found.is_none() || possible.any(|step| step.fits(found, now));
        assert!(
            fits,
            "key {key}: found version {found:?} of {:?}, kept till {kept:?}",
            self.steps
        );
    }

    /// Forgets all but what is there now, once it was checked.
    pub(crate) fn settle(&mut self, found: Option<&[u8]>, key: u64) {
        let found = found.map(|value| version_of(key, value));
        let now = Instant::now();
        let seen = self
            .steps
            .iter()
            .rev()
            .find(|step| step.fits(found, now))
            .copied();
        self.steps.clear();
        self.steps.extend(seen.map(|step| Step {
            promised: step.promised.or(Some(now)),
            ..step
        }));
    }
}

impl Step {
    /// Whether this is what was found.
    fn fits(&self, found: Option<u64>, now: Instant) -> bool {
        match (self.state, found) {
            (State::Absent, found) => found.is_none(),
            (State::Version(version), found) => found == Some(version),
            (State::Expiring(version, life), Some(found)) => {
                found == version && now <= self.promised.unwrap_or(now) + life + EXPIRY_SLACK
            }
            (State::Expiring(_, life), None) => now >= self.sent + life,
        }
    }
}

#[test]
fn a_history_accepts_its_last_promise_and_what_is_in_doubt_behind_it_and_nothing_older() {
    let value = |version| crate::client::value(9, version, 40);
    let mut history = History::default();
    for state in [State::Version(1), State::Version(2)] {
        history.sent(state);
        history.promised();
    }
    history.sent(State::Absent);
    let kept = Instant::now();
    let fits =
        |found: Option<&[u8]>| std::panic::catch_unwind(|| history.check(9, found, kept)).is_ok();
    assert!(fits(Some(&value(2))));
    assert!(fits(None));
    assert!(!fits(Some(&value(1))));
    assert!(!fits(Some(&value(3))));
    assert!(!fits(Some(&[&value(2)[..39], &[0]].concat())));
}
