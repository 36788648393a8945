//! Eviction under load, and what is left of it after a crash.

use std::time::{Duration, Instant};

use karst_tests::{Namespace, Server, ServerSpec};
use karst_wire::code::ResultCode;

use crate::client::{Client, code_of, connect, put, value, version_of};

const VALUE_BYTES: usize = 4000;

/// Requests sent in a row.
const PIPELINE: u64 = 16;

/// Records that live for ever have keys from here on.
const EVER: u64 = 1 << 40;

/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(180);

fn server() -> Server {
    let namespace = Namespace::device("test")
        .size("32MiB")
        .storage("write_block", "\"128KiB\"")
        .storage("post_write_cache", "\"1MiB\"")
        .set("evict_used_percent", "50")
        .set("evict_tenths_percent", "60")
        .set("sweep_period", "\"5s\"");
    ServerSpec::new().cores(2).namespace(namespace).start()
}

/// Writes keys that expire in their order, trying those again that find no room.
fn put_all(client: &mut Client, keys: std::ops::Range<u64>, ttl_s: impl Fn(u64) -> u32) {
    let deadline = Instant::now() + PATIENCE;
    let mut left: Vec<u64> = keys.collect();
    while !left.is_empty() {
        assert!(
            Instant::now() < deadline,
            "{} writes find no room",
            left.len()
        );
        let mut refused = Vec::new();
        for keys in left.chunks(PIPELINE as usize) {
            let request = |key: &u64| {
                let value = value(*key, 1, VALUE_BYTES);
                put("test", *key, &value, ttl_s(*key))
            };
            let requests: Vec<_> = keys.iter().map(request).collect();
            let replies = client.call_all(&requests).expect("the server answers");
            for (key, reply) in keys.iter().zip(&replies) {
                match code_of(reply) {
                    ResultCode::Ok => {}
                    ResultCode::OutOfSpace | ResultCode::DeviceOverload => refused.push(*key),
                    code => panic!("key {key} was answered with {code:?}"),
                }
            }
        }
        if !refused.is_empty() {
            std::thread::sleep(Duration::from_millis(50));
        }
        left = refused;
    }
}

fn figure(server: &Server, name: &str) -> String {
    let text = server.info("namespace/test");
    let found = text
        .split(';')
        .find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    found
        .unwrap_or_else(|| panic!("no {name} in {text}"))
        .to_owned()
}

fn wait_for(server: &Server, name: &str, value: &str) {
    let deadline = Instant::now() + PATIENCE;
    while figure(server, name) != value {
        assert!(Instant::now() < deadline, "{name} does not become {value}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Deletes keys, and waits until no eviction is under way or about to begin in the process whose log
/// begins at `start`. One that was killed may have said that it evicts, and never that it rests.
fn make_room(server: &Server, start: usize, keys: std::ops::Range<u64>) {
    let mut client = connect(server, "test");
    for key in keys {
        client.delete(key).expect("an answer");
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let used: u64 = figure(server, "data_used_pct").parse().expect("a number");
        let whole = server.log();
        let log = &whole[start..];
        let begun = log.matches("records are evicted").count();
        if used < 45 && log.matches("eviction rests").count() == begun {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{used}% used, {begun} evictions began"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Which of these keys are there.
fn there(server: &Server, keys: std::ops::Range<u64>) -> Vec<u64> {
    let keys: Vec<u64> = keys.collect();
    let found = connect(server, "test").get_all(&keys).expect("answers");
    let found = keys.into_iter().zip(found);
    found
        .filter_map(|(key, found)| match found {
            Ok(found) => {
                version_of(key, &found);
                Some(key)
            }
            Err(ResultCode::NotFound) => None,
            Err(code) => panic!("key {key} was answered with {code:?}"),
        })
        .collect()
}

#[test]
fn under_load_what_expires_first_is_evicted_and_none_of_it_returns_after_a_crash() {
    const KEYS: u64 = 8000; // as much as the device holds, twice the limit
    let mut server = server();
    let mut client = connect(&server, "test");
    put_all(&mut client, EVER..EVER + 500, |_| u32::MAX);
    // Later keys are written later and live longer, so they expire in the order of keys.
    put_all(&mut client, 0..KEYS, |key| 10_000 + 10 * key as u32);
    wait_for(&server, "hwm_breached", "false");
    assert!(figure(&server, "evicted_objects").parse::<u64>().unwrap() > KEYS / 10);
    let left = there(&server, 0..KEYS);
    let first = *left.first().expect("some are left");
    assert_eq!(
        left,
        (first..KEYS).collect::<Vec<_>>(),
        "the last to expire are left"
    );
    assert!(
        first > KEYS / 10 && first < KEYS * 9 / 10,
        "{first} of {KEYS} were evicted"
    );
    assert_eq!(
        there(&server, EVER..EVER + 500).len(),
        500,
        "nothing without a void time goes"
    );
    let mut start = 0;
    for _ in 0..2 {
        server.kill9();
        start = server.log().len();
        server.restart();
        let again = there(&server, 0..KEYS);
        assert_eq!(
            again.iter().find(|key| **key < first),
            None,
            "an evicted record is back"
        );
        assert_eq!(there(&server, EVER..EVER + 500).len(), 500);
        // Churn, so that blocks of evicted records are filled anew and tombstones go.
        put_all(&mut connect(&server, "test"), KEYS..KEYS + 1500, |_| {
            200_000
        });
    }
    // What is written anew is not covered, though it expires before what was evicted. It would be
    // the next to go: so there is room now, and nothing is being evicted.
    make_room(&server, start, KEYS..KEYS + 1500);
    put_all(&mut connect(&server, "test"), 0..10, |_| 5000);
    server.kill9();
    server.restart();
    assert_eq!(there(&server, 0..10).len(), 10);
}

#[test]
fn writes_stop_at_the_limit_that_is_set_and_an_alarm_comes_before() {
    let namespace = Namespace::device("test")
        .size("16MiB")
        .storage("write_block", "\"128KiB\"")
        .set("stop_writes_used_percent", "40");
    let server = ServerSpec::new().namespace(namespace).start();
    let mut client = connect(&server, "test");
    let mut key = 0;
    let mut code = ResultCode::Ok;
    while code == ResultCode::Ok {
        code = client
            .put(key, &value(key, 1, VALUE_BYTES))
            .expect("an answer");
        key += 1;
        if key % 50 == 0 {
            std::thread::sleep(Duration::from_millis(100)); // so that who watches has the time to
        }
    }
    assert_eq!(code, ResultCode::OutOfSpace);
    wait_for(&server, "stop_writes", "true");
    let told = Instant::now() + PATIENCE;
    while !server.log().contains("writes are refused (code 8)") {
        assert!(Instant::now() < told, "the log says nothing of it");
        std::thread::sleep(Duration::from_millis(50));
    }
    let used: u64 = figure(&server, "data_used_pct").parse().unwrap();
    assert!((35..=43).contains(&used), "stopped at {used}%");
    for key in 0..key - 1 {
        assert_eq!(client.delete(key).expect("an answer"), ResultCode::Ok);
    }
    wait_for(&server, "stop_writes", "false");
    assert_eq!(client.put(0, b"again").expect("an answer"), ResultCode::Ok);
    let log = server.log();
    let warned = log.find("writes will be refused beyond");
    let stopped = log.find("writes are refused (code 8)");
    assert!(
        warned.is_some() && warned < stopped,
        "{warned:?} {stopped:?}\n{log}"
    );
}
