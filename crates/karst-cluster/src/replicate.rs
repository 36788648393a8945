//! One write on its way to the nodes that are to have it: whom to send it, when to ask again, when it is there.
//!
//! It is sent to all of them at once, in the turn in which it was made. It counts as arrived when each has
//! taken it or has ceased to be one of those who should: then another node is filled in its stead, from an
//! index that knows of the write already.
//!
//! If meanwhile another node has become the primary, it may lack the write, and will not be sent it as a copy any
//! more. Then it is asked to take the write over, and when it has, the write counts as arrived: a partition
//! that changes hands in order fails no request.
//!
//! ```text
//! copying ---- each has it, or is owed it no more ------------------------------> arrived
//!    |  '----- one cannot take it, or not in time: it is compared with later ---> missed
//!    '- another node is the primary -> handing over -- it has it ---------------> arrived
//!                                        |  '--------- not in time -------------> missed
//!                                        '- this one is it again: all followers
//!                                           are compared with later ------------> missed
//! ```
//!
//! A write of a strongly consistent partition is *confirmed* once those have it whose confirmations the map asks for
//! ([`Quorums`](crate::view::Quorums)), by the map of that moment; it goes on until everybody has it. Nobody takes it over:
//! whether it is one of those that the next primary finds is not known here.
//!
//! Whoever drives this hands in what is answered, and asks for the [`Next`] thing to do with the newest share
//! of the partition: when it begins, when something else than "done" was answered, and at the latest when the
//! last [`Next::Wait`] says. An answer that is late or doubled changes nothing.

use karst_data::mutation::{Mutation, is_planted};
use smallvec::SmallVec;

use crate::fabric::{Ack, Kind};
use crate::map::{Regime, Role};
use crate::node::NodeId;
use crate::view::Share;

/// How long an answer is waited for before it is asked whether it is still owed.
const LOOK_AGAIN_US: u64 = 50_000;

/// Pause before a node that has another map, or no connection, is asked again.
const PAUSE_US: u64 = 5_000;

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is where it should be.
    Arrived,
    /// Some node did not take it in time, or cannot. It may or may not be on some of them.
    Missed,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send it: as a copy ([`Kind::Replicate`]), or to be taken over ([`Kind::Late`]).
    Send {
        /// To whom.
        to: NodeId,
        /// As what.
        kind: Kind,
        /// Under which regime.
        regime: Regime,
    },
    /// A node holds less than it should: it is to be compared with.
    Repair(NodeId),
    /// Nothing, until something is answered or this time has come.
    Wait {
        /// When.
        until_us: u64,
    },
    /// It is over.
    Over(Outcome),
}

/// See [the module](self).
#[derive(Debug)]
pub struct Spreading {
    deadline_us: u64,
    copies: SmallVec<[Copy; 2]>,
    phase: Phase,
    /// It has to be confirmed.
    is_strong: bool,
}

#[derive(Clone, Copy, Debug)]
struct Copy {
    node: NodeId,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be sent from this time on.
    Due { at_us: u64 },
    /// Nothing was answered yet.
    Asked,
    /// It is there.
    There,
    /// It is owed no more.
    Freed,
    /// The node cannot take it, now or later.
    Refused,
    /// It is not there, and the node is to be compared with.
    Missed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Copying,
    /// Another node is the primary, and is to take it over from this time on.
    HandingOver {
        at_us: u64,
    },
    /// It was asked to.
    HandedOver {
        to: NodeId,
    },
    /// Whoever follows now, from this one on, may lack it.
    Repairing {
        follower: usize,
    },
    Over(Outcome),
}

impl Spreading {
    /// A write that was just made, and is to have arrived by a certain time. `None` if nobody else is to have it.
    pub fn begin(share: &Share, now_us: u64, deadline_us: u64) -> Option<Spreading> {
        let copy = |node: &NodeId| Copy {
            node: *node,
            state: State::Due { at_us: now_us },
        };
        (!share.followers.is_empty()).then(|| Spreading {
            deadline_us,
            copies: share.followers.iter().map(copy).collect(),
            phase: Phase::Copying,
            is_strong: false,
        })
    }

    /// A write that was just made and is to be confirmed by a certain time, by nobody else if need be.
    pub fn begin_strong(deadline_us: u64) -> Spreading {
        Spreading {
            deadline_us,
            copies: SmallVec::new(),
            phase: Phase::Copying,
            is_strong: true,
        }
    }

    /// Whether it has to be confirmed.
    pub fn is_strong(&self) -> bool {
        self.is_strong
    }

    /// Whether those who have it, and this node, are enough by the newest share of the partition.
    pub fn is_confirmed(&self, share: &Share) -> bool {
        let Some(quorums) = &share.quorums else {
            return false;
        };
        if share.role != Role::Primary {
            return false;
        }
        if is_planted(Mutation::ConfirmsAlone) {
            return true;
        }
        let there = self.copies.iter().filter(|it| it.state == State::There);
        let there = there.map(|it| it.node).chain(share.primary);
        let there: SmallVec<[NodeId; 4]> = there.collect();
        quorums.are_met_by(&there)
    }

    /// What became of it, once that is known.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.phase {
            Phase::Over(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// A node has answered what it was sent as this kind of message. If the answer is not that it is done, the
    /// [`Next`] thing to do has to be asked for.
    pub fn answered(&mut self, from: NodeId, kind: Kind, ack: Ack, now_us: u64) {
        let again_us = now_us + PAUSE_US;
        match (self.phase, kind) {
            (Phase::Copying, Kind::Replicate) => {
                self.copied(
                    from,
                    match ack {
                        Ack::Done => State::There,
                        // Another map is in force there, or there is no room for the moment.
                        Ack::Stale | Ack::Early | Ack::Misled | Ack::Full => {
                            State::Due { at_us: again_us }
                        }
                        Ack::Failed => State::Refused,
                    },
                );
            }
            (Phase::HandedOver { to }, Kind::Late) if to == from => {
                self.phase = match ack {
                    Ack::Done => Phase::Over(Outcome::Arrived),
                    Ack::Failed => Phase::Over(Outcome::Missed),
                    Ack::Stale | Ack::Early | Ack::Misled | Ack::Full => {
                        Phase::HandingOver { at_us: again_us }
                    }
                };
            }
            _ => {} // it was asked in a phase that is over
        }
    }

    /// What a node was sent got lost on the way, or could not be sent: to send it twice does no harm.
    pub fn lost(&mut self, to: NodeId, kind: Kind, now_us: u64) {
        self.answered(to, kind, Ack::Early, now_us);
    }

    fn copied(&mut self, from: NodeId, state: State) {
        let asked = |copy: &&mut Copy| copy.node == from && copy.state == State::Asked;
        if let Some(copy) = self.copies.iter_mut().find(asked) {
            copy.state = state;
        }
        self.end_if_settled();
    }

    fn end_if_settled(&mut self) {
        if self.is_settled() && !self.is_strong {
            self.phase = Phase::Over(Outcome::Arrived);
        }
    }

    fn is_settled(&self) -> bool {
        let is_settled = |copy: &Copy| matches!(copy.state, State::There | State::Freed);
        self.copies.iter().all(is_settled)
    }

    /// What to do now, by the newest share of the partition. To be asked until it is to wait, or it is over.
    pub fn next(&mut self, share: &Share, now_us: u64) -> Next {
        match self.phase {
            Phase::Copying => self.copy(share, now_us),
            Phase::HandingOver { .. } | Phase::HandedOver { .. } if now_us >= self.deadline_us => {
                self.end(Outcome::Missed)
            }
            Phase::HandingOver { at_us } if at_us > now_us => self.wait(at_us),
            Phase::HandingOver { .. } => self.hand_over(share, now_us),
            Phase::HandedOver { .. } => self.wait(self.deadline_us),
            Phase::Repairing { follower } => match share.followers.get(follower) {
                Some(node) => {
                    let follower = follower + 1;
                    self.phase = Phase::Repairing { follower };
                    Next::Repair(*node)
                }
                None => self.end(Outcome::Missed),
            },
            Phase::Over(outcome) => Next::Over(outcome),
        }
    }

    fn copy(&mut self, share: &Share, now_us: u64) -> Next {
        let refused = |copy: &&mut Copy| copy.state == State::Refused;
        if let Some(copy) = self.copies.iter_mut().find(refused) {
            copy.state = State::Missed;
            return Next::Repair(copy.node);
        }
        let is_missed = |copy: &Copy| copy.state == State::Missed;
        let missed = self.copies.iter().any(is_missed);
        if self.is_strong {
            if share.role != Role::Primary {
                return self.end(Outcome::Missed);
            }
            self.owe_to(share, now_us);
        } else if share.role != Role::Primary && self.is_open() {
            if missed {
                return self.end(Outcome::Missed);
            }
            self.phase = Phase::HandingOver { at_us: now_us };
            return self.next(share, now_us); // whoever is it now has it, or does not
        }
        let mut until_us = self.deadline_us;
        for copy in &mut self.copies {
            let due_us = match copy.state {
                State::Due { at_us } => Some(at_us),
                State::Asked => None,
                State::There | State::Freed | State::Refused | State::Missed => continue,
            };
            if !share.followers.contains(&copy.node) {
                copy.state = State::Freed;
            } else if now_us >= self.deadline_us {
                copy.state = State::Missed;
                return Next::Repair(copy.node);
            } else if due_us.is_some_and(|at_us| at_us <= now_us) {
                copy.state = match is_planted(Mutation::AcknowledgesBeforeCopied) {
                    true => State::There,
                    false => State::Asked,
                };
                return Next::Send {
                    to: copy.node,
                    kind: Kind::Replicate,
                    regime: share.regime,
                };
            } else {
                until_us = until_us.min(due_us.unwrap_or(now_us + LOOK_AGAIN_US));
            }
        }
        self.end_if_settled();
        match self.phase {
            Phase::Over(outcome) => Next::Over(outcome),
            _ if self.is_open() => self.wait(until_us),
            _ if self.is_strong && self.is_settled() => match self.is_confirmed(share) {
                true => self.end(Outcome::Arrived),
                false if now_us >= self.deadline_us => self.end(Outcome::Missed),
                false => self.wait(now_us + PAUSE_US), // those who are asked for change
            },
            _ => self.end(Outcome::Missed),
        }
    }

    /// Who is to have it by the newest map.
    fn owe_to(&mut self, share: &Share, now_us: u64) {
        for node in &share.followers {
            let mut known = self.copies.iter_mut().filter(|it| it.node == *node);
            let due = State::Due { at_us: now_us };
            match known.next() {
                Some(copy) if copy.state == State::Freed => copy.state = due,
                Some(_) => {}
                None => self.copies.push(Copy {
                    node: *node,
                    state: due,
                }),
            }
        }
    }

    /// Whether anything is owed that was neither confirmed nor given up.
    fn is_open(&self) -> bool {
        let is_open = |copy: &Copy| matches!(copy.state, State::Due { .. } | State::Asked);
        self.copies.iter().any(is_open)
    }

    fn hand_over(&mut self, share: &Share, now_us: u64) -> Next {
        match share.primary {
            // In between it was sent to others, or to nobody.
            _ if share.role == Role::Primary => {
                self.phase = Phase::Repairing { follower: 0 };
                self.next(share, now_us)
            }
            Some(to) => {
                self.phase = Phase::HandedOver { to };
                Next::Send {
                    to,
                    kind: Kind::Late,
                    regime: share.regime,
                }
            }
            None => {
                let at_us = now_us + PAUSE_US;
                self.phase = Phase::HandingOver { at_us };
                self.wait(at_us)
            }
        }
    }

    fn wait(&self, until_us: u64) -> Next {
        let until_us = until_us.min(self.deadline_us);
        Next::Wait { until_us }
    }

    fn end(&mut self, outcome: Outcome) -> Next {
        self.phase = Phase::Over(outcome);
        Next::Over(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const C: NodeId = NodeId(3);
    const DEADLINE_US: u64 = 1_000_000;

    fn share(regime: u32, primary: NodeId, followers: &[NodeId]) -> Share {
        Share {
            regime: Regime(regime),
            role: if primary == A {
                Role::Primary
            } else {
                Role::Replica
            },
            apart: false,
            primary: Some(primary),
            followers: followers.into(),
            quorums: None,
        }
    }

    /// The same of a strongly consistent partition.
    fn strong(regime: u32, primary: NodeId, in_sync: &[NodeId], prior: &[NodeId]) -> Share {
        let others = in_sync.iter().chain(prior).filter(|it| **it != A);
        let followers: std::collections::BTreeSet<NodeId> = others.copied().collect();
        let followers: Vec<NodeId> = followers.into_iter().collect();
        Share {
            quorums: Some(crate::view::Quorums {
                in_sync: in_sync.into(),
                prior: prior.into(),
                activated: Regime(1),
                can_confirm: true,
                knows: in_sync.contains(&A),
                stands: true,
                processes: Box::default(),
            }),
            ..share(regime, primary, &followers)
        }
    }

    fn send(to: NodeId, kind: Kind, regime: u32) -> Next {
        let regime = Regime(regime);
        Next::Send { to, kind, regime }
    }

    /// One that was just sent to B and C under regime 1.
    fn sent() -> Spreading {
        let share = share(1, A, &[B, C]);
        let mut write = Spreading::begin(&share, 0, DEADLINE_US).unwrap();
        assert_eq!(write.next(&share, 0), send(B, Kind::Replicate, 1));
        assert_eq!(write.next(&share, 0), send(C, Kind::Replicate, 1));
        let until_us = LOOK_AGAIN_US;
        assert_eq!(write.next(&share, 0), Next::Wait { until_us });
        write
    }

    #[test]
    fn a_write_has_arrived_only_when_everybody_has_it_who_is_to_have_it() {
        let mut write = sent();
        write.answered(B, Kind::Replicate, Ack::Done, 1);
        write.answered(B, Kind::Replicate, Ack::Done, 2);
        assert_eq!(write.outcome(), None);
        write.answered(C, Kind::Replicate, Ack::Done, 3);
        assert_eq!(write.outcome(), Some(Outcome::Arrived));
    }

    #[test]
    fn a_write_is_confirmed_by_a_quorum_and_goes_on_until_everybody_has_it() {
        let three = strong(1, A, &[A, B, C], &[]);
        let mut write = Spreading::begin_strong(DEADLINE_US);
        assert_eq!(write.next(&three, 0), send(B, Kind::Replicate, 1));
        assert_eq!(write.next(&three, 0), send(C, Kind::Replicate, 1));
        assert!(!write.is_confirmed(&three));
        write.answered(B, Kind::Replicate, Ack::Done, 1);
        assert!(write.is_confirmed(&three));
        assert!(matches!(write.next(&three, 1), Next::Wait { .. }));
        write.answered(C, Kind::Replicate, Ack::Done, 2);
        assert_eq!(write.next(&three, 2), Next::Over(Outcome::Arrived));
    }

    #[test]
    fn who_confirms_is_looked_up_in_the_newest_map() {
        let mut write = Spreading::begin_strong(DEADLINE_US);
        let before = strong(1, A, &[A, B], &[]);
        assert_eq!(write.next(&before, 0), send(B, Kind::Replicate, 1));
        write.answered(B, Kind::Replicate, Ack::Done, 1);
        let joined = strong(2, A, &[A, B, C], &[A, B]);
        assert!(write.is_confirmed(&joined), "two of three, and both of two");
        let moved = strong(2, A, &[A, C], &[A, B]);
        assert!(!write.is_confirmed(&moved), "one of two");
        assert_eq!(write.next(&moved, 1), send(C, Kind::Replicate, 2));
        write.answered(C, Kind::Replicate, Ack::Done, 2);
        assert!(write.is_confirmed(&moved));
        let led_by_another = strong(3, C, &[C, A], &[]);
        assert!(!write.is_confirmed(&led_by_another));
        let over = Next::Over(Outcome::Missed);
        assert_eq!(write.next(&led_by_another, 3), over);
    }

    #[test]
    fn a_write_that_those_who_are_left_may_not_confirm_waits_until_they_may() {
        let mut write = Spreading::begin_strong(DEADLINE_US);
        let both = strong(1, A, &[A, B], &[]);
        assert_eq!(write.next(&both, 0), send(B, Kind::Replicate, 1));
        let mut fenced = strong(2, A, &[A], &[A, B]);
        fenced.followers = Box::default(); // it is dead
        assert!(matches!(write.next(&fenced, 1), Next::Wait { .. }));
        assert!(!write.is_confirmed(&fenced));
        let alone = strong(2, A, &[A], &[]);
        assert_eq!(write.next(&alone, 2), Next::Over(Outcome::Arrived));
    }

    #[test]
    fn who_follows_no_more_is_not_waited_for() {
        let mut write = sent();
        write.answered(B, Kind::Replicate, Ack::Done, 1);
        let next = write.next(&share(2, A, &[B]), LOOK_AGAIN_US);
        assert_eq!(next, Next::Over(Outcome::Arrived));
    }

    #[test]
    fn a_node_that_has_another_map_or_was_not_reached_is_asked_again_under_the_newest_regime() {
        for ack in [Ack::Stale, Ack::Early, Ack::Misled, Ack::Full] {
            let mut write = sent();
            write.answered(B, Kind::Replicate, ack, 10);
            write.lost(C, Kind::Replicate, 20);
            let newer = share(2, A, &[B, C]);
            let until_us = 10 + PAUSE_US;
            assert_eq!(write.next(&newer, 20), Next::Wait { until_us });
            assert_eq!(write.next(&newer, until_us), send(B, Kind::Replicate, 2));
            let until_us = 20 + PAUSE_US;
            assert_eq!(write.next(&newer, until_us), send(C, Kind::Replicate, 2));
        }
    }

    #[test]
    fn who_does_not_take_it_in_time_or_never_can_is_compared_with_later() {
        let mut write = sent();
        write.answered(B, Kind::Replicate, Ack::Failed, 1);
        let share = share(1, A, &[B, C]);
        assert_eq!(write.next(&share, 1), Next::Repair(B));
        assert!(matches!(write.next(&share, 1), Next::Wait { .. }));
        assert_eq!(write.next(&share, DEADLINE_US), Next::Repair(C));
        assert_eq!(write.next(&share, DEADLINE_US), Next::Over(Outcome::Missed));
    }

    #[test]
    fn the_primary_of_now_takes_over_what_the_one_before_was_writing() {
        let mut write = sent();
        let newer = share(2, C, &[A]);
        assert_eq!(write.next(&newer, 9), send(C, Kind::Late, 2));
        // What is still answered to the copy says nothing of the new primary's own followers.
        write.answered(C, Kind::Replicate, Ack::Done, 10);
        assert_eq!(write.outcome(), None);
        write.answered(C, Kind::Late, Ack::Misled, 10);
        let newest = share(3, B, &[A]);
        let until_us = 10 + PAUSE_US;
        assert_eq!(write.next(&newest, 10), Next::Wait { until_us });
        assert_eq!(write.next(&newest, until_us), send(B, Kind::Late, 3));
        write.answered(B, Kind::Late, Ack::Done, until_us);
        assert_eq!(write.outcome(), Some(Outcome::Arrived));
    }

    #[test]
    fn a_primary_that_is_one_again_compares_with_all_who_follow() {
        let mut write = sent();
        assert_eq!(write.next(&share(2, B, &[A]), 9), send(B, Kind::Late, 2));
        write.lost(B, Kind::Late, 9);
        let again = share(3, A, &[B, C]);
        let now_us = 9 + PAUSE_US;
        assert_eq!(write.next(&again, now_us), Next::Repair(B));
        assert_eq!(write.next(&again, now_us), Next::Repair(C));
        assert_eq!(write.next(&again, now_us), Next::Over(Outcome::Missed));
    }

    #[test]
    fn a_write_that_nobody_takes_over_in_time_is_missed() {
        let mut write = sent();
        let nobody = Share {
            primary: None,
            ..share(2, B, &[])
        };
        let until_us = 9 + PAUSE_US;
        assert_eq!(write.next(&nobody, 9), Next::Wait { until_us });
        assert_eq!(
            write.next(&nobody, DEADLINE_US),
            Next::Over(Outcome::Missed)
        );
    }
}
