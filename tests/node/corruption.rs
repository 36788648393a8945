//! Bytes of a device that change behind the node's back are noticed, never served.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use karst_tests::binary::karstd;
use karst_tests::{Namespace, Server, ServerSpec};
use karst_wire::code::ResultCode;

use crate::client::{connect, value, version_of};

/// Records on the device, more than fit one block.
const KEYS: u64 = 200;

/// Size of a record's value.
const VALUE_BYTES: usize = 2000;

/// The key that is damaged.
const VICTIM: u64 = 42;

/// A server with one version of each key on its device. The victim's block is full and not in memory.
fn filled() -> Server {
    let namespace = Namespace::device("test")
        .size("8MiB")
        .storage("write_block", "\"128KiB\"")
        .storage("post_write_cache", "\"0B\"");
    let server = ServerSpec::new().namespace(namespace).start();
    let mut client = connect(&server, "test");
    for key in 0..KEYS {
        let code = client
            .put(key, &value(key, 1, VALUE_BYTES))
            .expect("an answer");
        assert_eq!(code, ResultCode::Ok);
    }
    server
}

/// Where a key's value lies on the device; every value is there exactly once.
fn place_of(device: &Path, key: u64) -> u64 {
    let (bytes, wanted) = (
        fs::read(device).expect("the device is a file"),
        value(key, 1, VALUE_BYTES),
    );
    let mut places = bytes
        .windows(VALUE_BYTES)
        .enumerate()
        .filter(|(_, found)| *found == wanted);
    let place = places.next().expect("the record was written").0 as u64;
    assert!(places.next().is_none(), "the record is there twice");
    place
}

/// Flips every bit of a few bytes.
fn damage(device: &Path, at: u64, bytes: usize) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(device)
        .expect("the device is a file");
    let mut found = vec![0; bytes];
    file.read_exact_at(&mut found, at)
        .expect("the device can be read");
    found.iter_mut().for_each(|byte| *byte = !*byte);
    file.write_all_at(&found, at)
        .expect("the device can be written");
    file.sync_all().expect("the device can be written");
}

/// Every record but the victim is as it was; the victim is gone or an error.
fn check(server: &Server) {
    let keys: Vec<u64> = (0..KEYS).collect();
    let found = connect(server, "test")
        .get_all(&keys)
        .expect("the server answers");
    for (key, found) in keys.into_iter().zip(found) {
        match found {
            Ok(value) => {
                assert_eq!(version_of(key, &value), 1);
                assert_ne!(key, VICTIM, "a damaged record was served");
            }
            Err(code) => {
                assert_eq!(key, VICTIM, "a sound record was answered with {code:?}");
                assert!(
                    matches!(code, ResultCode::Unknown | ResultCode::NotFound),
                    "{code:?}"
                );
            }
        }
    }
}

/// How many damaged records `karstd inspect` counts on a device that nobody has open.
fn damaged_by_inspect(device: &Path) -> u64 {
    let inspect = Command::new(karstd())
        .args(["inspect", "--json"])
        .arg(device)
        .output();
    let output = inspect.expect("karstd can be run");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let count = |name: &str| report["totals"][name].as_u64().expect("a count");
    count("damaged") + count("torn_or_stale")
}

#[test]
fn a_record_damaged_while_the_node_was_down_is_not_served_and_the_others_are() {
    for (offset, bytes) in [(0, 1), (1000, 3), (VALUE_BYTES as i64 - 1, 1), (-40, 8)] {
        let mut server = filled();
        server.stop();
        let device = server.file("test", 0);
        let place = place_of(&device, VICTIM);
        assert_eq!(damaged_by_inspect(&device), 0);
        damage(
            &device,
            place.checked_add_signed(offset).expect("inside the device"),
            bytes,
        );
        assert_eq!(damaged_by_inspect(&device), 1);
        server.restart();
        check(&server);
        let mut client = connect(&server, "test");
        // Known to be damaged it takes no update, which would need its bins, but can be deleted.
        let code = client.delete(VICTIM).expect("an answer");
        assert!(
            matches!(code, ResultCode::Ok | ResultCode::NotFound),
            "{code:?}"
        );
        let code = client
            .put(VICTIM, &value(VICTIM, 2, 100))
            .expect("an answer");
        assert_eq!(code, ResultCode::Ok, "the key can be written anew");
    }
}

#[test]
fn a_record_damaged_under_a_running_node_is_an_error_and_can_be_replaced_or_deleted() {
    let server = filled();
    let device = server.file("test", 0);
    damage(&device, place_of(&device, VICTIM) + 700, 2);
    check(&server);
    let mut client = connect(&server, "test");
    assert_eq!(
        client.get(VICTIM).expect("an answer"),
        Err(ResultCode::Unknown)
    );
    assert_eq!(client.delete(VICTIM).expect("an answer"), ResultCode::Ok);
    assert_eq!(
        client.get(VICTIM).expect("an answer"),
        Err(ResultCode::NotFound)
    );
    let code = client
        .put(VICTIM, &value(VICTIM, 3, 100))
        .expect("an answer");
    assert_eq!(code, ResultCode::Ok);
    let found = client
        .get(VICTIM)
        .expect("an answer")
        .expect("it was just written");
    assert_eq!(version_of(VICTIM, &found), 3);
}
