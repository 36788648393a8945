//! Kill -9 and SIGTERM while clients write: what was promised is there afterwards.

use std::time::{Duration, Instant};

use karst_tests::{Io, Namespace, Server, ServerSpec};

use crate::load::Load;
use crate::{long, seed};

/// Kills of one test.
const ROUNDS: u32 = 5;

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
fn without_commit_to_device_only_the_last_flush_max_is_lost_by_kill_9() {
    let namespace = small(Namespace::device("test"))
        .storage("commit_to_device", "false")
        .storage("flush_max", "\"200ms\"");
    let spec = ServerSpec::new().cores(2).namespace(namespace);
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
