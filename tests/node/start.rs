//! Starts that must be refused, with words that help; and stops.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use karst_tests::binary::karstd;
use karst_tests::{Connection, Namespace, Server, ServerSpec};
use karst_wire::code::ResultCode;

use crate::client::{connect, get, put, value};

/// A server that has used its one device for this namespace, stopped.
fn used(namespace: &str) -> Server {
    let mut server = ServerSpec::new()
        .namespace(Namespace::device(namespace))
        .start();
    let mut client = connect(&server, namespace);
    assert_eq!(
        client.put(1, &value(1, 1, 500)).expect("an answer"),
        ResultCode::Ok
    );
    server.stop();
    server
}

/// Starts a server whose device holds what it should not take, expects the refusal, then allows it.
fn check_refused(mut server: Server, namespace: &str) {
    let path = server.file(namespace, 0);
    let before = fs::read(&path).expect("the device is a file");
    let status = server.restart_to_exit();
    assert_eq!(
        status.code(),
        Some(1),
        "a foreign device is a failure, not bad usage"
    );
    assert!(
        before == fs::read(&path).expect("the device is a file"),
        "it was written to"
    );
    let log = server.log();
    let last = log.lines().last().unwrap_or_default();
    let path = path
        .to_str()
        .expect("temporary folders have names in UTF-8");
    assert!(
        last.contains(path),
        "the refusal does not name the device: {last}"
    );
    assert!(
        last.contains("karst wipe"),
        "the refusal does not say what to do: {last}"
    );
    let device = server.file(namespace, 0);
    let asked = wipe(&device, false);
    assert!(!asked.status.success(), "nobody was there to say yes");
    assert!(!server.restart_to_exit().success(), "nothing was changed");
    let wiped = wipe(&device, true);
    assert!(wiped.status.success(), "{wiped:?}");
    server.restart();
    let in_use = wipe(&device, true);
    assert!(!in_use.status.success(), "a node has it open");
    let mut client = connect(&server, namespace);
    assert_eq!(client.get(1).expect("an answer"), Err(ResultCode::NotFound));
    assert_eq!(
        client.put(1, &value(1, 2, 500)).expect("an answer"),
        ResultCode::Ok
    );
    server.stop();
}

/// Runs `karstd wipe`.
fn wipe(device: &Path, yes: bool) -> Output {
    let mut command = Command::new(karstd());
    command.arg("wipe").arg(device).stdin(Stdio::null());
    if yes {
        command.arg("--yes");
    }
    command.output().expect("karstd can be run")
}

#[test]
fn a_device_of_another_namespace_is_refused_until_it_is_wiped() {
    let mut server = used("theirs");
    let device = server.file("theirs", 0);
    server.reconfigure(|_| ServerSpec::new().namespace(Namespace::device("ours")));
    fs::rename(device, server.file("ours", 0)).expect("a file can be renamed");
    check_refused(server, "ours");
}

#[test]
fn a_device_of_another_cluster_is_refused_until_it_is_wiped() {
    let (theirs, ours) = (used("test"), used("test"));
    fs::copy(theirs.file("test", 0), ours.file("test", 0)).expect("a file can be copied");
    check_refused(ours, "test");
}

#[test]
fn a_device_with_unknown_bytes_is_refused_until_it_is_wiped() {
    let server = used("test");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(server.file("test", 0));
    file.and_then(|mut file| file.write_all(&[0xdb; 8192]))
        .expect("the device can be written");
    check_refused(server, "test");
}

#[test]
fn a_wrong_key_is_refused_with_file_line_and_key_before_anything_is_touched() {
    let namespace = Namespace::device("test").storage("write_blok", "\"1MiB\"");
    let (status, server) = ServerSpec::new().namespace(namespace).start_to_exit();
    assert_eq!(status.code(), Some(2));
    let config = fs::read_to_string(server.config_path()).expect("the harness wrote it");
    let line = 1 + config
        .lines()
        .position(|line| line.contains("write_blok"))
        .expect("it is there");
    let log = server.log();
    let place = format!("karst.toml:{line}");
    assert!(log.contains(&place), "{place} is not named: {log}");
    assert!(log.contains("write_blok"), "the key is not named: {log}");
    assert!(
        log.contains("write_block"),
        "the key that was meant is not named: {log}"
    );
    assert!(
        !server.file("test", 0).exists(),
        "a device was made before the configuration was read"
    );
}

#[test]
fn a_wrong_value_is_refused_with_file_line_and_key() {
    let namespace = Namespace::device("test").storage("flush_max", "\"soon\"");
    let (status, server) = ServerSpec::new().namespace(namespace).start_to_exit();
    assert_eq!(status.code(), Some(2));
    let config = fs::read_to_string(server.config_path()).expect("the harness wrote it");
    let line = 1 + config
        .lines()
        .position(|line| line.contains("soon"))
        .expect("it is there");
    let log = server.log();
    assert!(
        log.contains(&format!("karst.toml:{line}")),
        "line {line} is not named: {log}"
    );
    assert!(log.contains("flush_max"), "the key is not named: {log}");
}

#[test]
fn sigterm_ends_a_node_in_time_whatever_its_clients_do() {
    let namespace = Namespace::device("test").storage("post_write_cache", "\"0B\"");
    let mut server = ServerSpec::new().cores(2).namespace(namespace).start();
    let mut client = connect(&server, "test");
    for key in 0..20 {
        client.put(key, &value(key, 1, 500_000)).expect("an answer");
    }
    let open = || Connection::open(server.service()).expect("a running server takes connections");
    let silent: Vec<Connection> = (0..50).map(|_| open()).collect();
    let mut half_sent = open();
    half_sent
        .send(&karst_tests::raw::header(3, 1000))
        .expect("a running server reads");
    let mut unread = connect(&server, "test");
    let reads: Vec<_> = (0..200).map(|key| get("test", key % 20)).collect();
    unread.send_all(&reads).expect("a running server reads");
    let mut writing = connect(&server, "test");
    let writes: Vec<_> = (0..50)
        .map(|key| put("test", key, &value(key, 2, 1000), 0))
        .collect();
    writing.send_all(&writes).expect("a running server reads");
    std::thread::sleep(Duration::from_millis(100));
    let told = Instant::now();
    server.stop();
    assert!(
        told.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        told.elapsed()
    );
    drop((silent, half_sent, unread, writing));
}
