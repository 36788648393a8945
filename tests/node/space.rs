//! Small devices: overwritten without end, and filled until nothing fits.

use std::time::{Duration, Instant};

use karst_tests::{Namespace, Server, ServerSpec};
use karst_wire::code::ResultCode;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::client::{Client, code_of, connect, put, value, version_of};
use crate::{long, seed};

/// Size of a record's value in these tests.
const VALUE_BYTES: usize = 8000;

/// Requests sent in a row.
const PIPELINE: usize = 32;

/// How long a write may be refused after deletes have made room.
const ROOM_MAX: Duration = Duration::from_secs(15);

/// 16 MiB in blocks of 128 KiB.
fn small_device() -> Namespace {
    Namespace::device("test")
        .size("16MiB")
        .storage("write_block", "\"128KiB\"")
        .storage("post_write_cache", "\"1MiB\"")
}

/// Writes a version of each key; every write has to succeed.
fn put_all(client: &mut Client, keys: &[u64], versions: &mut [u64]) {
    for keys in keys.chunks(PIPELINE) {
        let mut requests = Vec::new();
        for &key in keys {
            let version = &mut versions[key as usize];
            *version += 1;
            requests.push(put(
                "test",
                key,
                &value(key, *version, VALUE_BYTES),
                u32::MAX,
            ));
        }
        for (key, reply) in keys
            .iter()
            .zip(client.call_all(&requests).expect("the server answers"))
        {
            assert_eq!(
                code_of(&reply),
                ResultCode::Ok,
                "key {key} of a device half full"
            );
        }
    }
}

fn check_all(server: &Server, versions: &[u64]) {
    let keys: Vec<u64> = (0..versions.len() as u64).collect();
    let found = connect(server, "test")
        .get_all(&keys)
        .expect("the server answers");
    for (key, found) in keys.into_iter().zip(found) {
        let found = found.unwrap_or_else(|code| panic!("key {key} was answered with {code:?}"));
        assert_eq!(version_of(key, &found), versions[key as usize], "key {key}");
        assert_eq!(found.len(), VALUE_BYTES);
    }
}

#[test]
fn a_device_half_full_can_be_overwritten_without_end() {
    let mut server = ServerSpec::new().cores(2).namespace(small_device()).start();
    let mut rng = StdRng::seed_from_u64(seed());
    let mut versions = vec![0; 1000]; // 8 MiB of the device's 16
    let mut client = connect(&server, "test");
    let all: Vec<u64> = (0..1000).collect();
    put_all(&mut client, &all, &mut versions);
    for _ in 0..6 * long() {
        // Twice the size of the device, in random order, so that no block dies as a whole.
        let keys: Vec<u64> = (0..4000).map(|_| rng.random_range(0..1000)).collect();
        put_all(&mut client, &keys, &mut versions);
        check_all(&server, &versions);
    }
    server.kill9();
    server.restart();
    check_all(&server, &versions);
    put_all(&mut connect(&server, "test"), &all, &mut versions);
    server.stop();
    server.restart();
    check_all(&server, &versions);
}

/// Writes new keys until one is refused, and returns how many there are then.
fn fill(client: &mut Client) -> u64 {
    for key in 0.. {
        let deadline = Instant::now() + ROOM_MAX;
        loop {
            match client
                .put(key, &value(key, 1, VALUE_BYTES))
                .expect("an answer")
            {
                ResultCode::Ok => break,
                ResultCode::OutOfSpace => return key,
                ResultCode::DeviceOverload => {} // briefly, while blocks are being emptied
                code => panic!("a full device answers with {code:?}"),
            }
            assert!(
                Instant::now() < deadline,
                "a full device says 18 for ever, never 8"
            );
        }
    }
    unreachable!("numbers do not run out before the device does")
}

/// Writes one record as soon as there is room.
fn put_with_patience(client: &mut Client, key: u64) {
    let deadline = Instant::now() + ROOM_MAX;
    loop {
        match client
            .put(key, &value(key, 2, VALUE_BYTES))
            .expect("an answer")
        {
            ResultCode::Ok => return,
            ResultCode::OutOfSpace | ResultCode::DeviceOverload => {}
            code => panic!("a write after deletes was answered with {code:?}"),
        }
        assert!(
            Instant::now() < deadline,
            "key {key}: deletes made no room for writes"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn check_full(client: &mut Client, keys: std::ops::Range<u64>) {
    let keys: Vec<u64> = keys.collect();
    for (key, found) in keys
        .iter()
        .zip(client.get_all(&keys).expect("the server answers"))
    {
        let found = found.unwrap_or_else(|code| panic!("key {key} was answered with {code:?}"));
        version_of(*key, &found);
    }
}

/// The node looks at its room every now and then, not at each refusal.
fn wait_for_advice(server: &Server) {
    let advice = |line: &str| line.contains("full") && line.contains("delete");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !server.log().lines().any(advice) {
        assert!(Instant::now() < deadline, "the log does not say what to do");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_full_device_refuses_writes_and_says_so_but_reads_and_deletes_go_on() {
    let mut server = ServerSpec::new().namespace(small_device()).start();
    let mut client = connect(&server, "test");
    let keys = fill(&mut client);
    assert!(
        keys > 1000,
        "the device was full after {keys} records of {VALUE_BYTES} bytes"
    );
    wait_for_advice(&server);
    check_full(&mut client, 0..keys);
    for key in 0..keys / 2 {
        assert_eq!(
            client.delete(key).expect("an answer"),
            ResultCode::Ok,
            "delete of key {key}"
        );
    }
    for key in 0..keys / 4 {
        put_with_patience(&mut client, key);
    }
    check_full(&mut client, 0..keys / 4);
    check_full(&mut client, keys / 2..keys);
    server.kill9();
    server.restart();
    let mut client = connect(&server, "test");
    check_full(&mut client, 0..keys / 4);
    check_full(&mut client, keys / 2..keys);
    assert_eq!(
        client.get(keys / 4 + 1).expect("an answer"),
        Err(ResultCode::NotFound)
    );
}
