//! Messages of peers, looked at before openraft is trusted with them.
//!
//! openraft takes it for granted that a peer keeps to the protocol, and stops the process where one does
//! not. What a socket brings is foreign: what could not come from a node that keeps to it is refused here.

use openraft::raft::AppendEntriesRequest;

use super::{LogId, SnapshotMeta, TypeConfig, Vote};

/// Whether entries follow each other without a hole, and none is of a later leader than who sends them.
pub fn append(request: &AppendEntriesRequest<TypeConfig>) -> bool {
    let mut next = request
        .prev_log_id
        .map_or(0, |log_id| log_id.index.saturating_add(1));
    let mut last = request.prev_log_id;
    for entry in &request.entries {
        if entry.log_id.index != next || last.is_some_and(|last| last >= entry.log_id) {
            return false;
        }
        last = Some(entry.log_id);
        next = next.saturating_add(1);
    }
    request.vote.is_committed() && is_led_by(&request.vote, last)
}

/// Whether a snapshot can be of a log that this leader has, and is ahead of what is applied here.
pub fn snapshot(vote: &Vote, meta: &SnapshotMeta, applied: Option<LogId>) -> bool {
    let ahead = match (meta.last_log_id, applied) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(offered), Some(applied)) => {
            offered == applied || (offered > applied) == (offered.index > applied.index)
        }
    };
    vote.is_committed() && is_led_by(vote, meta.last_log_id) && ahead
}

/// Whether an entry's leader is no later than the one that speaks.
fn is_led_by(vote: &Vote, last: Option<LogId>) -> bool {
    let leader = vote.leader_id();
    last.is_none_or(|last| {
        let entry = last.committed_leader_id();
        (entry.term, entry.node_id) <= (leader.term, leader.node_id)
    })
}

#[cfg(test)]
mod tests {
    use openraft::entry::RaftEntry as _;

    use super::*;
    use crate::node::NodeId;
    use crate::raft::Entry;

    fn log_id(term: u64, index: u64) -> LogId {
        let vote = Vote::new_committed(term, NodeId(1));
        let leader = *vote.leader_id();
        LogId::new(leader, index)
    }

    fn check(prev: Option<(u64, u64)>, entries: &[(u64, u64)], sound: bool) {
        let entries = entries.iter();
        let request = AppendEntriesRequest {
            vote: Vote::new_committed(3, NodeId(1)),
            prev_log_id: prev.map(|(term, index)| log_id(term, index)),
            entries: entries
                .map(|(term, index)| Entry::new_blank(log_id(*term, *index)))
                .collect(),
            leader_commit: None,
        };
        assert_eq!(append(&request), sound, "{request:?}");
    }

    #[test]
    fn entries_with_a_hole_or_of_a_later_leader_are_refused() {
        check(None, &[], true);
        check(None, &[(1, 0), (1, 1), (3, 2)], true);
        check(Some((2, 4)), &[(2, 5), (3, 6)], true);
        check(None, &[(1, 1)], false);
        check(Some((2, 4)), &[(2, 6)], false);
        check(Some((2, 4)), &[(2, 5), (2, 5)], false);
        check(Some((2, 4)), &[(1, 5)], false);
        check(Some((2, 4)), &[(4, 5)], false);
        check(Some((4, 4)), &[], false);
        check(Some((1, u64::MAX)), &[(2, 0)], false);
    }

    #[test]
    fn a_snapshot_that_contradicts_what_is_applied_is_refused() {
        let vote = Vote::new_committed(3, NodeId(1));
        let of = |last: Option<LogId>| SnapshotMeta {
            last_log_id: last,
            ..SnapshotMeta::default()
        };
        let sound = |last, applied| snapshot(&vote, &of(last), applied);
        assert!(sound(Some(log_id(3, 9)), None));
        assert!(sound(Some(log_id(3, 9)), Some(log_id(2, 4))));
        assert!(sound(Some(log_id(2, 4)), Some(log_id(3, 9)))); // late, which openraft knows to skip
        assert!(!sound(Some(log_id(4, 9)), None));
        assert!(!sound(Some(log_id(3, 4)), Some(log_id(2, 4))));
        assert!(!sound(Some(log_id(3, 3)), Some(log_id(2, 4))));
        assert!(!sound(None, Some(log_id(2, 4))));
    }
}
