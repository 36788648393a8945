//! The partition map: for each namespace and partition, who serves it.
//!
//! A partition has a *row*, the nodes that should hold it in order of preference, and an *in-sync set*,
//! the nodes that hold all of it. The first in sync is the *primary*: it alone takes writes. A node of the
//! row that is not in sync yet is *joining*: it takes every write as a replica and is filled by the
//! primary meanwhile.
//!
//! Invariants
//!   no node comes twice in a row, nor in an in-sync set
//!   the regime rises whenever the in-sync set, its order or the row changes, and never falls
//!   an in-sync set becomes empty only if nobody is left to serve, and says so: no primary
//!
//! A node that falls out of the in-sync set because it is not heard of, or because it went on alone, is
//! *apart* until a primary has merged what it holds. Who joins without being apart has nothing of its own:
//! what it still holds is replaced.
//!
//! Once every node of the row is in sync, in the row's order, the partition is *settled*: others drop what
//! they hold of it.
//!
//! Of a strongly consistent namespace the map also keeps by whom writes were last confirmed ([`crate::strong`]); nobody
//! of it is ever apart.

use std::collections::BTreeMap;

use karst_data::key::{PARTITIONS, PartitionId};
use serde::{Deserialize, Serialize};

use crate::node::NodeId;

/// Counts the changes of who serves a partition. A message of an older regime is refused.
///
/// The regimes of a map that was made [alone](crate::island) bear a mark. They and those that Raft keeps are
/// never equal, and neither is older than the other, whatever their order says.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Regime(pub u32);

/// The highest bit, which no count of changes comes to.
const ALONE: u32 = 1 << 31;

impl Regime {
    /// The regime after this one.
    ///
    /// # Panics
    /// After two thousand million changes of one partition.
    pub fn next(self) -> Regime {
        let next = Regime(self.0.wrapping_add(1));
        assert_eq!(
            next.is_alone(),
            self.is_alone(),
            "a partition changes hands a few times a day"
        );
        next
    }

    /// This regime as it counts on a map that was made alone.
    pub fn alone(self) -> Regime {
        Regime(self.0 | ALONE)
    }

    /// This regime without that mark: records are numbered by it, on an island too, since what is written
    /// after healing has to count for more than what was written there.
    pub fn committed(self) -> Regime {
        Regime(self.0 & !ALONE)
    }

    /// Whether it is of a map that was made alone. Raft never keeps one.
    pub fn is_alone(self) -> bool {
        self.0 & ALONE != 0
    }
}

/// Who serves one partition. See [the module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    /// Rises with every change.
    pub regime: Regime,
    /// Who should hold it, the preferred primary first.
    pub row: Vec<NodeId>,
    /// Who holds all of it, the primary first.
    pub in_sync: Vec<NodeId>,
    /// Who fell out of those in sync and may hold writes that nobody else has: it died, or went on alone.
    /// When it is there again its writes are merged, and what it holds is not just replaced.
    #[serde(default)]
    pub apart: Vec<NodeId>,
    /// By whom writes were last confirmed, while this regime is not activated; else nobody. Only where
    /// consistency is strong.
    #[serde(default)]
    pub prior: Vec<NodeId>,
    /// Of those by whom writes were last confirmed, who has lost what he confirmed.
    #[serde(default)]
    pub lost: Vec<NodeId>,
    /// The last regime that was activated.
    #[serde(default)]
    pub activated: Regime,
}

/// What a node is to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes writes, and sees that the others have them.
    Primary,
    /// Holds all of it.
    Replica,
    /// Takes the primary's writes, and is being filled.
    Joining,
    /// Owes nothing. What it still holds is an older state.
    Stranger,
}

impl Ownership {
    /// Who takes writes.
    pub fn primary(&self) -> Option<NodeId> {
        self.in_sync.first().copied()
    }

    /// What a node is to this partition.
    pub fn role(&self, node: NodeId) -> Role {
        if self.primary() == Some(node) {
            Role::Primary
        } else if self.in_sync.contains(&node) {
            Role::Replica
        } else if self.row.contains(&node) {
            Role::Joining
        } else {
            Role::Stranger
        }
    }

    /// Who is being filled.
    pub fn joining(&self) -> impl Iterator<Item = NodeId> + '_ {
        let in_sync = |node: &&NodeId| self.in_sync.contains(node);
        self.row.iter().filter(move |node| !in_sync(node)).copied()
    }

    /// Whom the primary compares with, to fill it or to merge what it holds: who is joining, and who is
    /// apart.
    pub fn to_reconcile(&self) -> impl Iterator<Item = NodeId> + '_ {
        let elsewhere = |node: &&NodeId| !self.in_sync.contains(node) && !self.row.contains(node);
        self.joining()
            .chain(self.apart.iter().filter(elsewhere).copied())
    }

    /// Whom the primary sends each write: everybody else in sync, and who is joining.
    pub fn followers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.in_sync.iter().skip(1).copied().chain(self.joining())
    }

    /// Whether a node has nothing to do with it any more, and may let go of what it holds: others hold all of it.
    /// Never on an island: there others may not, whatever the map says.
    pub fn is_needless_at(&self, node: NodeId) -> bool {
        self.is_settled()
            && !self.regime.is_alone()
            && self.primary().is_some()
            && self.role(node) == Role::Stranger
            && !self.apart.contains(&node)
    }

    /// Whether the row serves, in its order, and nobody else.
    pub fn is_settled(&self) -> bool {
        self.row == self.in_sync && self.prior.is_empty()
    }
}

/// Who serves the partitions of one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceMap {
    /// Copies of each record aimed at; the nodes alive may be fewer.
    pub replication_factor: u8,
    /// Whether it is strongly consistent.
    #[serde(default)]
    pub strong: bool,
    /// One for each partition.
    pub partitions: Vec<Ownership>,
}

impl NamespaceMap {
    /// A namespace that nobody serves yet.
    pub fn new(replication_factor: u8) -> NamespaceMap {
        NamespaceMap {
            replication_factor,
            strong: false,
            partitions: vec![Ownership::default(); PARTITIONS],
        }
    }

    /// Who serves a partition.
    pub fn partition(&self, id: PartitionId) -> &Ownership {
        &self.partitions[id.index()]
    }
}

/// The maps of all namespaces, by name.
pub type Maps = BTreeMap<String, NamespaceMap>;
