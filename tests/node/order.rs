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
    let spec = ServerSpec::new().io(io).namespace(slow).namespace(Namespace::memory("fast"));
    let server = spec.start();
    for namespace in ["slow", "fast"] {
        let requests: Vec<_> =
            (0..KEYS).map(|key| put(namespace, key, &value(key, 1, 3000), 0)).collect();
        let replies = connect(&server, namespace).call_all(&requests).expect("the server answers");
        assert!(replies.iter().all(|reply| code_of(reply) == ResultCode::Ok));
    }
    let mut client = connect(&server, "fast");
    let mut rng = StdRng::seed_from_u64(seed());
    for round in 0..5u64 {
        let mut expected = Vec::new();
        let mut requests = Vec::new();
        for at in 0..REQUESTS as u64 {
            let namespace = ["slow", "fast"][rng.random_range(0..2)];
            let (key, new) = (rng.random_range(0..KEYS), KEYS + round * REQUESTS as u64 + at);
            let (request, reply) = match rng.random_range(0..4) {
                0 => (put(namespace, new, &value(new, 1, 700), 0), Expected::Written),
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
                Expected::NotFound => assert_eq!(code_of(reply), ResultCode::NotFound, "request {at}"),
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
