//! Clients that take more than their share: of connections, of memory, of patience.

use std::net::Shutdown;
use std::time::Duration;

use karst_tests::raw::{MESSAGE, header};
use karst_tests::{Connection, Namespace, Server, ServerSpec};
use karst_wire::code::ResultCode;
use karst_wire::command;
use karst_wire::flags::{BatchFlags, Info1, Info2, Info3};
use karst_wire::frame::MessageHeader;
use karst_wire::op::OpCode;
use karst_wire::particle;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Outcome, Rest, check_normal_client, outcome, peak_bytes, server};
use crate::client::{BIN, code_of, connect, digest, get, read_of, value, version_of};

/// Memory that one greedy client may cost.
const GREED_BYTES_MAX: u64 = 128 << 20;

/// Records of a greedy client's reading.
const BIG_KEYS: u64 = 40;

/// Size of a big record's value; the limit is a mebibyte.
const BIG_BYTES: usize = 1_000_000;

#[test]
fn two_thousand_connections_at_once_are_served_and_let_go() {
    // The server inherits the limit; CI machines often begin with 1024.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )
    .expect("up to the maximum");
    let server = server();
    let rest = Rest::of(&server);
    let mut connections: Vec<Connection> = (0..2000).map(|_| server.connect()).collect();
    for round in 0..2 {
        let asked = connections
            .iter_mut()
            .map(|connection| connection.send(&get("test", round).0));
        asked.for_each(|sent| sent.expect("the connection is open"));
        for connection in &mut connections {
            assert_eq!(outcome(connection), Outcome::Code(ResultCode::NotFound));
        }
    }
    assert!(server.descriptors() >= rest.descriptors + 2000);
    check_normal_client(&server, 3);
    drop(connections);
    rest.check(&server);
}

#[test]
fn more_connections_than_allowed_are_closed_and_those_there_are_served_on() {
    let spec = ServerSpec::new()
        .cores(2)
        .namespace(Namespace::memory("test"));
    let server = spec.set("service", "connections_max", "50").start();
    let mut all: Vec<Connection> = (0..80).map(|_| server.connect()).collect();
    let mut served = 0;
    for connection in &mut all {
        // The node may have closed it already.
        let _ = connection.send(&get("test", 1).0);
        served += usize::from(outcome(connection) == Outcome::Code(ResultCode::NotFound));
    }
    assert!(
        (45..=50).contains(&served),
        "{served} of 80 connections were served, 50 are allowed"
    );
    drop(all);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        connect(&server, "test").get(1).expect("an answer"),
        Err(ResultCode::NotFound)
    );
}

#[test]
fn silent_and_half_open_connections_are_closed_after_the_idle_timeout() {
    let spec = ServerSpec::new().namespace(Namespace::memory("test"));
    let server = spec.set("service", "idle_timeout", "\"1s\"").start();
    let mut silent = server.connect();
    let mut half = server.connect();
    half.send(&header(MESSAGE, 100)[..5])
        .expect("a running server reads");
    let mut claims = server.connect();
    claims
        .send(&header(MESSAGE, 100 << 20))
        .expect("a running server reads");
    for connection in [&mut silent, &mut half, &mut claims] {
        assert_eq!(outcome(connection), Outcome::Closed);
    }
    assert!(
        peak_bytes(&server) < GREED_BYTES_MAX,
        "memory was taken on a claim"
    );
}

#[test]
fn claims_of_big_requests_cost_memory_only_as_the_bytes_arrive() {
    let server = server();
    let rest = Rest::of(&server);
    let claim = || {
        let mut connection = server.connect();
        connection
            .send(&header(MESSAGE, 128 << 20))
            .expect("a running server reads");
        connection.send(&[0; 1000]).expect("a running server reads");
        connection
    };
    let claims: Vec<Connection> = (0..500).map(|_| claim()).collect();
    check_normal_client(&server, 3);
    let taken = peak_bytes(&server) - rest.resident_bytes;
    assert!(taken < GREED_BYTES_MAX, "500 claims cost {taken} bytes");
    drop(claims);
    rest.check(&server);
}

/// Fills a namespace with big records.
fn fill(server: &Server, namespace: &str) {
    let mut client = connect(server, namespace);
    for key in 0..BIG_KEYS {
        let code = client
            .put(key, &value(key, 1, BIG_BYTES))
            .expect("an answer");
        assert_eq!(code, ResultCode::Ok);
    }
}

/// Sends what asks for much, reads nothing for a while, and checks what that costs.
fn check_greed(server: &Server, bytes: &[u8]) -> Connection {
    let before = server.resident_bytes();
    let mut connection = server.connect();
    connection
        .send(bytes)
        .expect("a running server reads small requests");
    std::thread::sleep(Duration::from_millis(1500));
    check_normal_client(server, 3);
    let taken = peak_bytes(server).saturating_sub(before);
    assert!(
        taken < GREED_BYTES_MAX,
        "a client that reads nothing cost {taken} bytes"
    );
    connection
}

#[test]
fn a_client_that_pipelines_reads_and_never_reads_replies_costs_little_and_loses_nothing() {
    let server = server();
    for namespace in ["test", "slow"] {
        fill(&server, namespace);
        let rest = Rest::of(&server);
        let requests: Vec<u8> = (0..300)
            .flat_map(|at| get(namespace, at % BIG_KEYS).0)
            .collect();
        let mut connection = check_greed(&server, &requests);
        let values: Vec<_> = (0..BIG_KEYS).map(|key| value(key, 1, BIG_BYTES)).collect();
        for at in 0..300 {
            let reply = connection
                .read_frame()
                .expect("an answer")
                .expect("an answer");
            let found = read_of(&reply).expect("a record that was written");
            assert!(
                found == values[at % BIG_KEYS as usize],
                "reply {at} is another's, or damaged"
            );
        }
        let taken = peak_bytes(&server).saturating_sub(rest.resident_bytes);
        assert!(
            taken < GREED_BYTES_MAX,
            "a client that reads slowly cost {taken} bytes"
        );
        drop(connection);
        rest.check(&server);
    }
}

#[test]
fn a_client_that_asks_for_a_bin_again_and_again_and_never_reads_costs_little() {
    let server = server();
    fill(&server, "slow");
    let rest = Rest::of(&server);
    let header = MessageHeader {
        info1: Info1::READ,
        ..MessageHeader::default()
    };
    let mut requests = Vec::new();
    for at in 0..100 {
        let written = command::message(&mut requests, header, |body| {
            body.namespace("slow");
            body.digest(&digest(at % BIG_KEYS));
            (0..20).for_each(|_| body.op(OpCode::Read, 0, BIN, &[]));
        });
        written.expect("requests of tests are within the protocol's limits");
    }
    drop(check_greed(&server, &requests));
    rest.check(&server);
}

/// A batch that reads every big record many times over.
fn big_batch(namespace: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let flags = BatchFlags::RESPOND_ALL_KEYS;
    let header = command::RowHeader {
        info1: Info1::READ | Info1::GET_ALL,
        ..Default::default()
    };
    let written = command::batch(
        &mut out,
        command::BatchParent {
            flags,
            ..Default::default()
        },
        |rows| {
            for row in 0..400 {
                let digest = digest(u64::from(row) % BIG_KEYS);
                rows.row(row, &digest, header, |body| body.namespace(namespace));
            }
        },
    );
    written.expect("requests of tests are within the protocol's limits");
    out
}

/// A scan of every partition.
fn big_scan(namespace: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let header = MessageHeader {
        info1: Info1::READ,
        info3: Info3::PARTITION_DONE,
        ..MessageHeader::default()
    };
    let written = command::message(&mut out, header, |body| {
        body.namespace(namespace);
        body.partitions(&karst_data::key::PartitionId::all().collect::<Vec<_>>());
    });
    written.expect("requests of tests are within the protocol's limits");
    out
}

#[test]
fn batches_and_scans_whose_answers_are_not_read_cost_little() {
    let server = server();
    for namespace in ["test", "slow"] {
        fill(&server, namespace);
        for bytes in [big_batch(namespace), big_scan(namespace)] {
            drop(check_greed(&server, &bytes));
        }
    }
    Rest::of(&server).check(&server);
}

#[test]
fn a_list_or_map_far_beyond_the_record_limit_is_refused_without_being_unpacked() {
    let server = server();
    let rest = Rest::of(&server);
    let pairs = 4u32 << 20;
    let map = [&[0xdf][..], &pairs.to_be_bytes(), &[1; 8 << 20]].concat();
    let header = MessageHeader {
        info2: Info2::WRITE,
        ..MessageHeader::default()
    };
    let mut request = Vec::new();
    let written = command::message(&mut request, header, |body| {
        body.namespace("test");
        body.digest(&digest(1));
        body.op(OpCode::Write, particle::MAP, BIN, &map);
    });
    written.expect("requests of tests are within the protocol's limits");
    let mut connection = server.connect();
    connection.send(&request).expect("a running server reads");
    let reply = connection
        .read_frame()
        .expect("an answer")
        .expect("an answer");
    assert_eq!(code_of(&reply), ResultCode::RecordTooBig);
    drop(connection);
    let taken = peak_bytes(&server) - rest.resident_bytes;
    assert!(taken < 48 << 20, "a request of 8 MiB cost {taken} bytes");
    rest.check(&server);
}

#[test]
fn a_client_that_hangs_up_after_its_last_request_still_gets_its_answers() {
    let server = server();
    fill(&server, "slow");
    let requests: Vec<u8> = (0..BIG_KEYS).flat_map(|key| get("slow", key).0).collect();
    let mut connection = server.connect();
    connection.send(&requests).expect("a running server reads");
    connection
        .stream()
        .shutdown(Shutdown::Write)
        .expect("an open connection");
    for key in 0..BIG_KEYS {
        let reply = connection
            .read_frame()
            .expect("an answer")
            .expect("an answer");
        version_of(key, &read_of(&reply).expect("a record that was written"));
    }
    assert_eq!(outcome(&mut connection), Outcome::Closed);
}

#[test]
fn a_scan_of_one_partition_full_of_big_records_costs_little_when_it_is_not_read() {
    let server = server();
    let big = value(1, 1, BIG_BYTES);
    let mut client = connect(&server, "test");
    for record in 0..180 {
        // Keys that far apart all fall into one partition, and so into one slice of a scan.
        let code = client.put(record << 12, &big).expect("an answer");
        assert_eq!(code, ResultCode::Ok);
    }
    let partition = |record: u64| digest(record << 12).partition();
    assert!((0..180).all(|record| partition(record) == partition(0)));
    let rest = Rest::of(&server);
    drop(check_greed(&server, &big_scan("test")));
    rest.check(&server);
}
