//! Records on several nodes: they are where the map says, in as many copies as asked for, and stay through
//! the loss of a node.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use karst_tests::server::Server;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::group::{all_serve, formed, prepare};
use crate::load::Load;

/// How long copies may take to be where they belong.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);

const NAMES: [&str; 3] = ["a", "b", "c"];

/// What the index of a node says of a partition: live records, and a fingerprint over them.
type Print = (u64, String);

/// The partitions of a node that hold records.
fn prints(server: &Server) -> BTreeMap<u64, Print> {
    let listed = server.karst(&["partitions", "--contents", "--json"]);
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let partitions = listed.as_array().expect("a list of partitions");
    let of = |it: &Value| {
        let print = (number(&it["records"]), it["fingerprint"].to_string());
        (number(&it["number"]), print)
    };
    let held = partitions.iter().map(of);
    held.filter(|(_, (records, _))| *records > 0).collect()
}

/// Records that a node holds.
pub(crate) fn records_held(server: &Server) -> u64 {
    prints(server).values().map(|(records, _)| records).sum()
}

/// Waits until no copy is on its way any more, and each node says so.
pub(crate) fn wait_until_stable(servers: &[&Server]) {
    let deadline = Instant::now() + SETTLE_MAX;
    while !is_stable(servers) {
        if Instant::now() >= deadline {
            let status = servers[0].karst(&["status", "--json"]);
            let (alarms, namespaces) = (&status["alarms"], &status["namespaces"]);
            panic!("not stable: {alarms} {namespaces}");
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether no copy is on its way, and each node says so.
pub(crate) fn is_stable(servers: &[&Server]) -> bool {
    let command = format!("cluster-stable:size={}", servers.len());
    let keys: Vec<String> = servers.iter().map(|it| it.info(&command)).collect();
    !keys[0].starts_with("ERROR") && keys.iter().all(|key| *key == keys[0])
}

/// Waits until every partition that has records is held by exactly two nodes, which hold the same.
pub(crate) fn wait_until_held_twice(servers: &[&Server], records: u64) {
    let deadline = Instant::now() + SETTLE_MAX;
    loop {
        let all: Vec<_> = servers.iter().map(|server| prints(server)).collect();
        match held_twice(&all, records) {
            Ok(()) => return,
            Err(why) => assert!(Instant::now() < deadline, "{why}"),
        }
        std::thread::sleep(PAUSE);
    }
}

fn held_twice(all: &[BTreeMap<u64, Print>], records: u64) -> Result<(), String> {
    let mut holders: BTreeMap<u64, Vec<&Print>> = BTreeMap::new();
    for (partition, print) in all.iter().flatten() {
        holders.entry(*partition).or_default().push(print);
    }
    let mut total = 0;
    for (partition, prints) in holders {
        let [first, second] = prints[..] else {
            let times = prints.len();
            return Err(format!("partition {partition} is held {times} times"));
        };
        if first != second {
            return Err(format!("partition {partition}: {first:?} and {second:?}"));
        }
        total += first.0;
    }
    match total == records {
        true => Ok(()),
        false => Err(format!("{total} records of {records}")),
    }
}

fn refs(servers: &[Server]) -> Vec<&Server> {
    servers.iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_is_on_two_nodes_that_hold_the_same() {
    let servers = formed(&NAMES);
    all_serve(&refs(&servers), &NAMES);
    wait_until_stable(&refs(&servers));
    let mut load = Load::new(&refs(&servers), 4, 1).await;
    let running = load.start();
    tokio::time::sleep(Duration::from_secs(2)).await;
    load.end(running).await;
    let records = load.check(&refs(&servers)).await;
    assert!(records > 0);
    assert_eq!(load.tally.failed, 0, "nothing happened");
    wait_until_held_twice(&refs(&servers), records);
    load.close().await;
}

/// `KARST_KILLS` sets how many nodes are killed, one after the other; `KARST_SEED` which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_when_nodes_are_killed_one_after_the_other() {
    let setting = |name: &str, usual: u64| {
        let set = std::env::var(name).ok().and_then(|text| text.parse().ok());
        set.unwrap_or(usual)
    };
    let (kills, seed) = (setting("KARST_KILLS", 3), setting("KARST_SEED", 7));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut servers = formed(&NAMES);
    all_serve(&refs(&servers), &NAMES);
    wait_until_stable(&refs(&servers));
    let mut load = Load::strict(&refs(&servers), 4, seed).await;
    let mut pauses = Vec::new();
    for _ in 0..kills {
        let running = load.start();
        tokio::time::sleep(Duration::from_millis(rng.random_range(300..800))).await;
        let lost = rng.random_range(0..servers.len());
        servers[lost].kill9();
        tokio::time::sleep(Duration::from_millis(rng.random_range(100..2500))).await;
        tokio::task::block_in_place(|| servers[lost].restart());
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..500))).await;
        load.end(running).await;
        pauses.push(std::mem::take(&mut load.tally.slowest));
        tokio::task::block_in_place(|| {
            all_serve(&refs(&servers), &NAMES);
            wait_until_stable(&refs(&servers));
        });
        let records = load.check(&refs(&servers)).await;
        wait_until_held_twice(&refs(&servers), records);
    }
    pauses.sort_unstable();
    println!(
        "{kills} kills, seed {seed}: {} acknowledged, {} not, none lost; longest wait of a write, median {:?}, \
         most {:?}",
        load.tally.acknowledged,
        load.tally.failed,
        pauses[pauses.len() / 2],
        pauses[pauses.len() - 1]
    );
    load.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_an_empty_disk_is_filled_while_the_others_serve() {
    let names = ["a", "b", "c"];
    let mut servers = prepare(&names);
    let mut late = servers.pop().expect("three of them");
    for server in &mut servers {
        server.reconfigure(|spec| spec.set("cluster", "bootstrap_expect", "2"));
    }
    servers.iter_mut().for_each(Server::start);
    servers.iter_mut().for_each(Server::wait_until_serving);
    all_serve(&refs(&servers), &names[..2]);
    wait_until_stable(&refs(&servers));
    let mut load = Load::new(&refs(&servers), 4, 3).await;
    let running = load.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    tokio::task::block_in_place(|| {
        late.start();
        late.wait_until_serving();
    });
    servers.push(late);
    tokio::time::sleep(Duration::from_secs(2)).await;
    load.end(running).await;
    assert_eq!(load.tally.failed, 0, "a node was added, and none was lost");
    tokio::task::block_in_place(|| {
        all_serve(&refs(&servers), &names);
        wait_until_stable(&refs(&servers));
    });
    let records = load.check(&refs(&servers)).await;
    wait_until_held_twice(&refs(&servers), records);
    load.close().await;
}
