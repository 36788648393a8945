//! The ways a node comes back when shared memory is gone: from a checkpoint and newer blocks, or from
//! all blocks. Whichever it is, the index is what it was, digest by digest.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use karst_tests::{Namespace, Server, ServerSpec};
use karst_wire::code::ResultCode;
use serde_json::Value;

use crate::client::{connect, value, version_of};

const KEYS: u64 = 400;
const VALUE_BYTES: usize = 2000;
const BLOCK_BYTES: u64 = 128 << 10;

fn start(checkpoint_period: &str) -> Server {
    let namespace = Namespace::device("test")
        .size("16MiB")
        .storage("write_block", "\"128KiB\"")
        .storage("post_write_cache", "\"0B\"")
        .storage("checkpoint_period", &format!("\"{checkpoint_period}\""));
    ServerSpec::new().namespace(namespace).start()
}

/// Writes a version of every key of a range, and deletes every tenth.
fn load(server: &Server, keys: std::ops::Range<u64>, version: u64) {
    let mut client = connect(server, "test");
    for key in keys {
        let done = match key % 10 {
            9 => client.delete(key),
            _ => client.put(key, &value(key, version, VALUE_BYTES)),
        };
        let done = done.expect("an answer");
        assert!(
            matches!(done, ResultCode::Ok | ResultCode::NotFound),
            "{done:?}"
        );
    }
}

fn checkpoint(server: &Server) -> PathBuf {
    server.data_dir().join("checkpoint/test.checkpoint")
}

/// Records and fingerprint of every partition.
fn fingerprints(server: &Server) -> Value {
    let mut partitions = server.karst(&["partitions", "--contents", "--json"]);
    for partition in partitions.as_array_mut().expect("a list") {
        // Tombstones that nothing needs any more may be gone.
        partition["tombstones"].take();
    }
    partitions
}

fn recovery(server: &Server) -> Value {
    server.karst(&["status", "--json"])["namespaces"][0]["recovery"].clone()
}

fn wait_for_checkpoint(server: &Server) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !checkpoint(server).exists() {
        assert!(Instant::now() < deadline, "no checkpoint was written");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_clean_stop_leaves_a_checkpoint_that_the_next_start_uses_when_shared_memory_is_gone() {
    let mut server = start("1h");
    load(&server, 0..KEYS, 1);
    load(&server, 0..KEYS / 2, 2);
    let before = fingerprints(&server);
    server.stop();
    server.forget_memory();
    server.restart();
    let recovery = recovery(&server);
    assert_eq!(recovery["from"], "checkpoint", "{recovery}");
    assert!(
        recovery["entries_loaded"].as_u64() > Some(KEYS / 2),
        "{recovery}"
    );
    let open_blocks = 2 * BLOCK_BYTES; // of the one core's lanes
    assert!(
        recovery["scanned_bytes"].as_u64() <= Some(open_blocks),
        "{recovery}"
    );
    assert_eq!(fingerprints(&server), before);
    let mut client = connect(&server, "test");
    let found = client.get(1).expect("an answer").expect("it is there");
    assert_eq!(version_of(1, &found), 2);
}

#[test]
fn after_kill_9_a_checkpoint_made_meanwhile_and_the_blocks_written_since_bring_everything_back() {
    let mut server = start("1s");
    load(&server, 0..KEYS, 1);
    wait_for_checkpoint(&server);
    load(&server, 0..KEYS / 3, 2);
    load(&server, KEYS..KEYS + 50, 1);
    let before = fingerprints(&server);
    server.kill9();
    server.forget_memory();
    server.restart();
    let recovery = recovery(&server);
    assert_eq!(recovery["from"], "checkpoint", "{recovery}");
    assert_eq!(fingerprints(&server), before);
}

#[test]
fn a_checkpoint_with_a_flipped_byte_is_not_used_and_nothing_is_missing() {
    let mut server = start("1h");
    load(&server, 0..KEYS, 1);
    let before = fingerprints(&server);
    server.stop();
    let size = fs::metadata(checkpoint(&server))
        .expect("it was written")
        .len();
    for at in [20, size / 2, size - 20] {
        flip(&checkpoint(&server), at);
        server.forget_memory();
        server.restart();
        let recovery = recovery(&server);
        assert_eq!(recovery["from"], "scan", "byte {at}: {recovery}");
        let why = recovery["why"].as_str().unwrap_or_default();
        assert!(why.contains("checkpoint is damaged"), "byte {at}: {why}");
        assert!(server.log().contains("checkpoint is damaged"));
        assert_eq!(fingerprints(&server), before, "byte {at}");
        server.stop(); // which writes a sound one
    }
}

#[test]
fn without_shared_memory_and_checkpoint_all_blocks_are_read_and_nothing_is_missing() {
    let mut server = start("off");
    load(&server, 0..KEYS, 1);
    let before = fingerprints(&server);
    server.stop();
    assert!(!checkpoint(&server).exists(), "checkpoints are off");
    server.forget_memory();
    server.restart();
    let recovery = recovery(&server);
    assert_eq!(recovery["from"], "scan", "{recovery}");
    assert!(
        recovery["why"]
            .as_str()
            .is_some_and(|why| why.contains("no checkpoint"))
    );
    assert_eq!(fingerprints(&server), before);
}

#[test]
fn a_rotten_newest_version_is_an_error_after_a_scan_and_not_the_version_before_it() {
    const VICTIM: u64 = 42;
    let mut server = start("off");
    load(&server, 0..KEYS, 1);
    let mut client = connect(&server, "test");
    client
        .put(VICTIM, &value(VICTIM, 2, VALUE_BYTES))
        .expect("an answer");
    load(&server, KEYS..2 * KEYS, 1); // the victim's block is left, and known to be whole
    drop(client);
    server.stop();
    let device = server.file("test", 0);
    let newest = value(VICTIM, 2, VALUE_BYTES);
    let bytes = fs::read(&device).expect("the device is a file");
    let at = bytes.windows(VALUE_BYTES).position(|found| found == newest);
    flip(&device, at.expect("it was written") as u64 + 1000);
    server.forget_memory();
    server.restart();
    assert_eq!(recovery(&server)["from"], "scan");
    let mut client = connect(&server, "test");
    assert_eq!(
        client.get(VICTIM).expect("an answer"),
        Err(ResultCode::Unknown)
    );
    assert!(
        server.log().contains("a record is damaged"),
        "the log names it"
    );
    let deleted = client.delete(VICTIM).expect("an answer");
    assert_eq!(deleted, ResultCode::Ok);
    let written = client
        .put(VICTIM, &value(VICTIM, 3, VALUE_BYTES))
        .expect("an answer");
    assert_eq!(written, ResultCode::Ok);
    let found = client.get(VICTIM).expect("an answer").expect("it is there");
    assert_eq!(version_of(VICTIM, &found), 3);
}

#[test]
fn a_damaged_block_header_is_made_good_by_the_block_that_was_written_next() {
    let mut server = start("off");
    load(&server, 0..KEYS, 1);
    let before = fingerprints(&server);
    server.stop();
    flip(&server.file("test", 0), BLOCK_BYTES + 20); // in the fill of block 0
    server.forget_memory();
    server.restart();
    assert_eq!(recovery(&server)["from"], "scan");
    assert_eq!(fingerprints(&server), before);
}

fn flip(path: &Path, at: u64) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("it is so long");
    file.write_all_at(&[byte[0] ^ 0x20], at)
        .expect("it can be written");
    file.sync_all().expect("it can be written");
}
