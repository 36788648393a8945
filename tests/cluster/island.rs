//! A node that hears nobody goes on, and what it took is merged when the others are there again.

use std::time::{Duration, Instant};

use aerospike::{Bin, Bins, Client, ReadPolicy, Value, WritePolicy};
use karst_tests::server::Server;
use rustix::process::{Signal, kill_process};

use crate::data::{wait_until_held_twice, wait_until_stable};
use crate::group::{all_serve, formed};
use crate::load::{client, key, whereabouts};

/// Keys that are written before, on the island, or both.
const KEYS: i64 = 60;

/// How long a node may take to find out that it is alone.
const ALONE_MAX: Duration = Duration::from_secs(30);

async fn put(client: &Client, number: i64, version: i64) {
    let bins = [Bin::new("v", Value::Int(version))];
    let done = client
        .put(&WritePolicy::default(), &key(number), &bins)
        .await;
    done.expect("a put succeeds");
}

async fn get(client: &Client, number: i64) -> Option<i64> {
    let found = client
        .get(&ReadPolicy::default(), &key(number), Bins::All)
        .await;
    match found.ok()?.bins.get("v") {
        Some(Value::Int(version)) => Some(*version),
        other => panic!("key {number}: {other:?}"),
    }
}

fn wait_until_alone(server: &Server) {
    let deadline = Instant::now() + ALONE_MAX;
    while !server.info("statistics").contains(";cluster_size=1;") {
        assert!(Instant::now() < deadline, "it is not alone");
        std::thread::sleep(Duration::from_millis(100));
    }
    let stable = server.info("cluster-stable:size=1;ignore-migrations=true");
    assert!(stable.starts_with("ERROR"), "an island is not at rest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hears_nobody_goes_on_and_what_it_took_is_merged() {
    let names = ["a", "b", "c"];
    let servers = formed(&names);
    let all: Vec<&Server> = servers.iter().collect();
    all_serve(&all, &names);
    wait_until_stable(&all);
    let before = client(&all).await;
    for number in 0..KEYS {
        put(&before, number, 1).await;
    }
    before.close().await.expect("the client closes");
    for frozen in &servers[1..] {
        kill_process(frozen.pid(), Signal::STOP).expect("it is our own");
    }
    tokio::task::block_in_place(|| wait_until_alone(&servers[0]));
    let island = client(&all[..1]).await;
    for number in (0..KEYS).step_by(2).chain(KEYS..KEYS + 10) {
        put(&island, number, 2).await;
    }
    for number in (0..KEYS).step_by(10) {
        let deleted = island.delete(&WritePolicy::default(), &key(number)).await;
        assert!(deleted.expect("a delete succeeds"));
    }
    island.close().await.expect("the client closes");
    for frozen in &servers[1..] {
        kill_process(frozen.pid(), Signal::CONT).expect("it is our own");
    }
    tokio::task::block_in_place(|| {
        all_serve(&all, &names);
        wait_until_stable(&all);
    });
    let after = client(&all).await;
    let mut records = 0;
    for number in 0..KEYS + 10 {
        let expected = match number {
            it if it >= KEYS => Some(2),
            it if it % 10 == 0 => None,
            it if it % 2 == 0 => Some(2),
            _ => Some(1),
        };
        let found = get(&after, number).await;
        let at = || whereabouts(&all, &key(number));
        assert!(
            found == expected,
            "key {number}: {found:?}, not {expected:?}; {}",
            at()
        );
        records += u64::from(expected.is_some());
    }
    wait_until_held_twice(&all, records);
    after.close().await.expect("the client closes");
}
