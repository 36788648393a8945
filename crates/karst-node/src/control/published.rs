//! The cluster's state as it was last applied here, for everybody who only looks at it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use karst_cluster::state::ClusterState;
use tokio::sync::watch;

/// See [the module](self).
pub(crate) struct Published {
    state: ArcSwap<ClusterState>,
    changes: watch::Sender<Arc<ClusterState>>,
}

impl Default for Published {
    fn default() -> Published {
        let state = Arc::new(ClusterState::default());
        Published {
            state: ArcSwap::new(state.clone()),
            changes: watch::channel(state).0,
        }
    }
}

impl Published {
    /// Shows a newer state.
    pub(crate) fn publish(&self, state: Arc<ClusterState>) {
        self.state.store(state.clone());
        self.changes.send_if_modified(|shown| {
            let changed = !Arc::ptr_eq(shown, &state); // an entry without a command changes nothing
            *shown = state;
            changed
        });
    }

    /// The newest state. Takes no lock.
    pub(crate) fn newest(&self) -> Arc<ClusterState> {
        self.state.load_full()
    }

    /// Tells of every change; who is slow sees the newest alone.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<ClusterState>> {
        self.changes.subscribe()
    }
}
