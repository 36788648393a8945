//! How long writes wait when a node is killed: `scripts/bench-takeover` runs this, on nodes of the release profile, and
//! prints a table.
//!
//! Three nodes, strongly consistent, on files, under a steady load. A node is killed and started again, in turn the one
//! that leads the group and one that does not. Every node is primary of a third of the partitions. Measured from the kill:
//!
//! ```text
//! kill -9 --- the leader gives the node up --- first, median, last partition of which the node was primary takes a write
//!         detection (its log)                  last partition that it held a copy of takes a write
//! ```
//!
//! A partition is asked for by a key of its own. So many tasks go round among those that were the node's own until each
//! has taken a write. Those of others that wait for its copy keep a request waiting: each has a task, and all of them have a
//! write out when the node is killed. Nodes answer in order what is asked on one connection, so what waits has
//! connections of its own, and a request has as few others before it as there can be. `KARST_ROUNDS` sets how often each node is killed, `KARST_RF` the copies, `KARST_PATIENCE_MS` how long
//! a request may take.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use karst_client::{Bin, Client, ClientBuilder, Key, RetryPolicy, WritePolicy};
use karst_tests::Namespace;
use karst_tests::server::Server;
use tokio::task::{JoinSet, block_in_place};

use crate::data::wait_until_stable;
use crate::group::{View, all_serve, prepare};
use crate::traffic::runtime;

const NAMES: [&str; 3] = ["a", "b", "c"];

const PARTITIONS: usize = 4096;

/// Tasks that go round among partitions that refuse.
const ASKERS: usize = 64;

/// Connections of a client to each node, and clients for requests that wait.
const CONNECTIONS: usize = 64;
const PATIENT: usize = 8;

/// Pause of one of them after a refusal.
const REFUSED: Duration = Duration::from_millis(20);

/// Longest time of one request, unless something else is set.
const PATIENCE_MS: usize = 1000;

fn patience() -> Duration {
    Duration::from_millis(setting("KARST_PATIENCE_MS").unwrap_or(PATIENCE_MS) as u64)
}

/// Tasks of the steady load, and the pause of each between two writes.
const LOAD: (usize, Duration) = (8, Duration::from_millis(4));

/// Pause between two looks at the logs.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How long all may take.
const TAKEN_OVER_MAX: Duration = Duration::from_secs(60);

/// What the leader's log says when it gives a node up.
const GIVEN_UP: &str = "a node is given up";

/// A log, and how long it was.
type Log = (PathBuf, u64);

/// A key of each partition.
type Keys = Vec<Key>;

fn keys() -> Keys {
    let mut found: BTreeMap<usize, Key> = BTreeMap::new();
    let numbered =
        (0_i64..).map(|it| Key::new("test", "takeover", it).expect("the names are sound"));
    for key in numbered {
        found.entry(key.partition().index()).or_insert(key);
        if found.len() == PARTITIONS {
            break;
        }
    }
    found.into_values().collect()
}

/// A client that asks a node until it answers, on as many connections as it can have.
async fn client(seeds: &[String]) -> Client {
    let client = ClientBuilder::new(seeds)
        .connections_per_node(CONNECTIONS)
        .errors_per_node(0, Duration::from_secs(1));
    client.connect().await.expect("they serve")
}

async fn write(client: &Client, key: &Key) -> bool {
    let policy = WritePolicy {
        timeout: patience(),
        retry: RetryPolicy::NEVER,
        ..WritePolicy::default()
    };
    let written = client.put_with(&policy, key, [Bin::new("v", 1)]).await;
    written.is_ok()
}

/// Writes until it is stopped.
fn load(client: &Client, keys: &Arc<Keys>, stop: &Arc<AtomicBool>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for number in 0..LOAD.0 {
        let (client, keys, stop) = (client.clone(), keys.clone(), stop.clone());
        tasks.spawn(async move {
            let mine = keys.iter().skip(number).step_by(LOAD.0).cycle();
            for key in mine {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                write(&client, key).await;
                tokio::time::sleep(LOAD.1).await;
            }
        });
    }
    tasks
}

/// How long after a moment each of these first takes a write. They refuse at once until they do.
async fn all_taken(client: &Client, wanted: Vec<Key>, since: Instant) -> Vec<Duration> {
    let waiting = Arc::new(Mutex::new(VecDeque::from(wanted)));
    let mut tasks = JoinSet::new();
    for _ in 0..ASKERS {
        let (client, waiting) = (client.clone(), waiting.clone());
        tasks.spawn(async move {
            let mut taken = vec![];
            loop {
                let next = waiting.lock().expect("nobody panics").pop_front();
                let Some(key) = next else {
                    return taken;
                };
                if write(&client, &key).await {
                    taken.push(since.elapsed());
                } else {
                    waiting.lock().expect("nobody panics").push_back(key);
                    tokio::time::sleep(REFUSED).await;
                }
            }
        });
    }
    let mut taken = tasks.join_all().await.concat();
    taken.sort_unstable();
    taken
}

/// As [`all_taken`], of those that keep a request waiting.
async fn each_taken(clients: &[Client], wanted: Vec<Key>, since: Instant) -> Vec<Duration> {
    let mut tasks = JoinSet::new();
    for (key, client) in wanted.into_iter().zip(clients.iter().cycle()) {
        let client = client.clone();
        tasks.spawn(async move {
            while !write(&client, &key).await {
                tokio::time::sleep(REFUSED).await;
            }
            since.elapsed()
        });
    }
    let mut taken = tasks.join_all().await;
    taken.sort_unstable();
    taken
}

/// Waits until one of these files says that a node is given up.
fn given_up(logs: Vec<Log>, since: Instant) -> Duration {
    loop {
        for (path, from) in &logs {
            let mut text = String::new();
            let file = File::open(path).and_then(|mut file| {
                file.seek(SeekFrom::Start(*from))?;
                file.read_to_string(&mut text)
            });
            if file.is_ok() && text.contains(GIVEN_UP) {
                return since.elapsed();
            }
        }
        assert!(since.elapsed() < TAKEN_OVER_MAX, "nobody gives it up");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Partitions of which a node is primary, and others that it holds a copy of.
fn held(asked: &Server, node: &str) -> (Vec<usize>, Vec<usize>) {
    let map = asked.karst(&["partitions", "--json"]);
    let (mut own, mut others) = (vec![], vec![]);
    for partition in map.as_array().expect("a list") {
        let number = partition["number"].as_u64().expect("a number") as usize;
        let in_sync = partition["in_sync"].as_array().expect("a list");
        if in_sync.first().is_some_and(|primary| primary == node) {
            own.push(number);
        } else if in_sync.iter().any(|it| it == node) {
            others.push(number);
        }
    }
    (own, others)
}

/// What one kill came to, from the kill on.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    detected: Duration,
    first: Duration,
    median: Duration,
    last: Duration,
    /// The last of all partitions that the node held.
    all: Duration,
}

struct Scene {
    servers: Vec<Server>,
    client: Client,
    /// For requests that wait.
    patient: Vec<Client>,
    keys: Arc<Keys>,
    copies: u8,
}

impl Scene {
    async fn formed(copies: u8) -> Scene {
        let mut servers = prepare(&NAMES);
        block_in_place(|| {
            for server in &mut servers {
                let namespace = Namespace::device("test")
                    .size("128MiB")
                    .set("mode", "\"cp\"")
                    .set("replication_factor", &copies.to_string());
                server.reconfigure(|spec| spec.each_namespace(|_| namespace.clone()));
                server.start();
            }
            servers.iter_mut().for_each(Server::wait_until_serving);
        });
        let seeds = servers.iter().map(|server| server.service().to_string());
        let seeds: Vec<String> = seeds.collect();
        let client = client(&seeds).await;
        let mut patient = vec![];
        for _ in 0..PATIENT {
            patient.push(self::client(&seeds).await);
        }
        let scene = Scene {
            servers,
            client,
            patient,
            keys: Arc::new(keys()),
            copies,
        };
        scene.settle();
        scene
    }

    /// Waits until every node leads its share.
    fn settle(&self) {
        block_in_place(|| {
            let all: Vec<&Server> = self.servers.iter().collect();
            all_serve(&all, &NAMES);
            wait_until_stable(&all);
            let began = Instant::now();
            while NAMES
                .iter()
                .any(|it| held(all[0], it).0.len() < PARTITIONS / 4)
            {
                assert!(
                    began.elapsed() < TAKEN_OVER_MAX,
                    "nobody gives partitions back"
                );
                std::thread::sleep(Duration::from_millis(100));
            }
        });
    }

    /// How long it takes to write to so many partitions while nothing is wrong.
    async fn pass(&self) -> Duration {
        let third = self.keys.iter().take(PARTITIONS / 3).cloned().collect();
        let taken = all_taken(&self.client, third, Instant::now()).await;
        taken.last().copied().unwrap_or_default()
    }

    fn wanted(&self, partitions: &[usize]) -> Vec<Key> {
        partitions.iter().map(|it| self.keys[*it].clone()).collect()
    }

    async fn round(&mut self, leader: bool) -> Round {
        let (at, logs, own, others) = block_in_place(|| self.prepared(leader));
        let (own, others) = (self.wanted(&own), self.wanted(&others));
        let stop = Arc::new(AtomicBool::new(false));
        let running = load(&self.client, &self.keys, &stop);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let since = Instant::now();
        self.servers[at].kill9();
        let detected = tokio::task::spawn_blocking(move || given_up(logs, since));
        let asked = async {
            tokio::join!(
                all_taken(&self.client, own, since),
                each_taken(&self.patient, others, since)
            )
        };
        let asked = tokio::time::timeout(TAKEN_OVER_MAX, asked).await;
        let (own, others) = asked.expect("every partition serves again");
        let detected = detected.await.expect("somebody gives it up");
        stop.store(true, Ordering::Relaxed);
        running.join_all().await;
        let last = own[own.len() - 1];
        let round = Round {
            detected,
            first: own[0],
            median: own[own.len() / 2],
            last,
            all: others.last().map_or(last, |it| last.max(*it)),
        };
        block_in_place(|| self.servers[at].restart());
        self.settle();
        round
    }

    /// Who is to be killed, the logs of the others and how long they are, and what it holds.
    fn prepared(&self, leader: bool) -> (usize, Vec<Log>, Vec<usize>, Vec<usize>) {
        let leads = View::of(&self.servers[0]).leader;
        let leads = NAMES.iter().position(|name| *name == leads);
        let leads = leads.expect("one of them leads");
        let at = if leader {
            leads
        } else {
            (leads + 1) % NAMES.len()
        };
        let others = self.servers.iter().enumerate().filter(|(it, _)| *it != at);
        let logs = others.map(|(_, server)| {
            let path = server.log_path();
            let length = std::fs::metadata(&path).map_or(0, |it| it.len());
            (path, length)
        });
        let (own, others) = held(&self.servers[at], NAMES[at]);
        (at, logs.collect(), own, others)
    }
}

const HEAD: &str = "| RF | killed | rounds | detected ms | first | half | last own partition | last of all | after detection | \
worst: detected | last of all | after detection |
|---|---|---|---|---|---|---|---|---|---|---|---|";

fn row(copies: u8, what: &str, rounds: &[Round]) -> String {
    let sorted = |of: &dyn Fn(&Round) -> Duration| {
        let mut all: Vec<u128> = rounds.iter().map(|it| of(it).as_millis()).collect();
        all.sort_unstable();
        all
    };
    let median = |of: &dyn Fn(&Round) -> Duration| sorted(of)[rounds.len() / 2];
    let worst = |of: &dyn Fn(&Round) -> Duration| sorted(of)[rounds.len() - 1];
    let after = |it: &Round| it.all.saturating_sub(it.detected);
    format!(
        "| {copies} | {what} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        rounds.len(),
        median(&|it| it.detected),
        median(&|it| it.first),
        median(&|it| it.median),
        median(&|it| it.last),
        median(&|it| it.all),
        median(&after),
        worst(&|it| it.detected),
        worst(&|it| it.all),
        worst(&after),
    )
}

fn setting(name: &str) -> Option<usize> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
#[ignore = "scripts/bench-takeover runs it"]
fn writes_go_on_soon_after_a_node_is_killed() {
    let rounds = setting("KARST_ROUNDS").unwrap_or(10);
    let copies = setting("KARST_RF").map_or(vec![2, 3], |copies| vec![copies as u8]);
    let mut rows = vec![HEAD.to_owned()];
    for copies in copies {
        let runtime = runtime();
        runtime.block_on(async {
            let mut scene = Scene::formed(copies).await;
            scene.pass().await;
            let pass = scene.pass().await;
            eprintln!(
                "RF {}: a third of all partitions is written to within {pass:?}",
                scene.copies
            );
            for (what, leader) in [("leads", true), ("does not lead", false)] {
                let mut all = vec![];
                for number in 1..=rounds {
                    let round = scene.round(leader).await;
                    eprintln!("RF {copies}, a node that {what}, {number} of {rounds}: {round:?}");
                    all.push(round);
                }
                rows.push(row(copies, what, &all));
            }
        });
    }
    println!(
        "\nFrom the kill, in ms, medians and worst.\n\n{}\n",
        rows.join("\n")
    );
}
