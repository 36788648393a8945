//! Devices that fail under a running node, and damage that it finds by itself.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use karst_tests::breakable::Breakable;
use karst_tests::{Namespace, Server, ServerSpec, binary};
use karst_wire::code::ResultCode;
use serde_json::Value;

use crate::client::{Client, connect, value, version_of};

const VALUE_BYTES: usize = 2000;

/// How long the node may take to notice something, or to be done with it.
const PATIENCE: Duration = Duration::from_secs(30);

fn spec(files: usize) -> ServerSpec {
    let namespace = Namespace::device("test")
        .files(files)
        .size("16MiB")
        .storage("write_block", "\"128KiB\"")
        .storage("post_write_cache", "\"0B\"");
    ServerSpec::new().cores(2).namespace(namespace)
}

/// A running server whose last device can be broken.
fn breakable(files: usize) -> (Server, Breakable) {
    let mut server = spec(files).start();
    server.stop();
    let device = Breakable::instead_of(&server, "test", files - 1);
    server.restart();
    (server, device)
}

/// Writes keys at version 1; returns those that were answered with success.
fn put_all(client: &mut Client, keys: std::ops::Range<u64>) -> Vec<u64> {
    let mut done = Vec::new();
    for key in keys {
        match client
            .put(key, &value(key, 1, VALUE_BYTES))
            .expect("an answer")
        {
            ResultCode::Ok => done.push(key),
            ResultCode::Timeout | ResultCode::OutOfSpace => {}
            code => panic!("key {key} was answered with {code:?}"),
        }
    }
    done
}

fn check(server: &Server, keys: &[u64]) {
    let found = connect(server, "test")
        .get_all(keys)
        .expect("the server answers");
    for (key, found) in keys.iter().zip(found) {
        let found = found.unwrap_or_else(|code| panic!("key {key} was answered with {code:?}"));
        assert_eq!(version_of(*key, &found), 1);
    }
}

fn metric(server: &Server, name: &str) -> f64 {
    let (_, text) = server.http("/metrics").expect("metrics are served");
    let mut lines = text
        .lines()
        .filter(|line| line.starts_with(name) && !line.starts_with('#'));
    let line = lines
        .next()
        .unwrap_or_else(|| panic!("no {name} in {text}"));
    line.rsplit(' ').next().unwrap().parse().expect("a number")
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(
            Instant::now() < deadline,
            "{what} did not come true in {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn karst(server: &Server, arguments: &[&str]) -> Value {
    let mut command = Command::new(binary::karst());
    command
        .args(arguments)
        .arg("--json")
        .args(["--host", &server.admin().to_string()]);
    let output = command.output().expect("karst can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn alarms(server: &Server) -> String {
    karst(server, &["status"])["alarms"].to_string()
}

#[test]
fn a_device_whose_write_fails_is_never_written_again_and_nothing_acknowledged_is_lost() {
    let (mut server, device) = breakable(2);
    let mut client = connect(&server, "test");
    let mut acknowledged = put_all(&mut client, 0..500);
    assert_eq!(acknowledged.len(), 500);
    device.fail_writes();
    let before = device.bytes();
    acknowledged.extend(put_all(&mut client, 500..1500));
    assert!(
        acknowledged.len() >= 1400,
        "only writes that were out may fail: {}",
        acknowledged.len()
    );
    assert_eq!(metric(&server, "karst_failed_devices{"), 1.0);
    check(&server, &acknowledged);
    wait_until("every lost record is on the other device", || {
        metric(&server, "karst_unrescued_blocks{") == 0.0
    });
    let mut said = String::new();
    wait_until("the alarm says what is at stake", || {
        said = alarms(&server);
        said.contains("live records on it can be read, 0 are only in memory")
    });
    assert!(said.contains("until it is wiped or replaced"), "{said}");
    let kept = fs::read_to_string(server.data_dir().join("failed_devices.json"));
    assert!(kept.expect("it is remembered").contains("\"test\""));

    for kill in [true, false] {
        if kill {
            server.kill9();
        } else {
            server.stop();
        }
        server.restart();
        assert_eq!(metric(&server, "karst_failed_devices{"), 1.0);
        check(&server, &acknowledged);
        let mut client = connect(&server, "test");
        assert_eq!(
            put_all(&mut client, 2000..2200).len(),
            200,
            "the others take every write"
        );
        assert!(device.bytes() == before, "a failed device was written to");
    }
}

#[test]
fn when_every_device_has_failed_writes_are_refused_and_reads_go_on() {
    let (mut server, device) = breakable(1);
    let mut client = connect(&server, "test");
    let acknowledged = put_all(&mut client, 0..300);
    device.fail_writes();
    put_all(&mut client, 300..400);
    let refused = client.put(1000, &value(1000, 1, 100)).expect("an answer");
    assert_eq!(refused, ResultCode::OutOfSpace);
    assert!(alarms(&server).contains("every device has failed"));
    check(&server, &acknowledged);
    server.kill9();
    server.restart();
    check(&server, &acknowledged);
    let mut client = connect(&server, "test");
    let refused = client.put(1000, &value(1000, 1, 100)).expect("an answer");
    assert_eq!(refused, ResultCode::OutOfSpace);
}

#[test]
fn records_whose_device_read_fails_are_errors_are_listed_and_can_be_written_anew() {
    let (server, device) = breakable(1);
    let mut client = connect(&server, "test");
    assert_eq!(put_all(&mut client, 0..400).len(), 400);
    device.fail_reads(256 << 10); // superblocks and the first block stay
    let keys: Vec<u64> = (0..400).collect();
    let found = client.get_all(&keys).expect("the server answers");
    let failed = keys
        .iter()
        .zip(&found)
        .filter(|(_, found)| found.is_err())
        .map(|(key, _)| *key);
    let failed: Vec<u64> = failed.collect();
    assert!(failed.len() > 200, "{} reads failed", failed.len());
    assert!(
        found.iter().flatten().count() > 0,
        "the first block can be read"
    );
    wait_until("they are listed as unreadable", || {
        let listed = karst(&server, &["damage"]);
        let listed = listed.as_array().expect("a list");
        let unreadable = listed
            .iter()
            .filter(|record| record["kind"] == "unreadable")
            .count();
        unreadable == failed.len()
    });
    assert!(metric(&server, "karst_device_read_errors_total{") >= failed.len() as f64);
    assert_eq!(
        metric(&server, "karst_damaged_records{"),
        failed.len() as f64
    );
    assert!(alarms(&server).contains("live records are damaged"));
    for key in &failed {
        let updated = client.put(*key, &value(*key, 2, 100)).expect("an answer");
        assert_eq!(
            updated,
            ResultCode::Unknown,
            "there is nothing to add bins to"
        );
        assert_eq!(client.delete(*key).expect("an answer"), ResultCode::Ok);
        let code = client.put(*key, &value(*key, 2, 100)).expect("an answer");
        assert_eq!(code, ResultCode::Ok);
    }
    assert_eq!(metric(&server, "karst_damaged_records{"), 0.0);
}

#[test]
fn the_scrub_finds_rot_that_nobody_reads_and_the_ledger_clears_when_the_record_is_written() {
    const VICTIM: u64 = 42;
    let namespace = Namespace::device("test")
        .size("8MiB")
        .storage("write_block", "\"128KiB\"")
        .storage("scrub_rate", "\"64MiB\"")
        .storage("post_write_cache", "\"0B\"");
    let server = ServerSpec::new().namespace(namespace).start();
    let mut client = connect(&server, "test");
    assert_eq!(put_all(&mut client, 0..200).len(), 200);
    let path = server.file("test", 0);
    let (bytes, wanted) = (fs::read(&path).unwrap(), value(VICTIM, 1, VALUE_BYTES));
    let at = bytes.windows(VALUE_BYTES).position(|found| found == wanted);
    let at = at.expect("it was written") as u64 + 700;
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[!bytes[at as usize]], at).unwrap();
    file.sync_all().unwrap();
    let mut listed = Value::Null;
    wait_until("the scrub has found it", || {
        listed = karst(&server, &["damage", "--namespace", "test"]);
        listed[0]["kind"] == "rot"
    });
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["found_by"], "scrub");
    let log = server.log();
    let line = log
        .lines()
        .find(|line| line.contains("a live record is damaged"));
    let line = line.expect("it is logged");
    let digest = listed[0]["digest"].as_str().unwrap();
    assert!(line.contains(digest) && line.contains("rot"), "{line}");
    let status = karst(&server, &["status"]);
    assert_eq!(status["namespaces"][0]["damage"]["records"], 1);
    wait_until("a whole pass is told", || {
        let status = karst(&server, &["status"]);
        !status["namespaces"][0]["scrub"]["last_pass_unix_ms"].is_null()
    });
    assert_eq!(
        client.get(VICTIM).expect("an answer"),
        Err(ResultCode::Unknown)
    );
    assert_eq!(client.delete(VICTIM).expect("an answer"), ResultCode::Ok);
    let code = client
        .put(VICTIM, &value(VICTIM, 2, 100))
        .expect("an answer");
    assert_eq!(code, ResultCode::Ok);
    assert_eq!(karst(&server, &["damage"]), Value::Array(vec![]));
    assert!(!alarms(&server).contains("damaged and answered with an error"));
}
