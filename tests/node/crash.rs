//! Kill -9 and SIGTERM while clients write: what was promised is there afterwards.

use std::time::{Duration, Instant};

use karst_tests::{Io, Namespace, Server, ServerSpec};

use crate::load::Load;
use crate::{long, seed};

/// Kills of one test.
const ROUNDS: u32 = 5;

/// Kills of a test that goes through all ways of coming back; `KARST_ROUNDS` for more.
fn rounds() -> u32 {
    let given = std::env::var("KARST_ROUNDS").ok();
    given.map_or(10, |text| text.parse().expect("KARST_ROUNDS is a number"))
}

/// What is gone besides the process when it is killed.
#[derive(Clone, Copy, Debug)]
enum Gone {
    Nothing,
    /// As after a restart of the machine.
    SharedMemory,
    /// And the checkpoints were lost.
    Checkpoints,
}

/// How the namespace came up: `warm`, `checkpoint` or `scan`.
fn came_from(server: &Server) -> String {
    let status = server.karst(&["status", "--json"]);
    let from = status["namespaces"][0]["recovery"]["from"].as_str();
    from.expect("a server that serves says how it came up")
        .into()
}

/// Records and fingerprint of every partition.
fn fingerprints(server: &Server) -> Vec<(u64, String)> {
    let partitions = server.karst(&["partitions", "--contents", "--json"]);
    let one = |partition: &serde_json::Value| {
        let fingerprint = partition["fingerprint"].as_str().expect("16 digits");
        (
            partition["records"].as_u64().expect("a number"),
            fingerprint.to_owned(),
        )
    };
    partitions
        .as_array()
        .expect("a list")
        .iter()
        .map(one)
        .collect()
}

/// Kills a server in the midst of writes, deletes, expiry and truncation, and lets it come back in each of
/// some ways in turn. Every promise has to be kept; then, with the load at rest, the server is killed once more, and
/// its index has to be what it was, digest by digest.
fn kill_and_come_back(mut server: Server, ways: &[Gone]) {
    let mut load = Load::new("test", 4, seed()).with_truncation();
    let take_away = |server: &Server, gone: Gone| match gone {
        Gone::Nothing => {}
        Gone::SharedMemory => server.forget_memory(),
        Gone::Checkpoints => {
            server.forget_memory();
            server.forget_checkpoints();
        }
    };
    for round in 0..rounds() {
        let gone = ways[round as usize % ways.len()];
        let running = load.start(&server);
        std::thread::sleep(load.moment(150, 900));
        server.kill9();
        let promises = load.end(running);
        assert!(
            promises > 50,
            "round {round}: only {promises} writes were answered"
        );
        take_away(&server, gone);
        server.restart();
        let from = came_from(&server);
        match gone {
            Gone::Nothing => assert_eq!(from, "warm", "round {round}"),
            Gone::SharedMemory => assert_ne!(from, "warm", "round {round}"),
            Gone::Checkpoints => assert_eq!(from, "scan", "round {round}"),
        }
        load.check(&server, Instant::now());
        std::thread::sleep(Duration::from_secs(4)); // what was to expire has
        let before = fingerprints(&server);
        server.kill9();
        take_away(&server, gone);
        server.restart();
        assert_eq!(fingerprints(&server), before, "round {round}, {gone:?}");
    }
    server.stop();
}

#[test]
fn whichever_way_the_index_comes_back_after_kill_9_it_is_what_was_acknowledged() {
    let namespace = small(Namespace::device("test"))
        .files(2)
        .storage("checkpoint_period", "\"1s\"");
    let spec = ServerSpec::new().cores(2).namespace(namespace);
    let ways = [Gone::Nothing, Gone::SharedMemory, Gone::Checkpoints];
    kill_and_come_back(spec.start(), &ways);
}

#[test]
fn without_commit_to_device_shared_memory_keeps_every_acknowledged_write_from_kill_9() {
    let namespace = small(Namespace::device("test"))
        .storage("commit_to_device", "false")
        .storage("flush_max", "\"10s\"");
    let spec = ServerSpec::new().cores(2).namespace(namespace);
    kill_and_come_back(spec.start(), &[Gone::Nothing]);
}

/// Kills a server again and again in the midst of writes. Promises older than `grace` at the kill have
/// to be kept.
fn kill_again_and_again(mut server: Server, grace: Duration) {
    let mut load = Load::new("test", 4, seed());
    for round in 0..ROUNDS * long() {
        let running = load.start(&server);
        std::thread::sleep(load.moment(150, 700) + grace);
        let killed = Instant::now();
        server.kill9();
        let promises = load.end(running);
        assert!(
            promises > 50,
            "round {round}: only {promises} writes were answered"
        );
        server.restart();
        load.check(&server, killed - grace);
    }
    server.stop();
}

fn small(namespace: Namespace) -> Namespace {
    namespace.size("16MiB").storage("write_block", "\"128KiB\"")
}

#[test]
fn an_acknowledged_write_survives_kill_9_on_a_ring() {
    let namespace = small(Namespace::device("test"));
    let spec = ServerSpec::new().io(Io::Ring).cores(2).namespace(namespace);
    kill_again_and_again(spec.start(), Duration::ZERO);
}

#[test]
fn an_acknowledged_write_survives_kill_9_on_threads() {
    let namespace = small(Namespace::device("test")).storage("post_write_cache", "\"0B\"");
    let spec = ServerSpec::new().io(Io::Threads).namespace(namespace);
    kill_again_and_again(spec.start(), Duration::ZERO);
}

#[test]
fn an_acknowledged_write_survives_kill_9_on_two_devices() {
    let namespace = small(Namespace::device("test")).files(2);
    let spec = ServerSpec::new().cores(2).namespace(namespace);
    kill_again_and_again(spec.start(), Duration::ZERO);
}

#[test]
fn without_shared_memory_and_commit_to_device_only_the_last_flush_max_is_lost_by_kill_9() {
    let namespace = small(Namespace::device("test"))
        .storage("commit_to_device", "false")
        .storage("flush_max", "\"200ms\"");
    let spec = ServerSpec::new().cores(2).namespace(namespace);
    let spec = spec.set("node", "shm_dir", "\"off\"");
    // Half a second more than promised: the machine may be slow to write what is due.
    kill_again_and_again(spec.start(), Duration::from_millis(700));
}

#[test]
fn a_clean_stop_in_the_midst_of_writes_loses_nothing() {
    let namespace = small(Namespace::device("test"))
        .storage("commit_to_device", "false")
        .storage("flush_max", "\"10s\"");
    let mut server = ServerSpec::new().cores(2).namespace(namespace).start();
    let mut load = Load::new("test", 4, seed());
    for round in 0..ROUNDS * long() {
        let running = load.start(&server);
        std::thread::sleep(load.moment(50, 300));
        server.stop();
        let promises = load.end(running);
        assert!(
            promises > 50,
            "round {round}: only {promises} writes were answered"
        );
        server.restart();
        load.check(&server, Instant::now());
    }
}

#[test]
fn deletes_stay_deleted_when_the_older_copy_is_still_on_the_device() {
    let mut server = ServerSpec::new()
        .namespace(Namespace::device("test"))
        .start();
    let mut client = crate::client::connect(&server, "test");
    for key in 0..200 {
        for version in 1..4 {
            client
                .put(key, &crate::client::value(key, version, 200))
                .expect("an answer");
        }
        client.delete(key).expect("an answer");
    }
    for _ in 0..3 {
        server.kill9();
        server.restart();
        let found = crate::client::connect(&server, "test").get_all(&(0..200).collect::<Vec<_>>());
        let found = found.expect("the server answers");
        let back = found.iter().position(Result::is_ok);
        assert_eq!(back, None, "this key was deleted and is back");
    }
}
