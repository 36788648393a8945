//! Queries in the background and over functions, as no client sends them, and how long queries are listed and ended.

use std::time::{Duration, Instant};

use karst_data::key::PartitionId;
use karst_tests::{Namespace, Server, ServerSpec};
use karst_wire::code::ResultCode;
use karst_wire::command::{self, Body};
use karst_wire::field;
use karst_wire::flags::{Info1, Info2, Info3};
use karst_wire::frame::MessageHeader;
use karst_wire::op::OpCode;
use karst_wire::particle;
use karst_wire::response::{Answer, Answers};

use crate::client::{self, Client, Read, put_in_set};

const RECORDS: u64 = 600;
const SET: &str = "s";

/// How long a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node with records.
fn server() -> Server {
    let server = ServerSpec::new()
        .namespace(Namespace::memory("mem"))
        .start();
    let mut client = Client::open(&server, "mem").expect("it serves");
    let puts: Vec<_> = (0..RECORDS)
        .map(|key| put_in_set("mem", SET, key, b"value"))
        .collect();
    client.call_all(&puts).expect("it serves");
    server
}

fn request(header: MessageHeader, build: impl FnOnce(&mut Body<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let written = command::message(&mut out, header, |body| {
        body.namespace("mem");
        build(body);
    });
    written.expect("it is within the protocol's limits");
    out
}

const WRITES: MessageHeader = MessageHeader {
    info1: Info1::NONE,
    info2: Info2::WRITE,
    info3: Info3::NONE,
    info4: karst_wire::flags::Info4::NONE,
    result_code: 0,
    generation: 0,
    record_ttl: 0,
    transaction_ttl: 1000,
    field_count: 0,
    op_count: 0,
};

const READS: MessageHeader = MessageHeader {
    info1: Info1::READ,
    info2: Info2::NONE,
    info3: Info3::PARTITION_DONE,
    ..WRITES
};

fn write_op(body: &mut Body<'_>) {
    body.op(OpCode::Write, particle::INTEGER, "n", &[0; 8]);
}

fn function(body: &mut Body<'_>, op: u8) {
    body.field(field::UDF_FILENAME, b"module");
    body.field(field::UDF_FUNCTION, b"f");
    body.field(field::UDF_ARGUMENTS, &[0x90]);
    body.field(field::UDF_OP, &[op]);
}

fn code(server: &Server, request: &[u8]) -> ResultCode {
    let mut connection = server.connect();
    connection.send(request).expect("it is connected");
    let frame = connection.read_frame().expect("an answer");
    let body = frame.expect("an answer").body;
    let answer = Answer::single(&body).expect("one message");
    answer.code().expect("a documented result code")
}

#[test]
fn what_cannot_be_done_in_the_background_is_refused_and_nothing_is_changed() {
    let mut server = server();
    let short = MessageHeader {
        info1: Info1::SHORT_QUERY,
        ..WRITES
    };
    let reads = MessageHeader {
        info1: Info1::READ,
        ..WRITES
    };
    let forever = MessageHeader {
        record_ttl: 400_000_000, // more than ten years
        ..WRITES
    };
    let parameter = ResultCode::Parameter;
    let refused = [
        (request(short, write_op), parameter),
        (request(reads, write_op), parameter),
        (request(forever, write_op), parameter),
        (request(WRITES, |_| {}), parameter),
        (
            request(WRITES, |body| {
                body.op(OpCode::Read, 0, "n", &[]);
            }),
            parameter,
        ),
        (
            request(WRITES, |body| {
                body.field(field::RECORDS_PER_SECOND, &10_001_u32.to_be_bytes());
                write_op(body);
            }),
            parameter,
        ),
        (
            request(WRITES, |body| {
                body.field(field::FILTER, &[0xc1]);
                write_op(body);
            }),
            parameter,
        ),
        (
            request(WRITES, |body| {
                body.set("nobody");
                write_op(body);
            }),
            ResultCode::NotFound,
        ),
        (
            request(WRITES, |body| {
                body.field(field::UDF_FILENAME, b"module");
                body.field(field::UDF_OP, &[2]);
            }),
            parameter,
        ),
        (request(WRITES, |body| function(body, 7)), parameter),
        (
            request(
                MessageHeader {
                    info3: Info3::UPDATE_ONLY,
                    ..WRITES
                },
                |body| function(body, 2),
            ),
            parameter,
        ),
        (
            request(READS, |body| {
                body.field(field::FILTER, &[0x93, 1, 1, 1]);
                function(body, 1);
            }),
            ResultCode::UnsupportedFeature,
        ),
        (
            request(READS, |body| {
                body.set("nobody");
                function(body, 1);
            }),
            ResultCode::NotFound,
        ),
    ];
    for (at, (request, expected)) in refused.iter().enumerate() {
        assert_eq!(code(&server, request), *expected, "request {at}");
    }
    assert_eq!(server.info("query-show"), "");
    // What does not fit the records is found out one by one.
    let increments = request(WRITES, |body| {
        body.op(OpCode::Increment, particle::INTEGER, client::BIN, &[0; 8]);
    });
    assert_eq!(code(&server, &increments), ResultCode::Ok);
    let shown = wait_until(&server, "status=done(ok)");
    assert!(
        shown.contains("recs-succeeded=0:recs-failed=600"),
        "{shown}"
    );
    let mut client = Client::open(&server, "mem").expect("it serves");
    let keys: Vec<_> = (0..RECORDS).collect();
    let found = client.get_all(&keys).expect("it serves");
    let unchanged = |read: &Read| read.as_ref().is_ok_and(|value| value == b"value");
    assert!(found.iter().all(unchanged));
    server.stop();
}

fn wait_until(server: &Server, text: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = server.info("query-show");
        if shown.contains(text) {
            return shown;
        }
        assert!(Instant::now() < deadline, "{text} is not in {shown}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A scan of all partitions.
fn scan(id: u64, per_second: u32) -> Vec<u8> {
    request(READS, |body| {
        body.set(SET);
        body.field(field::TASK_ID, &id.to_be_bytes());
        body.field(field::RECORDS_PER_SECOND, &per_second.to_be_bytes());
        let all: Vec<_> = PartitionId::all().collect();
        body.partitions(&all);
    })
}

#[test]
fn a_long_query_is_listed_and_can_be_ended_and_its_number_is_taken() {
    let mut server = server();
    let mut connection = server.connect();
    connection.patience(PATIENCE).expect("it is connected");
    connection.send(&scan(77, 2)).expect("it is connected");
    let shown = wait_until(&server, "status=active(ok)");
    for part in [
        "trid=77:ns=mem:set=s:n-pids-requested=4096:n-keyds-requested=0:rps=2:active-threads=1",
        "job-type=basic",
        "from=127.0.0.1+",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    assert_eq!(code(&server, &scan(77, 0)), ResultCode::Parameter);
    assert_eq!(server.info("query-abort-all"), "number-of-queries-killed:1");
    let last = loop {
        let frame = connection.read_frame().expect("an answer");
        let body = frame.expect("an answer").body;
        let answers = Answers::new(&body).map(|answer| answer.expect("a message"));
        if let Some(last) = answers.filter(|answer| answer.is_last()).last() {
            break last.code();
        }
    };
    assert_eq!(last, Ok(ResultCode::QueryAbort));
    let shown = server.info("query-show:trid=77");
    assert!(shown.contains("status=done(user-aborted)"), "{shown}");
    assert_eq!(code(&server, &scan(77, 0)), ResultCode::Parameter);
    let figures = server.info("namespace/mem");
    assert!(figures.contains("pi_query_long_basic_abort=1"), "{figures}");
    server.stop();
}

#[test]
fn a_record_that_a_slow_query_has_found_does_not_wait_for_the_next_ones() {
    let mut server = server();
    let mut connection = server.connect();
    connection.patience(PATIENCE).expect("it is connected");
    connection.send(&scan(78, 1)).expect("it is connected"); // for minutes
    let frame = connection.read_frame().expect("the first record in time");
    let body = frame.expect("an answer").body;
    let mut answers = Answers::new(&body).map(|answer| answer.expect("a message"));
    assert!(answers.all(|answer| !answer.is_last()));
    assert_eq!(server.info("query-abort-all"), "number-of-queries-killed:1");
    server.stop();
}
