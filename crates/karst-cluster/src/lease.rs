//! Leases: how long a primary may take it for granted that nobody else leads what it leads.
//!
//! The Raft leader grants one with each answer to a node's report, unless it is about to give the node up. The node
//! counts it from when it asked, less the age of the leader's own majority, on a clock that also runs while the
//! machine sleeps; the leader counts the time for which it waits from when it answered, or from when it was elected,
//! which are both later. Clocks may differ in their rates by a few percent: the holder counts less time than the leader.
//!
//! Only reads that do not ask a quorum count on it. The lease is looked at *after* the record was read: a process
//! may stand still in between for as long as it likes.

use std::collections::{BTreeMap, BTreeSet};

use karst_data::mutation::{Mutation, is_planted};

use crate::node::NodeId;

/// Of the time for which the leader waits, how many parts of sixteen the holder counts on.
const SIXTEENTHS: u64 = 13;

/// Until when a lease lasts on the holder's clock, in microseconds. It asked for it then, the leader's majority was
/// so old, and the leader waits so long before it gives a silent node up.
pub fn lasts_until(asked_us: u64, quorum_age_us: u64, suspect_us: u64) -> u64 {
    let from_us = asked_us.saturating_sub(quorum_age_us);
    from_us + suspect_us / 16 * SIXTEENTHS
}

/// Whether a read may be answered: it began then, and has come to its end now.
pub fn covers(until_us: u64, began_us: u64, now_us: u64) -> bool {
    match is_planted(Mutation::ChecksLeaseFirst) {
        true => began_us < until_us,
        false => now_us < until_us,
    }
}

/// What the leader remembers of the leases that it has granted.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    last_us: BTreeMap<NodeId, u64>,
    /// Who gets none.
    given_up: BTreeSet<NodeId>,
}

impl Granted {
    /// Whether a node that asks now is granted a lease.
    pub fn grant(&mut self, node: NodeId, now_us: u64) -> bool {
        let grants = !self.given_up.contains(&node);
        if grants {
            self.last_us.insert(node, now_us);
        }
        grants
    }

    /// From now on these get none, and all others do.
    pub fn give_up(&mut self, nodes: BTreeSet<NodeId>) {
        self.given_up = nodes;
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
        assert!(covers(until_us, asked_us, until_us - 1));
        assert!(!covers(until_us, asked_us, until_us));
    }

    #[test]
    fn who_is_given_up_is_granted_nothing_and_waited_for() {
        let node = NodeId(1);
        let mut granted = Granted::default();
        assert!(granted.grant(node, 100));
        granted.give_up(BTreeSet::from([node]));
        assert!(!granted.grant(node, 200));
        assert_eq!(granted.holders(250, 150), BTreeSet::from([node]));
        assert_eq!(granted.holders(251, 150), BTreeSet::new());
    }
}
