//! The planner of available mode, in the control plane's words.

use std::sync::Arc;

use karst_cluster::plan;
use parking_lot::Mutex;

use super::{Planner, Synced};

/// What the leader should propose now. It remembers what the balancer said last.
pub fn available() -> Planner {
    let planner = Mutex::new(plan::Planner::default());
    Arc::new(move |state, heard, strayed, synced| {
        let synced: Vec<plan::Synced> = synced.iter().map(in_its_words).collect();
        planner.lock().plan(state, heard, &synced, strayed)
    })
}

fn in_its_words(synced: &Synced) -> plan::Synced {
    plan::Synced {
        namespace: synced.namespace.clone(),
        partition: synced.partition.0,
        regime: synced.regime,
        node: synced.node,
    }
}
