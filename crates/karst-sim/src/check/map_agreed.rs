//! One map: at most one primary under a regime, and no regime comes back.

use std::collections::BTreeMap;

use karst_cluster::map::Regime;
use karst_cluster::node::NodeId;
use karst_cluster::state::ClusterState;

use super::Violation;

/// Who was the primary of a partition under which regime.
#[derive(Debug, Default)]
pub struct Agreed {
    primaries: BTreeMap<(String, usize, Regime), Option<NodeId>>,
}

impl Agreed {
    /// The log has gone on by one entry.
    ///
    /// # Errors
    /// When a regime falls, or has another primary than it had.
    pub fn see(&mut self, before: &ClusterState, now: &ClusterState) -> Result<(), Violation> {
        for (name, map) in &now.maps {
            let old = before.maps.get(name).map(|map| &map.partitions);
            for (at, ownership) in map.partitions.iter().enumerate() {
                let regime = ownership.regime;
                let was = old.and_then(|old| old.get(at)).map(|old| old.regime);
                if was.is_some_and(|was| was > regime) || regime.is_alone() {
                    let what = format!("partition {at} falls from {was:?} to {regime:?}");
                    return Err(Violation::new("map_agreed", what));
                }
                let primary = ownership.primary();
                let known = self
                    .primaries
                    .entry((name.clone(), at, regime))
                    .or_insert(primary);
                if *known != primary {
                    let what = format!(
                        "partition {at} under {regime:?} has {primary:?} and had {known:?}"
                    );
                    return Err(Violation::new("map_agreed", what));
                }
            }
        }
        Ok(())
    }
}
