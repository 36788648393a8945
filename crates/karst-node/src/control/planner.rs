//! The planner, as the leader asks it.

use std::sync::Arc;

use karst_cluster::plan;
use parking_lot::Mutex;

use super::Planner;

/// What the leader should propose now. It remembers what the balancer said last.
pub fn available() -> Planner {
    let planner = Mutex::new(plan::Planner::default());
    Arc::new(move |state, heard, synced| planner.lock().plan(state, heard, synced))
}
