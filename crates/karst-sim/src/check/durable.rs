//! What was acknowledged is there.

use super::Violation;
use crate::cluster::World;

/// When everything has come to rest, each key holds what its last acknowledged write left, or what one left that
/// is in doubt.
///
/// # Errors
/// When one does not.
pub fn every_key_holds_what_its_writer_was_told(world: &World) -> Result<(), Violation> {
    for key in world.clients.iter().flat_map(|client| &client.keys) {
        let partition = key.digest.partition();
        let primary = world.primary(partition);
        let found = primary.and_then(|primary| world.value_at(primary, &key.digest));
        let allowed = key.history.allowed();
        if !allowed.contains(&found) {
            let what = format!(
                "{} of {partition} holds {found:?} at {primary:?}, and may hold {allowed:?}; last {:?}",
                key.digest,
                key.history.last_acknowledged(),
            );
            return Err(Violation::new("durable", what));
        }
    }
    Ok(())
}
