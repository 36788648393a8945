//! The arithmetic of strong consistency: how many have to confirm, and how many have to be asked.
//!
//! What is confirmed by a *write quorum* of a set of nodes is found again at any *fence quorum* of it: any two have
//! a node in common. A partition that changes hands asks a fence quorum of the set by which writes were last
//! confirmed, its [`prior`](Fenced::prior) one, each member of which promises to take nothing of an older regime
//! any more; it serves when everybody in sync holds what was found. Until that has been agreed on by Raft (the
//! regime is *activated*) whoever goes on serving has writes confirmed by both sets.
//!
//! `tests/strong_model.rs` explores all runs of these rules within bounds. No node goes by them yet: `mode = "cp"` is refused.

/// Confirmations that make a write of a set of so many nodes lasting: a majority.
pub fn write_quorum(nodes: usize) -> usize {
    nodes / 2 + 1
}

/// Nodes of a set of so many of which at least one holds whatever a write quorum confirmed.
pub fn fence_quorum(nodes: usize) -> usize {
    nodes - write_quorum(nodes) + 1
}

/// Whether those who confirmed are a write quorum of each of these sets. Who is in none of them does not count.
pub fn is_confirmed<N: PartialEq>(by: &[N], sets: &[&[N]]) -> bool {
    sets.iter().all(|set| {
        let confirmed = set.iter().filter(|node| by.contains(node)).count();
        confirmed >= write_quorum(set.len())
    })
}

/// Who took writes last, and who is to take them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced<'a, N> {
    /// The set by which writes were last confirmed.
    pub prior: &'a [N],
    /// The set by which they are to be.
    pub in_sync: &'a [N],
}

impl<N: PartialEq> Fenced<'_, N> {
    /// Whether what writes were confirmed for can be found among those in sync. If not nobody may serve: too
    /// many are away.
    pub fn can_activate(&self) -> bool {
        let known = self.prior.iter().filter(|it| self.in_sync.contains(it));
        known.count() >= fence_quorum(self.prior.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_write_quorum_confirmed_is_found_by_any_fence_quorum() {
        for nodes in 1..=7 {
            assert!(write_quorum(nodes) + fence_quorum(nodes) > nodes);
            assert!(write_quorum(nodes) <= nodes && fence_quorum(nodes) >= 1);
        }
        assert_eq!([1, 2, 3, 4, 5].map(write_quorum), [1, 2, 2, 3, 3]);
        assert_eq!([1, 2, 3, 4, 5].map(fence_quorum), [1, 1, 2, 2, 3]);
    }

    #[test]
    fn a_write_is_confirmed_when_each_set_has_a_majority_of_its_own() {
        let (old, new) = ([1, 2, 3], [1, 4]);
        assert!(!is_confirmed(&[1, 4], &[&old, &new]));
        assert!(!is_confirmed(&[1, 2, 3], &[&old, &new]));
        assert!(is_confirmed(&[1, 2, 4], &[&old, &new]));
        assert!(!is_confirmed(&[9, 8, 7], &[&old]));
    }

    #[test]
    fn a_set_is_activated_only_if_enough_of_those_before_it_are_in_it() {
        let can = |prior: &[u8], in_sync: &[u8]| Fenced { prior, in_sync }.can_activate();
        assert!(can(&[1, 2], &[2]));
        assert!(!can(&[1, 2, 3], &[3, 4]));
        assert!(can(&[1, 2, 3], &[2, 3]));
        assert!(!can(&[1], &[2]));
    }
}
