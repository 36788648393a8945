//! Requests that take long: they hold no core, and end.

use std::time::{Duration, Instant};

use karst_data::key::{Digest, KeyBytes};
use karst_data::msgpack::{write_int, write_list_count};
use karst_tests::raw::{Connection, Frame, MESSAGE};
use karst_tests::{Namespace, Server, ServerSpec};
use karst_wire::command::{self, Body};
use karst_wire::field;
use karst_wire::flags::{Info1, Info2};
use karst_wire::frame::{HEADER_BYTES, MessageHeader};
use karst_wire::op::OpCode;
use karst_wire::particle;

const ELEMENTS: usize = 300_000;

const TEXT_BYTES: usize = 900_000;

const OK: u8 = 0;
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
        transaction_ttl: 20_000,
        ..MessageHeader::default()
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
