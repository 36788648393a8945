//! The arithmetic of strong consistency: how many have to confirm, and how many have to be asked.
//!
//! What is confirmed by a *write quorum* of a set of nodes is found again at any *fence quorum* of it: any two have
//! a node in common. A partition that changes hands asks a fence quorum of the set by which writes were last
//! confirmed, its [`prior`](Fenced::prior) one, each member of which promises to take nothing of an older regime
//! any more; it serves when everybody in sync holds what was found. Until that has been agreed on by Raft (the
//! regime is *activated*) whoever goes on serving has writes confirmed by both sets.
//!
//! `tests/strong_model.rs` explores all runs of these rules within bounds.
//!
//! A node whose process ended and that has kept all that it confirmed is as good as before: what it promised is void
//! together with the regime, which rises when the cluster learns of its new process. A node that has *lost* what it
//! confirmed still counts among those who did, and never among those who know: where too few are left that know,
//! the partition is *dead* until somebody [revives](Ownership::revived) it.

use karst_data::mutation::{Mutation, is_planted};

use crate::map::{Ownership, Regime};
use crate::node::NodeId;

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

impl Ownership {
    /// By whom writes that anybody knows of were confirmed.
    pub fn last_confirmed(&self) -> &[NodeId] {
        match self.prior.is_empty() {
            true => &self.in_sync,
            false if is_planted(Mutation::IgnoresPrior) => &self.in_sync,
            false => &self.prior,
        }
    }

    /// Of those, who still has what he confirmed.
    pub fn known(&self) -> impl Iterator<Item = NodeId> + '_ {
        let all = self.last_confirmed().iter();
        all.filter(|it| !self.lost.contains(it)).copied()
    }

    /// Whether too few are left that know what was confirmed: nothing but a [revival](Self::revived) helps.
    pub fn is_dead(&self) -> bool {
        !self.in_sync.is_empty() && !self.is_known_to(|_| true)
    }

    /// This partition once these are in sync, the primary first, under a regime of its own that is still to be
    /// activated. `None` if then nobody might serve: until more are there nothing is changed.
    ///
    /// Who was not in sync until now comes to it only if the regime before was activated: what he holds was
    /// compared with what was confirmed then.
    pub fn next_config(&self, row: Vec<NodeId>, in_sync: Vec<NodeId>) -> Option<Ownership> {
        let first = self.in_sync.is_empty() && self.prior.is_empty();
        let prior = match first {
            true => in_sync.clone(), // nothing was written yet
            false => self.last_confirmed().to_vec(),
        };
        let is_new = |it: &NodeId| !self.in_sync.contains(it) && !prior.contains(it);
        if in_sync.is_empty() || (!self.prior.is_empty() && in_sync.iter().any(is_new)) {
            return None;
        }
        let can_activate = first || self.is_known_to(|it| in_sync.contains(&it));
        can_activate.then(|| Ownership {
            regime: self.regime.next(),
            row,
            in_sync,
            apart: Vec::new(),
            prior: prior.clone(),
            lost: self.lost.clone(),
            activated: self.activated,
        })
    }

    /// Whether what was confirmed can be found among these nodes, of whom some may have lost it. Not if nobody was ever
    /// in sync.
    pub fn is_known_to(&self, are: impl Fn(NodeId) -> bool) -> bool {
        let knowing: Vec<NodeId> = self.known().filter(|it| are(*it)).collect();
        let fenced = Fenced {
            prior: self.last_confirmed(),
            in_sync: &knowing,
        };
        !self.in_sync.is_empty() && fenced.can_activate()
    }

    /// Everybody in sync holds what was confirmed: from now on they alone confirm. `false` if that is
    /// not what is asked now, or not so: who was to know may have lost it since.
    pub fn activate(&mut self, regime: Regime) -> bool {
        let known = || self.is_known_to(|it| self.in_sync.contains(&it));
        let asked = self.regime == regime && !self.prior.is_empty() && known();
        if asked {
            self.prior.clear();
            self.lost.clear();
            self.activated = regime;
        }
        asked
    }

    /// A node's process has ended, and another one is about to go on with what it kept, or without anything.
    /// What it promised is void, so the regime is. Where others can go on it is one of those in sync no more.
    pub fn restarted(&mut self, node: NodeId, lost: bool) {
        let takes_part = self.in_sync.contains(&node) || self.prior.contains(&node);
        if !takes_part {
            // A report that it was filled is of what it held then.
            if self.row.contains(&node) {
                self.bump();
            }
            return;
        }
        if lost && self.last_confirmed().contains(&node) && !self.lost.contains(&node) {
            self.lost.push(node);
        }
        let left: Vec<NodeId> = self
            .in_sync
            .iter()
            .copied()
            .filter(|it| *it != node)
            .collect();
        match self.next_config(self.row.clone(), left) {
            Some(next) if self.in_sync.contains(&node) => *self = next,
            Some(_) | None => self.bump(),
        }
    }

    /// The same again under a new regime, still to be activated.
    fn bump(&mut self) {
        self.prior = self.last_confirmed().to_vec();
        self.regime = self.regime.next();
    }

    /// The partition as it goes on with those of these nodes that hold something of it, whatever only others know.
    /// `None` if it does not need that: it serves, or will as it is.
    pub fn revived(&self, alive: impl Fn(NodeId) -> bool) -> Option<Ownership> {
        if self.in_sync.is_empty() || self.is_known_to(&alive) {
            return None;
        }
        let mut holding: Vec<NodeId> = Vec::new();
        let candidates = self.in_sync.iter().chain(&self.prior).chain(&self.row);
        for node in candidates.copied().filter(|it| alive(*it)) {
            if !holding.contains(&node) {
                holding.push(node);
            }
        }
        (!holding.is_empty()).then(|| Ownership {
            regime: self.regime.next(),
            prior: holding.clone(),
            in_sync: holding,
            lost: Vec::new(),
            ..self.clone()
        })
    }

    /// The partition as it begins anew, given to whoever it is to be given: all of it is lost. `None` if any of these
    /// nodes has had part in it.
    pub fn emptied(&self, alive: impl Fn(NodeId) -> bool) -> Option<Ownership> {
        let mut had_part = self.in_sync.iter().chain(&self.prior).chain(&self.row);
        let lost = !self.in_sync.is_empty() && !had_part.any(|it| alive(*it));
        lost.then(|| Ownership {
            regime: self.regime.next(),
            row: self.row.clone(),
            activated: self.activated,
            ..Ownership::default()
        })
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
    fn what_nobody_alive_had_part_in_begins_anew_under_a_later_regime() {
        let nodes = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect::<Vec<_>>();
        let held = Ownership {
            regime: Regime(9),
            row: nodes(&[1, 2]),
            in_sync: nodes(&[1]),
            activated: Regime(9),
            ..Ownership::default()
        };
        assert_eq!(held.emptied(|node| node == NodeId(2)), None);
        assert_eq!(held.revived(|node| node == NodeId(3)), None);
        let anew = held.emptied(|node| node == NodeId(3)).unwrap();
        assert_eq!(anew.emptied(|_| false), None);
        let given = anew.next_config(nodes(&[3]), nodes(&[3])).unwrap();
        assert_eq!((given.regime, &given.prior), (Regime(11), &nodes(&[3])));
    }

    #[test]
    fn a_partition_whose_last_copy_is_lost_is_dead_until_it_is_revived() {
        let (a, b) = (NodeId(1), NodeId(2));
        let mut partition = Ownership {
            regime: Regime(4),
            row: vec![a, b],
            in_sync: vec![a],
            activated: Regime(4),
            ..Ownership::default()
        };
        let mut kept = partition.clone();
        kept.restarted(a, false);
        assert!(!kept.is_dead() && kept.activate(Regime(5)));
        partition.restarted(a, true);
        assert!(partition.is_dead());
        assert!(
            !partition.activate(partition.regime),
            "nobody knows what was confirmed"
        );
        assert_eq!(partition.next_config(vec![a, b], vec![a]), None);
        let mut revived = partition.revived(|_| true).unwrap();
        assert_eq!(revived.in_sync, [a, b]);
        assert!(!revived.is_dead() && revived.activate(revived.regime));
        assert_eq!(kept.revived(|_| true), None);
    }

    #[test]
    fn who_has_lost_what_he_confirmed_still_counts_among_those_who_did() {
        let [a, b, c] = [1, 2, 3].map(NodeId);
        let mut partition = Ownership {
            regime: Regime(4),
            row: vec![a, b, c],
            in_sync: vec![a, b, c],
            activated: Regime(4),
            ..Ownership::default()
        };
        partition.restarted(c, true);
        assert_eq!(
            (&partition.in_sync[..], &partition.lost[..]),
            (&[a, b][..], &[c][..])
        );
        assert_eq!(
            partition.next_config(vec![a], vec![a]),
            None,
            "C may have confirmed it with B"
        );
        partition.restarted(b, true);
        assert!(partition.is_dead());
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
