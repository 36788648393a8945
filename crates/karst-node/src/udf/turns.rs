//! One function at a time on a record: those behind it wait, and then read what it wrote.
//!
//! Without this, functions that are called on one record at once would overtake each other: one is written, and all
//! others are called again. Here they queue up, in the order in which they came. It is no lock: an ordinary write takes
//! place meanwhile, and whoever's function was called for what is no more is called again.
//!
//! Records are told apart by a part of their digest: to take two for one costs a wait. As many wait as there are
//! requests under way, which are bounded where they arrive.

use std::collections::HashMap;
use std::sync::Arc;

use karst_data::key::Digest;
use parking_lot::Mutex;
use tokio::sync::{Mutex as Queue, OwnedMutexGuard};

/// The namespace's position and a part of the digest.
type Record = (usize, u64);

/// See [the module](self).
#[derive(Default)]
pub struct Turns(Mutex<HashMap<Record, Arc<Queue<()>>>>);

/// Somebody's turn; it is over when this is dropped.
pub struct Turn<'t> {
    turns: &'t Turns,
    record: Record,
    held: Option<OwnedMutexGuard<()>>,
    /// Others were there before: the record is not what it was.
    pub waited: bool,
}

impl Turns {
    /// Waits for one's turn.
    pub async fn wait(&self, namespace: usize, digest: &Digest) -> Turn<'_> {
        let [a, b, c, d, e, f, g, h, ..] = digest.0;
        let record = (namespace, u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        let mut turn = Turn {
            turns: self,
            record,
            held: None,
            waited: false,
        };
        // Behind the turn, so that it is dropped before: who gives up leaves no queue.
        let queue = self.0.lock().entry(record).or_default().clone();
        turn.held = Some(match queue.clone().try_lock_owned() {
            Ok(held) => held,
            Err(_) => {
                turn.waited = true;
                queue.lock_owned().await
            }
        });
        turn
    }

    /// Records on which a function runs, or is to.
    pub fn records(&self) -> usize {
        self.0.lock().len()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queues = self.turns.0.lock();
        self.held = None;
        if let Some(queue) = queues.get(&self.record)
            && Arc::strong_count(queue) == 1
        {
            queues.remove(&self.record); // nobody holds it or waits
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const A_MOMENT: Duration = Duration::from_millis(5);

    #[tokio::test]
    async fn turns_of_a_record_come_one_by_one_and_leave_nothing() {
        let turns = Turns::default();
        let (one, other) = (Digest([1; 20]), Digest([2; 20]));
        let first = turns.wait(0, &one).await;
        assert!(!first.waited);
        assert!(!turns.wait(0, &other).await.waited);
        assert!(!turns.wait(1, &one).await.waited);
        let mut second = Box::pin(turns.wait(0, &one));
        assert!(timeout(A_MOMENT, second.as_mut()).await.is_err());
        let third = Box::pin(turns.wait(0, &one));
        drop(first);
        let second = second.await;
        assert!(second.waited);
        drop(third);
        drop(second);
        assert_eq!(turns.records(), 0);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_holds_up_nobody() {
        let turns = Turns::default();
        let digest = Digest([3; 20]);
        let first = turns.wait(0, &digest).await;
        let mut second = Box::pin(turns.wait(0, &digest));
        assert!(timeout(A_MOMENT, second.as_mut()).await.is_err());
        drop(second);
        assert_eq!(turns.records(), 1);
        drop(first);
        assert_eq!(turns.records(), 0);
        assert!(!turns.wait(0, &digest).await.waited);
    }
}
