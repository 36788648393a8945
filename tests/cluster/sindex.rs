//! Secondary indexes of several nodes: wherever a partition is read, a query returns just the records that have the
//! value, whether they were written there, copied there, or were there before the node started.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use karst_data::key::{Digest, KeyBytes, PartitionId};
use karst_tests::server::Server;
use karst_wire::code::ResultCode;
use karst_wire::command::{Body, message};
use karst_wire::field;
use karst_wire::flags::{Info1, Info2, Info3};
use karst_wire::frame::MessageHeader;
use karst_wire::op::OpCode;
use karst_wire::particle;
use karst_wire::response::Answers;

use crate::data::wait_until_stable;
use crate::group::{all_serve, formed};

const NAMES: [&str; 3] = ["a", "b", "c"];
const SET: &str = "demo";
const RECORDS: i64 = 600;

/// Values of each index: of each, one record in so many.
const VALUES: i64 = 20;

/// `map key "k"`
const CONTEXT: [u8; 5] = [0x92, 0x22, 0xa2, 3, b'k'];

/// `bin(integer, "n") * 2`
const TWICE: [u8; 8] = [0x93, 22, 0x93, 81, 2, 0xa1, b'n', 2];

/// How long an index may take to be built everywhere.
const BUILD_MAX: Duration = Duration::from_secs(30);

fn refs(servers: &[Server]) -> Vec<&Server> {
    servers.iter().collect()
}

fn digest(number: i64) -> Digest {
    Digest::of(SET.as_bytes(), KeyBytes::Integer(number))
}

/// Writes a record whose indexed values are both of `value`, or deletes it.
fn write(server: &Server, number: i64, value: Option<i64>) {
    let mut out = Vec::new();
    let deletes = value.is_none();
    let header = MessageHeader {
        info2: Info2::WRITE | if deletes { Info2::DELETE } else { Info2::NONE },
        ..MessageHeader::default()
    };
    let written = message(&mut out, header, |body| {
        body.namespace("test");
        body.set(SET);
        body.digest(&digest(number));
        if let Some(value) = value {
            body.op(OpCode::Write, particle::INTEGER, "n", &value.to_be_bytes());
            let map = [0x81, 0xa2, 3, b'k', value as u8]; // less than 128
            body.op(OpCode::Write, particle::MAP, "m", &map);
        }
    });
    written.expect("it is within the protocol's limits");
    let mut connection = server.connect();
    connection.send(&out).expect("the node reads");
    let frame = connection.read_frame().expect("the node answers");
    assert_eq!(frame.and_then(|frame| frame.result_code()), Some(0));
}

/// What a node answers to a query of all partitions.
#[derive(Default)]
struct Answered {
    records: BTreeSet<Digest>,
    /// Partitions that are to be had elsewhere.
    elsewhere: BTreeSet<PartitionId>,
}

fn ask(server: &Server, bin: &str, value: i64, more: impl FnOnce(&mut Body<'_>)) -> Answered {
    let mut out = Vec::new();
    let header = MessageHeader {
        info1: Info1::READ,
        info3: Info3::PARTITION_DONE,
        ..MessageHeader::default()
    };
    let all: Vec<PartitionId> = PartitionId::all().collect();
    let written = message(&mut out, header, |body| {
        body.namespace("test");
        body.set(SET);
        body.partitions(&all);
        body.field_with(field::INDEX_RANGE, |out| {
            out.extend([1, bin.len() as u8]);
            out.extend(bin.as_bytes());
            out.push(particle::INTEGER);
            for _ in 0..2 {
                out.extend(8u32.to_be_bytes());
                out.extend(value.to_be_bytes());
            }
        });
        more(body);
    });
    written.expect("it is within the protocol's limits");
    let mut connection = server.connect();
    connection.send(&out).expect("the node reads");
    let mut answered = Answered::default();
    loop {
        let frame = connection.read_frame().expect("the node answers");
        let frame = frame.expect("the node goes on");
        for answer in Answers::new(&frame.body) {
            let answer = answer.expect("it is an answer");
            if let Some(partition) = answer.partition_done() {
                answered.elsewhere.insert(partition);
                continue;
            }
            assert_eq!(answer.code(), Ok(ResultCode::Ok));
            if answer.is_last() {
                return answered;
            }
            let digest = answer.digest().expect("a record has a digest");
            assert!(answered.records.insert(digest), "a record came twice");
        }
    }
}

/// Checks what every node says of some values.
fn check(servers: &[&Server], value_of: impl Fn(i64) -> Option<i64>) {
    wait_until_built(servers);
    for value in [0, 7, VALUES - 1] {
        let has = |number: &i64| value_of(*number) == Some(value);
        let expected: BTreeSet<Digest> = (0..RECORDS).filter(has).map(digest).collect();
        let by_context = |server: &Server| {
            ask(server, "m", value, |body| {
                body.field(field::INDEX_CONTEXT, &CONTEXT);
            })
        };
        let by_expression = |server: &Server| {
            ask(server, "", value * 2, |body| {
                body.field(field::INDEX_EXPRESSION, &TWICE);
            })
        };
        for (way, asked) in [
            ("context", &by_context as &dyn Fn(&Server) -> Answered),
            ("expression", &by_expression),
        ] {
            let mut served = BTreeSet::new();
            for (at, server) in servers.iter().enumerate() {
                let answered = asked(server);
                let here = |it: &&Digest| !answered.elsewhere.contains(&it.partition());
                let due: BTreeSet<Digest> = expected.iter().filter(here).copied().collect();
                assert_eq!(answered.records, due, "{way} {value}, node {at}");
                served.extend(PartitionId::all().filter(|it| !answered.elsewhere.contains(it)));
            }
            assert_eq!(served.len(), 4096, "every partition is read somewhere");
        }
    }
}

fn wait_until_built(servers: &[&Server]) {
    let deadline = Instant::now() + BUILD_MAX;
    let is_built = |server: &&Server, name: &str| {
        let stat = server.info(&format!("sindex-stat:ns=test;indexname={name}"));
        stat.contains("load_pct=100;")
    };
    let built = |server: &&Server| ["c", "e"].iter().all(|name| is_built(server, name));
    while !servers.iter().all(built) {
        assert!(Instant::now() < deadline, "an index is not built");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_query_by_context_or_expression_is_answered_in_full_wherever_partitions_have_gone() {
    let mut servers = formed(&NAMES);
    all_serve(&refs(&servers), &NAMES);
    wait_until_stable(&refs(&servers));
    for number in 0..RECORDS / 2 {
        write(&servers[0], number, Some(number % VALUES));
    }
    let made = "sindex-create:namespace=test;set=demo;type=numeric;indexname=";
    for rest in ["c;bin=m;context=kiKiA2s=", "e;exp=kxaTUQKhbgI="] {
        assert_eq!(servers[1].info(&format!("{made}{rest}")), "ok");
    }
    wait_until_built(&refs(&servers));
    for number in RECORDS / 2..RECORDS {
        write(&servers[1], number, Some(number % VALUES));
    }
    check(&refs(&servers), |number| Some(number % VALUES));

    servers[0].kill9();
    all_serve(&refs(&servers[1..]), &NAMES[1..]);
    wait_until_stable(&refs(&servers[1..]));
    let value_of = |number: i64| match number % 3 {
        0 => None,
        1 => Some(0),
        _ => Some(number % VALUES),
    };
    for number in 0..RECORDS {
        if number % 3 < 2 {
            write(&servers[1], number, value_of(number));
        }
    }
    check(&refs(&servers[1..]), value_of);
    servers[0].restart();
    all_serve(&refs(&servers), &NAMES);
    wait_until_stable(&refs(&servers));
    check(&refs(&servers), value_of);
    let listed = servers[0].info("sindex-list:namespace=test");
    assert!(
        listed.contains("context=kiKiA2s=:exp=null:state=RW"),
        "{listed}"
    );
    assert!(
        listed.contains("context=null:exp=kxaTUQKhbgI=:state=RW"),
        "{listed}"
    );
}
