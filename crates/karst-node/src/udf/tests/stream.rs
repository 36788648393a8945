//! Functions over streams of records.

use std::sync::Arc;
use std::time::Duration;

use karst_data::msgpack::write_int;
use karst_data::value::ParticleType;
use karst_io::clock;

use super::{modules, record};
use crate::udf::state::{State, TIMEOUT};
use crate::udf::{Aggregated, Aggregation, Functions, Snapshot, Subject};

/// Records whose bin `n` is each of these.
fn records(numbers: impl IntoIterator<Item = i64>) -> Arc<[Subject]> {
    let found = |number: i64| Snapshot {
        bins: vec![(
            b"n".to_vec(),
            ParticleType::Integer,
            number.to_be_bytes().to_vec(),
        )],
        ..record()
    };
    let subjects = numbers.into_iter().map(|number| Subject {
        digest: [number as u8; 20],
        set: b"demo".to_vec(),
        found: Some(found(number)),
    });
    subjects.collect()
}

fn aggregation(text: &str, records: Arc<[Subject]>) -> Aggregation {
    Aggregation {
        modules: modules(&[("m.lua", text)]),
        module: "m".into(),
        function: "f".into(),
        arguments: vec![0x91, 5],
        records,
    }
}

fn aggregated(text: &str, records: Arc<[Subject]>, patience_ms: u64) -> Aggregated {
    let aggregation = aggregation(text, records);
    let deadline_us = clock::monotonic_us() + patience_ms * 1000;
    let module = aggregation.modules.get("m.lua").unwrap();
    let state = State::load(&aggregation.modules, module, deadline_us).unwrap();
    state.aggregate(&aggregation, deadline_us)
}

/// What comes out of `return s<steps>` over records 1 to 6.
fn values(steps: &str) -> Vec<(u8, Vec<u8>)> {
    let text = format!(
        "local function n(r) return r.n end
         local function add(a, b) return a + b end
         function f(s, five) return s{steps} end"
    );
    match aggregated(&text, records(1..=6), 2000) {
        Ok(values) => values,
        Err(why) => panic!("{steps}: {}", String::from_utf8_lossy(&why)),
    }
}

fn numbers(steps: &str) -> Vec<i64> {
    let number = |(particle, bytes): (u8, Vec<u8>)| {
        assert_eq!(particle, 1, "{steps}");
        i64::from_be_bytes(bytes.try_into().unwrap())
    };
    values(steps).into_iter().map(number).collect()
}

fn failure(text: &str) -> String {
    let why = aggregated(text, records(1..=3), 2000).unwrap_err();
    String::from_utf8(why).unwrap()
}

#[test]
fn steps_are_carried_out_in_their_order() {
    assert_eq!(numbers(":map(n)"), [1, 2, 3, 4, 5, 6]);
    assert_eq!(numbers(":map(n):reduce(add)"), [21]);
    let filtered = ":filter(function(r) return r.n > five end):map(n)";
    assert_eq!(numbers(filtered), [6]);
    let none = ":filter(function() return false end):map(n):reduce(add)";
    assert_eq!(numbers(none), Vec::<i64>::new());
    let sum = ":aggregate(100, function(a, r) return a + r.n end)";
    assert_eq!(numbers(sum), [121]);
    let twice = ":map(n):map(function(v) return v * 2 end):filter(function(v) return v > 8 end)";
    assert_eq!(numbers(twice), [10, 12]);
}

#[test]
fn steps_behind_the_first_reduce_are_the_clients() {
    let steps = ":map(n):reduce(add):map(function(v) return v * 1000 end)";
    assert_eq!(numbers(steps), [21]);
}

#[test]
fn an_aggregate_begins_from_a_copy_and_is_given_away_when_it_is_large() {
    let text = "local seed = map{}
         function f(s) return s:aggregate(seed, function(m, r)
             m[r.n % 2] = (m[r.n % 2] or 0) + 1 return m
         end):map(function(m) return m[0] * 100 + m[1] * 10 + map.size(seed) end) end";
    let given = aggregated(text, records(1..=6), 2000).unwrap();
    assert_eq!(given, [(1, 330_i64.to_be_bytes().to_vec())]);
    let large = ":aggregate(0, function(a, r) return a + r.n * 300 end)";
    // 300 + 600 + 900, 1200, 1500, 1800, and what begins anew behind that.
    assert_eq!(numbers(large), [1800, 1200, 1500, 1800, 0]);
}

#[test]
fn groups_are_lists_by_what_the_function_says() {
    let groups = ":map(n):groupby(function(v) return v % 2 end)";
    let group = |numbers: [i64; 3]| {
        let mut list = vec![0x93];
        numbers
            .iter()
            .for_each(|it| write_int(&mut list, *it, false));
        list
    };
    let expected = [vec![0x82, 1], group([1, 3, 5]), vec![0], group([2, 4, 6])].concat();
    assert_eq!(values(groups), [(19, expected)]);
}

#[test]
fn a_map_that_gives_nothing_ends_the_stream() {
    let steps = ":map(function(r) if r.n < 3 then return r.n end end)";
    assert_eq!(numbers(steps), [1, 2]);
}

#[test]
fn what_no_client_could_be_told_is_left_out() {
    assert_eq!(values(""), []); // records
    assert_eq!(values(":map(function(r) return {1} end)"), []);
    let texts = values(":map(function(r) return 'v' .. r.n end)");
    assert_eq!(texts.first(), Some(&(3, b"v1".to_vec())));
}

#[test]
fn records_of_a_stream_are_told_apart_and_cannot_be_changed() {
    // Both records are alive when the second one is looked at.
    let both = ":reduce(function(a, b) return a.n > b.n and a or b end)";
    assert_eq!(values(both), [], "a record is nothing to be sent");
    let largest =
        ":aggregate({}, function(t, r) t.r = (t.r and t.r.n > r.n) and t.r or r return t end)
         :map(function(t) return t.r.n end)";
    assert_eq!(numbers(largest), [6]);
    assert_eq!(
        numbers(":map(function(r) return record.gen(r) end):reduce(add)"),
        [18]
    );
    assert_eq!(
        numbers(":map(function(r) return #record.digest(r) end)")[0],
        20
    );
    for change in [
        "r.n = 1",
        "aerospike:update(r)",
        "aerospike:create(r)",
        "aerospike:remove(r)",
        "record.set_ttl(r, 1)",
    ] {
        let why = failure(&format!(
            "function f(s) return s:map(function(r) {change} return 1 end) end"
        ));
        assert!(
            why.contains("a record of a stream cannot be changed"),
            "{change}: {why}"
        );
    }
}

#[test]
fn what_is_no_stream_or_no_function_fails_with_words() {
    for (body, expected) in [
        ("return 1", "the function did not return its stream"),
        (
            "return s:map(1)",
            "bad argument #1 to 'map' (function expected, got number)",
        ),
        ("return s:aggregate(1)", "bad argument #2 to 'aggregate'"),
        ("return s:map(function() error('no') end)", "no"),
        ("return s:map(function(r) return r.n.x.y end)", "index"),
        ("return s:nothing()", "nothing"),
    ] {
        let why = failure(&format!("function f(s) {body} end"));
        assert!(why.contains(expected), "{body}: {why}");
    }
    assert_eq!(failure("function g(s) return s end"), "function not found");
}

#[test]
fn a_stream_is_bounded_in_time_and_in_what_it_gives() {
    let endless = "function f(s) return s:map(function() while true do pcall(error) end end) end";
    let why = aggregated(endless, records(1..=2), 100).unwrap_err();
    assert!(String::from_utf8_lossy(&why).contains(TIMEOUT));
    let greedy = "function f(s) return s:map(function() return ('x'):rep(4 << 20) end) end";
    let why = aggregated(greedy, records(1..=8), 5000).unwrap_err();
    assert_eq!(String::from_utf8_lossy(&why), "the stream gives too much");
}

#[test]
fn a_state_is_as_good_for_a_record_after_a_stream_as_before() {
    let text = "function f(s) return s:map(function(r) return r.n end) end";
    let aggregation = aggregation(text, records(1..=2));
    let deadline_us = clock::monotonic_us() + 2_000_000;
    let module = aggregation.modules.get("m.lua").unwrap();
    let state = State::load(&aggregation.modules, module, deadline_us).unwrap();
    for _ in 0..3 {
        let given = state.aggregate(&aggregation, deadline_us).unwrap();
        assert_eq!(given.len(), 2);
    }
}

#[tokio::test]
async fn a_module_that_is_not_there_fails_as_a_call_does() {
    let functions = Functions::new(1);
    let mut missing = aggregation("function f(s) return s end", records([]));
    missing.module = "nobody".into();
    let patience = Duration::from_secs(2);
    let ended = functions.aggregate(missing, patience).await;
    assert_eq!(ended, Ok(Err(b"UDF: Execution Error 1".to_vec())));
    let there = aggregation("function f(s) return s end", records(1..=3));
    assert_eq!(functions.aggregate(there, patience).await, Ok(Ok(vec![])));
}
