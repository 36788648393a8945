//! The state machine: the cluster's state, and the entry of the log that it is up to.
//!
//! Invariants
//!   the state is what the commands up to `applied`, in the log's order, make of an empty one
//!   whoever took the state before a change goes on seeing it as it was

use std::sync::Arc;

use openraft::EntryPayload;
use serde::{Deserialize, Serialize};

use super::{Entry, LogId, SnapshotMeta, StoredMembership};
use crate::state::{ClusterState, Outcome};

/// See [the module](self).
#[derive(Clone, Debug, Default)]
pub struct Machine {
    applied: Option<LogId>,
    membership: StoredMembership,
    state: Arc<ClusterState>,
}

/// How a snapshot is written. A field is only ever added.
#[derive(Serialize, Deserialize)]
struct Encoded {
    version: u32,
    state: ClusterState,
}

const VERSION: u32 = 1;

impl Machine {
    /// The state as it is now.
    pub fn state(&self) -> &Arc<ClusterState> {
        &self.state
    }

    /// The entry that it is up to.
    pub fn applied(&self) -> Option<LogId> {
        self.applied
    }

    /// Who votes, by the entries up to there.
    pub fn membership(&self) -> &StoredMembership {
        &self.membership
    }

    /// What a snapshot of it is of.
    pub fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        }
    }

    /// Applies the next entry of the log.
    pub fn apply(&mut self, entry: Entry) -> Outcome {
        self.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => Outcome::Applied,
            EntryPayload::Normal(command) => Arc::make_mut(&mut self.state).apply(command),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                Outcome::Applied
            }
        }
    }

    /// The machine that a snapshot is of.
    pub fn restore(meta: &SnapshotMeta, state: ClusterState) -> Machine {
        Machine {
            applied: meta.last_log_id,
            membership: meta.last_membership.clone(),
            state: Arc::new(state),
        }
    }
}

/// The state as a snapshot holds it.
///
/// # Errors
/// When it cannot be written as JSON, which none of its types allows.
pub fn encode(state: &ClusterState) -> serde_json::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Borrowed<'a> {
        version: u32,
        state: &'a ClusterState,
    }
    serde_json::to_vec(&Borrowed {
        version: VERSION,
        state,
    })
}

/// The state that a snapshot holds; `None` if these bytes are none.
pub fn decode(bytes: &[u8]) -> Option<ClusterState> {
    let encoded: Encoded = serde_json::from_slice(bytes).ok()?;
    let whole =
        |map: &crate::map::NamespaceMap| map.partitions.len() == karst_data::key::PARTITIONS;
    let sound = encoded.version == VERSION && encoded.state.maps.values().all(whole);
    sound.then_some(encoded.state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{NamespaceFacts, NodeFacts, NodeId};
    use crate::state::Command;

    fn state() -> ClusterState {
        let mut state = ClusterState::default();
        state.apply(Command::Admit(NodeFacts {
            id: NodeId(u64::MAX),
            incarnation: 0,
            name: "n1".into(),
            fabric: "a:1".into(),
            control: "a:2".into(),
            service: vec!["a:3".into()],
            rack: 7,
            namespaces: vec![NamespaceFacts {
                name: "test".into(),
                replication_factor: 2,
                volatile: false,
                strong: false,
            }],
        }));
        state
    }

    #[test]
    fn a_snapshot_gives_back_the_state_it_was_made_of() {
        assert_eq!(decode(&encode(&state()).unwrap()), Some(state()));
    }

    #[test]
    fn a_snapshot_with_too_few_partitions_is_none() {
        let mut short = state();
        let map = short.maps.get_mut("test").unwrap();
        map.partitions.pop();
        assert_eq!(decode(&encode(&short).unwrap()), None);
        assert_eq!(decode(b"{}"), None);
        assert_eq!(decode(b""), None);
    }
}
