//! One connection under load: keeps a number of requests in flight until the time is over.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use karst_client::{CloseReason, Digest, RawConnection, RawKey, RawMap};
use karst_data::key::KeyBytes;
use tokio::time::{sleep, timeout_at};

use super::keys::Keys;
use super::stats::{Op, Stats};

/// Bin that holds the value.
pub(super) const BIN: &str = "value";

/// Time a request in flight at the end is given to be answered.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before a lost connection is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// Pause before a node that owns no partition is looked at again.
const OWNER_PAUSE: Duration = Duration::from_millis(50);

/// Keys drawn in search of one that the connection's node owns. With few keys a node may own none.
const DRAWS_MAX: usize = 10_000;

/// What all connections of a thread do alike.
pub(super) struct Plan {
    pub(super) namespace: String,
    pub(super) set: String,
    pub(super) value: Vec<u8>,
    pub(super) read_percent: u8,
    pub(super) pipeline: usize,
    pub(super) map: RawMap,
}

impl Plan {
    /// The record of this number, and which node owns it.
    pub(super) fn record(&self, number: u64) -> (RawKey<'_>, usize) {
        // Numbers stay below 2^40, far from the sign.
        let key = KeyBytes::Integer(number.cast_signed());
        let digest = Digest::of(self.set.as_bytes(), key);
        let key = RawKey {
            namespace: &self.namespace,
            set: &self.set,
            digest,
        };
        (key, self.map.owner(&digest))
    }
}

/// One connection's place in the run.
pub(super) struct Lane {
    pub(super) plan: Arc<Plan>,
    /// The node it talks to, as the map numbers them.
    pub(super) node: usize,
    pub(super) address: SocketAddr,
    pub(super) keys: Keys,
    /// Shared by the connections of one thread, which never run at the same time: a histogram for
    /// each would not fit the processor's cache.
    pub(super) stats: Arc<Mutex<Stats>>,
    /// For the line of progress.
    pub(super) operations: Arc<AtomicU64>,
}

/// A request in flight.
struct Sent {
    at: Instant,
    op: Op,
}

/// A request that was answered.
struct Answered {
    op: Op,
    code: u8,
    latency: Duration,
}

impl Lane {
    /// Sends until `end`. A connection that is lost is opened again; what it had in flight counts as
    /// unanswered.
    pub(super) async fn run(mut self, mut connection: RawConnection, end: Instant) {
        loop {
            let mut sent = VecDeque::with_capacity(self.plan.pipeline);
            // One timer for all of it: a timer for each turn would be felt in what is measured.
            let load = self.load(&mut connection, &mut sent, end);
            let loaded = timeout_at((end + DRAIN_TIMEOUT).into(), load).await;
            let failure = loaded.unwrap_or(Err(CloseReason::Stalled)).err();
            let Some(failure) = failure else {
                return;
            };
            self.note(|stats| {
                stats.lose(connection.in_flight());
                stats.fail(failure);
            });
            match self.reconnect(end).await {
                Some(opened) => connection = opened,
                None => return,
            }
        }
    }

    fn note(&self, note: impl FnOnce(&mut Stats)) {
        note(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Keeps the pipeline full until `end`, then waits for what is in flight. That counts too: it is
    /// at most a pipeline, and without it a stall over the end would never be seen.
    ///
    /// `sent` holds what is in flight, oldest first.
    async fn load(
        &mut self,
        connection: &mut RawConnection,
        sent: &mut VecDeque<Sent>,
        end: Instant,
    ) -> Result<(), CloseReason> {
        let mut answered = Vec::with_capacity(self.plan.pipeline);
        loop {
            let now = Instant::now();
            while now < end && connection.in_flight() < self.plan.pipeline {
                let Some(op) = self.queue(connection)? else {
                    break;
                };
                sent.push_back(Sent { at: now, op });
            }
            if connection.in_flight() == 0 {
                if now >= end || self.plan.map.owns_any(self.node) {
                    return Ok(());
                }
                sleep(OWNER_PAUSE).await;
                continue;
            }
            let mut arrived = None;
            let turn = connection.turn(|reply| {
                // All replies of a turn arrived together: one look at the clock is enough.
                let arrived = *arrived.get_or_insert_with(Instant::now);
                if let Some(Sent { at, op }) = sent.pop_front() {
                    answered.push(Answered {
                        op,
                        code: reply.code,
                        latency: arrived.duration_since(at),
                    });
                }
            });
            let turned = turn.await; // what arrived before a failure counts
            self.operations
                .fetch_add(answered.len() as u64, Ordering::Relaxed);
            self.note(|stats| {
                for Answered { op, code, latency } in answered.drain(..) {
                    stats.answer(op, code, latency);
                }
            });
            turned?;
        }
    }

    /// Queues the next request of this lane's node; `None` if the node seems to own no key.
    fn queue(&mut self, connection: &mut RawConnection) -> Result<Option<Op>, CloseReason> {
        let plan = &self.plan;
        if !plan.map.owns_any(self.node) {
            return Ok(None); // nor does it pay to look for a key
        }
        let mut draws = (0..DRAWS_MAX).map(|_| plan.record(self.keys.next()));
        let Some((key, _)) = draws.find(|(_, owner)| *owner == self.node) else {
            return Ok(None);
        };
        let (op, queued) = match self.keys.chance(plan.read_percent) {
            true => (Op::Read, connection.queue_get(&key, 0)),
            false => (Op::Write, connection.queue_put(&key, BIN, &plan.value, 0)),
        };
        // Names and sizes were checked before the run, so this is not reached.
        queued.map_err(|_| CloseReason::ByClient)?;
        Ok(Some(op))
    }

    async fn reconnect(&self, end: Instant) -> Option<RawConnection> {
        while Instant::now() + RECONNECT_PAUSE < end {
            sleep(RECONNECT_PAUSE).await;
            if let Ok(connection) = RawConnection::connect(self.address).await {
                return Some(connection);
            }
        }
        None
    }
}
