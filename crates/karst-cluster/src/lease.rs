//! Leases: how long a primary may take it for granted that nobody else leads what it leads.
//!
//! The Raft leader grants one with each answer to a node's report, unless it is about to give the node up. The node
//! counts it from when it asked, less the age of the leader's own majority, on a clock that also runs while the
//! machine sleeps; the leader counts the time for which it waits from when it answered, or from when it was elected,
//! which are both later. Clocks may differ in their rates by a few percent: the holder counts less time than the leader.
//!
//! A lease says nothing of what was decided before it was granted: it counts for a node that goes by the state which the
//! leader had by then, or a later one. A node that was given up and is heard again may still believe that it leads.
//!
//! Only reads that do not ask a quorum count on it. The lease is looked at *after* the record was read: a process
//! may stand still in between for as long as it likes.

use std::collections::{BTreeMap, BTreeSet};

use karst_data::mutation::{Mutation, is_planted};

use crate::node::NodeId;
use crate::state::ISLAND;

/// Of the time for which the leader waits, how many parts of sixteen the holder counts on.
const SIXTEENTHS: u64 = 13;

/// What a node holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Until when it lasts, on the node's own clock, in microseconds.
    pub until_us: u64,
    /// The generation of the state that the leader had when it granted it.
    pub generation: u64,
}

impl Lease {
    /// It was granted anew: by a leader that had this state by then, and until then.
    pub fn renew(&mut self, until_us: u64, generation: u64) {
        if until_us > self.until_us {
            *self = Lease {
                until_us,
                generation,
            };
        }
    }

    /// Whether a read may be answered that was decided by a state of this generation and has come to its end now. It is
    /// the generation by which the record was read, not that of now: it may have changed in between.
    pub fn covers(&self, generation: u64, now_us: u64) -> bool {
        let lasts = now_us < self.until_us || is_planted(Mutation::TrustsOldLeases);
        generation & !ISLAND >= self.generation && lasts
    }
}

/// Until when a lease lasts on the holder's clock, in microseconds. It asked for it then, the leader's majority was
/// so old, and the leader waits so long before it gives a silent node up.
pub fn lasts_until(asked_us: u64, quorum_age_us: u64, suspect_us: u64) -> u64 {
    let from_us = asked_us.saturating_sub(quorum_age_us);
    from_us + suspect_us / 16 * SIXTEENTHS
}

/// What the leader remembers of the leases that it has granted.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    last_us: BTreeMap<NodeId, u64>,
    /// Who gets none.
    given_up: BTreeSet<NodeId>,
    /// Nobody gets any.
    none: bool,
}

impl Granted {
    /// Whether a node that asks now is granted a lease.
    pub fn grant(&mut self, node: NodeId, now_us: u64) -> bool {
        let grants = !self.none && !self.given_up.contains(&node);
        if grants {
            self.last_us.insert(node, now_us);
        }
        grants
    }

    /// From now on these get none, and all others do. To be called with everybody who is not heard, before anything is
    /// proposed that follows from it. While something that was proposed is in doubt, nobody gets any: it may
    /// follow from what was so before.
    pub fn give_up(&mut self, nodes: BTreeSet<NodeId>, in_doubt: bool) {
        self.given_up = nodes;
        self.none = in_doubt;
    }

    /// Who may hold a lease still.
    pub fn holders(&mut self, now_us: u64, suspect_us: u64) -> BTreeSet<NodeId> {
        self.last_us
            .retain(|_, at_us| at_us.saturating_add(suspect_us) >= now_us);
        self.last_us.keys().copied().collect()
    }

    /// Forgets everything: another node leads.
    pub fn clear(&mut self) {
        *self = Granted::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_ended_for_its_holder_before_it_has_for_the_leader() {
        let suspect_us = 800_000;
        let node = NodeId(1);
        let mut granted = Granted::default();
        let (asked_us, answered_us) = (10_000_000, 10_000_300);
        assert!(granted.grant(node, answered_us));
        let until_us = lasts_until(asked_us, 50_000, suspect_us);
        let mut ends_us = (answered_us..).step_by(1000);
        let ends_us = ends_us.find(|now_us| granted.holders(*now_us, suspect_us).is_empty());
        assert!(until_us * 20 < ends_us.unwrap() * 20 - suspect_us * 3);
        let mut lease = Lease::default();
        lease.renew(until_us, 7);
        assert!(lease.covers(7, until_us - 1));
        assert!(!lease.covers(7, until_us));
        lease.renew(until_us - 1, 9);
        assert_eq!(lease.generation, 7);
    }

    #[test]
    fn a_lease_counts_only_for_who_goes_by_what_the_leader_knew_when_it_granted_it() {
        let mut lease = Lease::default();
        lease.renew(1000, 7);
        assert!(!lease.covers(6, 500), "it may have been given up by then");
        assert!(lease.covers(8, 500));
        assert!(lease.covers(7 | ISLAND, 500) && !lease.covers(6 | ISLAND, 500));
    }

    #[test]
    fn who_is_given_up_is_granted_nothing_and_waited_for() {
        let node = NodeId(1);
        let mut granted = Granted::default();
        assert!(granted.grant(node, 100));
        granted.give_up(BTreeSet::from([node]), false);
        assert!(!granted.grant(node, 200));
        assert_eq!(granted.holders(250, 150), BTreeSet::from([node]));
        assert_eq!(granted.holders(251, 150), BTreeSet::new());
    }
}
