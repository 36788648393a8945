//! The threads of a run. Each has a runtime and its share of the connections, and shares nothing
//! with the others while it works but one counter for the line of progress.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use karst_client::{RawConnection, RawMap};
use rand::rngs::SmallRng;
use rand::{RngCore as _, SeedableRng as _};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection::{Lane, Plan};
use super::keys::Keys;
use super::stats::Stats;
use crate::args::{Bench, KeyDist};
use crate::failure::{Failure, Outcome};

/// Longest wait for one connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A runtime for one thread.
pub(super) fn runtime() -> Outcome<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)
}

/// Threads that are connected and wait for the start, or work.
pub(super) struct Workers {
    threads: Vec<Worker>,
    /// The end of the run, once it has started.
    start: watch::Sender<Option<Instant>>,
}

struct Worker {
    thread: JoinHandle<Outcome<Stats>>,
    operations: Arc<AtomicU64>,
}

impl Workers {
    /// Starts the threads and waits until each has all its connections.
    pub(super) fn connect(args: &Bench, map: &RawMap) -> Outcome<Workers> {
        let (start, _) = watch::channel(None);
        let (ready, connected) = mpsc::sync_channel(args.threads as usize);
        let mut threads = Vec::new();
        for index in 0..args.threads {
            let operations = Arc::new(AtomicU64::new(0));
            let job = Job {
                index,
                connections: share(args.connections, args.threads, index),
                args: args.clone(),
                plan: Arc::new(plan(args, map)),
                start: start.subscribe(),
                operations: Arc::clone(&operations),
            };
            let ready = ready.clone();
            let thread = std::thread::Builder::new()
                .name(format!("karst-bench-{index}"))
                .spawn(move || job.run(ready))
                .map_err(Failure::failed)?;
            threads.push(Worker { thread, operations });
        }
        drop(ready);
        // Ends when every thread has spoken or given up.
        let up = connected.iter().count();
        let workers = Workers { threads, start };
        if up < workers.threads.len() {
            return Err(workers.failure());
        }
        Ok(workers)
    }

    /// Lets everybody send until `end`.
    pub(super) fn start(&self, end: Instant) {
        self.start.send_replace(Some(end));
    }

    /// Requests answered so far, by all threads.
    pub(super) fn operations(&self) -> u64 {
        let counts = self.threads.iter().map(|worker| &worker.operations);
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Whether nobody works any more.
    pub(super) fn are_done(&self) -> bool {
        self.threads
            .iter()
            .all(|worker| worker.thread.is_finished())
    }

    /// Waits for all threads and adds up what they saw.
    pub(super) fn join(self) -> Outcome<Stats> {
        let mut all = Stats::new();
        for worker in self.threads {
            all.merge(joined(worker.thread)?);
        }
        Ok(all)
    }

    /// Why not all of them are connected.
    fn failure(self) -> Failure {
        drop(self.start); // those that wait for the start give up
        let mut outcomes = self.threads.into_iter().map(|worker| joined(worker.thread));
        let failure = outcomes.find_map(Outcome::err);
        failure.unwrap_or_else(|| Failure::failed("a thread ended before the start"))
    }
}

fn joined(thread: JoinHandle<Outcome<Stats>>) -> Outcome<Stats> {
    let panicked = |_| Err(Failure::failed("a thread of the loader panicked"));
    thread.join().unwrap_or_else(panicked)
}

/// The share of one thread in `total` things.
fn share(total: u32, threads: u32, index: u32) -> u32 {
    total / threads + u32::from(index < total % threads)
}

/// What a thread's connections do.
pub(super) fn plan(args: &Bench, map: &RawMap) -> Plan {
    let mut value = vec![0; args.object_bytes as usize];
    SmallRng::seed_from_u64(args.seed).fill_bytes(&mut value); // incompressible, as data often is
    Plan {
        namespace: args.namespace.clone(),
        set: args.set.clone(),
        value,
        read_percent: args.read_percent,
        pipeline: args.pipeline as usize,
        map: map.clone(),
    }
}

/// Opens a connection, or says where it could not.
pub(super) async fn connect(address: std::net::SocketAddr) -> Outcome<RawConnection> {
    match timeout(CONNECT_TIMEOUT, RawConnection::connect(address)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(Failure::failed(format!("{address}: {error}"))),
        Err(_) => Err(Failure::failed(format!(
            "{address}: no connection within {} s",
            CONNECT_TIMEOUT.as_secs()
        ))),
    }
}

/// What one thread is to do.
struct Job {
    index: u32,
    /// To each node.
    connections: u32,
    args: Bench,
    plan: Arc<Plan>,
    start: watch::Receiver<Option<Instant>>,
    operations: Arc<AtomicU64>,
}

impl Job {
    /// The thread's whole life. Says `ready` once all connections are open.
    fn run(self, ready: mpsc::SyncSender<()>) -> Outcome<Stats> {
        let stats = Arc::new(Mutex::new(Stats::new()));
        runtime()?.block_on(async {
            let lanes = self.lanes(&stats).await?;
            let _ = ready.send(()); // the receiver lives until all have spoken
            drop(ready); // or it would wait for more
            let mut start = self.start.clone();
            let started = start.wait_for(Option::is_some).await;
            let Some(end) = started.ok().and_then(|end| *end) else {
                return Ok(()); // another thread could not connect
            };
            let mut running = JoinSet::new();
            for (lane, open) in lanes {
                running.spawn(lane.run(open, end));
            }
            while let Some(ended) = running.join_next().await {
                ended.map_err(Failure::failed)?;
            }
            Ok(())
        })?;
        let mut seen = stats.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::replace(&mut *seen, Stats::new()))
    }

    async fn lanes(&self, stats: &Arc<Mutex<Stats>>) -> Outcome<Vec<(Lane, RawConnection)>> {
        let mut lanes = Vec::new();
        for (node, address) in self.plan.map.addresses().iter().enumerate() {
            for _ in 0..self.connections {
                let connection = connect(*address).await?;
                let lane = Lane {
                    plan: Arc::clone(&self.plan),
                    node,
                    address: *address,
                    keys: self.keys(lanes.len()),
                    stats: Arc::clone(stats),
                    operations: Arc::clone(&self.operations),
                };
                lanes.push((lane, connection));
            }
        }
        Ok(lanes)
    }

    /// The keys of one connection: its own row, the same in every run.
    fn keys(&self, lane: usize) -> Keys {
        let args = &self.args;
        let own = u64::from(self.index) << 32 | lane as u64;
        let seed = args.seed ^ (own + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15); // spreads small numbers
        match args.key_dist {
            KeyDist::Uniform => Keys::uniform(args.keys, seed),
            KeyDist::Zipf => Keys::zipf(args.keys, args.zipf_exponent, seed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_belongs_to_one_thread() {
        for (total, threads) in [(8, 3), (3, 3), (50, 1), (7, 2)] {
            let shares: Vec<_> = (0..threads)
                .map(|index| share(total, threads, index))
                .collect();
            assert_eq!(shares.iter().sum::<u32>(), total);
            let (least, most) = (shares.iter().min(), shares.iter().max());
            assert!(most.unwrap() - least.unwrap() <= 1, "{shares:?}");
        }
    }
}
