//! Nodes that leave in order: nobody who uses the cluster notices.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use karst_tests::binary;
use karst_tests::server::Server;

use crate::data::{wait_until_held_twice, wait_until_stable};
use crate::group::{View, agree, all_serve, formed};
use crate::load::Load;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// How long copies of a few records may take to move.
const DRAIN_MAX: &str = "60s";

/// How long a load runs before and after what happens.
const AROUND: Duration = Duration::from_millis(500);

fn refs(servers: &[Server]) -> Vec<&Server> {
    servers.iter().collect()
}

pub(crate) fn karst(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary::karst());
    command.args(["--host", &server.admin().to_string()]);
    command.args(arguments).output().expect("karst can be run")
}

/// What is said when something is refused.
fn refusal(server: &Server, arguments: &[&str]) -> String {
    let output = karst(server, arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    text
}

/// Lets a node give everything away, asking another one.
pub(crate) fn drain(servers: &[Server], leaves: usize) {
    let asked = &servers[(leaves + 1) % servers.len()];
    let arguments = [
        "drain",
        NAMES[leaves],
        "--wait",
        "--timeout",
        DRAIN_MAX,
        "--json",
    ];
    let drained = asked.karst(&arguments);
    assert_eq!(drained["node"], NAMES[leaves]);
    assert_eq!(drained["partitions_left"], 0);
}

fn said(what: &str, load: &Load, since: Instant) {
    println!(
        "{what}: {} acknowledged, {} failed, longest wait of a write {:?}, {:?}",
        load.tally.acknowledged,
        load.tally.failed,
        load.tally.slowest,
        since.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_drained_and_stopped_is_missed_by_nobody() {
    let mut servers = formed(&NAMES);
    all_serve(&refs(&servers), &NAMES);
    wait_until_stable(&refs(&servers));
    let started = Instant::now();
    let mut load = Load::strict(&refs(&servers), 4, 11).await;
    let running = load.start();
    tokio::time::sleep(AROUND).await;
    tokio::task::block_in_place(|| {
        drain(&servers, 0);
        servers[0].stop();
    });
    tokio::time::sleep(AROUND).await;
    load.end(running).await;
    said("drain and stop", &load, started);
    assert_eq!(load.tally.failed, 0, "a node left in order");
    let left = &refs(&servers)[1..];
    let records = load.check(left).await;
    tokio::task::block_in_place(|| wait_until_held_twice(left, records));
    load.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_restarted_in_order_one_after_the_other_are_missed_by_nobody() {
    let mut servers = formed(&NAMES);
    all_serve(&refs(&servers), &NAMES);
    wait_until_stable(&refs(&servers));
    let started = Instant::now();
    let mut load = Load::strict(&refs(&servers), 4, 12).await;
    let running = load.start();
    for leaves in 0..servers.len() {
        tokio::task::block_in_place(|| {
            drain(&servers, leaves);
            servers[leaves].stop();
            servers[leaves].restart();
            servers[leaves].karst(&["drain", NAMES[leaves], "--undo", "--json"]);
            all_serve(&refs(&servers), &NAMES);
            wait_until_stable(&refs(&servers));
        });
    }
    load.end(running).await;
    said("rolling restart with drain", &load, started);
    assert_eq!(load.tally.failed, 0, "nodes were restarted in order");
    let records = load.check(&refs(&servers)).await;
    tokio::task::block_in_place(|| wait_until_held_twice(&refs(&servers), records));
    load.close().await;
}

/// `KARST_RESTARTS` sets how many nodes are restarted, the leader of the group first each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_just_told_to_stop_lets_others_lead_first() {
    let restarts = std::env::var("KARST_RESTARTS").ok();
    let restarts = restarts.and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut servers = formed(&NAMES);
    all_serve(&refs(&servers), &NAMES);
    wait_until_stable(&refs(&servers));
    let mut load = Load::strict(&refs(&servers), 4, 13).await;
    let started = Instant::now();
    let running = load.start();
    for _ in 0..restarts {
        tokio::task::block_in_place(|| {
            let leader = View::of(&servers[0]).leader;
            let leads = NAMES.iter().position(|name| *name == leader);
            let leads = leads.expect("one of them leads");
            eprintln!("{leader} is told to stop at {:?}", started.elapsed());
            servers[leads].stop();
            eprintln!("it has stopped at {:?}", started.elapsed());
            servers[leads].restart();
            eprintln!("it serves again at {:?}", started.elapsed());
            all_serve(&refs(&servers), &NAMES);
            wait_until_stable(&refs(&servers));
            eprintln!("all is settled at {:?}", started.elapsed());
        });
    }
    load.end(running).await;
    said("restart by SIGTERM alone", &load, started);
    assert_eq!(load.tally.failed, 0, "nodes were restarted in order");
    let records = load.check(&refs(&servers)).await;
    tokio::task::block_in_place(|| wait_until_held_twice(&refs(&servers), records));
    load.close().await;
}

#[test]
fn what_cannot_be_drained_or_removed_says_why_and_a_removed_node_joins_as_a_new_one() {
    let mut servers = formed(&NAMES);
    all_serve(&refs(&servers), &NAMES);
    let unknown = refusal(&servers[0], &["drain", "x"]);
    assert!(unknown.contains("there is no node x"), "{unknown}");
    let alive = refusal(&servers[0], &["remove", "b"]);
    assert!(
        alive.contains("node b is alive: drain it, stop it"),
        "{alive}"
    );
    for leaves in ["a", "b"] {
        servers[2].karst(&["drain", leaves, "--json"]);
    }
    agree(&refs(&servers), |view| {
        view.nodes_in("draining") == ["a", "b"]
    }); // the next is asked of another
    let last = refusal(&servers[0], &["drain", "c"]);
    assert!(
        last.contains("node c is the last one that can hold"),
        "{last}"
    );
    for stays in ["a", "b"] {
        servers[2].karst(&["drain", stays, "--undo", "--json"]);
    }
    all_serve(&refs(&servers), &NAMES);
    wait_until_stable(&refs(&servers));
    servers[1].stop();
    let left = [&servers[0], &servers[2]];
    agree(&left, |view| view.nodes_in("unreachable") == ["b"]);
    wait_until_stable(&left);
    let removed = servers[0].karst(&["remove", "b", "--json"]);
    assert_eq!(removed["node"], "b");
    agree(&left, |view| view.nodes.len() == 2);
    let again = refusal(&servers[2], &["remove", "b"]);
    assert!(again.contains("there is no node b"), "{again}");
    servers[1].restart();
    all_serve(&refs(&servers), &NAMES);
    let log = servers[1].log();
    assert!(log.contains("was removed from the cluster"), "{log}");
}

fn heat_while_one_record_is_asked_for(server: &Server) -> String {
    let done = AtomicBool::new(false);
    let heat = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                karst(server, &["put", "1", "v=1"]);
            }
        });
        let heat = karst(server, &["partitions", "--by", "heat"]);
        done.store(true, Ordering::Relaxed);
        heat
    });
    String::from_utf8(heat.stdout).expect("it is text")
}

#[test]
fn the_map_is_a_grid_and_one_partition_is_told_in_full() {
    let servers = formed(&NAMES);
    all_serve(&refs(&servers), &NAMES);
    wait_until_stable(&refs(&servers));
    let grid = karst(&servers[0], &["partitions"]);
    let grid = String::from_utf8(grid.stdout).expect("it is text");
    assert_eq!(grid.lines().count(), 66, "{grid}");
    assert!(
        grid.contains(". settled 4,096   m migrating 0   X unserved 0"),
        "{grid}"
    );
    let owners = karst(&servers[0], &["partitions", "--by", "owner"]);
    let owners = String::from_utf8(owners.stdout).expect("it is text");
    assert!(owners.contains("a a 1,3"), "{owners}");
    let heat = heat_while_one_record_is_asked_for(&servers[0]);
    let places = heat.lines().take(64).flat_map(|line| line.chars().skip(5));
    let hot: Vec<char> = places.filter(|place| *place != '.').collect();
    assert_eq!(hot, ['9'], "one partition is asked for\n{heat}");
    let one = servers[1].karst(&["partitions", "--id", "7", "--json"]);
    assert_eq!(one["state"], "settled");
    assert_eq!(one["replicas"], one["in_sync"]);
    let nodes = one["nodes"].as_array().expect("a list");
    let role = |role: &str| nodes.iter().filter(|node| node["role"] == role).count();
    assert_eq!((role("primary"), role("replica"), role("none")), (1, 1, 1));
    assert!(nodes.iter().all(|node| node["failure"].is_null()), "{one}");
    let all = servers[2].karst(&["partitions", "--json"]);
    assert_eq!(all.as_array().map(Vec::len), Some(4096));
    assert_eq!(all[7]["in_sync"], one["in_sync"]);
    let view = View::of(&servers[0]);
    assert_eq!(view.nodes_in("serving"), NAMES);
}
