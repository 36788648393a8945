//! What was deleted stays deleted.

use super::Violation;
use crate::cluster::World;

/// A record whose delete was acknowledged, with nothing in doubt and nothing written since, is on no node.
///
/// # Errors
/// When it is on one.
pub fn nothing_that_was_deleted_is_anywhere(world: &World) -> Result<(), Violation> {
    let keys = world.clients.iter().flat_map(|client| &client.keys);
    for key in keys.filter(|key| key.history.is_surely_deleted()) {
        for node in 0..world.nodes.len() {
            if let Some(value) = world.value_at(node, &key.digest) {
                let what = format!(
                    "{} was deleted and holds {value} on n{node}: {:?}",
                    key.digest,
                    key.history.last_acknowledged(),
                );
                return Err(Violation::new("resurrection", what));
            }
        }
    }
    Ok(())
}
