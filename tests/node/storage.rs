//! How records are stored: packed, encrypted, read through the page cache, kept in memory with a shadow.

use std::fs;
use std::process::Command;

use karst_tests::binary::{karst, karstd};
use karst_tests::{Namespace, Server, ServerSpec};
use karst_wire::code::ResultCode;

use crate::client::{connect, value};

const KEYS: u64 = 300;
const VALUE_BYTES: usize = 1500;

fn namespace() -> Namespace {
    Namespace::device("test")
        .size("8MiB")
        .storage("write_block", "\"128KiB\"")
        .storage("post_write_cache", "\"0B\"")
}

/// A value that packs and that can be recognised.
fn text(key: u64, version: u64) -> Vec<u8> {
    let mut bytes = value(key, version, VALUE_BYTES);
    let line = b"a line of plaintext that nobody else should see. ";
    for (at, byte) in bytes.iter_mut().enumerate().skip(64) {
        *byte = line[at % line.len()];
    }
    bytes
}

fn put_all(server: &Server, version: u64) {
    let mut client = connect(server, "test");
    for key in 0..KEYS {
        let code = client.put(key, &text(key, version)).expect("an answer");
        assert_eq!(code, ResultCode::Ok);
    }
}

fn check_all(server: &Server, version: u64) {
    let keys: Vec<u64> = (0..KEYS).collect();
    let found = connect(server, "test").get_all(&keys).expect("answers");
    for (key, found) in keys.into_iter().zip(found) {
        assert_eq!(
            found.expect("it was written"),
            text(key, version),
            "key {key}"
        );
    }
}

/// A record with set, key and bin names that can be recognised, put by hand.
fn put_named(server: &Server) {
    let put = Command::new(karst())
        .arg("--host")
        .arg(server.admin().to_string())
        .args(["put", "--namespace", "test", "--set", "visibleset"])
        .args(["--send-key", "visiblekey", "visiblebin=visiblevalue"])
        .output()
        .expect("karst can be run");
    assert!(put.status.success(), "{put:?}");
}

/// The options under test, and whether what clients write is to be seen on the device; `None` where
/// packing may hide it.
fn forms(key_file: &str) -> Vec<(Namespace, Option<bool>)> {
    let encrypted =
        |namespace: Namespace| namespace.storage("encryption_key_file", &format!("\"{key_file}\""));
    let packed = |kind: &str| namespace().storage("compression", &format!("\"{kind}\""));
    vec![
        (packed("lz4"), None),
        (packed("zstd").storage("compression_level", "9"), None),
        (namespace(), Some(true)),
        (encrypted(namespace()), Some(false)),
        (encrypted(packed("zstd")), Some(false)),
    ]
}

#[test]
fn packed_and_encrypted_records_survive_kill_9_and_nothing_of_an_encrypted_one_is_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let key_file = folder.path().join("test.key");
    fs::write(&key_file, [0x5a; 32]).expect("a file can be written");
    for (namespace, is_seen) in forms(key_file.to_str().expect("UTF-8")) {
        let mut server = ServerSpec::new().namespace(namespace).start();
        put_named(&server);
        put_all(&server, 1);
        put_all(&server, 2);
        check_all(&server, 2);
        server.kill9();
        server.forget_memory();
        server.restart();
        check_all(&server, 2);
        put_all(&server, 3);
        server.kill9();
        server.restart();
        check_all(&server, 3);
        server.stop();
        let device = fs::read(server.file("test", 0)).expect("the device is a file");
        let device = String::from_utf8_lossy(&device); // what is searched for is ASCII
        assert!(device.contains("KBLK"), "the device was written");
        for name in [
            "plaintext that nobody",
            "visibleset",
            "visiblekey",
            "visiblebin",
        ] {
            let found = device.contains(name);
            assert!(
                is_seen.is_none_or(|is_seen| is_seen == found),
                "{name}: {found}"
            );
        }
    }
}

#[test]
fn a_wrong_or_missing_key_is_refused_and_the_right_one_opens_the_device_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    fs::write(path("right"), "5a".repeat(32) + "\n").expect("a file can be written");
    fs::write(path("wrong"), [0x5b; 32]).expect("a file can be written");
    fs::write(path("none"), "no key").expect("a file can be written");
    let with = |name: &str| {
        let written = format!("\"{}\"", path(name));
        ServerSpec::new().namespace(namespace().storage("encryption_key_file", &written))
    };
    let mut server = with("right").start();
    put_all(&server, 1);
    server.stop();
    for (spec, why) in [
        (with("wrong"), "is encrypted with another key"),
        (with("none"), "neither 32 bytes nor 64"),
        (with("missing"), "missing"),
        (
            ServerSpec::new().namespace(namespace()),
            "is encrypted: name its key",
        ),
    ] {
        server.reconfigure(|_| spec);
        assert!(!server.restart_to_exit().success());
        let log = server.log();
        let last = log.lines().last().unwrap_or_default();
        assert!(last.contains(why) && last.contains("test"), "{last}");
    }
    server.reconfigure(|_| with("right"));
    server.restart();
    check_all(&server, 1);
}

#[test]
fn inspect_checks_an_encrypted_device_without_its_key_and_reads_it_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let key_file = folder.path().join("test.key");
    fs::write(&key_file, [0x5a; 32]).expect("a file can be written");
    let written = format!("\"{}\"", key_file.display());
    let namespace = namespace().storage("encryption_key_file", &written);
    let mut server = ServerSpec::new().namespace(namespace).start();
    put_all(&server, 1);
    server.stop();
    let inspect = |key: bool| -> serde_json::Value {
        let mut command = Command::new(karstd());
        command
            .args(["inspect", "--json"])
            .arg(server.file("test", 0));
        if key {
            command.arg("--key-file").arg(&key_file);
        }
        let output = command.output().expect("karstd can be run");
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let (without, with) = (inspect(false), inspect(true));
    assert_eq!(without["totals"]["encrypted"], KEYS);
    assert_eq!(
        (&without["totals"]["records"], &without["totals"]["damaged"]),
        (&0.into(), &0.into())
    );
    assert_eq!(with["totals"]["records"], KEYS);
    assert_eq!(with["totals"]["encrypted"], 0);
}

#[test]
fn compression_is_counted_and_can_be_changed_from_one_start_to_the_next() {
    let packed = |kind: &str| {
        let written = format!("\"{kind}\"");
        ServerSpec::new().namespace(namespace().storage("compression", &written))
    };
    let mut server = packed("zstd").start();
    put_all(&server, 1);
    let ratio = |server: &Server| -> f64 {
        let answer = server.info("namespace/test");
        let mut pairs = answer.split(';');
        let pair = pairs.find_map(|pair| pair.strip_prefix("device_compression_ratio="));
        pair.and_then(|ratio| ratio.parse().ok()).expect("a ratio")
    };
    let zstd = ratio(&server);
    assert!(zstd > 0.0 && zstd < 0.5, "{zstd}");
    let metrics = server.http("/metrics").expect("metrics").1;
    assert!(metrics.contains("karst_compression_ratio{namespace=\"test\"} 0."));
    for kind in ["lz4", "none"] {
        server.stop();
        server.reconfigure(|_| packed(kind));
        server.restart();
        check_all(&server, 1);
    }
    put_all(&server, 2);
    check_all(&server, 2);
    assert_eq!(ratio(&server), 1.0);
}

#[test]
fn reads_through_the_page_cache_bring_what_was_written() {
    let cached = || namespace().storage("read_page_cache", "true");
    for sector in [512, 4096] {
        let mut server = ServerSpec::new()
            .namespace(cached().sector_size(sector))
            .start();
        for version in 1..4 {
            put_all(&server, version);
            check_all(&server, version);
            check_all(&server, version);
        }
        server.stop();
        server.restart();
        check_all(&server, 3);
    }
}

#[test]
fn a_memory_engine_with_devices_has_everything_again_after_a_restart_and_serves_from_memory() {
    let mut server = ServerSpec::new().namespace(namespace().shadowed()).start();
    put_all(&server, 1);
    let mut client = connect(&server, "test");
    assert_eq!(client.delete(7).expect("an answer"), ResultCode::Ok);
    drop(client);
    server.kill9();
    server.forget_memory();
    server.restart();
    let reads = |server: &Server| -> u64 {
        let answer = server.info("namespace/test");
        let mut pairs = answer.split(';');
        let pair = pairs.find_map(|pair| pair.strip_prefix("device_reads="));
        pair.and_then(|reads| reads.parse().ok()).expect("a count")
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !server.log().contains("blocks are in memory") {
        assert!(std::time::Instant::now() < deadline, "{}", server.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let mut client = connect(&server, "test");
    assert_eq!(client.get(7).expect("an answer"), Err(ResultCode::NotFound));
    let before = reads(&server);
    for key in (0..KEYS).filter(|key| *key != 7) {
        let found = client.get(key).expect("an answer").expect("it was written");
        assert_eq!(found, text(key, 1));
    }
    let open_blocks = 2 * 90; // records of blocks that were being written at the kill may be read there
    assert!(reads(&server) - before <= open_blocks);
}
