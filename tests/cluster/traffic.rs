//! A live load from Karst's own client, and what it knows afterwards of every record.
//!
//! Each writer has keys of its own and writes growing numbers, so what a key may hold is known: the last number
//! that was acknowledged, or one whose write was left in doubt. Everything else is a wrong read, or a lost
//! write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use karst_client::{Bin, Client, ClientBuilder, Error, Key, ReadPolicy, WritePolicy};
use karst_tests::server::Server;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Writers at the same time; each has one request in flight.
pub(crate) const WRITERS: usize = 8;

/// Keys of each.
const KEYS: i64 = 40;

/// Longest time of one call: a cluster must have got over any loss by then.
const CALL_MAX: Duration = Duration::from_secs(8);

/// Pause between two calls of one writer: the machine is shared.
const PAUSE: Duration = Duration::from_millis(1);

/// What may be read under one key.
#[derive(Clone, Debug, Default)]
struct Allowed {
    acknowledged: Option<i64>,
    in_doubt: Vec<i64>,
}

impl Allowed {
    fn allows(&self, found: Option<i64>) -> bool {
        found == self.acknowledged || found.is_some_and(|number| self.in_doubt.contains(&number))
    }
}

/// What the load has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) writes: u64,
    pub(crate) reads: u64,
    /// Errors of writes that may have been applied.
    pub(crate) in_doubt: Vec<String>,
    /// Errors of reads, and of writes that were not applied.
    pub(crate) failed: Vec<String>,
    /// What was read and must not have been.
    pub(crate) wrong: Vec<String>,
    /// The longest that a call took.
    pub(crate) longest: Duration,
    keys: BTreeMap<i64, Allowed>,
}

impl Seen {
    fn merge(&mut self, other: Seen) {
        self.writes += other.writes;
        self.reads += other.reads;
        self.in_doubt.extend(other.in_doubt);
        self.failed.extend(other.failed);
        self.wrong.extend(other.wrong);
        self.longest = self.longest.max(other.longest);
        self.keys.extend(other.keys);
    }

    /// Prints the counts under a name.
    pub(crate) fn print(&self, what: &str) {
        println!(
            "{what}: {} writes, {} reads, {} in doubt, {} failed, {} wrong, longest call {:?}",
            self.writes,
            self.reads,
            self.in_doubt.len(),
            self.failed.len(),
            self.wrong.len(),
            self.longest
        );
        let errors = self.in_doubt.iter().chain(&self.failed).chain(&self.wrong);
        errors.take(20).for_each(|error| println!("  {error}"));
    }

    fn note(&mut self, error: &Error) {
        match error.in_doubt() {
            true => self.in_doubt.push(error.to_string()),
            false => self.failed.push(error.to_string()),
        }
    }
}

/// A runtime for a client.
pub(crate) fn runtime() -> Runtime {
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    built.expect("a runtime can be had")
}

/// A client that knows of these servers.
pub(crate) async fn client(servers: &[&Server]) -> Client {
    let seeds = servers.iter().map(|server| server.service().to_string());
    let connected = ClientBuilder::new(seeds).connect().await;
    connected.unwrap_or_else(|error| panic!("no client: {error}"))
}

pub(crate) fn key(number: i64) -> Key {
    Key::new("test", "traffic", number).expect("the names are sound")
}

/// A load that goes on until it is stopped.
pub(crate) struct Traffic {
    runtime: Runtime,
    pub(crate) client: Client,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    writers: Vec<JoinHandle<Seen>>,
}

impl Traffic {
    /// Begins to write to and read from the cluster of these servers.
    pub(crate) fn start(servers: &[&Server]) -> Traffic {
        let runtime = runtime();
        let client = runtime.block_on(client(servers));
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let writers = (0..WRITERS).map(|writer| {
            let (client, stop, done) = (client.clone(), Arc::clone(&stop), Arc::clone(&done));
            runtime.spawn(write_and_read(client, writer as i64 * KEYS, stop, done))
        });
        let writers = writers.collect();
        Traffic {
            runtime,
            client,
            stop,
            done,
            writers,
        }
    }

    /// Waits until so many more calls have succeeded.
    pub(crate) fn go_on_for(&self, calls: u64) {
        let wanted = self.done.load(Ordering::Relaxed) + calls;
        let deadline = Instant::now() + 2 * CALL_MAX;
        while self.done.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < deadline, "nothing goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the load, reads every key once more, and returns what was seen in all.
    pub(crate) fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let client = &self.client;
        self.runtime.block_on(async {
            let mut seen = Seen::default();
            for writer in self.writers {
                seen.merge(writer.await.expect("a writer does not panic"));
            }
            for (number, allowed) in std::mem::take(&mut seen.keys) {
                check(client, &mut seen, number, &allowed).await;
            }
            seen
        })
    }
}

async fn write_and_read(
    client: Client,
    first: i64,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) -> Seen {
    let mut seen = Seen::default();
    let policy = WritePolicy::default().with_timeout(CALL_MAX);
    for turn in 1.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let number = first + turn % KEYS;
        let began = Instant::now();
        let written = client
            .put_with(&policy, &key(number), [Bin::new("a", turn)])
            .await;
        seen.longest = seen.longest.max(began.elapsed());
        let allowed = seen.keys.entry(number).or_default();
        match &written {
            Ok(()) => allowed.acknowledged = Some(turn),
            Err(error) if error.in_doubt() => allowed.in_doubt.push(turn),
            Err(_) => {}
        }
        let allowed = allowed.clone();
        match written {
            Ok(()) => {
                seen.writes += 1;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => seen.note(&error),
        }
        check(&client, &mut seen, number, &allowed).await;
        tokio::time::sleep(PAUSE).await;
    }
    seen
}

/// Reads a key and notes if it holds what it must not.
async fn check(client: &Client, seen: &mut Seen, number: i64, allowed: &Allowed) {
    let policy = ReadPolicy::default().with_timeout(CALL_MAX);
    let began = Instant::now();
    let read = client
        .get_with(&policy, &key(number), &karst_client::Bins::All)
        .await;
    seen.longest = seen.longest.max(began.elapsed());
    match read {
        Ok(record) => {
            seen.reads += 1;
            let found = record.and_then(|record| record.bin("a")?.as_int());
            if !allowed.allows(found) {
                let wrong = format!("key {number}: {found:?} instead of {allowed:?}");
                seen.wrong.push(wrong);
            }
        }
        Err(error) => seen.note(&error),
    }
}
