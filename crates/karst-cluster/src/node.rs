//! What a node is, and what it tells the cluster of itself.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Identity of a node: 64 bits, drawn at its first start and kept in `data_dir`. Never 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    /// Upper-case hexadecimal without leading zeros, as the client protocol spells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}", self.0)
    }
}

/// Identity of a cluster, drawn when it was formed; devices carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a node tells of itself when it joins, and again whenever that has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Who it is.
    pub id: NodeId,
    /// Its process: another one may have lost what this one held.
    #[serde(default)]
    pub incarnation: u64,
    /// Its name in the configuration, for people.
    pub name: String,
    /// Where other nodes reach its fabric port: `host:port`.
    pub fabric: String,
    /// Where other nodes, and `karst`, reach its gRPC port: `host:port`.
    pub control: String,
    /// Where clients are told to connect: `host:port`, at least one.
    pub service: Vec<String>,
    /// Its failure domain.
    pub rack: u32,
    /// The namespaces that it is configured with.
    pub namespaces: Vec<NamespaceFacts>,
}

/// A namespace as one node is configured with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceFacts {
    /// Its name.
    pub name: String,
    /// Copies of each record aimed at. At least 1.
    pub replication_factor: u8,
    /// Whether all of it is gone with the process: it is in memory and on no device.
    #[serde(default)]
    pub volatile: bool,
    /// Whether it is strongly consistent. A namespace is that for all its life, at every node.
    #[serde(default)]
    pub strong: bool,
}
