use karst_data::key::Digest;
use proptest::prelude::*;

use super::*;
use crate::field;
use crate::particle;
use crate::request::{Message, Op};
use crate::testing::{DIGEST, PUT_ACK, hex};

const ONE: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 1];

/// Splits a buffer into the bodies of its frames; every frame must be whole.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut bodies = vec![];
    while !bytes.is_empty() {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().unwrap();
        let header = FrameHeader::parse(header, BODY_BYTES_MAX).unwrap();
        assert_eq!(header.kind, FrameKind::Message);
        let (body, rest) = rest.split_at(header.body_bytes);
        bodies.push(body);
        bytes = rest;
    }
    bodies
}

fn key1() -> Vec<u8> {
    hex(DIGEST)
}

#[test]
fn the_worked_acks_are_written_byte_for_byte() {
    let mut out = b"before".to_vec();
    ack(&mut out, ResultCode::Ok, 1, 0);
    assert_eq!(out, [&b"before"[..], &hex(PUT_ACK)].concat());

    let mut out = vec![];
    ack(&mut out, ResultCode::NotFound, 0, 0);
    let not_found = hex(
        "02 03 00 00 00 00 00 16 16 00 00 00 00 02 00 00 00 00 00 00 00 00 00 00 \
        00 00 00 00 00 00",
    );
    assert_eq!(out, not_found);
}

#[test]
fn the_worked_get_answer_is_written_byte_for_byte() {
    let mut out = vec![];
    let mut reply = RecordReply::framed(&mut out, &ReplyHead::found(1, 0));
    reply.op(OpCode::Read, particle::INTEGER, b"a", &ONE);
    reply.finish().unwrap();
    let expected = hex(
        "02 03 00 00 00 00 00 27 16 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 \
        00 00 00 00 01 00 00 00 0d 01 01 00 01 61 00 00 00 00 00 00 00 01",
    );
    assert_eq!(out, expected);
}

#[test]
fn the_worked_batch_answer_is_written_byte_for_byte() {
    let mut out = vec![];
    let mut stream = ReplyStream::begin(&mut out);
    let mut row = stream.record(&mut out, &ReplyHead::found(1, 0));
    row.op(OpCode::Read, particle::INTEGER, b"a", &ONE);
    row.finish().unwrap();
    let missing = ReplyHead {
        batch_index: 1,
        ..ReplyHead::of(ResultCode::NotFound)
    };
    stream.ack(&mut out, &missing);
    stream.finish(&mut out);
    last(&mut out, ResultCode::Ok);
    let expected = hex(
        "02 03 00 00 00 00 00 3d 16 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 \
        00 00 00 00 01 00 00 00 0d 01 01 00 01 61 00 00 00 00 00 00 00 01 16 00 00 00 00 02 00 00 \
        00 00 00 00 00 00 00 00 00 01 00 00 00 00 02 03 00 00 00 00 00 16 16 00 00 01 00 00 00 00 \
        00 00 00 00 00 00 00 00 00 00 00 00 00 00",
    );
    assert_eq!(out, expected);
}

#[test]
fn the_worked_scan_answer_is_written_byte_for_byte() {
    let mut out = vec![];
    let mut stream = ReplyStream::begin(&mut out);
    let mut record = stream.record(&mut out, &ReplyHead::found(1, 0));
    record.field(field::NAMESPACE, b"test");
    record.field(field::DIGEST, &key1());
    record.field(field::SET, b"demo");
    record.op(OpCode::Read, particle::INTEGER, b"a", &ONE);
    record.finish().unwrap();
    stream.partition_done(&mut out, PartitionId(0), ResultCode::Unavailable);
    stream.finish(&mut out);
    last(&mut out, ResultCode::Ok);
    let expected = hex(
        "02 03 00 00 00 00 00 68 16 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 \
        00 00 03 00 01 00 00 00 05 00 74 65 73 74 00 00 00 15 04 ec 91 19 2d 4b 7f 8c e3 5d 5d 78 \
        d3 4b ca 65 cb aa aa c9 60 00 00 00 05 01 64 65 6d 6f 00 00 00 0d 01 01 00 01 61 00 00 00 \
        00 00 00 00 01 16 00 00 04 00 0b 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02 03 00 \
        00 00 00 00 16 16 00 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
    );
    assert_eq!(out, expected);
}

#[test]
fn a_short_query_ends_in_its_last_frame() {
    let mut out = vec![];
    let mut stream = ReplyStream::begin(&mut out);
    stream.partition_done(&mut out, PartitionId(4095), ResultCode::Ok);
    stream.last(&mut out, ResultCode::Timeout);
    stream.finish(&mut out);
    let bodies = frames(&out);
    assert_eq!((bodies.len(), bodies[0].len()), (1, 44));
    let (done, end) = bodies[0].split_at(MESSAGE_HEADER_BYTES);
    let (done, end) = (Message::parse(done).unwrap(), Message::parse(end).unwrap());
    assert_eq!(done.header.info3, Info3::PARTITION_DONE);
    assert_eq!(done.header.generation, 4095);
    assert_eq!(end.header.info3, Info3::LAST);
    assert_eq!(end.header.result_code, ResultCode::Timeout.as_u8());
}

#[test]
fn a_record_without_bins_says_so() {
    let mut out = vec![];
    let head = ReplyHead {
        info1: Info1::GET_NO_BINS,
        ..ReplyHead::found(u16::MAX, u32::MAX)
    };
    RecordReply::framed(&mut out, &head).finish().unwrap();
    let header = Message::parse(&out[HEADER_BYTES..]).unwrap().header;
    assert_eq!(header.info1, Info1::GET_NO_BINS);
    assert_eq!((header.generation, header.record_ttl), (65535, u32::MAX));
}

#[test]
fn a_stream_splits_into_frames_and_never_a_message_across_two() {
    let mut out = vec![];
    let value = vec![7; 300 << 10];
    let mut stream = ReplyStream::begin(&mut out);
    for index in 0..20 {
        let head = ReplyHead {
            batch_index: index,
            ..ReplyHead::found(1, 0)
        };
        let mut record = stream.record(&mut out, &head);
        record.op(OpCode::Read, particle::BLOB, b"a", &value);
        record.finish().unwrap();
    }
    stream.finish(&mut out);
    let bodies = frames(&out);
    let message_bytes = MESSAGE_HEADER_BYTES + 4 + OP_FIXED_BYTES + 1 + value.len();
    let mut indexes = vec![];
    for body in &bodies {
        assert!(body.len() < STREAM_FRAME_BYTES + message_bytes);
        for message in body.chunks(message_bytes) {
            let message = Message::parse(message).unwrap();
            indexes.push(message.header.transaction_ttl);
        }
    }
    assert_eq!(bodies.len(), 5);
    assert_eq!(indexes, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_stream_without_messages_leaves_nothing() {
    let mut out = b"before".to_vec();
    let stream = ReplyStream::begin(&mut out);
    stream.finish(&mut out);
    assert_eq!(out, b"before");
}

#[test]
fn a_reply_that_is_too_big_leaves_the_buffer_as_it_was() {
    let half = vec![0; REPLY_BYTES_MAX / 2];
    let mut out = b"before".to_vec();
    let mut reply = RecordReply::framed(&mut out, &ReplyHead::found(1, 0));
    for _ in 0..1000 {
        reply.op(OpCode::Read, particle::BLOB, b"a", &half);
    }
    assert!(reply.out.len() <= REPLY_BYTES_MAX);
    assert_eq!(reply.finish(), Err(ReplyTooBig));
    assert_eq!(out, b"before");

    let mut stream = ReplyStream::begin(&mut out);
    stream.ack(&mut out, &ReplyHead::found(1, 0));
    let before = out.clone();
    let mut record = stream.record(&mut out, &ReplyHead::found(1, 0));
    record.field(field::KEY, &half);
    record.op(OpCode::Read, particle::BLOB, b"a", &half);
    let stopped_at = record.out.len();
    record.op(
        OpCode::Read,
        particle::BLOB,
        b"a",
        b"fits again, but comes too late",
    );
    assert_eq!(record.out.len(), stopped_at);
    assert_eq!(record.finish(), Err(ReplyTooBig));
    assert_eq!(out, before);
    stream.finish(&mut out);
    assert_eq!(frames(&out[6..])[0].len(), MESSAGE_HEADER_BYTES);
}

#[test]
fn the_limit_itself_is_not_too_big() {
    let overhead = MESSAGE_HEADER_BYTES + 4 + OP_FIXED_BYTES + 1;
    let value = vec![0; REPLY_BYTES_MAX - overhead];
    let mut out = vec![];
    let mut reply = RecordReply::framed(&mut out, &ReplyHead::found(1, 0));
    reply.op(OpCode::Read, particle::BLOB, b"a", &value);
    reply.finish().unwrap();
    assert_eq!(frames(&out)[0].len(), REPLY_BYTES_MAX);
    let mut reply = RecordReply::framed(&mut out, &ReplyHead::found(1, 0));
    reply.op(OpCode::Read, particle::BLOB, b"ab", &value);
    assert_eq!(reply.finish(), Err(ReplyTooBig));
}

#[test]
fn counts_and_names_that_do_not_fit_their_bytes_are_too_big() {
    let mut out = vec![];
    let mut most = RecordReply::framed(&mut out, &ReplyHead::found(1, 0));
    (0..65535).for_each(|_| most.op(OpCode::Read, particle::NULL, b"", b""));
    most.finish().unwrap();
    let before = out.len();
    let mut more = RecordReply::framed(&mut out, &ReplyHead::found(1, 0));
    (0..65536).for_each(|_| more.op(OpCode::Read, particle::NULL, b"", b""));
    assert_eq!(more.finish(), Err(ReplyTooBig));
    let mut fields = RecordReply::framed(&mut out, &ReplyHead::found(1, 0));
    (0..65536).for_each(|_| fields.field(field::KEY, b""));
    assert_eq!(fields.finish(), Err(ReplyTooBig));
    let mut name = RecordReply::framed(&mut out, &ReplyHead::found(1, 0));
    name.op(OpCode::Read, particle::NULL, &[b'n'; 16], b"");
    assert_eq!(name.finish(), Err(ReplyTooBig));
    assert_eq!(out.len(), before);
}

#[test]
fn a_reply_that_is_given_up_leaves_the_buffer_as_it_was() {
    let mut out = b"before".to_vec();
    let mut reply = RecordReply::framed(&mut out, &ReplyHead::found(1, 0));
    reply.op(OpCode::Read, particle::INTEGER, b"a", &ONE);
    drop(reply);
    assert_eq!(out, b"before");
}

proptest! {
    #[test]
    fn what_is_written_is_what_a_parser_finds(
        code in prop::sample::select(ResultCode::ALL),
        generation: u16,
        void_time_s: u32,
        batch_index: u32,
        set in "[a-z]{1,63}",
        ops in prop::collection::vec((any::<u8>(), "[a-z]{0,15}", any::<Vec<u8>>()), 0..20),
    ) {
        let head = ReplyHead {
            generation,
            void_time_s,
            batch_index,
            ..ReplyHead::of(code)
        };
        let mut out = vec![];
        let mut reply = RecordReply::framed(&mut out, &head);
        reply.field(field::SET, set.as_bytes());
        reply.field(field::DIGEST, &key1());
        for (particle, name, value) in &ops {
            reply.op(OpCode::Read, *particle, name.as_bytes(), value);
        }
        reply.finish().unwrap();
        let found = Message::parse(frames(&out)[0]).unwrap();
        prop_assert_eq!(found.header.result_code, code.as_u8());
        prop_assert_eq!(found.header.generation, u32::from(generation));
        prop_assert_eq!(found.header.record_ttl, void_time_s);
        prop_assert_eq!(found.header.transaction_ttl, batch_index);
        prop_assert_eq!(found.set(), Ok(Some(set.as_bytes())));
        prop_assert_eq!(found.digest(), Ok(Digest::from_slice(&key1())));
        let expected: Vec<_> = ops
            .iter()
            .map(|(particle, name, value)| Op {
                code: OpCode::Read,
                particle: *particle,
                name: name.as_bytes(),
                value,
            })
            .collect();
        prop_assert_eq!(found.ops.iter().collect::<Vec<_>>(), expected);
    }
}
