//! Requests that take long: they hold no core, and end.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use karst_data::key::{Digest, KeyBytes};
use karst_data::msgpack::{write_int, write_list_count};
use karst_data::weigh::{of_expression, of_value};
use karst_data::work::STEPS;
use karst_tests::raw::{Connection, Frame, MESSAGE};
use karst_tests::{Namespace, Server, ServerSpec};
use karst_wire::code::ResultCode;
use karst_wire::command::{self, Body};
use karst_wire::field;
use karst_wire::flags::{Info1, Info2, Info3};
use karst_wire::frame::{HEADER_BYTES, MessageHeader};
use karst_wire::op::OpCode;
use karst_wire::particle;
use karst_wire::response::Answers;

const ELEMENTS: usize = 300_000;

const TEXT_BYTES: usize = 900_000;

/// How long a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(20);

const OK: u8 = 0;
const NOT_FOUND: u8 = 2;
const EXISTS: u8 = 5;
const FILTERED_OUT: u8 = 27;
const NOT_APPLICABLE: u8 = 26;

fn server() -> Server {
    ServerSpec::new()
        .namespace(Namespace::memory("test"))
        .start()
}

fn request(write: bool, build: impl FnOnce(&mut Body<'_>)) -> Vec<u8> {
    let header = MessageHeader {
        info1: if write { Info1::NONE } else { Info1::READ },
        info2: if write { Info2::WRITE } else { Info2::NONE },
        ..MessageHeader::default()
    };
    request_with(header, build)
}

fn request_with(header: MessageHeader, build: impl FnOnce(&mut Body<'_>)) -> Vec<u8> {
    let header = MessageHeader {
        transaction_ttl: 20_000,
        ..header
    };
    let mut out = Vec::new();
    let framed = command::message(&mut out, header, |body| {
        body.namespace("test");
        body.set("demo");
        body.digest(&Digest::of(b"demo", KeyBytes::Integer(1)));
        build(body);
    });
    framed.expect("within limits");
    out.split_off(HEADER_BYTES)
}

fn call(connection: &mut Connection, body: &[u8]) -> Frame {
    connection.call(MESSAGE, body).expect("an answer")
}

fn list(numbers: impl ExactSizeIterator<Item = i64>) -> Vec<u8> {
    let mut out = Vec::new();
    write_list_count(&mut out, numbers.len() as u32);
    numbers.for_each(|number| write_int(&mut out, number, false));
    out
}

fn numbers() -> impl ExactSizeIterator<Item = i64> {
    (0..ELEMENTS).map(|at| (at * 7919 % 100_003 % 1000) as i64)
}

fn put(connection: &mut Connection) {
    let put = request(true, |body| {
        body.op(OpCode::Write, particle::LIST, "l", &list(numbers()));
    });
    assert_eq!(call(connection, &put).result_code(), Some(OK));
}

fn get() -> Vec<u8> {
    request(false, |body| body.op(OpCode::Read, 0, "l", &[]))
}

/// Whether a text differs from itself, asked so often.
fn differs(times: u16) -> Vec<u8> {
    let text = [0x93, 81, 3, 0xa1, b't'];
    let one = [&[0x93, 2][..], &text, &text].concat();
    let count = (times + 1).to_be_bytes();
    [
        &[0xdc, count[0], count[1], 17][..],
        &one.repeat(times.into()),
    ]
    .concat()
}

fn filtered(times: u16) -> Vec<u8> {
    request(false, |body| {
        body.field(field::FILTER, &differs(times));
        body.op(OpCode::Read, 0, "n", &[]);
    })
}

#[test]
fn a_long_list_is_sorted_and_other_operations_of_the_same_request_are_done_with_it() {
    let server = server();
    let mut connection = server.connect();
    put(&mut connection);
    let sort = request(true, |body| {
        body.op(OpCode::CdtModify, particle::BLOB, "l", &[0x91, 13]);
        body.op(OpCode::Write, particle::INTEGER, "n", &5i64.to_be_bytes());
        body.op(OpCode::CdtModify, particle::BLOB, "l", &[0x92, 1, 7]);
    });
    let answer = call(&mut connection, &sort);
    assert_eq!(answer.result_code(), Some(OK));
    let mut sorted: Vec<i64> = numbers().collect();
    sorted.sort_unstable();
    sorted.push(7);
    let wanted = list(sorted.into_iter());
    let found = call(&mut connection, &get()).body;
    assert!(
        found.ends_with(&wanted),
        "it is sorted, and there is one more"
    );
}

#[test]
fn a_core_goes_on_while_a_filter_takes_long_and_one_that_takes_too_long_is_refused() {
    let server = server();
    let (mut long, mut short) = (server.connect(), server.connect());
    let put = request(true, |body| {
        body.op(OpCode::Write, particle::STRING, "t", &[b'x'; TEXT_BYTES]);
    });
    assert_eq!(call(&mut long, &put).result_code(), Some(OK));
    let began = Instant::now();
    long.send_frame(MESSAGE, &filtered(5000)).expect("sent");
    let get = request(false, |body| body.op(OpCode::Read, 0, "n", &[]));
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let asked = Instant::now();
        call(&mut short, &get);
        slowest = slowest.max(asked.elapsed());
    }
    let others_done = began.elapsed();
    let answer = long.read_frame().expect("an answer").expect("a frame");
    let took = began.elapsed();
    println!("20 gets in {others_done:?}, the slowest {slowest:?}; the long one in {took:?}");
    assert_eq!(answer.result_code(), Some(FILTERED_OUT));
    assert!(others_done < took, "the others waited for the long one");
    let refused = call(&mut long, &filtered(20_000));
    assert_eq!(refused.result_code(), Some(NOT_APPLICABLE));
}

/// A map of so many pairs, the first key last, or first.
fn map(pairs: i64, in_order: bool) -> Vec<u8> {
    let mut out = vec![0xdf];
    out.extend((pairs as u32).to_be_bytes());
    for at in 0..pairs {
        let key = if in_order { at } else { pairs - 1 - at };
        write_int(&mut out, key, false);
        out.push(1);
    }
    out
}

#[test]
fn a_value_that_takes_long_to_read_is_written_as_any_other() {
    const PAIRS: i64 = 70_000;
    let server = server();
    let mut connection = server.connect();
    let long = map(PAIRS, false);
    assert!(of_value(particle::MAP, &long, STEPS) > STEPS);
    let mut put = |info2: Info2, info3: Info3, touches: bool| {
        let header = MessageHeader {
            info2: Info2::WRITE | info2,
            info3,
            ..MessageHeader::default()
        };
        let put = request_with(header, |body| {
            body.op(OpCode::Write, particle::MAP, "l", &long);
            if touches {
                body.op(OpCode::Touch, 0, "", &[]);
            }
        });
        call(&mut connection, &put).result_code()
    };
    let none = (Info2::NONE, Info3::NONE);
    assert_eq!(put(none.0, Info3::UPDATE_ONLY, false), Some(NOT_FOUND));
    assert_eq!(put(none.0, none.1, true), Some(NOT_FOUND));
    assert_eq!(put(none.0, none.1, false), Some(OK));
    assert_eq!(put(Info2::CREATE_ONLY, none.1, false), Some(EXISTS));
    assert_eq!(put(none.0, none.1, true), Some(OK));
    let found = call(&mut connection, &get()).body;
    assert!(found.ends_with(&map(PAIRS, true)), "it is in order");
    let twice = [&long[..], &[0]].concat();
    let put = request(true, |body| {
        body.op(OpCode::Write, particle::MAP, "l", &twice);
    });
    assert_ne!(call(&mut connection, &put).result_code(), Some(OK));
}

#[test]
fn a_delete_waits_for_a_filter_that_takes_long_and_heeds_it() {
    let server = server();
    let mut connection = server.connect();
    let put = request(true, |body| {
        body.op(OpCode::Write, particle::STRING, "t", &[b'x'; TEXT_BYTES]);
    });
    assert_eq!(call(&mut connection, &put).result_code(), Some(OK));
    let mut delete = |filter: &[u8]| {
        let header = MessageHeader {
            info2: Info2::WRITE | Info2::DELETE,
            ..MessageHeader::default()
        };
        let delete = request_with(header, |body| body.field(field::FILTER, filter));
        call(&mut connection, &delete).result_code()
    };
    assert_eq!(delete(&differs(1000)), Some(FILTERED_OUT));
    assert_eq!(delete(&differs(20_000)), Some(NOT_APPLICABLE));
    let same = [&[0x92, 18][..], &differs(1000)].concat();
    assert_eq!(delete(&same), Some(OK));
    assert_eq!(delete(&same), Some(NOT_FOUND));
}

/// What a scan or query of the record's partition brings: its frames before the last one, and the code of that.
fn query(
    connection: &mut Connection,
    build: impl FnOnce(&mut Body<'_>),
) -> (Vec<Vec<u8>>, Option<u8>) {
    const LAST: u8 = 1;
    let header = MessageHeader {
        info1: Info1::READ,
        info3: Info3::PARTITION_DONE,
        transaction_ttl: 20_000,
        ..MessageHeader::default()
    };
    let mut query = Vec::new();
    let framed = command::message(&mut query, header, |body| {
        body.namespace("test");
        body.set("demo");
        body.partitions(&[Digest::of(b"demo", KeyBytes::Integer(1)).partition()]);
        build(body);
    });
    framed.expect("within limits");
    connection.send(&query).expect("sent");
    let mut found = Vec::new();
    loop {
        let frame = connection
            .read_frame()
            .expect("an answer")
            .expect("a frame");
        if frame.body.get(3).is_some_and(|info3| info3 & LAST != 0) {
            return (found, frame.result_code());
        }
        found.push(frame.body);
    }
}

fn scan(connection: &mut Connection, filter: &[u8]) -> (Vec<Vec<u8>>, Option<u8>) {
    query(connection, |body| body.field(field::FILTER, filter))
}

#[test]
fn a_scan_waits_for_a_filter_that_takes_long_and_heeds_it() {
    let server = server();
    let mut connection = server.connect();
    let text = [b'x'; TEXT_BYTES];
    let put = request(true, |body| {
        body.op(OpCode::Write, particle::STRING, "t", &text);
    });
    assert_eq!(call(&mut connection, &put).result_code(), Some(OK));
    assert_eq!(scan(&mut connection, &differs(1000)), (vec![], Some(OK)));
    let same = |times| [&[0x92, 18][..], &differs(times)].concat();
    let (found, code) = scan(&mut connection, &same(1000));
    assert_eq!((found.len(), code), (1, Some(OK)));
    assert!(found[0].ends_with(&text), "the record with its bin");
    let refused = (vec![], Some(NOT_APPLICABLE));
    assert_eq!(scan(&mut connection, &same(20_000)), refused);
}

/// A query's field for an index of a bin: a text, or whatever else has the particle.
fn text_range(out: &mut Vec<u8>, bin: &str, particle: u8, text: &[u8]) {
    out.extend([1, bin.len() as u8]);
    out.extend(bin.as_bytes());
    out.push(particle);
    for _ in 0..2 {
        out.extend((text.len() as u32).to_be_bytes());
        out.extend(text);
    }
}

/// Sends a query on a connection of its own.
fn send(server: &Server, header: MessageHeader, build: impl FnOnce(&mut Body<'_>)) -> Connection {
    let mut query = Vec::new();
    let framed = command::message(&mut query, header, |body| {
        body.namespace("test");
        body.set("demo");
        build(body);
    });
    framed.expect("within limits");
    let mut connection = server.connect();
    connection.send(&query).expect("sent");
    connection
}

/// What a query in the background came to that writes to whatever it finds, as it is listed.
fn background(server: &Server, id: u64, build: impl FnOnce(&mut Body<'_>)) -> String {
    let header = MessageHeader {
        info2: Info2::WRITE,
        transaction_ttl: 20_000,
        ..MessageHeader::default()
    };
    let mut connection = send(server, header, |body| {
        body.field(field::TASK_ID, &id.to_be_bytes());
        build(body);
        body.op(OpCode::Write, particle::INTEGER, "n", &[0; 8]);
    });
    let answer = connection.read_frame().expect("an answer");
    let code = answer.expect("a frame").result_code();
    assert_eq!(code, Some(OK));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = server.info(&format!("query-show:trid={id}"));
        if shown.contains("status=done") {
            return shown;
        }
        assert!(Instant::now() < deadline, "{shown}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How many records an aggregation finds, and the code at its end.
fn aggregate(server: &Server, build: impl FnOnce(&mut Body<'_>)) -> (i64, Option<u8>) {
    const MODULE: &str = "
        local function one() return 1 end
        local function add(a, b) return a + b end
        function count(stream) return stream : map(one) : reduce(add) end
    ";
    let module = BASE64.encode(MODULE);
    let bytes = module.len();
    let put = format!("udf-put:filename=m.lua;content-len={bytes};content={module};udf-type=LUA");
    assert_eq!(server.info(&put), "ok");
    let header = MessageHeader {
        info1: Info1::READ,
        transaction_ttl: 20_000,
        ..MessageHeader::default()
    };
    let mut connection = send(server, header, |body| {
        body.field(field::UDF_FILENAME, b"m");
        body.field(field::UDF_FUNCTION, b"count");
        body.field(field::UDF_ARGUMENTS, &[0x90]);
        body.field(field::UDF_OP, &[1]);
        build(body);
    });
    let mut found = 0;
    loop {
        let frame = connection.read_frame().expect("an answer");
        for answer in Answers::new(&frame.expect("a frame").body) {
            let answer = answer.expect("a message");
            if answer.is_last() {
                return (found, answer.code().ok().map(ResultCode::as_u8));
            }
            for value in answer.ops() {
                assert_eq!(value.name, b"SUCCESS");
                found += i64::from_be_bytes(value.value.try_into().expect("an integer"));
            }
        }
    }
}

/// Has an index made of a bin, and waits until it serves.
fn index(server: &Server, kind: &str, bin: &str) {
    let create = format!("sindex-create:namespace=test;set=demo;indexname={bin};bin={bin}");
    assert_eq!(server.info(&format!("{create};{kind}")), "ok");
    let deadline = Instant::now() + PATIENCE;
    while !server
        .info("sindex-list:namespace=test")
        .contains("state=RW")
    {
        assert!(Instant::now() < deadline, "it is not built");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_region_that_takes_long_to_read_is_searched_by_every_kind_of_query() {
    let server = server();
    let mut connection = server.connect();
    let point = br#"{"type":"Point","coordinates":[8.5,47.4]}"#;
    let put = request(true, |body| {
        let stored = [&[0, 0, 0], &point[..]].concat();
        body.op(OpCode::Write, particle::GEOJSON, "g", &stored);
    });
    assert_eq!(call(&mut connection, &put).result_code(), Some(OK));
    index(&server, "type=geo2dsphere", "g");
    let around = |lng: f64| {
        let circle = format!(r#"{{"type":"AeroCircle","coordinates":[[{lng},47.4],1000]}}"#);
        let long = format!("{circle:50000}");
        assert!(of_value(particle::GEOJSON, long.as_bytes(), STEPS) > STEPS);
        let mut range = Vec::new();
        text_range(&mut range, "g", particle::GEOJSON, long.as_bytes());
        range
    };
    let (near, far) = (around(8.501), around(9.0));
    let mut find = |range: &[u8]| {
        let (found, code) = query(&mut connection, |body| {
            body.field(field::INDEX_RANGE, range)
        });
        (found.len(), code)
    };
    assert_eq!(find(&near), (1, Some(OK)));
    assert_eq!(find(&far), (0, Some(OK)));
    for (id, range, succeeded) in [(101, &near, 1), (102, &far, 0)] {
        let shown = background(&server, id, |body| body.field(field::INDEX_RANGE, range));
        assert!(
            shown.contains(&format!("recs-succeeded={succeeded}:recs-failed=0")),
            "{shown}"
        );
    }
    for (range, seen) in [(&near, 1), (&far, 0)] {
        let (found, code) = aggregate(&server, |body| body.field(field::INDEX_RANGE, range));
        assert_eq!((found, code), (seen, Some(OK)));
    }
}

#[test]
fn a_filter_that_takes_long_to_read_is_heeded_by_a_query_in_the_background() {
    const CALLS: u16 = 16_000;
    let server = server();
    put(&mut server.connect());
    // Whether the list has so many elements, asked once for each call.
    let size = [0x95, 127, 2, 0, 0x91, 16];
    let size = [&size[..], &[0x93, 81, 4, 0xa1, b'l']].concat();
    let filter = |elements: usize| {
        let elements = (elements as u32).to_be_bytes();
        let one = [&[0x93, 1][..], &size, &[0xce], &elements].concat();
        let count = (CALLS + 1).to_be_bytes();
        let head = [0xdc, count[0], count[1], 16];
        [&head[..], &one.repeat(CALLS.into())].concat()
    };
    assert!(of_expression(&filter(ELEMENTS), STEPS) > STEPS);
    for (id, elements, tally) in [
        (
            1,
            ELEMENTS,
            "recs-filtered-bins=0:recs-succeeded=1:recs-failed=0",
        ),
        (
            2,
            ELEMENTS + 1,
            "recs-filtered-bins=1:recs-succeeded=0:recs-failed=0",
        ),
    ] {
        let filter = filter(elements);
        let shown = background(&server, id, |body| body.field(field::FILTER, &filter));
        assert!(shown.contains(tally), "{shown}");
    }
}

#[test]
fn a_list_that_takes_long_to_walk_over_is_searched_by_every_kind_of_query() {
    const LIST: u8 = 1;
    const STEPS_OF_BYTE: u64 = 4;
    assert!(STEPS_OF_BYTE * list(numbers()).len() as u64 > STEPS);
    let server = server();
    let mut connection = server.connect();
    put(&mut connection);
    index(&server, "type=numeric;indextype=list", "l");
    let equal = |number: i64| {
        let mut range = Vec::new();
        text_range(&mut range, "l", particle::INTEGER, &number.to_be_bytes());
        move |body: &mut Body<'_>| {
            body.field(field::INDEX_RANGE, &range);
            body.field(field::INDEX_TYPE, &[LIST]);
        }
    };
    let (there, absent) = (7, 7000);
    for (id, number, found) in [(201, there, 1), (202, absent, 0)] {
        let (records, code) = query(&mut connection, equal(number));
        assert_eq!((records.len(), code), (found, Some(OK)));
        let shown = background(&server, id, equal(number));
        let tally = format!("recs-succeeded={found}:recs-failed=0");
        assert!(shown.contains(&tally), "{shown}");
        let counted = aggregate(&server, equal(number));
        assert_eq!(counted, (found as i64, Some(OK)));
    }
}
