//! Who counts as there, from who reports to the leader and whom they do not hear.
//!
//! The leader may hear two nodes that do not hear each other: a wire is cut, or lets pass one way only. Writes of
//! what both hold could not be copied, for as long as that lasts. So of those whom the leader hears it takes a set in
//! which everybody hears everybody.
//!
//! What makes the choice a lasting one: a node that is out stays out for as long as anybody who is in does not hear
//! it, or it does not hear them. Among those that are in, whoever most others have no word of goes first; the leader
//! stays.

use std::collections::{BTreeMap, BTreeSet};

use crate::node::NodeId;

/// Of those whom the leader hears, whom it is to count as alive. `unheard` is whom each says not to hear, `alive` who
/// counts as alive so far.
pub fn who_hear_each_other(
    leader: NodeId,
    heard: &BTreeSet<NodeId>,
    unheard: &BTreeMap<NodeId, BTreeSet<NodeId>>,
    alive: &BTreeSet<NodeId>,
) -> BTreeSet<NodeId> {
    let says = |a: &NodeId, b: &NodeId| unheard.get(a).is_some_and(|all| all.contains(b));
    let apart = |a: &NodeId, b: &NodeId| says(a, b) || says(b, a);
    let is_in = |node: &&NodeId| alive.contains(node) || **node == leader;
    let mut chosen: BTreeSet<NodeId> = heard.iter().filter(is_in).copied().collect();
    loop {
        let missed = |node: &NodeId| chosen.iter().filter(|other| apart(node, other)).count();
        let others = chosen.iter().filter(|node| **node != leader);
        let worst = others.max_by_key(|node| (missed(node), std::cmp::Reverse(**node)));
        match worst.copied().filter(|node| missed(node) > 0) {
            Some(worst) => _ = chosen.remove(&worst),
            None => break,
        }
    }
    for node in heard.iter().filter(|node| !is_in(node)) {
        if !chosen.iter().any(|other| apart(node, other)) {
            chosen.insert(*node);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(nodes: &[u64]) -> BTreeSet<NodeId> {
        nodes.iter().map(|id| NodeId(*id)).collect()
    }

    fn chosen(heard: &[u64], unheard: &[(u64, &[u64])], alive: &[u64]) -> BTreeSet<NodeId> {
        let unheard = unheard.iter().map(|(node, all)| (NodeId(*node), set(all)));
        who_hear_each_other(NodeId(1), &set(heard), &unheard.collect(), &set(alive))
    }

    #[test]
    fn who_all_hear_each_other_are_all_there() {
        assert_eq!(chosen(&[1, 2, 3], &[(2, &[])], &[1, 2]), set(&[1, 2, 3]));
    }

    #[test]
    fn of_two_that_do_not_hear_each_other_one_goes_whoever_says_so() {
        let all = [1, 2, 3];
        for unheard in [(2, &[3][..]), (3, &[2][..])] {
            assert_eq!(chosen(&all, &[unheard], &all), set(&[1, 3]));
        }
    }

    #[test]
    fn whoever_most_do_not_hear_goes_and_never_the_leader() {
        let all = [1, 2, 3, 4];
        assert_eq!(chosen(&all, &[(2, &[4]), (3, &[4])], &all), set(&[1, 2, 3]));
        assert_eq!(chosen(&all, &[(2, &[1]), (3, &[1])], &all), set(&[1, 4]));
    }

    #[test]
    fn who_went_stays_out_until_everybody_is_heard_again() {
        // Those that are in have forgotten it by now; it says itself whom it misses.
        let unheard: &[(u64, &[u64])] = &[(2, &[3])];
        assert_eq!(chosen(&[1, 2, 3], unheard, &[1, 3]), set(&[1, 3]));
        assert_eq!(chosen(&[1, 2, 3], unheard, &[1, 2]), set(&[1, 2]));
        assert_eq!(chosen(&[1, 2, 3], &[], &[1, 3]), set(&[1, 2, 3]));
    }
}
