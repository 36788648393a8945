//! How a node without a cluster comes to one: joins the one it hears of, or founds one with others.
//!
//! ```text
//! hello to every address known -> answers -> decide -> a cluster is there ----------> join it
//!                                                   -> enough fresh ones, I am lowest -> found it
//!                                                   -> else ------------------> ask again later
//! ```
//!
//! A founder first asks each of the others for its word to belong to no other cluster, and forms the group
//! only with all of them: two groups that both count on one node could each find a majority.

use std::collections::BTreeMap;

use crate::node::{ClusterId, NodeId};

/// What a node says of itself while it looks for a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Who it is.
    pub id: NodeId,
    /// Fresh nodes that found a cluster together, itself included.
    pub expect: usize,
    /// Whether it was told where others are. Its own address does not count.
    pub has_seeds: bool,
}

/// What another node answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who it is.
    pub id: NodeId,
    /// The cluster it is in; `None` for a fresh one.
    pub cluster: Option<ClusterId>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is a cluster: join it.
    Join(ClusterId),
    /// Found one with these, itself included.
    Found(Vec<NodeId>),
    /// Not enough is known yet, or another one founds it.
    Wait,
    /// Those that answered are in two clusters, of one name.
    Torn(ClusterId, ClusterId),
}

/// Decides on the answers of one round. See [the module](self).
pub fn decide(wish: &Wish, answers: &[Answer]) -> Step {
    let mut clusters = answers.iter().filter_map(|answer| answer.cluster);
    if let Some(first) = clusters.next() {
        return match clusters.find(|other| *other != first) {
            Some(other) => Step::Torn(first, other),
            None => Step::Join(first),
        };
    }
    if wish.expect <= 1 && wish.has_seeds {
        return Step::Wait; // it was told to join one, and none is there yet
    }
    let mut fresh: BTreeMap<NodeId, ()> = answers.iter().map(|answer| (answer.id, ())).collect();
    fresh.insert(wish.id, ());
    let founders: Vec<NodeId> = fresh.into_keys().take(wish.expect.max(1)).collect();
    match founders.len() >= wish.expect && founders[0] == wish.id {
        true => Step::Found(founders),
        false => Step::Wait,
    }
}

/// A node's word to belong to one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The cluster.
    pub cluster: ClusterId,
    /// Milliseconds since it was given.
    pub age_ms: u64,
    /// Whether the log of that cluster has been begun here: then it is for good.
    pub kept: bool,
}

/// How long a word binds a node whose founder was not heard of again.
pub const WORD_MS: u64 = 5_000;

/// Whether a node may give its word to belong to a cluster.
pub fn may_give(given: Option<Word>, asked: ClusterId) -> bool {
    match given {
        None => true,
        Some(word) => word.cluster == asked || (!word.kept && word.age_ms >= WORD_MS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ClusterId = ClusterId([1; 16]);
    const B: ClusterId = ClusterId([2; 16]);

    fn check(
        id: u64,
        expect: usize,
        has_seeds: bool,
        answers: &[(u64, Option<ClusterId>)],
        step: Step,
    ) {
        let wish = Wish {
            id: NodeId(id),
            expect,
            has_seeds,
        };
        let answer = |(id, cluster): &(u64, Option<ClusterId>)| Answer {
            id: NodeId(*id),
            cluster: *cluster,
        };
        let answers: Vec<_> = answers.iter().map(answer).collect();
        assert_eq!(decide(&wish, &answers), step, "{wish:?} {answers:?}");
    }

    fn found(ids: &[u64]) -> Step {
        Step::Found(ids.iter().copied().map(NodeId).collect())
    }

    #[test]
    fn the_lowest_of_enough_fresh_nodes_founds_and_nobody_else_does() {
        check(5, 1, false, &[], found(&[5]));
        check(5, 1, true, &[], Step::Wait);
        check(5, 1, true, &[(7, None)], Step::Wait);
        check(5, 3, true, &[(7, None)], Step::Wait);
        check(5, 3, true, &[(7, None), (9, None)], found(&[5, 7, 9]));
        check(7, 3, true, &[(5, None), (9, None)], Step::Wait);
        check(5, 3, true, &[(7, None), (7, None)], Step::Wait);
        check(
            5,
            3,
            true,
            &[(7, None), (9, None), (8, None)],
            found(&[5, 7, 8]),
        );
        check(5, 2, false, &[(7, None)], found(&[5, 7]));
    }

    #[test]
    fn a_cluster_that_is_there_is_joined_whoever_else_is_fresh() {
        check(
            5,
            3,
            true,
            &[(7, None), (9, None), (8, Some(A))],
            Step::Join(A),
        );
        check(5, 1, true, &[(7, Some(A)), (9, Some(A))], Step::Join(A));
        check(5, 1, true, &[(7, Some(A)), (9, Some(B))], Step::Torn(A, B));
    }

    #[test]
    fn a_word_is_given_to_one_cluster_until_its_founder_is_silent_for_long() {
        let word = |age_ms, kept| {
            Some(Word {
                cluster: A,
                age_ms,
                kept,
            })
        };
        assert!(may_give(None, B));
        assert!(may_give(word(0, false), A));
        assert!(may_give(word(0, true), A));
        assert!(!may_give(word(0, false), B));
        assert!(may_give(word(WORD_MS, false), B));
        assert!(!may_give(word(WORD_MS, true), B));
    }
}
