//! Bytes that are no request, or one that contradicts itself.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use karst_tests::raw::{COMPRESSED, INFO, MESSAGE, header};
use karst_wire::code::ResultCode;
use karst_wire::field;
use karst_wire::flags::{BatchFlags, Info1, Info2, Info3};
use karst_wire::frame::MessageHeader;
use karst_wire::op::OpCode;
use karst_wire::particle;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Outcome, Rest, outcome, send_and_hang_up, server};
use crate::client::{self, digest, value};
use crate::{long, seed};

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    [&header(kind, body.len() as u64)[..], body].concat()
}

/// A field as it is on the wire, of whatever size.
fn field(id: u8, data: &[u8]) -> Vec<u8> {
    [&(1 + data.len() as u32).to_be_bytes()[..], &[id], data].concat()
}

/// An operation as it is on the wire, well formed or not.
fn op(code: u8, particle: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
    let size = (4 + name.len() + value.len()) as u32;
    [
        &size.to_be_bytes()[..],
        &[code, particle, 0, name.len() as u8],
        name,
        value,
    ]
    .concat()
}

const READ: MessageHeader = MessageHeader {
    info1: Info1(Info1::READ.0 | Info1::GET_ALL.0),
    info2: Info2::NONE,
    info3: Info3::NONE,
    info4: karst_wire::flags::Info4::NONE,
    result_code: 0,
    generation: 0,
    record_ttl: 0,
    transaction_ttl: 0,
    field_count: 0,
    op_count: 0,
};

const WRITE: MessageHeader = MessageHeader {
    info1: Info1::NONE,
    info2: Info2::WRITE,
    ..READ
};

/// A message whose counts are true.
fn message(header: MessageHeader, fields: &[Vec<u8>], ops: &[Vec<u8>]) -> Vec<u8> {
    let (field_count, op_count) = (fields.len() as u16, ops.len() as u16);
    let header = MessageHeader {
        field_count,
        op_count,
        ..header
    };
    [&header.to_bytes()[..], &fields.concat(), &ops.concat()].concat()
}

fn of_record() -> Vec<Vec<u8>> {
    vec![
        field(field::NAMESPACE, b"test"),
        field(field::DIGEST, &digest(7).0),
    ]
}

fn with(more: Vec<u8>) -> Vec<Vec<u8>> {
    [of_record(), vec![more]].concat()
}

fn write_of(code: u8, particle: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
    message(WRITE, &of_record(), &[op(code, particle, name, value)])
}

/// A read whose header lies about what follows.
fn lie(change: impl FnOnce(&mut MessageHeader)) -> Vec<u8> {
    let mut lied = MessageHeader {
        field_count: 2,
        ..READ
    };
    change(&mut lied);
    [&lied.to_bytes()[..], &of_record().concat()].concat()
}

fn batch(rows: &[u8]) -> Vec<u8> {
    let header = MessageHeader {
        info1: Info1::BATCH,
        ..READ
    };
    message(header, &[field(field::BATCH, rows)], &[])
}

fn scan(fields: &[Vec<u8>]) -> Vec<u8> {
    let header = MessageHeader {
        info1: Info1::READ,
        info3: Info3::PARTITION_DONE,
        ..READ
    };
    message(
        header,
        &[&[field(field::NAMESPACE, b"test")], fields].concat(),
        &[],
    )
}

/// Messages that are refused, each with its code. The connection lives on.
fn refused_messages() -> Vec<(&'static str, ResultCode, Vec<u8>)> {
    use ResultCode::{BinName, Namespace, NotFound, Parameter, RecordTooBig, UnsupportedFeature};
    let write = OpCode::Write.as_u8();
    vec![
        ("no body", Parameter, vec![]),
        ("half a header", Parameter, vec![22; 21]),
        (
            "65535 fields, two there",
            Parameter,
            lie(|header| header.field_count = u16::MAX),
        ),
        (
            "one field, two there",
            Parameter,
            lie(|header| header.field_count = 1),
        ),
        (
            "65535 operations, none there",
            Parameter,
            lie(|header| header.op_count = u16::MAX),
        ),
        (
            "a field without an id",
            Parameter,
            message(READ, &with(vec![0; 4]), &[]),
        ),
        (
            "a field of 4 GiB",
            Parameter,
            message(READ, &with(vec![0xff; 5]), &[]),
        ),
        (
            "an operation of 4 GiB",
            Parameter,
            message(WRITE, &of_record(), &[vec![0xff; 8]]),
        ),
        (
            "an operation of no bytes",
            Parameter,
            message(WRITE, &of_record(), &[vec![0; 4]]),
        ),
        (
            "two digests",
            Parameter,
            message(READ, &with(field(field::DIGEST, &[1; 20])), &[]),
        ),
        ("a short digest", Parameter, {
            message(
                READ,
                &[
                    field(field::NAMESPACE, b"test"),
                    field(field::DIGEST, &[1; 19]),
                ],
                &[],
            )
        }),
        (
            "neither read nor write",
            Parameter,
            message(MessageHeader::default(), &of_record(), &[]),
        ),
        (
            "no namespace",
            Namespace,
            message(READ, &of_record()[1..], &[]),
        ),
        ("an unknown namespace", Namespace, {
            message(
                READ,
                &[field(field::NAMESPACE, b"nobody"), of_record().remove(1)],
                &[],
            )
        }),
        ("a namespace's name too long", Namespace, {
            message(
                READ,
                &[field(field::NAMESPACE, &[b'n'; 32]), of_record().remove(1)],
                &[],
            )
        }),
        (
            "a set's name too long",
            Parameter,
            message(READ, &with(field(field::SET, &[b's'; 64])), &[]),
        ),
        (
            "an unknown field",
            NotFound,
            message(READ, &with(field(200, b"new")), &[]),
        ),
        (
            "a bin's name too long",
            BinName,
            write_of(write, particle::BLOB, &[b'b'; 16], b"x"),
        ),
        (
            "a NUL in a bin's name",
            BinName,
            write_of(write, particle::BLOB, b"a\0b", b"x"),
        ),
        (
            "an unknown operation",
            Parameter,
            write_of(200, particle::BLOB, b"bin", b"x"),
        ),
        (
            "an unknown type",
            Parameter,
            write_of(write, 99, b"bin", b"x"),
        ),
        (
            "an integer of three bytes",
            Parameter,
            write_of(write, particle::INTEGER, b"bin", b"abc"),
        ),
        (
            "a float of three bytes",
            Parameter,
            write_of(write, particle::FLOAT, b"bin", b"abc"),
        ),
        ("a record too big", RecordTooBig, {
            write_of(write, particle::BLOB, b"bin", &vec![1; 2 << 20])
        }),
        ("a time to live of 100 years", Parameter, {
            let header = MessageHeader {
                record_ttl: 3_200_000_000,
                ..WRITE
            };
            message(
                header,
                &of_record(),
                &[op(write, particle::BLOB, b"bin", b"x")],
            )
        }),
        (
            "a write of nothing",
            Parameter,
            message(WRITE, &of_record(), &[]),
        ),
        ("a function without a name", Parameter, {
            message(WRITE, &with(field(field::UDF_FILENAME, b"module")), &[])
        }),
        (
            "a filter that is none",
            Parameter,
            message(READ, &with(field(field::FILTER, &[0x93])), &[]),
        ),
        ("a batch of no rows", Parameter, batch(&[0, 0, 0, 0, 0])),
        ("a batch of 4 G rows", Parameter, batch(&[0xff; 60])),
        ("a batch cut off", Parameter, batch(&[0, 0])),
        ("a batch without rows", Parameter, {
            message(
                MessageHeader {
                    info1: Info1::BATCH,
                    ..READ
                },
                &of_record(),
                &[],
            )
        }),
        ("a scan of nothing", UnsupportedFeature, scan(&[])),
        (
            "a scan of partition 4096",
            Parameter,
            scan(&[field(field::PARTITION_IDS, &[0, 16])]),
        ),
        ("a scan of a partition twice", Parameter, {
            scan(&[field(field::PARTITION_IDS, &[1, 0, 1, 0])])
        }),
        (
            "a scan of half a partition",
            Parameter,
            scan(&[field(field::PARTITION_IDS, &[1])]),
        ),
    ]
}

#[test]
fn a_message_that_contradicts_itself_gets_its_code_and_the_connection_lives_on() {
    let server = server();
    let rest = Rest::of(&server);
    let mut connection = server.connect();
    for (what, code, body) in refused_messages() {
        connection
            .send_frame(MESSAGE, &body)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(outcome(&mut connection), Outcome::Code(code), "{what}");
        connection
            .send(&client::get("test", 1).0)
            .expect("the connection lives on");
        assert_eq!(
            outcome(&mut connection),
            Outcome::Code(ResultCode::NotFound),
            "behind: {what}"
        );
    }
    drop(connection);
    rest.check(&server);
}

/// The zlib stream of `bytes`, with a claim of its size in front.
fn packed(claimed: u64, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(claimed.to_be_bytes().to_vec(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

#[test]
fn a_compressed_message_that_is_none_gets_code_4_and_the_connection_lives_on() {
    let server = server();
    let rest = Rest::of(&server);
    let inner = client::get("test", 1).0;
    let size = inner.len() as u64;
    let zeros = [&header(MESSAGE, 8 << 20)[..], &vec![0; 8 << 20]].concat();
    let nested = frame(COMPRESSED, &packed(size, &inner));
    let bodies = [
        ("no size", vec![1, 2, 3]),
        ("no stream", size.to_be_bytes().to_vec()),
        ("noise", [&size.to_be_bytes()[..], &[0xdb; 100]].concat()),
        ("a stream cut off", packed(size, &inner)[..30].to_vec()),
        ("a size too small", packed(size - 1, &inner)),
        ("a size too big", packed(1 << 40, &inner)),
        (
            "bytes behind the stream",
            [packed(size, &inner), vec![0; 9]].concat(),
        ),
        ("an info request", packed(13, &frame(INFO, b"node\n"))),
        ("a compressed message", packed(nested.len() as u64, &nested)),
        (
            "an inner size beyond the limit",
            packed(1 << 40, &header(MESSAGE, (1 << 40) - 8)),
        ),
        (
            "more than it says",
            packed(30, &[&header(MESSAGE, 22)[..], &vec![0; 4 << 20]].concat()),
        ),
        ("eight million zeros", packed(zeros.len() as u64, &zeros)),
    ];
    let mut connection = server.connect();
    for (what, body) in bodies {
        connection
            .send_frame(COMPRESSED, &body)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(
            outcome(&mut connection),
            Outcome::Code(ResultCode::Parameter),
            "{what}"
        );
    }
    connection
        .send_frame(COMPRESSED, &packed(size, &inner))
        .expect("the connection lives on");
    assert_eq!(
        outcome(&mut connection),
        Outcome::Code(ResultCode::NotFound),
        "a sound one"
    );
    drop(connection);
    rest.check(&server);
}

#[test]
fn what_is_no_frame_of_the_protocol_closes_the_connection_and_no_other() {
    let server = server();
    let rest = Rest::of(&server);
    let sound = frame(MESSAGE, &message(READ, &of_record(), &[]));
    let wrong_version = |version: u8| [&[version], &sound[1..]].concat();
    let wrong_type = |kind: u8| frame(kind, &sound[8..]);
    let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 9, 9, 9, 9].to_vec();
    let closed = [
        ("a TLS handshake", hello),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: karst\r\n\r\n".to_vec()),
        ("redis", b"*1\r\n$4\r\nPING\r\n".to_vec()),
        ("version 0", wrong_version(0)),
        ("version 3", wrong_version(3)),
        ("type 0", wrong_type(0)),
        ("type 5", wrong_type(5)),
        ("type 255", wrong_type(255)),
        ("a body of 256 TiB", header(MESSAGE, (1 << 48) - 1).to_vec()),
        (
            "a body of 128 MiB and a byte",
            header(MESSAGE, (128 << 20) + 1).to_vec(),
        ),
        (
            "an info request of 100 MiB",
            header(INFO, 100 << 20).to_vec(),
        ),
    ];
    for (what, bytes) in closed {
        let mut connection = server.connect();
        connection.send(&bytes).expect("a running server reads");
        // The client has not hung up: the node closes of its own accord.
        assert_eq!(outcome(&mut connection), Outcome::Closed, "{what}");
    }
    for cut in [1, 7, 8, 20, sound.len() - 1] {
        let outcomes = send_and_hang_up(&server, &sound[..cut]);
        assert_eq!(
            outcomes,
            [Outcome::Closed],
            "a request cut after {cut} bytes"
        );
    }
    let text = frame(INFO, b"node\n\n:;=\nno-such-command\n\xff\xfe\n/////\n");
    assert_eq!(
        send_and_hang_up(&server, &text),
        [Outcome::Text, Outcome::Closed]
    );
    rest.check(&server);
}

/// Requests of every kind, to be damaged.
fn sound_requests() -> Vec<Vec<u8>> {
    let many = BatchFlags::RESPOND_ALL_KEYS.0;
    let row = [
        &[0, 0, 0, 2, many, 0, 0, 0, 0][..],
        &digest(7).0,
        &[0, 3, 0, 1, 0, 0],
    ]
    .concat();
    let row = [
        row,
        field(field::NAMESPACE, b"test"),
        vec![0, 0, 0, 1],
        vec![8; 20],
        vec![1],
    ]
    .concat();
    let every = OpCode::KNOWN.iter();
    let ops: Vec<_> = every
        .map(|code| op(code.as_u8(), particle::LIST, b"bin", &[0x92, 1, 2]))
        .collect();
    let reads_and_writes = MessageHeader {
        info1: Info1::READ,
        ..WRITE
    };
    vec![
        client::get("slow", 900_001).0,
        client::put("test", 7, &value(7, 1, 200), 60).0,
        client::delete("slow", 7).0,
        frame(MESSAGE, &message(reads_and_writes, &of_record(), &ops)),
        frame(MESSAGE, &batch(&row)),
        frame(
            MESSAGE,
            &scan(&[field(field::PARTITION_IDS, &[1, 0, 2, 0])]),
        ),
        frame(COMPRESSED, &packed(82, &client::get("test", 1).0)),
        frame(INFO, b"node\nnamespace/test\nsets/test\n"),
    ]
}

#[test]
fn no_damaged_request_keeps_the_node_from_serving_others() {
    let server = server();
    let rest = Rest::of(&server);
    let mut rng = StdRng::seed_from_u64(seed());
    let sound = sound_requests();
    for _ in 0..400 * long() {
        let mut bytes: Vec<u8> = (0..rng.random_range(1..8))
            .flat_map(|_| sound[rng.random_range(0..sound.len())].clone())
            .collect();
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random();
        }
        bytes.truncate(rng.random_range(1..=bytes.len()));
        // Whatever it says to each, in the end it closes: that it does is the assertion.
        send_and_hang_up(&server, &bytes);
    }
    rest.check(&server);
}
