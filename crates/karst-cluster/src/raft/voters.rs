//! Which nodes vote: up to [`VOTERS_MAX`] that are alive, the others listen.
//!
//! One change at a time, so that a quorum of the voters before and one of those after always meet.

use std::collections::BTreeSet;

use crate::node::NodeId;

/// Voters that are enough: five outlive the loss of two, and more only make each commit slower.
pub const VOTERS_MAX: usize = 5;

/// What is known of the members of the group.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// Who votes.
    pub voters: BTreeSet<NodeId>,
    /// Who listens and has nearly all of the log.
    pub ready: BTreeSet<NodeId>,
    /// Who was heard of lately.
    pub alive: BTreeSet<NodeId>,
    /// Who is on its way out.
    pub leaving: BTreeSet<NodeId>,
}

/// The voters to change to; `None` when they are as they should be.
pub fn next(members: &Members) -> Option<BTreeSet<NodeId>> {
    let fit = |node: &&NodeId| members.alive.contains(node) && !members.leaving.contains(node);
    let joins = members.ready.iter().filter(fit);
    let joins = joins.copied().find(|node| !members.voters.contains(node))?;
    let mut voters = members.voters.clone();
    if voters.len() >= VOTERS_MAX {
        let goes = voters.iter().copied().find(|node| !fit(&node))?;
        voters.remove(&goes);
    }
    voters.insert(joins);
    Some(voters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn check(voters: &[u64], ready: &[u64], alive: &[u64], leaving: &[u64], after: Option<&[u64]>) {
        let members = Members {
            voters: set(voters),
            ready: set(ready),
            alive: set(alive),
            leaving: set(leaving),
        };
        assert_eq!(next(&members), after.map(set), "{members:?}");
    }

    #[test]
    fn a_listener_that_is_alive_votes_where_there_is_room_or_a_dead_voter() {
        check(&[1], &[], &[1], &[], None);
        check(&[1], &[2], &[1, 2], &[], Some(&[1, 2]));
        check(&[1], &[2], &[1], &[], None);
        check(&[1], &[2], &[1, 2], &[2], None);
        check(&[1, 2], &[3, 4], &[1, 2, 3, 4], &[], Some(&[1, 2, 3]));
        let five = [1, 2, 3, 4, 5];
        check(&five, &[6], &[1, 2, 3, 4, 5, 6], &[], None);
        check(&five, &[6], &[1, 2, 4, 5, 6], &[], Some(&[1, 2, 4, 5, 6]));
        check(
            &five,
            &[6],
            &[1, 2, 3, 4, 5, 6],
            &[1],
            Some(&[2, 3, 4, 5, 6]),
        );
        check(&five, &[], &[1, 2], &[], None);
    }
}
