//! Looks for an order of calls among those that keep to the order in which writes were numbered, which is the likely one:
//! a write in doubt comes in its place or never.
//!
//! Then it does not matter which of the writes before were carried out, only what they have led to. So there is
//! little to try, however much is in doubt.

use std::collections::HashSet;
use std::hash::Hash;

use super::linearizable::{Anew, Call, Step};

/// Calls that are carried out on trial before it is given up.
const TRIALS_MAX: usize = 300_000;

/// How far an order has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Point<S> {
    /// All answered calls before this one were carried out, and these behind it.
    base: usize,
    ahead: Vec<u32>,
    /// So many of those with numbers were carried out, or never will be.
    numbered: usize,
    state: S,
}

/// Calls in the orders in which they are looked at.
struct Lists {
    /// The answered ones, as they were begun.
    answered: Vec<usize>,
    /// Those with numbers, as they were numbered.
    numbered: Vec<usize>,
}

/// Whether there is such an order of these calls, which are sorted by when they were begun.
pub(super) fn is_found<W, S: Clone + Eq + Hash>(
    calls: &[Call<Step<W>>],
    initial: &S,
    anew: &[Anew<S>],
    after: impl Fn(&S, &Step<W>) -> Option<S>,
) -> bool {
    let all = 0..calls.len();
    let mut numbered: Vec<usize> = all.clone().filter(|at| calls[*at].hint != 0).collect();
    numbered.sort_by_key(|at| calls[*at].hint);
    let lists = Lists {
        answered: all.filter(|at| calls[*at].ended.is_some()).collect(),
        numbered,
    };
    let begin = Point {
        base: 0,
        ahead: Vec::new(),
        numbered: 0,
        state: initial.clone(),
    };
    let (mut seen, mut open) = (HashSet::from([begin.clone()]), vec![begin]);
    while let Some(point) = open.pop() {
        if point.base == lists.answered.len() {
            return true;
        }
        if seen.len() > TRIALS_MAX {
            return false;
        }
        for next in lists.next(calls, &point, anew, &after) {
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    false
}

impl Lists {
    /// What may come next; what is to be tried first is last.
    fn next<W, S: Clone + Eq + Hash>(
        &self,
        calls: &[Call<Step<W>>],
        point: &Point<S>,
        anew: &[Anew<S>],
        after: impl Fn(&S, &Step<W>) -> Option<S>,
    ) -> Vec<Point<S>> {
        let mut next = Vec::new();
        let mut first_end = u64::MAX;
        for (place, at) in self.answered.iter().enumerate().skip(point.base) {
            let call = &calls[*at];
            if call.begun > first_end {
                break;
            }
            if point.ahead.binary_search(&(place as u32)).is_ok() {
                continue;
            }
            first_end = first_end.min(call.ended.unwrap_or(u64::MAX));
            if call.hint != 0 {
                continue;
            }
            if let Step::Anew(number) = call.what {
                let states = anew[number].states.iter();
                next.extend(states.map(|state| self.with(point, place, state.clone())));
            } else if after(&point.state, &call.what).as_ref() == Some(&point.state) {
                return vec![self.with(point, place, point.state.clone())];
            }
        }
        let Some(at) = self.numbered.get(point.numbered).copied() else {
            return next;
        };
        let call = &calls[at];
        let led_to = (call.begun <= first_end).then(|| after(&point.state, &call.what));
        let led_to = led_to.flatten();
        let past = |point: Point<S>| Point {
            numbered: point.numbered + 1,
            ..point
        };
        match (call.ended, led_to) {
            (Some(_), None) => {}
            (Some(_), Some(state)) => {
                let place = self.answered.partition_point(|it| *it < at);
                next.push(past(self.with(point, place, state)));
            }
            (None, led_to) => {
                next.push(past(point.clone())); // never
                next.extend(led_to.map(|state| Point {
                    state,
                    ..past(point.clone())
                }));
            }
        }
        next
    }

    fn with<S: Clone>(&self, point: &Point<S>, place: usize, state: S) -> Point<S> {
        let mut ahead = point.ahead.clone();
        let mut base = point.base;
        let at = ahead.partition_point(|it| *it < place as u32);
        ahead.insert(at, place as u32);
        while ahead.first() == Some(&(base as u32)) {
            ahead.remove(0);
            base += 1;
        }
        Point {
            base,
            ahead,
            numbered: point.numbered,
            state,
        }
    }
}
