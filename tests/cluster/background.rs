//! Queries in the background and aggregations on three nodes of a strongly consistent namespace: each node sees to what it
//! leads, and functions outlive the restart of a node.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use karst_data::key::Digest;
use karst_tests::server::Server;
use karst_wire::code::ResultCode;
use karst_wire::command::{self, Body};
use karst_wire::field;
use karst_wire::flags::{Info1, Info2};
use karst_wire::frame::MessageHeader;
use karst_wire::op::OpCode;
use karst_wire::particle;
use karst_wire::response::{Answer, Answers, ends_stream};

use crate::data::{wait_until_held_twice, wait_until_stable};
use crate::strong::formed;

const RECORDS: u64 = 300;

/// How long a query may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

const MODULE: &str = "
function more(rec, by) rec.n = rec.n + by aerospike:update(rec) end
local function n(rec) return rec.n end
local function add(a, b) return a + b end
function sum(stream) return stream : map(n) : reduce(add) end
";

fn digest(number: u64) -> Digest {
    let mut digest = [0x5a; Digest::BYTES];
    digest[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    Digest(digest)
}

fn send(server: &Server, header: MessageHeader, build: impl FnOnce(&mut Body<'_>)) -> Vec<Vec<u8>> {
    let mut request = Vec::new();
    let header = MessageHeader {
        transaction_ttl: 5000,
        ..header
    };
    let written = command::message(&mut request, header, |body| {
        body.namespace("test");
        build(body);
    });
    written.expect("it is within the protocol's limits");
    let mut connection = server.connect();
    connection.patience(PATIENCE).expect("it is connected");
    connection.send(&request).expect("it is connected");
    let mut bodies = Vec::new();
    loop {
        let frame = connection.read_frame().expect("an answer");
        let body = frame.expect("an answer").body;
        let ends = header.info2 == Info2::WRITE
            || header.info1.contains(Info1::GET_ALL)
            || ends_stream(&body).expect("messages");
        bodies.push(body);
        if ends {
            return bodies;
        }
    }
}

fn code_of(bodies: &[Vec<u8>]) -> ResultCode {
    let answer = Answer::single(&bodies[0]).expect("one message");
    answer.code().expect("a documented result code")
}

fn put(server: &Server, number: u64) {
    let header = MessageHeader {
        info2: Info2::WRITE,
        ..MessageHeader::default()
    };
    let bodies = send(server, header, |body| {
        body.digest(&digest(number));
        let value = (number as i64).to_be_bytes();
        body.op(OpCode::Write, particle::INTEGER, "n", &value);
    });
    assert_eq!(code_of(&bodies), ResultCode::Ok, "record {number}");
}

fn get(server: &Server, number: u64) -> i64 {
    let header = MessageHeader {
        info1: Info1::READ | Info1::GET_ALL,
        ..MessageHeader::default()
    };
    let bodies = send(server, header, |body| body.digest(&digest(number)));
    let answer = Answer::single(&bodies[0]).expect("one message");
    let bin = answer.ops().next().expect("a bin");
    i64::from_be_bytes(bin.value.try_into().expect("an integer"))
}

fn function(body: &mut Body<'_>, function: &str, arguments: &[u8], op: u8, id: u64) {
    body.field(field::TASK_ID, &id.to_be_bytes());
    body.field(field::UDF_FILENAME, b"sums");
    body.field(field::UDF_FUNCTION, function.as_bytes());
    body.field(field::UDF_ARGUMENTS, arguments);
    body.field(field::UDF_OP, &[op]);
}

/// Adds one to every record by a function, on every node, and waits for the end.
fn add_one_everywhere(servers: &[Server], id: u64) {
    let header = MessageHeader {
        info2: Info2::WRITE,
        ..MessageHeader::default()
    };
    for server in servers {
        let bodies = send(server, header, |body| {
            function(body, "more", &[0x91, 1], 2, id);
        });
        assert_eq!(code_of(&bodies), ResultCode::Ok);
    }
    let deadline = Instant::now() + PATIENCE;
    for server in servers {
        loop {
            let shown = server.info(&format!("query-show:trid={id}"));
            if shown.contains("status=done(ok)") {
                assert!(shown.contains("recs-failed=0"), "{shown}");
                break;
            }
            assert!(Instant::now() < deadline, "{shown}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What the nodes' sums come to.
fn sum_everywhere(servers: &[Server], id: u64) -> i64 {
    let header = MessageHeader {
        info1: Info1::READ,
        ..MessageHeader::default()
    };
    let mut sum = 0;
    for server in servers {
        let bodies = send(server, header, |body| function(body, "sum", &[0x90], 1, id));
        for body in &bodies {
            for answer in Answers::new(body) {
                let answer = answer.expect("a message");
                assert_eq!(answer.code(), Ok(ResultCode::Ok));
                for value in answer.ops() {
                    assert_eq!(value.name, b"SUCCESS");
                    sum += i64::from_be_bytes(value.value.try_into().expect("an integer"));
                }
            }
        }
    }
    sum
}

fn check(servers: &[Server], added: i64) {
    for number in 0..RECORDS {
        let server = &servers[number as usize % servers.len()];
        assert_eq!(
            get(server, number),
            number as i64 + added,
            "record {number}"
        );
    }
}

#[test]
fn functions_change_every_record_once_and_outlive_a_restart() {
    let mut servers = formed(|spec| spec);
    let text = BASE64.encode(MODULE);
    let put_module = format!(
        "udf-put:filename=sums.lua;content-len={};content={text};udf-type=LUA",
        text.len()
    );
    assert_eq!(servers[0].info(&put_module), "ok");
    (0..RECORDS).for_each(|number| put(&servers[number as usize % 3], number));
    let before: i64 = (0..RECORDS as i64).sum();
    assert_eq!(sum_everywhere(&servers, 11), before);
    add_one_everywhere(&servers, 12);
    check(&servers, 1);
    assert_eq!(sum_everywhere(&servers, 13), before + RECORDS as i64);
    servers[2].stop();
    servers[2].restart();
    wait_until_stable(&servers.iter().collect::<Vec<_>>());
    assert!(servers[2].info("udf-list").contains("sums.lua"));
    add_one_everywhere(&servers, 14);
    check(&servers, 2);
    assert_eq!(sum_everywhere(&servers, 15), before + 2 * RECORDS as i64);
    wait_until_held_twice(&servers.iter().collect::<Vec<_>>(), RECORDS);
}
