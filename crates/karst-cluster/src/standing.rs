//! How partitions stand, for people and for clients: who can be asked, who will be again, and what is lost.
//!
//! Made from the state alone, so it says what the cluster has decided and not what a node has noticed since.

use crate::map::{NamespaceMap, Ownership};
use crate::node::NodeId;
use crate::state::ClusterState;
use crate::view::Quorums;

/// How one partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is served.
    Active,
    /// It is about to be: enough nodes are alive, and they are yet to agree on what was confirmed.
    Recovering,
    /// It is once more nodes are back: too few are alive that know what was confirmed, or none that has it.
    Unavailable,
    /// Too few are left that know what was confirmed: nothing but a [revival](Ownership::revived) helps.
    Dead,
}

impl Standing {
    /// Of a partition of a namespace.
    pub fn of(state: &ClusterState, map: &NamespaceMap, partition: &Ownership) -> Standing {
        let Some(primary) = partition.primary() else {
            return Standing::Unavailable;
        };
        if !map.strong {
            return Standing::Active; // whoever it is, he does not count as dead
        }
        if partition.is_dead() {
            Standing::Dead
        } else if !partition.is_known_to(|it| state.is_alive(it)) {
            Standing::Unavailable
        } else if partition.prior.is_empty()
            && state.is_alive(primary)
            && Quorums::of(primary, state, partition, &[]).can_confirm
        {
            Standing::Active
        } else {
            Standing::Recovering
        }
    }

    /// Whether requests are answered, now or soon.
    pub fn is_or_will_be_served(self) -> bool {
        match self {
            Standing::Active | Standing::Recovering => true,
            Standing::Unavailable | Standing::Dead => false,
        }
    }
}

/// Partitions of a namespace by how they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    /// Served.
    pub active: usize,
    /// About to be.
    pub recovering: usize,
    /// Served once more nodes are back.
    pub unavailable: usize,
    /// To be revived.
    pub dead: usize,
}

impl Standings {
    /// Counts all of them.
    pub fn of(state: &ClusterState, map: &NamespaceMap) -> Standings {
        let mut standings = Standings::default();
        for partition in &map.partitions {
            *match Standing::of(state, map, partition) {
                Standing::Active => &mut standings.active,
                Standing::Recovering => &mut standings.recovering,
                Standing::Unavailable => &mut standings.unavailable,
                Standing::Dead => &mut standings.dead,
            } += 1;
        }
        standings
    }
}

/// Why partitions are not served without a revival, and with whom they would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss {
    /// Who knows what was confirmed and is not alive: what only those know would be lost.
    pub away: Vec<NodeId>,
    /// Who has lost what he had confirmed.
    pub lost: Vec<NodeId>,
    /// Who is alive and holds something: with what those have it would go on.
    pub left: Vec<NodeId>,
}

impl Loss {
    /// Of a partition that is served by nobody; `None` if it is, or will be as it is.
    pub fn of(state: &ClusterState, map: &NamespaceMap, partition: &Ownership) -> Option<Loss> {
        match Standing::of(state, map, partition) {
            Standing::Active | Standing::Recovering => return None,
            Standing::Unavailable | Standing::Dead => {}
        }
        let away = partition.known().filter(|it| !state.is_alive(*it));
        let confirmed = partition.last_confirmed();
        let lost = partition.lost.iter().filter(|it| confirmed.contains(it));
        let revived = match map.strong {
            true => partition.revived(|node| state.is_alive(node)),
            false => None,
        };
        let mut loss = Loss {
            away: away.collect(),
            lost: lost.copied().collect(),
            left: revived.map_or_else(Vec::new, |revived| revived.in_sync),
        };
        for nodes in [&mut loss.away, &mut loss.lost, &mut loss.left] {
            nodes.sort_unstable();
        }
        Some(loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Regime;
    use crate::state::Member;

    const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn state(alive: &[u64]) -> ClusterState {
        let mut state = ClusterState::default();
        for id in NODES {
            let facts = crate::node::NodeFacts {
                id,
                incarnation: 0,
                name: format!("n{id}"),
                fabric: String::new(),
                control: String::new(),
                service: Vec::new(),
                rack: 0,
                namespaces: Vec::new(),
            };
            let member = Member {
                facts,
                alive: alive.contains(&id.0),
                strays: 0,
                first: 0,
                losses: 0,
                draining: false,
                stopping: false,
            };
            state.nodes.insert(id, member);
        }
        state
    }

    fn ids(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().map(|id| NodeId(*id)).collect()
    }

    fn partition(in_sync: &[u64], prior: &[u64], lost: &[u64]) -> Ownership {
        Ownership {
            regime: Regime(4),
            row: ids(in_sync),
            in_sync: ids(in_sync),
            prior: ids(prior),
            lost: ids(lost),
            ..Ownership::default()
        }
    }

    fn strong() -> NamespaceMap {
        NamespaceMap {
            strong: true,
            ..NamespaceMap::new(2)
        }
    }

    #[test]
    fn a_strong_partition_stands_as_those_do_who_know_what_was_confirmed() {
        let check = |alive: &[u64], partition: Ownership, expected| {
            let standing = Standing::of(&state(alive), &strong(), &partition);
            assert_eq!(standing, expected, "{alive:?} {partition:?}");
        };
        let two = || partition(&[1, 2], &[], &[]);
        check(&[1, 2], two(), Standing::Active);
        check(&[1], two(), Standing::Recovering); // it goes on with 1
        check(&[3], two(), Standing::Unavailable);
        check(&[2, 3], partition(&[2], &[1, 2], &[]), Standing::Recovering);
        check(&[1, 3], partition(&[2], &[], &[]), Standing::Unavailable);
        let three = || partition(&[1, 2, 3], &[], &[]);
        check(&[1, 2], three(), Standing::Active);
        check(&[2, 3], three(), Standing::Recovering); // another one is to lead
        check(&[3], three(), Standing::Unavailable);
        check(&[1, 2], partition(&[1], &[1], &[1]), Standing::Dead);
        check(
            &[1, 2, 3],
            partition(&[1, 2], &[1, 2], &[1, 2]),
            Standing::Dead,
        );
        check(&[1, 2], partition(&[], &[], &[]), Standing::Unavailable);
    }

    #[test]
    fn an_available_partition_is_served_by_whoever_is_there() {
        let map = NamespaceMap::new(2);
        let standing = |partition| Standing::of(&state(&[1]), &map, &partition);
        assert_eq!(standing(partition(&[1, 2], &[], &[])), Standing::Active);
        assert_eq!(standing(partition(&[], &[], &[])), Standing::Unavailable);
    }

    #[test]
    fn a_loss_names_who_is_away_who_has_lost_what_he_had_and_who_is_left() {
        let loss = |alive: &[u64], partition: Ownership| {
            let loss = Loss::of(&state(alive), &strong(), &partition)?;
            Some((loss.away, loss.lost, loss.left))
        };
        assert_eq!(loss(&[1, 2], partition(&[1, 2], &[], &[])), None);
        let gone = Some((ids(&[1, 2]), ids(&[]), ids(&[])));
        assert_eq!(loss(&[3], partition(&[1, 2], &[], &[])), gone);
        let one_is_left = Some((ids(&[2]), ids(&[]), ids(&[1])));
        let mut alone = partition(&[2], &[], &[]);
        alone.row = ids(&[2, 1]);
        assert_eq!(loss(&[1, 3], alone), one_is_left);
        let emptied = Some((ids(&[]), ids(&[1, 2]), ids(&[1, 2])));
        assert_eq!(
            loss(&[1, 2, 3], partition(&[1, 2], &[1, 2], &[1, 2])),
            emptied
        );
    }
}
