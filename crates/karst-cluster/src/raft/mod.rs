//! How the cluster's state is kept by Raft: the types, the state machine, and what a peer may say.
//!
//! Nothing here acts: the log, the transport and the runtime are lent by the node. The feature `raft` turns
//! it on, so that whoever only decides does not pull in openraft.
//!
//! - [`machine`]: the state, and which entry of the log it is up to.
//! - [`sound`]: messages of peers, looked at before openraft is trusted with them.
//! - [`voters`]: which nodes vote.

use std::fmt;

use crate::node::NodeId;
use crate::state::{Command, Outcome};

pub mod machine;
pub mod sound;
pub mod voters;

openraft::declare_raft_types!(
    /// What openraft is told about our commands, nodes and runtime.
    pub TypeConfig:
        D = Command,
        R = Outcome,
        NodeId = NodeId,
        Node = openraft::BasicNode,
);

/// A place in the log.
pub type LogId = openraft::alias::LogIdOf<TypeConfig>;
/// Whom a node votes for.
pub type Vote = openraft::alias::VoteOf<TypeConfig>;
/// An entry of the log.
pub type Entry = openraft::alias::EntryOf<TypeConfig>;
/// Who votes and who only listens, and where the log says so.
pub type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot is of.
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
/// A snapshot: the whole state, encoded.
pub type Snapshot = openraft::alias::SnapshotOf<TypeConfig, Vec<u8>>;

impl fmt::Display for Command {
    /// One line for logs: what, and of whom, never a whole map.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Found(cluster) => write!(f, "found {cluster}"),
            Command::Admit(facts) => write!(f, "admit {}", facts.id),
            Command::SetAlive { node, alive } => write!(f, "set {node} alive {alive}"),
            Command::SetDraining { node, draining } => write!(f, "set {node} draining {draining}"),
            Command::Stray(node) => write!(f, "stray {node}"),
            Command::Stop(node) => write!(f, "stop {node}"),
            Command::Remove(node) => write!(f, "remove {node}"),
            Command::Repartition(changes) => write!(f, "repartition {}", changes.len()),
            Command::Activate(activations) => write!(f, "activate {}", activations.len()),
            Command::Lose {
                node, namespace, ..
            } => write!(f, "{node} lost {namespace}"),
            Command::Revive {
                namespace,
                empty: false,
            } => write!(f, "revive {namespace}"),
            Command::Revive {
                namespace,
                empty: true,
            } => write!(f, "revive {namespace}, with what is lost as empty"),
            Command::Truncate(mark) => write!(f, "truncate {} {}", mark.namespace, mark.set),
            Command::UndoTruncate { namespace, set } => {
                write!(f, "undo truncate {namespace} {set}")
            }
            Command::CreateSindex(it) => write!(f, "create index {} {}", it.namespace, it.name),
            Command::DropSindex { namespace, name } => write!(f, "drop index {namespace} {name}"),
            Command::PutModule(module) => write!(f, "put module {}", module.file),
            Command::RemoveModule(file) => write!(f, "remove module {file}"),
        }
    }
}

impl From<u64> for NodeId {
    /// openraft's own tests of a log store make up their nodes.
    fn from(id: u64) -> NodeId {
        NodeId(id)
    }
}
