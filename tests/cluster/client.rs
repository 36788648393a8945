//! Karst's own client while the cluster under it changes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use karst_client::{
    Bin, Bins, Client, ClientBuilder, Digest, Hedge, ReadPolicy, ScanPolicy, WritePolicy,
};
use karst_tests::server::Server;
use rustix::process::{Signal, kill_process};

use crate::group::{formed, seeds, settled, spec};
use crate::traffic::{Traffic, WRITERS, client, key, runtime};

/// Three nodes that have settled.
fn three() -> Vec<Server> {
    let servers = formed(&["a", "b", "c"]);
    let all: Vec<&Server> = servers.iter().collect();
    settled(&all);
    servers
}

fn refs(servers: &[Server]) -> Vec<&Server> {
    servers.iter().collect()
}

/// Requests that nodes have handed on to others, in all.
fn proxied(servers: &[&Server]) -> f64 {
    let of = |server: &&Server| -> f64 {
        let (_, text) = server.http("/metrics").expect("metrics are served");
        let lines = text
            .lines()
            .filter(|line| line.starts_with("karst_proxied_total"));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    };
    servers.iter().map(of).sum()
}

#[test]
fn a_client_asks_the_owner_of_every_record_itself() {
    let servers = three();
    let all = refs(&servers);
    let traffic = Traffic::start(&all);
    traffic.go_on_for(500);
    let seen = traffic.stop();
    seen.print("three nodes at rest");
    assert!(seen.wrong.is_empty() && seen.failed.is_empty() && seen.in_doubt.is_empty());
    let proxied = proxied(&all);
    println!("{proxied} requests were handed on");
    // Two of three would be if it asked anybody. A map that has only just settled may still change once.
    assert!(proxied <= 0.02 * (seen.writes + seen.reads) as f64);
}

#[test]
fn a_load_outlasts_a_killed_node_and_its_return() {
    let mut servers = three();
    let traffic = Traffic::start(&refs(&servers));
    traffic.go_on_for(200);
    servers[1].kill9();
    traffic.go_on_for(300);
    servers[1].restart();
    traffic.go_on_for(500);
    let seen = traffic.stop();
    seen.print("kill -9 of one, and its return");
    assert!(seen.wrong.is_empty(), "{:#?}", seen.wrong);
    assert!(seen.failed.is_empty(), "{:#?}", seen.failed);
    // Only what was in flight when the node died, to it or to its copies, and when it came back.
    assert!(seen.in_doubt.len() <= 2 * WRITERS, "{:#?}", seen.in_doubt);
}

#[test]
fn a_load_does_not_notice_a_fourth_node() {
    let mut servers = three();
    let traffic = Traffic::start(&refs(&servers));
    traffic.go_on_for(100);
    let fourth = spec("d", 3)
        .set("cluster", "seeds", &seeds(&servers[..1]))
        .start();
    servers.push(fourth);
    let joined = Instant::now();
    while traffic.client.nodes().len() < servers.len() {
        let waited = joined.elapsed();
        assert!(waited < Duration::from_secs(30), "it is not seen");
        traffic.go_on_for(10);
    }
    traffic.go_on_for(500);
    let seen = traffic.stop();
    seen.print("a fourth node");
    assert!(seen.wrong.is_empty(), "{:#?}", seen.wrong);
    assert!(seen.failed.is_empty(), "{:#?}", seen.failed);
    assert!(seen.in_doubt.len() <= WRITERS, "{:#?}", seen.in_doubt);
}

#[test]
fn a_load_outlasts_a_rolling_restart() {
    let mut servers = three();
    let traffic = Traffic::start(&refs(&servers));
    for at in 0..servers.len() {
        traffic.go_on_for(100);
        servers[at].stop();
        servers[at].restart();
        settled(&refs(&servers));
    }
    traffic.go_on_for(100);
    let seen = traffic.stop();
    seen.print("rolling restart");
    assert!(seen.wrong.is_empty(), "{:#?}", seen.wrong);
    assert!(seen.failed.is_empty(), "{:#?}", seen.failed);
    // Only what was in flight when a node stopped, and when it came back.
    assert!(seen.in_doubt.len() <= 6 * WRITERS, "{:#?}", seen.in_doubt);
}

#[test]
fn hedged_reads_do_not_wait_for_a_node_that_hangs() {
    let servers = three();
    let runtime = runtime();
    let client = runtime.block_on(client(&refs(&servers)));
    runtime.block_on(async {
        for number in 0..200 {
            put(&client, number).await;
        }
    });
    let hedged = ReadPolicy::default()
        .with_hedge(Hedge::After(Duration::from_millis(20)))
        .with_timeout(Duration::from_secs(8));
    let hung = servers[1].pid();
    kill_process(hung, Signal::STOP).expect("a running child can be signalled");
    let began = Instant::now();
    let slowest = runtime.block_on(async {
        let mut slowest = Duration::ZERO;
        for number in 0..200 {
            let asked = Instant::now();
            let read = client.get_with(&hedged, &key(number), &Bins::All).await;
            let record = read.expect("another replica answers");
            let found = record.and_then(|record| record.bin("a")?.as_int());
            assert_eq!(found, Some(number));
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    });
    let took = began.elapsed();
    kill_process(hung, Signal::CONT).expect("a stopped child can be signalled");
    println!("200 hedged reads with one of three nodes hung: {took:?}, the slowest {slowest:?}");
    assert!(slowest < Duration::from_secs(4));
}

/// Records of the scans.
const RECORDS: i64 = 1500;

async fn fill(client: &Client) {
    for number in 0..RECORDS {
        put(client, number).await;
    }
}

async fn put(client: &Client, number: i64) {
    let policy = WritePolicy::default().with_timeout(Duration::from_secs(8));
    let bins = [Bin::new("a", number)];
    let written = client.put_with(&policy, &key(number), bins).await;
    written.unwrap_or_else(|error| panic!("record {number}: {error}"));
}

/// Scans all of it, slowly enough for something to happen meanwhile.
async fn scan(client: &Client, pause: Duration) -> BTreeSet<Digest> {
    let policy = ScanPolicy {
        buffer_records: 16,
        ..ScanPolicy::default()
    };
    let mut scan = client
        .scan("test", "traffic", policy)
        .unwrap_or_else(|error| panic!("no scan: {error}"));
    let mut seen = BTreeSet::new();
    while let Some(record) = scan.next().await {
        let record = record.unwrap_or_else(|error| panic!("after {}: {error}", seen.len()));
        let digest = *record.key.digest();
        assert!(seen.insert(digest), "{digest} came twice");
        if seen.len() % 100 == 0 {
            tokio::time::sleep(pause).await;
        }
    }
    seen
}

#[test]
fn scans_return_everything_once_while_partitions_move() {
    let mut servers = three();
    let runtime = runtime();
    let client = runtime.block_on(client(&refs(&servers)));
    runtime.block_on(fill(&client));
    let scans = {
        let client = client.clone();
        runtime.spawn(async move {
            let mut sizes = Vec::new();
            for _ in 0..4 {
                sizes.push(scan(&client, Duration::from_millis(50)).await.len());
            }
            sizes
        })
    };
    let fourth = spec("d", 3)
        .set("cluster", "seeds", &seeds(&servers[..1]))
        .start();
    servers.push(fourth);
    settled(&refs(&servers));
    servers[1].kill9();
    let sizes = runtime
        .block_on(scans)
        .expect("every scan comes to its end");
    println!("scans: {sizes:?}");
    assert!(
        sizes.iter().all(|size| *size == RECORDS as usize),
        "{sizes:?}"
    );
}

/// Clients whose view is compared with the nodes'.
const CLIENTS: usize = 20;

/// How long changes are watched after a node was killed.
const WATCHED: Duration = Duration::from_secs(4);

#[test]
fn a_change_of_the_map_reaches_every_client_without_being_asked_for() {
    let mut servers = three();
    let runtime = runtime();
    let clients: Vec<Client> = runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let seeds = servers.iter().map(|server| server.service().to_string());
            let patient = ClientBuilder::new(seeds).tend_interval(Duration::from_secs(600));
            clients.push(patient.connect().await.expect("a client"));
        }
        clients
    });
    std::thread::sleep(Duration::from_millis(500)); // until every watch is in place
    let end = Instant::now() + Duration::from_millis(200) + WATCHED;
    // A node tells of a change as soon as it has put it into force; the first to do so is hardly later than
    // the commit.
    let nodes: Vec<_> = servers[..2]
        .iter()
        .map(|server| news_of(server, end))
        .collect();
    let seen: Vec<_> = clients
        .iter()
        .map(|client| runtime.spawn(changes_of(client.clone(), end)))
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    let killed = Instant::now();
    servers[2].kill9();
    let news: Vec<Vec<Instant>> = nodes
        .into_iter()
        .map(|node| after(killed, node.join().expect("it ends")))
        .collect();
    let seen: Vec<Vec<Instant>> = seen
        .into_iter()
        .map(|seen| after(killed, runtime.block_on(seen).expect("it ends")))
        .collect();
    assert!(
        seen.iter().all(|seen| !seen.is_empty()),
        "a client was not told"
    );
    let first = news.iter().filter_map(|news| news.first()).min();
    let last = news.iter().filter_map(|news| news.last()).max();
    let (first, last) = (first.expect("there is news"), last.expect("there is news"));
    println!(
        "first news {:?} after the kill",
        first.duration_since(killed)
    );
    print_delays("first", *first, seen.iter().filter_map(|seen| seen.first()));
    print_delays("last", *last, seen.iter().filter_map(|seen| seen.last()));
}

fn after(moment: Instant, mut all: Vec<Instant>) -> Vec<Instant> {
    all.retain(|at| *at > moment);
    all
}

fn print_delays<'a>(which: &str, told: Instant, seen: impl Iterator<Item = &'a Instant>) {
    let mut delays: Vec<Duration> = seen.map(|at| at.saturating_duration_since(told)).collect();
    delays.sort_unstable();
    println!(
        "from the {which} word of the nodes to the maps of {} clients: median {:?}, last {:?}",
        delays.len(),
        delays[delays.len() / 2],
        delays[delays.len() - 1]
    );
}

/// When a node told of other peers, or of changes of what it owns, until `end`.
fn news_of(server: &Server, end: Instant) -> std::thread::JoinHandle<Vec<Instant>> {
    let mut watch = server.connect();
    std::thread::spawn(move || {
        let mut ask = |command: &str| watch.info(&[command]).expect("an answer").remove(0);
        let view = |ask: &mut dyn FnMut(&str) -> String| {
            let peers = ask("peers-clear-std");
            let peers = peers.split_once(',').map(|(_, list)| list.to_owned());
            (peers, ask("replicas"))
        };
        let (mut known, mut seen) = (ask("karst-map-watch"), view(&mut ask));
        let mut told = Vec::new();
        while Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now()).as_millis();
            known = ask(&format!("karst-map-watch:{known};timeout={left}"));
            let at = Instant::now();
            let before = std::mem::replace(&mut seen, view(&mut ask));
            if before != seen {
                told.push(at);
            }
        }
        told
    })
}

/// When a client's map changes, until `end`.
async fn changes_of(client: Client, end: Instant) -> Vec<Instant> {
    let mut seen = Vec::new();
    let mut version = client.map_version();
    while let Ok(now) = tokio::time::timeout_at(end.into(), client.map_changed(version)).await {
        seen.push(Instant::now());
        version = now;
    }
    seen
}
