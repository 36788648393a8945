//! Writers that use an official client, each with keys of its own, and remember what they were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aerospike::{
    BasePolicy, Bin, Bins, Client, ClientPolicy, CommitLevel, Error, Key, ReadPolicy, Replica,
    ResultCode, Value, WritePolicy,
};
use karst_tests::server::Server;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

/// Keys of one writer.
const KEYS: i64 = 200;

/// Longest wait for an answer: a node that is lost is given up within it.
const PATIENCE: Duration = Duration::from_secs(4);

/// A write that took longer is worth a line.
const SLOW: Duration = Duration::from_secs(1);

/// What a key may hold; `None` for absent.
#[derive(Clone, Debug, Default)]
struct Kept {
    version: i64,
    /// The last state that was acknowledged.
    acknowledged: Option<i64>,
    /// States in doubt. One may come true at any time after it was sent, also after a later one was acknowledged.
    doubtful: Vec<Option<i64>>,
}

/// The keys of one writer.
type Keys = BTreeMap<i64, Kept>;

/// What became of requests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) acknowledged: u64,
    pub(crate) failed: u64,
    /// The longest that any request took to be acknowledged.
    pub(crate) slowest: Duration,
}

/// Writers at rest.
pub(crate) struct Load {
    writers: Vec<Keys>,
    client: Arc<Client>,
    seed: u64,
    /// How often the client may try again by itself.
    retries: usize,
    pub(crate) tally: Tally,
}

/// Writers at work.
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<(Keys, Tally)>,
}

fn base() -> BasePolicy {
    BasePolicy {
        total_timeout: PATIENCE.as_millis() as u32,
        socket_timeout: PATIENCE.as_millis() as u32,
        ..BasePolicy::default()
    }
}

/// A client that knows of all these nodes.
pub(crate) async fn client(servers: &[&Server]) -> Client {
    let hosts: Vec<_> = servers.iter().map(|it| it.service().to_string()).collect();
    let client = Client::new(&ClientPolicy::default(), &hosts.join(",")).await;
    client.expect("the client connects")
}

pub(crate) fn key(number: i64) -> Key {
    Key::new("test", "cluster", Value::Int(number)).expect("an integer may be a key")
}

impl Load {
    /// So many writers, none of which has written yet. Their client may try again what failed: not for tests that
    /// lose nodes, where what failed may come true after what was tried again.
    pub(crate) async fn new(servers: &[&Server], writers: i64, seed: u64) -> Load {
        let keys = |writer: i64| {
            let numbers = writer * KEYS..(writer + 1) * KEYS;
            numbers.map(|number| (number, Kept::default())).collect()
        };
        Load {
            writers: (0..writers).map(keys).collect(),
            client: Arc::new(client(servers).await),
            seed,
            retries: BasePolicy::default().max_retries,
            tally: Tally::default(),
        }
    }

    /// As [`Load::new`], with writers that are told of whatever goes wrong: the client tries nothing again.
    pub(crate) async fn strict(servers: &[&Server], writers: i64, seed: u64) -> Load {
        Load {
            retries: 0,
            ..Load::new(servers, writers, seed).await
        }
    }

    /// Lets the writers go on until they are stopped.
    pub(crate) fn start(&mut self) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for keys in self.writers.drain(..) {
            self.seed += 1;
            let rng = StdRng::seed_from_u64(self.seed);
            let policy = WritePolicy {
                base_policy: BasePolicy {
                    max_retries: self.retries,
                    ..base()
                },
                commit_level: CommitLevel::CommitAll,
                ..WritePolicy::default()
            };
            let client = self.client.clone();
            tasks.spawn(write(client, policy, keys, rng, stop.clone()));
        }
        if self.retries == 0 {
            tasks.spawn(read(self.client.clone(), self.seed, stop.clone()));
        }
        Running { stop, tasks }
    }

    /// Takes the writers back.
    pub(crate) async fn end(&mut self, running: Running) {
        running.stop.store(true, Ordering::Relaxed);
        let ended = running.tasks.join_all().await;
        if ended.iter().any(|(_, tally)| tally.failed > 0) {
            tokio::time::sleep(PATIENCE).await; // then no node goes on with what is in doubt
        }
        for (keys, tally) in ended {
            if !keys.is_empty() {
                self.writers.push(keys);
            }
            self.tally.acknowledged += tally.acknowledged;
            self.tally.failed += tally.failed;
            self.tally.slowest = self.tally.slowest.max(tally.slowest);
        }
    }

    /// Reads every key and checks it. Returns how many there are.
    pub(crate) async fn check(&mut self, servers: &[&Server]) -> u64 {
        let policy = ReadPolicy {
            base_policy: base(),
        };
        let mut records = 0;
        for (number, kept) in self.writers.iter_mut().flatten() {
            let found = self.client.get(&policy, &key(*number), Bins::All).await;
            let found = match found {
                Ok(record) => match record.bins.get("v") {
                    Some(Value::Int(version)) => Some(*version),
                    other => panic!("key {number}: {other:?}"),
                },
                Err(error) if is_absent(&error) => None,
                Err(error) => panic!("key {number}: {error}"),
            };
            assert!(
                found == kept.acknowledged || kept.doubtful.contains(&found),
                "key {number} holds {found:?} of {kept:?}; {}",
                whereabouts(servers, &key(*number))
            );
            kept.acknowledged = found;
            kept.doubtful.clear();
            records += u64::from(found.is_some());
        }
        records
    }

    pub(crate) async fn close(self) {
        self.client.close().await.expect("the client closes");
    }
}

/// What each node says of a key's partition, and of the key.
pub(crate) fn whereabouts(servers: &[&Server], key: &Key) -> String {
    let digest: Vec<u8> = key.digest().to_vec();
    let partition = u16::from(digest[0]) | u16::from(digest[1] & 0x0f) << 8;
    let name = digest
        .iter()
        .map(|it| format!("{it:02x}"))
        .collect::<String>();
    let mut said = format!("partition {partition}, digest {name}");
    for server in servers {
        let info = server.info("partition-info");
        let start = format!("test:{partition}:");
        let line = info.split(';').find(|line| line.starts_with(&start));
        let number = partition.to_string();
        let entries = server.karst(&["partitions", "--contents", "--id", &number, "--json"]);
        said += &format!("\n{}: {line:?} {entries}", server.service());
    }
    said
}

fn is_absent(error: &Error) -> bool {
    error.server_result_code() == Some(ResultCode::KeyNotFoundError)
}

async fn write(
    client: Arc<Client>,
    policy: WritePolicy,
    mut keys: Keys,
    mut rng: StdRng,
    stop: Arc<AtomicBool>,
) -> (Keys, Tally) {
    let (mut tally, began) = (Tally::default(), Instant::now());
    let first = *keys.keys().next().expect("a writer has keys");
    while !stop.load(Ordering::Relaxed) {
        let number = first + rng.random_range(0..KEYS);
        let kept = keys.get_mut(&number).expect("a key of this writer");
        kept.version += 1;
        let deletes = rng.random_ratio(1, 5);
        let state = (!deletes).then_some(kept.version);
        let started = Instant::now();
        let done = match state {
            Some(version) => {
                let bins = [Bin::new("v", Value::Int(version)), filler(version)];
                client
                    .put(&policy, &key(number), &bins)
                    .await
                    .map(|()| true)
            }
            None => client.delete(&policy, &key(number)).await,
        };
        match done {
            Ok(changed) => {
                // That there was nothing to delete is what the asked node knew, in available mode.
                if changed {
                    kept.acknowledged = state;
                }
                tally.acknowledged += 1;
                let took = started.elapsed();
                tally.slowest = tally.slowest.max(took);
                if took > SLOW {
                    eprintln!("key {number} took {took:?} until {:?}", began.elapsed());
                }
            }
            Err(error) => {
                eprintln!("key {number}: {error}"); // shown if the test fails
                kept.doubtful.push(state);
                tally.failed += 1;
            }
        }
    }
    (keys, tally)
}

/// Reads keys of the first writer wherever a copy is, and is content with whatever is there.
async fn read(client: Arc<Client>, seed: u64, stop: Arc<AtomicBool>) -> (Keys, Tally) {
    let policy = ReadPolicy {
        base_policy: BasePolicy {
            max_retries: 0,
            replica: Replica::MasterProles,
            ..base()
        },
    };
    let mut rng = StdRng::seed_from_u64(seed);
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        let number = rng.random_range(0..KEYS);
        let started = Instant::now();
        match client.get(&policy, &key(number), Bins::All).await {
            Err(error) if !is_absent(&error) => {
                eprintln!("read of key {number}: {error}"); // shown if the test fails
                tally.failed += 1;
            }
            Ok(_) | Err(_) => {
                tally.acknowledged += 1;
                tally.slowest = tally.slowest.max(started.elapsed());
            }
        }
    }
    (Keys::new(), tally)
}

fn filler(version: i64) -> Bin {
    Bin::new("f", Value::Blob(vec![version as u8; 300]))
}
