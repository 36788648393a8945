//! A watch: an info request that is answered when the map has changed, or when its time is over.
//!
//! It has its connection to itself, so that waiting costs one task and holds up nobody. It ends early when
//! the client sends something else: whoever changes his mind need not open another connection.

use tokio::time::{Instant, timeout_at};

use super::connection::{Closed, Connection};
use crate::info::{self, WATCH_LOOK_AGAIN};

/// Waits, then answers.
///
/// # Errors
/// When the client has gone.
pub(super) async fn run(connection: &mut Connection, body: &[u8]) -> Result<(), Closed> {
    let core = connection.core.clone();
    if let Some(watch) = info::Watch::of(body) {
        let mut changes = core.node.sights.changes();
        let deadline = Instant::now() + watch.timeout;
        while !watch.is_over(&core.node) && Instant::now() < deadline {
            let until = deadline.min(Instant::now() + WATCH_LOOK_AGAIN);
            tokio::select! {
                _ = timeout_at(until, changes.changed()) => {}
                heard = connection.hear() => {
                    heard?;
                    break;
                }
            }
        }
    }
    connection.answer_info(body);
    Ok(())
}
