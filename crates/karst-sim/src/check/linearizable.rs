//! Whether what clients were told of a record can be explained by one request after the other, each carried out at
//! some moment between when it was begun and when it was answered.
//!
//! The search is Wing and Gong's ("Testing and Verifying Concurrent Objects", 1993): of the calls that may come next, take
//! one that fits the state, and go back where none does. Which one is gone on with is chosen by how far it has come. Lowe's addition ("Testing for linearizability", 2017) makes it
//! bearable: what was found to lead nowhere, the calls carried out so far together with the state they led to, is
//! remembered and not tried again, and with it what takes more calls in doubt to come to the same. A call that fits and changes nothing is taken at once, whatever else might come: it fits
//! nowhere better.
//!
//! A call that is in doubt may come at any time after it was begun, or never. What keeps to the order in which writes were
//! numbered is looked at first (`in_order`).
//!
//! Nothing here knows of the simulator but the one function at the end of the first part.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::fmt::Debug;
use std::hash::Hash;

use super::{Violation, in_order};
use crate::cluster::World;
use crate::cluster::contend;

/// Calls that are carried out on trial before it is given up to find an order.
const TRIALS_MAX: usize = 1_500_000;

/// Calls that were answered that are as much worth as one in doubt costs that seems to come from nowhere.
const JUMP_COSTS: i64 = 4;

/// The same for one that comes out of order.
const DISORDER_COSTS: i64 = 50;

/// One request.
#[derive(Clone, Debug)]
pub struct Call<W> {
    /// When it was begun.
    pub begun: u64,
    /// When it was answered; never if it is in doubt.
    pub ended: Option<u64>,
    /// Calls were probably carried out in the order of these numbers; 0 tells nothing. It makes the search shorter, and
    /// changes nothing of what it comes to.
    pub hint: u64,
    /// What was asked and answered.
    pub what: W,
}

/// A moment at which it is something else at once.
#[derive(Clone, Debug)]
pub struct Anew<S> {
    /// When.
    pub at: u64,
    /// One of these, whatever it was.
    pub states: Vec<S>,
}

/// What is carried out one after the other.
#[derive(Clone, Debug)]
pub(super) enum Step<W> {
    /// A request.
    Asked(W),
    /// It is something else at once: the number of that.
    Anew(usize),
}

/// Requests as they are made; each client has one at a time.
#[derive(Clone, Debug)]
pub struct Calls<W> {
    over: Vec<Call<W>>,
    open: BTreeMap<usize, Call<W>>,
}

impl<W> Default for Calls<W> {
    fn default() -> Calls<W> {
        Calls {
            over: Vec::new(),
            open: BTreeMap::new(),
        }
    }
}

impl<W: Clone> Calls<W> {
    /// A client begins one.
    pub fn begin(&mut self, client: usize, begun: u64, what: W) {
        let call = Call {
            begun,
            ended: None,
            hint: 0,
            what,
        };
        let before = self.open.insert(client, call);
        assert!(before.is_none(), "a client has one request at a time");
    }

    /// It is answered.
    pub fn end(&mut self, client: usize, ended: u64, answer: impl FnOnce(&mut W)) {
        if let Some(mut call) = self.open.remove(&client) {
            call.ended = Some(ended);
            answer(&mut call.what);
            self.over.push(call);
        }
    }

    /// It is in doubt for good.
    pub fn doubt(&mut self, client: usize) {
        self.over.extend(self.open.remove(&client));
    }

    /// It was not carried out, or nothing follows from it.
    pub fn forget(&mut self, client: usize) {
        self.open.remove(&client);
    }

    /// All that may have taken effect.
    pub fn all(&self) -> Vec<Call<W>> {
        let all = self.over.iter().chain(self.open.values());
        all.cloned().collect()
    }
}

/// How far the search came at best.
#[derive(Debug)]
pub struct Wrong<W, S> {
    /// The search was given up: there may be an order.
    pub given_up: bool,
    /// Answered calls that were carried out.
    pub carried_out: usize,
    /// The state they led to.
    pub state: S,
    /// Calls that might have come next.
    pub next: Vec<Call<W>>,
}

/// Looks for an order of the calls. `after` tells what a state becomes by a call, if it can have gone as it was answered;
/// at each of the moments `anew` it is something else at once.
///
/// # Errors
/// When there is none.
pub fn judge<W: Clone, S: Clone + Eq + Hash>(
    calls: Vec<Call<W>>,
    initial: S,
    anew: &[Anew<S>],
    after: impl Fn(&S, &W) -> Option<S>,
) -> Result<(), Box<Wrong<W, S>>> {
    let mut calls: Vec<Call<Step<W>>> = calls.into_iter().map(asked).collect();
    calls.extend(anew.iter().enumerate().map(|(number, it)| Call {
        begun: it.at,
        ended: Some(it.at),
        hint: 0,
        what: Step::Anew(number),
    }));
    let after = |state: &S, step: &Step<W>| match step {
        Step::Asked(what) => after(state, what),
        Step::Anew(_) => None, // not one of them: all
    };
    calls.sort_by_key(|call| (call.begun, call.ended));
    number(&mut calls);
    if in_order::is_found(&calls, &initial, anew, after) {
        return Ok(());
    }
    let mut seen = Seen::default();
    let mut known = vec![(Done::none(&calls), initial)];
    let mut open = BinaryHeap::from([(known[0].0.promise(), 0)]);
    let (mut best, mut trials) = (0, 0);
    while let Some((_, number)) = open.pop() {
        let (done, state) = known[number].clone();
        if done.base == calls.len() {
            return Ok(());
        }
        if known[best].0.count < done.count {
            best = number;
        }
        if trials > TRIALS_MAX {
            break;
        }
        for at in done.next(&calls, &state, after) {
            trials += 1;
            let next = after(&state, &calls[at].what);
            let states = match &calls[at].what {
                Step::Asked(_) => next.as_slice(),
                Step::Anew(number) => &anew[*number].states,
            };
            for state in states {
                let done = done.with(at, &calls);
                if seen.is_news(&done, state) {
                    open.push((done.promise(), known.len()));
                    known.push((done, state.clone()));
                }
            }
        }
    }
    let (done, state) = known.swap_remove(best);
    let next = done.candidates(&calls).into_iter().rev();
    Err(Box::new(Wrong {
        given_up: trials > TRIALS_MAX,
        carried_out: done.count,
        state,
        next: next.filter_map(|at| was_asked(&calls[at])).collect(),
    }))
}

fn asked<W>(call: Call<W>) -> Call<Step<W>> {
    Call {
        begun: call.begun,
        ended: call.ended,
        hint: call.hint,
        what: Step::Asked(call.what),
    }
}

fn was_asked<W: Clone>(call: &Call<Step<W>>) -> Option<Call<W>> {
    match &call.what {
        Step::Asked(what) => Some(Call {
            begun: call.begun,
            ended: call.ended,
            hint: call.hint,
            what: what.clone(),
        }),
        Step::Anew(_) => None,
    }
}

/// Makes hints of one that follow one another without gaps.
fn number<W>(calls: &mut [Call<W>]) {
    let hinted = (0..calls.len()).filter(|at| calls[*at].hint != 0);
    let mut hinted: Vec<usize> = hinted.collect();
    hinted.sort_by_key(|at| calls[*at].hint);
    for (place, at) in hinted.into_iter().enumerate() {
        calls[at].hint = place as u64 + 1;
    }
}

/// What was tried already.
struct Seen<S>(HashMap<(usize, Vec<u32>, S), Vec<Vec<u32>>>);

impl<S> Default for Seen<S> {
    fn default() -> Seen<S> {
        Seen(HashMap::new())
    }
}

impl<S: Clone + Eq + Hash> Seen<S> {
    /// Whether this may lead further than what was tried. Where the same was come to without some of the calls in doubt
    /// it cannot: they may still be carried out then, and need not.
    fn is_news(&mut self, done: &Done, state: &S) -> bool {
        let key = (done.base, done.ahead.clone(), state.clone());
        let known = self.0.entry(key).or_default();
        let within = |less: &Vec<u32>| {
            less.iter()
                .all(|it| done.doubtful.binary_search(it).is_ok())
        };
        let is_news = !known.iter().any(within);
        if is_news {
            known.push(done.doubtful.clone());
        }
        is_news
    }
}

/// Which calls were carried out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Done {
    /// All before this one that were answered.
    base: usize,
    /// These behind it that were answered.
    ahead: Vec<u32>,
    /// These that are in doubt.
    doubtful: Vec<u32>,
    /// How many were answered.
    count: usize,
    /// What was unlikely about it: calls in doubt since the last of those that did not follow the one before, and calls out
    /// of their order.
    jumps: usize,
    disorder: usize,
    last_hint: u64,
}

impl Done {
    fn none<W>(calls: &[Call<W>]) -> Done {
        let mut done = Done {
            base: 0,
            ahead: Vec::new(),
            doubtful: Vec::new(),
            count: 0,
            jumps: 0,
            disorder: 0,
            last_hint: 0,
        };
        done.go_on(calls);
        done
    }

    fn has<W>(&self, at: usize, calls: &[Call<W>]) -> bool {
        let those = match calls[at].ended {
            Some(_) => &self.ahead,
            None => &self.doubtful,
        };
        those.binary_search(&(at as u32)).is_ok()
    }

    fn with<W>(&self, at: usize, calls: &[Call<W>]) -> Done {
        let mut done = self.clone();
        let those = match calls[at].ended {
            Some(_) => &mut done.ahead,
            None => &mut done.doubtful,
        };
        let place = those.partition_point(|it| *it < at as u32);
        those.insert(place, at as u32);
        match calls[at].ended {
            Some(_) => (done.count, done.jumps) = (done.count + 1, 0),
            None => done.jumps += usize::from(calls[at].hint != done.last_hint + 1),
        }
        match calls[at].hint {
            0 => {}
            hint if hint < done.last_hint => done.disorder += 1,
            hint => done.last_hint = hint,
        }
        done.go_on(calls);
        done
    }

    fn go_on<W>(&mut self, calls: &[Call<W>]) {
        while let Some(call) = calls.get(self.base) {
            if call.ended.is_some() {
                match self.ahead.first() {
                    Some(first) if *first as usize == self.base => _ = self.ahead.remove(0),
                    Some(_) | None => return,
                }
            }
            self.base += 1;
        }
    }

    /// How soon it is to be gone on with: what came far is, but a call in doubt that explains nothing costs as much as going
    /// back a few calls that were answered. Of equals the one with fewer of those.
    fn promise(&self) -> (i64, Reverse<usize>) {
        let far = self.count as i64 - JUMP_COSTS * self.jumps as i64;
        let far = far - DISORDER_COSTS * self.disorder as i64;
        (far, Reverse(self.doubtful.len()))
    }

    /// What is to be tried next; what is tried first is last.
    fn next<W, S: Eq>(
        &self,
        calls: &[Call<W>],
        state: &S,
        after: impl Fn(&S, &W) -> Option<S>,
    ) -> Vec<usize> {
        let candidates = self.candidates(calls);
        let changes_nothing = |at: &&usize| {
            let call = &calls[**at];
            call.ended.is_some() && after(state, &call.what).as_ref() == Some(state)
        };
        match candidates.iter().find(changes_nothing).copied() {
            Some(at) => vec![at],
            None => candidates,
        }
    }

    /// Calls that may come next: those begun before any that is still to come was answered. What is tried first is last.
    fn candidates<W>(&self, calls: &[Call<W>]) -> Vec<usize> {
        let mut first_end = u64::MAX;
        let mut candidates = Vec::new();
        for (at, call) in calls.iter().enumerate().skip(self.base) {
            if call.begun > first_end {
                break;
            }
            if !self.has(at, calls) {
                first_end = first_end.min(call.ended.unwrap_or(u64::MAX));
                candidates.push(at);
            }
        }
        let older = (0..self.base).filter(|at| calls[*at].ended.is_none() && !self.has(*at, calls));
        candidates.extend(older);
        candidates.retain(|at| calls[*at].begun <= first_end);
        candidates.sort_by_key(|at| Reverse((calls[*at].ended.unwrap_or(u64::MAX), *at)));
        candidates
    }
}

/// What clients of a strongly consistent namespace were told of each key, and what is there in the end, is as if they had
/// asked one after the other.
///
/// # Errors
/// When it is not.
pub fn every_key_as_if_one_after_the_other(world: &World) -> Result<(), Violation> {
    for key in &world.contended {
        let mut calls = key.history();
        calls.push(world.last_read(key));
        let revivals = key.revivals();
        if let Err(wrong) = judge(calls, None, &revivals, contend::after) {
            let what = format!(
                "{} of {}: {}",
                key.digest,
                key.digest.partition(),
                said(&wrong)
            );
            return Err(Violation::new("linearizable", what));
        }
    }
    Ok(())
}

fn said<W: Debug, S: Debug>(wrong: &Wrong<W, S>) -> String {
    let Wrong {
        given_up,
        carried_out,
        state,
        next,
    } = wrong;
    let given_up = if *given_up { " (given up)" } else { "" };
    let next: Vec<String> = next.iter().take(8).map(|it| format!("{it:?}")).collect();
    let next = next.join("; ");
    format!(
        "no order{given_up}: after {carried_out} calls there is {state:?}, and then comes none of {next}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a number: it is set, read, or set if it is something.
    #[derive(Clone, Copy, Debug)]
    enum Act {
        Set(u8),
        Read(u8),
        Swap(u8, u8),
    }

    fn after(state: &u8, act: &Act) -> Option<u8> {
        match *act {
            Act::Set(value) => Some(value),
            Act::Read(value) => (*state == value).then_some(value),
            Act::Swap(from, to) => (*state == from).then_some(to),
        }
    }

    fn is_explained(calls: &[(u64, Option<u64>, Act)]) -> bool {
        let call = |(begun, ended, what): &(u64, Option<u64>, Act)| Call {
            begun: *begun,
            ended: *ended,
            hint: 0,
            what: *what,
        };
        judge(calls.iter().map(call).collect(), 0, &[], after).is_ok()
    }

    #[test]
    fn what_follows_sees_what_was_answered_before_and_what_overlaps_may_see_either() {
        use Act::{Read, Set};
        assert!(is_explained(&[]));
        assert!(is_explained(&[
            (0, Some(9), Set(1)),
            (2, Some(3), Read(0)),
            (4, Some(5), Read(1))
        ]));
        assert!(!is_explained(&[
            (0, Some(9), Set(1)),
            (2, Some(3), Read(1)),
            (4, Some(5), Read(0))
        ]));
        assert!(!is_explained(&[
            (0, Some(1), Set(1)),
            (2, Some(3), Read(0))
        ]));
    }

    #[test]
    fn what_is_in_doubt_may_come_late_or_never_but_once_only() {
        use Act::{Read, Set};
        let doubtful = (0, None, Set(1));
        let set = (1, Some(2), Set(2));
        assert!(is_explained(&[doubtful, set, (3, Some(4), Read(2))]));
        assert!(is_explained(&[
            doubtful,
            set,
            (3, Some(4), Read(2)),
            (5, Some(6), Read(1))
        ]));
        let back = (7, Some(8), Read(2));
        assert!(!is_explained(&[doubtful, set, (5, Some(6), Read(1)), back]));
        let twice = [
            doubtful,
            (5, Some(6), Read(1)),
            (7, Some(8), Set(2)),
            (9, Some(10), Read(1)),
        ];
        assert!(!is_explained(&twice));
        assert!(!is_explained(&[(5, None, Set(1)), (1, Some(2), Read(1))]));
    }

    #[test]
    fn what_is_something_else_at_once_may_be_any_of_what_it_may_be_then_and_nothing_else() {
        use Act::{Read, Set};
        let call = |begun, ended, what| Call {
            begun,
            ended: Some(ended),
            hint: 0,
            what,
        };
        let fits = |read| {
            let calls = vec![
                call(0, 1, Set(1)),
                call(2, 9, Set(2)),
                call(12, 13, Read(read)),
            ];
            let anew = Anew {
                at: 10,
                states: vec![0, 1],
            };
            judge(calls, 0, &[anew], after).is_ok()
        };
        assert!(fits(0) && fits(1) && !fits(2));
    }

    #[test]
    fn of_many_in_doubt_that_are_numbered_as_many_are_carried_out_as_it_takes() {
        let add = |state: &u32, act: &Option<u32>| match act {
            None => Some(state + 1),
            Some(read) => (state == read).then_some(*state),
        };
        let is_explained = |adds: u32, read: u32| {
            let doubtful = (0..adds).map(|at| Call {
                begun: u64::from(at),
                ended: None,
                hint: 7 + u64::from(at),
                what: None,
            });
            let read = Call {
                begun: 100,
                ended: Some(101),
                hint: 0,
                what: Some(read),
            };
            judge(doubtful.chain([read]).collect(), 0, &[], add).is_ok()
        };
        assert!(is_explained(60, 31) && !is_explained(8, 9));
    }

    #[test]
    fn what_was_numbered_out_of_order_is_looked_at_all_the_same() {
        use Act::{Read, Set};
        let call = |begun, ended, hint, what| Call {
            begun,
            ended: Some(ended),
            hint,
            what,
        };
        let calls = vec![
            call(0, 1, 2, Set(1)),
            call(2, 3, 1, Set(2)),
            call(4, 5, 0, Read(2)),
        ];
        assert!(judge(calls, 0, &[], after).is_ok());
    }

    #[test]
    fn of_two_that_demand_the_same_state_one_fails() {
        use Act::{Read, Swap};
        let (one, other) = ((0, Some(9), Swap(0, 1)), (0, Some(9), Swap(0, 2)));
        assert!(!is_explained(&[one, other]));
        assert!(is_explained(&[one, (0, None, Swap(0, 2))]));
        assert!(is_explained(&[
            one,
            (1, Some(8), Swap(1, 2)),
            (10, Some(11), Read(2))
        ]));
    }

    #[test]
    fn many_calls_at_once_that_fit_in_no_order_are_found_out_in_bearable_time() {
        let sets = (0..14).map(|value| (0, Some(100), Act::Set(value)));
        let mut calls: Vec<_> = sets.collect();
        calls.push((101, Some(102), Act::Read(99)));
        assert!(!is_explained(&calls));
        calls.pop();
        calls.push((101, Some(102), Act::Read(7)));
        assert!(is_explained(&calls));
    }
}
