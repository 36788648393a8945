//! The hand-made part of the corpus: one of everything that clients send and devices hold, so that
//! mutations begin next to what is valid. Made by this project's own encoders where they can say it.

mod expressions;

use karst_data::bin::BinRef;
use karst_data::flat::{Draft, Meta, Seal};
use karst_data::key::{Digest, PartitionId};
use karst_data::value::ParticleType;
use karst_storage::log::codec::{Codec, Compression};
use karst_storage::log::format::{BlockHeader, Superblock, end_mark};
use karst_storage::log::{DeviceGeometry, Located, Log, LogConfig, Purpose};
use karst_wire::code::ResultCode;
use karst_wire::command::{self, BatchParent, Body, RowHeader};
use karst_wire::field;
use karst_wire::flags::{BatchFlags, Info1, Info2, Info3};
use karst_wire::frame::{self, MessageHeader};
use karst_wire::op::OpCode;
use karst_wire::particle;
use karst_wire::reply::{RecordReply, ReplyHead, ReplyStream};

use crate::targets::{block, record};

pub(crate) type Seeds = Vec<(&'static str, Vec<u8>)>;

/// The seeds of a target, by file name.
pub(crate) fn of(target: &str) -> Seeds {
    match target {
        "request" => requests(),
        "info" => infos(),
        "response" => responses(),
        "record" => records(),
        "block" => blocks(),
        "collection" => collections(),
        "cdt" => crate::calls::on_collections(),
        "call" => expressions::calls(),
        "expression" => expressions::expressions(),
        "geo" => places(),
        _ => panic!("no target {target}"),
    }
}

fn places() -> Seeds {
    let seed = |(name, text): (&'static str, &str)| (name, text.as_bytes().to_vec());
    [
        ("point", r#"{"type":"Point","coordinates":[-122.25,37.5]}"#),
        (
            "polygon_with_a_hole",
            r#"{"type":"Polygon","coordinates":[[[0,0],[90,0],[90,80],[1,60],[0,0]],[[2,2],[3,2],[3,3],[2,2]]]}"#,
        ),
        (
            "polygons",
            r#"{"type":"MultiPolygon","coordinates":[[[[7,46],[9,46],[9,48],[7,46]]],[[[170,80],[-170,80],[0,80],[170,80]]]]}"#,
        ),
        (
            "around_the_globe",
            r#"{"type":"Polygon","coordinates":[[[0,40],[60,-20],[120,40],[180,-20],[-120,40],[-60,-20],[0,40]]]}"#,
        ),
        ("circle", r#"{"type":"AeroCircle","coordinates":[[8.0,47.0],1000.5]}"#),
        (
            "feature",
            r#"{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2,3]},"properties":{"a":[null]}}"#,
        ),
    ]
    .map(seed)
    .to_vec()
}

fn digest() -> Digest {
    Digest(std::array::from_fn(|at| at as u8 * 11))
}

fn of_record(body: &mut Body<'_>) {
    body.namespace("test");
    body.set("demo");
    body.digest(&digest());
}

fn request(header: MessageHeader, build: impl FnOnce(&mut Body<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    command::message(&mut out, header, build).expect("seeds are within limits");
    out
}

fn requests() -> Seeds {
    let read = MessageHeader {
        info1: Info1::READ | Info1::GET_ALL,
        ..MessageHeader::default()
    };
    let get = request(read, of_record);
    let mut packed = Vec::new();
    frame::deflate(&put(), &mut packed).expect("seeds are within limits");
    let delete = Info2::WRITE | Info2::DELETE | Info2::GENERATION;
    let delete = MessageHeader {
        info2: delete,
        generation: 3,
        ..MessageHeader::default()
    };
    vec![
        ("get", get.clone()),
        ("put_of_every_type", put()),
        ("operate", operate()),
        ("delete", request(delete, of_record)),
        ("scan", scan()),
        ("batch", batch()),
        ("compressed", packed.clone()),
        ("pipelined", [get, put(), packed, scan()].concat()),
        ("tls_hello", vec![22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]),
        ("every_field", every_field()),
    ]
}

fn put() -> Vec<u8> {
    let header = MessageHeader {
        info2: Info2::WRITE,
        record_ttl: 60,
        transaction_ttl: 1000,
        ..MessageHeader::default()
    };
    request(header, |body| {
        of_record(body);
        body.key(particle::STRING, b"key1");
        body.op(OpCode::Write, particle::INTEGER, "int", &7i64.to_be_bytes());
        body.op(
            OpCode::Write,
            particle::FLOAT,
            "float",
            &1.5f64.to_be_bytes(),
        );
        body.op(
            OpCode::Write,
            particle::STRING,
            "text",
            "caf\u{e9}".as_bytes(),
        );
        body.op(OpCode::Write, particle::BLOB, "blob", &[0, 1, 2, 255]);
        body.op(OpCode::Write, particle::BOOL, "bool", &[1]);
        body.op(
            OpCode::Write,
            particle::LIST,
            "list",
            &[0x93, 1, 0xa3, 3, 97, 98, 0xc0],
        );
        body.op(
            OpCode::Write,
            particle::MAP,
            "map",
            &[0x82, 1, 0xc3, 0xa2, 3, 107, 0x90],
        );
        body.op(
            OpCode::Write,
            particle::HLL,
            "hll",
            &[&[0, 4, 0][..], &[0; 20]].concat(),
        );
        let point = br#"{"type":"Point","coordinates":[-122.0,37.5]}"#;
        body.op(
            OpCode::Write,
            particle::GEOJSON,
            "geo",
            &[&[0, 0, 0], &point[..]].concat(),
        );
        body.op(OpCode::Write, particle::NULL, "gone", &[]);
    })
}

fn operate() -> Vec<u8> {
    let header = MessageHeader {
        info1: Info1::READ,
        info2: Info2::WRITE | Info2::RESPOND_ALL_OPS,
        info3: Info3::UPDATE_ONLY,
        ..MessageHeader::default()
    };
    request(header, |body| {
        of_record(body);
        for code in OpCode::KNOWN {
            body.op(*code, particle::BLOB, "bin", b"value");
        }
        body.op(OpCode::Touch, 0, "", &[]);
    })
}

fn scan() -> Vec<u8> {
    let header = MessageHeader {
        info1: Info1::READ,
        info3: Info3::PARTITION_DONE,
        ..MessageHeader::default()
    };
    request(header, |body| {
        body.namespace("test");
        body.partitions(&[PartitionId(0), PartitionId(492), PartitionId(4095)]);
        body.resume_after(&[digest()]);
        body.field(field::SAMPLE_MAX, &100u64.to_be_bytes());
        body.field(field::TASK_ID, &77u64.to_be_bytes());
        body.field(field::SOCKET_TIMEOUT, &30_000u32.to_be_bytes());
        body.op(OpCode::Read, 0, "a", &[]);
    })
}

fn batch() -> Vec<u8> {
    let mut out = Vec::new();
    let parent = BatchParent {
        flags: BatchFlags::RESPOND_ALL_KEYS | BatchFlags::ALLOW_INLINE_MEMORY,
        filter: Some(&[0x93, 1, 2, 3]),
        ..BatchParent::default()
    };
    let header = RowHeader {
        info1: Info1::READ | Info1::GET_ALL,
        ..RowHeader::default()
    };
    let write = RowHeader {
        info2: Info2::WRITE,
        generation: Some(2),
        ttl: Some(9),
        ..header
    };
    let written = command::batch(&mut out, parent, |rows| {
        rows.row(0, &digest(), header, |body| {
            body.namespace("test");
            body.set("demo");
        });
        rows.repeat(1, &Digest([9; 20]));
        rows.row(2, &digest(), write, |body| {
            body.namespace("test");
            body.key(particle::INTEGER, &5i64.to_be_bytes());
            body.op(
                OpCode::Increment,
                particle::INTEGER,
                "n",
                &1i64.to_be_bytes(),
            );
        });
    });
    written.expect("seeds are within limits");
    out
}

fn every_field() -> Vec<u8> {
    request(MessageHeader::default(), |body| {
        for id in 0..=45u8 {
            body.field(id, &[id; 8]);
        }
    })
}

fn infos() -> Seeds {
    let all: &[u8] = b"node\nbuild\npartition-generation\nreplicas\npeers-clear-std\nservices\n";
    vec![
        ("handshake", all.to_vec()),
        (
            "arguments",
            b"namespace/test\nsets/test/demo\nlog/0\nlatencies:hist={test}-read\n".to_vec(),
        ),
        (
            "params",
            b"truncate:namespace=test;set=demo;lut=123\nset-config:context=service;x=y\n".to_vec(),
        ),
        (
            "odd",
            b"\n\n/\n:;=\n;a\nname:=;;=v;k\n\xff\xfe\nno newline at the end".to_vec(),
        ),
        ("empty", Vec::new()),
    ]
}

fn responses() -> Seeds {
    let mut found = Vec::new();
    let mut reply = RecordReply::framed(&mut found, &ReplyHead::found(3, 77));
    reply.op(OpCode::Read, particle::INTEGER, b"a", &1i64.to_be_bytes());
    reply.op(OpCode::Read, particle::LIST, b"list", &[0x92, 1, 2]);
    reply.finish().expect("seeds are within limits");
    let mut out = Vec::new();
    let mut stream = ReplyStream::begin(&mut out);
    let mut reply = stream.record(&mut out, &ReplyHead::found(1, 0));
    reply.field(field::NAMESPACE, b"test");
    reply.field(field::DIGEST, &digest().0);
    reply.field(field::SET, b"demo");
    reply.op(OpCode::Read, particle::STRING, b"text", b"value");
    reply.finish().expect("seeds are within limits");
    stream.partition_done(&mut out, PartitionId(9), ResultCode::Unavailable);
    stream.last(&mut out, ResultCode::Ok);
    stream.finish(&mut out);
    vec![
        ("record", found.split_off(frame::HEADER_BYTES)),
        ("stream", out.split_off(frame::HEADER_BYTES)),
        ("ack", MessageHeader::default().to_bytes().to_vec()),
        (
            "info",
            b"node\tBB9020011AC4202\npartition-generation\t0\n".to_vec(),
        ),
        ("info_error", b"ERROR:80:not authenticated\n".to_vec()),
        (
            "info_lines",
            b"node\tone\ntwo\npartition-generation\tERROR:4:no\n".to_vec(),
        ),
    ]
}

/// A record with one bin of each kind that `kinds` names.
fn stored(seal: &Seal, kinds: &[ParticleType], key: Option<&[u8]>, tombstone: bool) -> Vec<u8> {
    let names: Vec<String> = (0..kinds.len()).map(|bin| format!("bin{bin}")).collect();
    let values: Vec<Vec<u8>> = (0..kinds.len())
        .map(|bin| vec![bin as u8; 8 + 70 * bin])
        .collect();
    let bins = kinds.iter().zip(names.iter().zip(&values));
    let bins = bins.map(|(&particle, (name, value))| BinRef {
        name: name.as_bytes(),
        particle,
        value,
    });
    let draft = Draft {
        meta: meta(tombstone),
        set: b"demo",
        key,
        bins,
    };
    let mut bytes = vec![0; draft.size_bytes()];
    draft.write(&mut bytes, seal);
    bytes
}

fn meta(tombstone: bool) -> Meta {
    Meta {
        digest: digest(),
        generation: 2,
        void_time_s: 9,
        update_time_ms: 0x01_2345_6789,
        version: [0, 0, 0, 1, 0, 0, 0, 0, 0, 42],
        tombstone,
        over_tombstone: false,
        moves: 0,
    }
}

fn records() -> Seeds {
    let kinds = [
        ParticleType::Integer,
        ParticleType::String,
        ParticleType::Map,
        ParticleType::Blob,
    ];
    vec![
        ("plain", stored(&record::SEAL, &kinds[..1], None, false)),
        (
            "many_bins_and_key",
            stored(&record::SEAL, &kinds, Some(b"\x03key1"), false),
        ),
        ("tombstone", stored(&record::SEAL, &[], None, true)),
        (
            "padded",
            [stored(&record::SEAL, &kinds, None, false), vec![0; 40]].concat(),
        ),
        ("lz4", packed(Compression::Lz4)),
        ("zstd", packed(Compression::Zstd(3))),
    ]
}

/// A record that packs, as a log stores it; the target seals it anew.
fn packed(compression: Compression) -> Vec<u8> {
    let block_bytes = 64 << 10;
    let mut log = Log::new(LogConfig {
        on_devices: false,
        block_bytes,
        devices: vec![DeviceGeometry {
            number: record::SEAL.device,
            blocks: 16,
            sector_bytes: 512,
        }],
        cores: 1,
        cache_bytes: 0,
        defrag_low_water_percent: 50,
    })
    .expect("16 blocks are enough");
    log.set_codec(Codec::new(compression, None, &[], block_bytes as usize));
    let value = b"again and ".repeat(30);
    let draft = Draft {
        meta: meta(false),
        set: b"demo",
        key: Some(b"\x03key1"),
        bins: std::iter::once(BinRef {
            name: b"a",
            particle: ParticleType::String,
            value: &value,
        }),
    };
    let lane = log.write_lane(0);
    let appended = log.append_record(lane, Purpose::Record, 0, &draft, 0);
    match log.locate(appended.expect("there is room").place) {
        Located::Memory(resident) => resident.bytes().to_vec(),
        Located::Device(_) => unreachable!("the log is in memory"),
    }
}

fn blocks() -> Seeds {
    let superblock = Superblock {
        generation: 4,
        device: 7,
        cluster: *b"0123456789abcdef",
        namespace: "test".into(),
        position: 3,
        devices: 4,
        block_bytes: 1 << 20,
        blocks: 99,
        session: 6,
        key_check: [0; 16],
        fills: 0,
    };
    let second = Superblock {
        generation: 5,
        ..superblock.clone()
    };
    let front = [superblock.encode(), second.encode()].concat();
    let mut torn = full_block();
    torn.truncate(900);
    torn.extend_from_slice(&full_block()[64..]);
    vec![
        ("front", front),
        ("block", full_block()),
        ("torn", torn),
        ("zeros", vec![0; 256]),
    ]
}

/// A block of a few records, zeros to a sector's end between two flushes.
fn full_block() -> Vec<u8> {
    let header = BlockHeader {
        device: block::SEAL.device,
        fill: block::SEAL.fill,
        block: 0,
        previous: None,
        since: 1,
        settled: 2,
    };
    let mut bytes = header.encode().to_vec();
    let kinds = [
        ParticleType::Integer,
        ParticleType::Blob,
        ParticleType::List,
    ];
    for count in [1, 3, 0, 2, 1] {
        let seal = Seal {
            start: block::BLOCK_START + bytes.len() as u64,
            ..block::SEAL
        };
        bytes.extend(stored(&seal, &kinds[..count], None, count == 0));
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        if count == 3 {
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
    }
    let seal = Seal {
        start: block::BLOCK_START + bytes.len() as u64,
        ..block::SEAL
    };
    bytes.extend(end_mark(&seal));
    bytes.extend([0xee; 40]); // what an earlier fill left
    bytes
}

fn collections() -> Seeds {
    let deep = [vec![0x91; 127], vec![0x90]].concat();
    let long = [&[0xdc, 0, 20][..], &[5; 20]].concat();
    let text = [&[0xd9, 41, 3][..], &[b'a'; 40]].concat();
    vec![
        (
            "list",
            vec![
                0x95, 1, 0xa3, 3, 97, 98, 0xc0, 0xc2, 0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0,
            ],
        ),
        ("ordered_list", vec![0x94, 0xc7, 0, 1, 1, 2, 0xcd, 1, 0]),
        (
            "wide_numbers",
            vec![
                0x93, 0xd3, 255, 255, 255, 255, 255, 255, 255, 255, 0xcc, 1, 0xce, 0, 0, 0, 2,
            ],
        ),
        (
            "map",
            vec![
                0x83, 2, 0xc0, 1, 0xc3, 0xa2, 3, 107, 0x81, 0xa2, 4, 9, 0x91, 7,
            ],
        ),
        (
            "ordered_map",
            vec![0x83, 0xc7, 0, 1, 0xc0, 1, 0xa2, 3, 97, 2, 0x90],
        ),
        (
            "float32",
            vec![0x92, 0xca, 0x3f, 0x80, 0, 0, 0xca, 0x7f, 0xc0, 0, 1],
        ),
        ("wildcard", vec![0x92, 0xd4, 0xff, 0, 0xd4, 0xff, 1]),
        ("deep", deep.clone()),
        ("too_deep", [vec![0x91], deep].concat()),
        ("long", [&[0x92][..], &long, &text].concat()),
        ("two_lists", vec![4, 0x93, 1, 2, 3, 0x93, 1, 2, 4]),
        ("huge_claim", vec![0xdd, 255, 255, 255, 255, 1]),
        ("huge_map_claim", vec![0xdf, 255, 255, 255, 255, 1, 1]),
    ]
}
