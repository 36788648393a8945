//! The state machine at work: applies what is committed, publishes the state, keeps snapshots.
//!
//! A command's outcome is told after the state with it in is published: whoever proposed it finds it there.

use std::io;
use std::sync::Arc;

use futures_util::{Stream, TryStreamExt as _};
use karst_cluster::raft::machine::{self, Machine};
use karst_cluster::raft::{LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};
use karst_cluster::state::ClusterState;
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};

use super::published::Published;
use super::store::Store;

/// Entries applied between two publications. A publication costs a copy of the state.
const BATCH_MAX: usize = 64;

/// See [the module](self).
pub(crate) struct StateMachine {
    machine: Machine,
    store: Store,
    published: Arc<Published>,
}

impl StateMachine {
    /// Takes up where the newest snapshot was made.
    ///
    /// # Errors
    /// When the snapshot cannot be read or understood.
    pub(crate) async fn load(store: Store, published: Arc<Published>) -> io::Result<StateMachine> {
        let machine = match store.snapshot().await? {
            Some(Snapshot { meta, snapshot }) => Machine::restore(&meta, decoded(snapshot).await?),
            None => Machine::default(),
        };
        published.publish(machine.state().clone());
        Ok(StateMachine {
            machine,
            store,
            published,
        })
    }
}

/// Decoding is milliseconds of work, which nobody else on this thread should wait for.
async fn decoded(bytes: Vec<u8>) -> io::Result<ClusterState> {
    let decoded = tokio::task::spawn_blocking(move || machine::decode(&bytes)).await;
    let decoded = decoded.map_err(io::Error::other)?;
    decoded
        .ok_or_else(|| io::Error::other("a snapshot of the cluster's state cannot be understood"))
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.machine.applied(), self.machine.membership().clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut batches = entries.try_ready_chunks(BATCH_MAX);
        loop {
            let batch = batches.try_next().await;
            let Some(batch) = batch.map_err(|error| error.1)? else {
                return Ok(());
            };
            let mut outcomes = Vec::with_capacity(batch.len());
            for (entry, responder) in batch {
                outcomes.push((self.machine.apply(entry), responder));
            }
            self.published.publish(self.machine.state().clone());
            for (outcome, responder) in outcomes {
                if let Some(responder) = responder {
                    responder.send(outcome);
                }
            }
        }
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            meta: self.machine.meta(),
            state: self.machine.state().clone(),
            store: self.store.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: Vec<u8>) -> io::Result<()> {
        let state = decoded(data.clone()).await?;
        self.store.set_snapshot(meta, data).await?;
        self.machine = Machine::restore(meta, state);
        self.published.publish(self.machine.state().clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        self.store.snapshot().await
    }
}

/// Writes the state as it was when this was made.
pub(crate) struct Builder {
    meta: SnapshotMeta,
    state: Arc<ClusterState>,
    store: Store,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Vec<u8>;

    /// Durable when this returns: the log before it may then be purged.
    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let state = self.state.clone();
        let encoded = tokio::task::spawn_blocking(move || machine::encode(&state)).await;
        let data = encoded
            .map_err(io::Error::other)?
            .map_err(io::Error::other)?;
        self.store.set_snapshot(&self.meta, data.clone()).await?;
        Ok(Snapshot {
            meta: self.meta.clone(),
            snapshot: data,
        })
    }
}

#[cfg(test)]
mod tests {
    use openraft::testing::log::{StoreBuilder, Suite};
    use openraft::type_config::TypeConfigExt as _;
    use openraft::{ErrorSubject, ErrorVerb, StorageError, ToStorageResult as _};
    use tempfile::TempDir;

    use super::*;

    struct Stores;

    impl StoreBuilder<TypeConfig, Store, StateMachine, TempDir> for Stores {
        async fn build(&self) -> Result<(TempDir, Store, StateMachine), StorageError<TypeConfig>> {
            let built = async {
                let folder = tempfile::tempdir()?;
                let (store, _) = Store::open(&folder.path().join("raft.redb"))?;
                let published = Arc::new(Published::default());
                let machine = StateMachine::load(store.clone(), published).await?;
                Ok::<_, io::Error>((folder, store, machine))
            };
            let context = || (ErrorSubject::Store, ErrorVerb::Read);
            built.await.sto_res(context)
        }
    }

    #[test]
    fn the_log_and_the_state_machine_keep_what_openraft_relies_on() {
        TypeConfig::run(async { Suite::test_all(Stores).await.unwrap() });
    }
}
