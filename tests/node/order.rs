//! Pipelined requests of every speed on one connection.

use karst_tests::{Io, Namespace, ServerSpec};
use karst_wire::code::ResultCode;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::client::{code_of, connect, delete, get, put, read_of, value, version_of};
use crate::seed;

/// Records of each namespace that are there before.
const KEYS: u64 = 300;

/// Requests of one round.
const REQUESTS: usize = 600;

/// What the reply in a place has to be.
enum Expected {
    /// The value of this key.
    Value(u64),
    /// Nothing of this key.
    NotFound,
    /// A write that succeeded.
    Written,
}

fn check_rounds(io: Io) {
    let slow = Namespace::device("slow").storage("post_write_cache", "\"0B\"");
    let spec = ServerSpec::new()
        .io(io)
        .namespace(slow)
        .namespace(Namespace::memory("fast"));
    let server = spec.start();
    for namespace in ["slow", "fast"] {
        let requests: Vec<_> = (0..KEYS)
            .map(|key| put(namespace, key, &value(key, 1, 3000), 0))
            .collect();
        let replies = connect(&server, namespace)
            .call_all(&requests)
            .expect("the server answers");
        assert!(replies.iter().all(|reply| code_of(reply) == ResultCode::Ok));
    }
    let mut client = connect(&server, "fast");
    let mut rng = StdRng::seed_from_u64(seed());
    for round in 0..5u64 {
        let mut expected = Vec::new();
        let mut requests = Vec::new();
        for at in 0..REQUESTS as u64 {
            let namespace = ["slow", "fast"][rng.random_range(0..2)];
            let (key, new) = (
                rng.random_range(0..KEYS),
                KEYS + round * REQUESTS as u64 + at,
            );
            let (request, reply) = match rng.random_range(0..4) {
                0 => (
                    put(namespace, new, &value(new, 1, 700), 0),
                    Expected::Written,
                ),
                1 => (get(namespace, new + 1_000_000), Expected::NotFound),
                2 => (delete(namespace, new + 2_000_000), Expected::NotFound),
                _ => (get(namespace, key), Expected::Value(key)),
            };
            requests.push(request);
            expected.push(reply);
        }
        let replies = client.call_all(&requests).expect("the server answers");
        for (at, (reply, expected)) in replies.iter().zip(expected).enumerate() {
            match expected {
                Expected::Written => assert_eq!(code_of(reply), ResultCode::Ok, "request {at}"),
                Expected::NotFound => {
                    assert_eq!(code_of(reply), ResultCode::NotFound, "request {at}")
                }
                Expected::Value(key) => {
                    version_of(key, &read_of(reply).expect("a record that was written"));
                }
            }
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order_however_long_each_takes_on_a_ring() {
    check_rounds(Io::Ring);
}

#[test]
fn pipelined_requests_are_answered_in_their_order_however_long_each_takes_on_threads() {
    check_rounds(Io::Threads);
}

/// Requests on few records, in rows on one connection: what each finds is what those before it left.
fn check_same_records(namespace: Namespace) {
    let mut server = ServerSpec::new().cores(2).namespace(namespace).start();
    let mut rng = StdRng::seed_from_u64(seed());
    let mut newest: Vec<Option<u64>> = vec![None; 10];
    for round in 0..10u64 {
        let mut expected = Vec::new();
        let mut requests = Vec::new();
        for at in 0..100 {
            let key = rng.random_range(0..newest.len() as u64);
            let found = &mut newest[key as usize];
            let request = match rng.random_range(0..5) {
                0 => {
                    expected.push((key, None, found.take().is_some()));
                    delete("test", key)
                }
                1 | 2 => {
                    let version = 1 + round * 100 + at;
                    *found = Some(version);
                    expected.push((key, None, true));
                    put("test", key, &value(key, version, 900), 0)
                }
                _ => {
                    expected.push((key, *found, found.is_some()));
                    get("test", key)
                }
            };
            requests.push(request);
        }
        let mut client = connect(&server, "test");
        let replies = client.call_all(&requests).expect("the server answers");
        for (at, (reply, (key, version, ok))) in replies.iter().zip(expected).enumerate() {
            let code = if ok {
                ResultCode::Ok
            } else {
                ResultCode::NotFound
            };
            assert_eq!(
                code_of(reply),
                code,
                "round {round}, request {at}, key {key}"
            );
            if let Some(version) = version {
                let found = read_of(reply).expect("its code was 0");
                assert_eq!(
                    version_of(key, &found),
                    version,
                    "round {round}, request {at}"
                );
            }
        }
        // What was just written is in memory; after a restart it is not.
        server.stop();
        server.restart();
    }
}

#[test]
fn pipelined_requests_on_one_record_are_carried_out_in_their_order() {
    check_same_records(Namespace::device("test").storage("post_write_cache", "\"0B\""));
}
