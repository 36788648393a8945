use proptest::prelude::*;

use super::*;
use crate::testing::{GET_ALL, PUT, hex};
use flate2::{Compression, write::ZlibEncoder};
use std::io::Write as _;

fn parse(text: &str) -> Result<FrameHeader, FrameError> {
    FrameHeader::parse(hex(text).as_slice().try_into().unwrap(), BODY_BYTES_MAX)
}

/// The body of a compressed frame that claims `size` bytes and holds the stream of `inner`.
fn compressed(size: u64, inner: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(size.to_be_bytes().to_vec(), Compression::fast());
    encoder.write_all(inner).unwrap();
    encoder.finish().unwrap()
}

fn refused(body: &[u8]) -> FrameError {
    inflate(body, BODY_BYTES_MAX).expect_err("the body must be refused")
}

#[test]
fn every_kind_of_frame_survives_its_header() {
    let kinds = [
        FrameKind::Info,
        FrameKind::Admin,
        FrameKind::Message,
        FrameKind::Compressed,
    ];
    for kind in kinds {
        for body_bytes in [0, 1, 22, 0x0001_0203, BODY_BYTES_MAX] {
            let mut bytes = [0xff; HEADER_BYTES];
            write_header(&mut bytes, kind, body_bytes);
            let header = FrameHeader { kind, body_bytes };
            assert_eq!(FrameHeader::parse(&bytes, BODY_BYTES_MAX), Ok(header));
        }
    }
}

#[test]
fn a_body_of_the_limit_is_read_and_one_byte_more_is_refused() {
    let header = parse("02 03 00 00 08 00 00 00").unwrap();
    assert_eq!(header.body_bytes, 128 << 20);
    let too_big = |body_bytes| {
        Err(FrameError::TooBig {
            body_bytes,
            limit_bytes: BODY_BYTES_MAX,
        })
    };
    assert_eq!(parse("02 03 00 00 08 00 00 01"), too_big((128 << 20) + 1));
    assert_eq!(parse("02 03 ff ff ff ff ff ff"), too_big((1 << 48) - 1));
}

#[test]
fn only_version_2_is_spoken_except_that_admin_messages_may_say_0() {
    assert!(parse("00 02 00 00 00 00 00 10").is_ok());
    for refused in [
        "00 01", "00 03", "00 04", "01 02", "01 03", "03 03", "ff 02",
    ] {
        let header = parse(&format!("{refused} 00 00 00 00 00 10"));
        assert!(
            matches!(header, Err(FrameError::Version { .. })),
            "{refused}"
        );
    }
}

#[test]
fn internal_and_unknown_types_are_refused() {
    assert_eq!(parse("02 05 00 00 00 00 00 10"), Err(FrameError::Internal));
    for kind in [0, 6, 7, 255] {
        let header = parse(&format!("02 {kind:02x} 00 00 00 00 00 10"));
        assert_eq!(header, Err(FrameError::UnknownKind { kind }));
    }
}

#[test]
fn a_tls_hello_is_told_from_other_strangers() {
    assert_eq!(parse("16 03 01 02 00 01 00 01"), Err(FrameError::TlsHello));
    assert_ne!(parse("16 03 01 02 00 02 00 01"), Err(FrameError::TlsHello));
}

#[test]
fn a_message_header_survives_its_bytes() {
    let bytes: [u8; MESSAGE_HEADER_BYTES] = hex("16 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f \
        10 11 12 13 14 15")
    .try_into()
    .unwrap();
    let header = MessageHeader::parse(&bytes);
    assert_eq!((header.info1, header.info4), (Info1(1), Info4(4)));
    assert_eq!(header.result_code, 5);
    assert_eq!(header.generation, 0x0607_0809);
    assert_eq!(header.record_ttl, 0x0a0b_0c0d);
    assert_eq!(header.transaction_ttl, 0x0e0f_1011);
    assert_eq!((header.field_count, header.op_count), (0x1213, 0x1415));
    assert_eq!(header.to_bytes(), bytes);
}

#[test]
fn what_was_deflated_inflates_to_the_message_inside() {
    for frame in [hex(PUT), hex(GET_ALL)] {
        let mut out = b"before".to_vec();
        deflate(&frame, &mut out).unwrap();
        let sent = out.strip_prefix(b"before").unwrap();
        let (header, body) = sent.split_first_chunk::<HEADER_BYTES>().unwrap();
        let header = FrameHeader::parse(header, BODY_BYTES_MAX).unwrap();
        assert_eq!(header.kind, FrameKind::Compressed);
        assert_eq!(header.body_bytes, body.len());
        assert_eq!(
            inflate(body, frame.len() - HEADER_BYTES).unwrap(),
            frame[8..]
        );
    }
}

#[test]
fn a_body_larger_than_the_first_allocation_inflates_whole() {
    let message: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_be_bytes).collect();
    let mut frame = vec![0; HEADER_BYTES];
    write_header(
        frame.first_chunk_mut().unwrap(),
        FrameKind::Message,
        message.len(),
    );
    frame.extend_from_slice(&message);
    let body = compressed(frame.len() as u64, &frame);
    assert!(inflate(&body, BODY_BYTES_MAX).unwrap() == message);
}

#[test]
fn a_compressed_body_cut_at_any_byte_or_longer_is_refused() {
    let frame = hex(PUT);
    let mut body = compressed(frame.len() as u64, &frame);
    for end in 0..body.len() {
        refused(&body[..end]);
    }
    assert!(inflate(&body, BODY_BYTES_MAX).is_ok());
    body.push(0);
    assert_eq!(
        refused(&body),
        FrameError::Compressed("bytes follow the stream")
    );
}

#[test]
fn a_compressed_body_with_a_wrong_checksum_is_refused() {
    let frame = hex(PUT);
    let mut body = compressed(frame.len() as u64, &frame);
    *body.last_mut().unwrap() ^= 1;
    assert_eq!(refused(&body), FrameError::Compressed("corrupt stream"));
}

#[test]
fn the_claimed_size_must_be_that_of_the_frame_inside() {
    let frame = hex(PUT);
    let size = frame.len() as u64;
    let differs = FrameError::Compressed("size differs from the inner header");
    for claim in [0, 7, 8, size - 1, size + 1, size - 8, u64::MAX] {
        assert_eq!(refused(&compressed(claim, &frame)), differs, "{claim}");
    }
    let shorter = refused(&compressed(size, &frame[..frame.len() - 1]));
    let claims_more = "shorter than the size it claims";
    assert_eq!(shorter, FrameError::Compressed(claims_more));
    let longer = refused(&compressed(size, &[&frame[..], b"x"].concat()));
    assert_eq!(
        longer,
        FrameError::Compressed("longer than the size it claims")
    );
}

#[test]
fn only_a_message_may_be_compressed_and_only_once() {
    for kind in ["01", "02", "04"] {
        let frame = hex(&format!("02 {kind} 00 00 00 00 00 02 00 00"));
        let error = refused(&compressed(10, &frame));
        assert_eq!(
            error,
            FrameError::Compressed("not a message frame"),
            "{kind}"
        );
    }
    let internal = hex("02 05 00 00 00 00 00 02 00 00");
    assert_eq!(refused(&compressed(10, &internal)), FrameError::Internal);
}

#[test]
fn a_bomb_is_refused_by_its_claim_or_cut_off_at_its_claim() {
    let zeros = vec![0; 64 << 20];
    let honest = [&hex("02 03 00 00 04 00 00 00")[..], &zeros].concat();
    let body = compressed(honest.len() as u64, &honest);
    assert!(body.len() < 1 << 20);
    let too_big = FrameError::TooBig {
        body_bytes: 64 << 20,
        limit_bytes: 1 << 20,
    };
    assert_eq!(inflate(&body, 1 << 20), Err(too_big));

    let lying = [&hex("02 03 00 00 00 00 00 64")[..], &zeros].concat();
    let error = refused(&compressed(108, &lying));
    assert_eq!(
        error,
        FrameError::Compressed("longer than the size it claims")
    );
}

proptest! {
    #[test]
    fn any_header_is_parsed_or_refused(bytes: [u8; HEADER_BYTES], limit in 0..=BODY_BYTES_MAX) {
        if let Ok(header) = FrameHeader::parse(&bytes, limit) {
            prop_assert!(header.body_bytes <= limit);
            prop_assert_eq!(&header.to_bytes()[1..], &bytes[1..]);
        }
    }

    #[test]
    fn any_compressed_body_is_inflated_or_refused(body: Vec<u8>) {
        prop_assert!(inflate(&body, 4096).is_err());
    }

    #[test]
    fn a_damaged_compressed_body_is_never_taken_for_another(
        at: prop::sample::Index,
        bit in 0..8u8,
    ) {
        let frame = hex(PUT);
        let mut body = compressed(frame.len() as u64, &frame);
        let at = at.index(body.len());
        body[at] ^= 1 << bit;
        if let Ok(message) = inflate(&body, BODY_BYTES_MAX) {
            prop_assert_eq!(message, &frame[HEADER_BYTES..]); // a bit that means nothing
        }
    }
}
