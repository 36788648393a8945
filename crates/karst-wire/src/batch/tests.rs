use proptest::prelude::*;

use super::*;
use crate::code::ResultCode;
use crate::op::OpCode;
use crate::request::Kind;
use crate::testing::{BATCH, DIGEST, body, field, message, op};

/// The fields every row here has, as a client sends them.
fn names() -> Vec<u8> {
    [field(field::NAMESPACE, b"test"), field(field::SET, b"demo")].concat()
}

/// A row's part before its attributes; its digest is all `digest`.
fn start(index: u32, digest: u8, flags: u8) -> Vec<u8> {
    [&index.to_be_bytes()[..], &[digest; 20], &[flags]].concat()
}

/// A read of every bin, in the oldest and shortest form.
fn plain(index: u32, digest: u8) -> Vec<u8> {
    [start(index, digest, 0), vec![0x03, 0, 2, 0, 0], names()].concat()
}

fn repeat(index: u32, digest: u8) -> Vec<u8> {
    start(index, digest, RowFlags::REPEAT.0)
}

/// The rows field for these rows, announcing `count` of them.
fn rows_field(count: u32, rows: &[Vec<u8>]) -> Vec<u8> {
    [&count.to_be_bytes()[..], &[0x04], &rows.concat()].concat()
}

fn parent_header() -> MessageHeader {
    MessageHeader {
        info1: Info1::BATCH,
        info3: Info3::SC_READ_TYPE | Info3::COMMIT_LEVEL_MASTER,
        transaction_ttl: 1000,
        ..MessageHeader::default()
    }
}

fn parent(rows_field: &[u8]) -> Vec<u8> {
    message(parent_header(), &[field(field::BATCH, rows_field)], &[])
}

/// Every item of a batch's rows, the last of which may be an error.
fn items(parent: &[u8]) -> Vec<Result<BatchRow<'_>, Malformed>> {
    let message = Message::parse(parent).unwrap();
    assert_eq!(message.kind(), Ok(Kind::Batch));
    Batch::parse(&message).unwrap().rows().collect()
}

/// The error that ends these rows, and how many came before it.
fn ends_with(rows: &[Vec<u8>]) -> (usize, Malformed) {
    let parent = parent(&rows_field(rows.len() as u32, rows));
    let items = items(&parent);
    let good = items.iter().take_while(|item| item.is_ok()).count();
    assert_eq!(items.len(), good + 1, "an error is the last item");
    (good, items[good].unwrap_err())
}

#[test]
fn the_worked_batch_is_understood() {
    let bytes = body(BATCH);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.kind(), Ok(Kind::Batch));
    let batch = Batch::parse(&message).unwrap();
    assert_eq!(batch.row_count(), 2);
    let inline_and_all = BatchFlags::ALLOW_INLINE_MEMORY
        | BatchFlags::RESPOND_ALL_KEYS
        | BatchFlags::RESPOND_FAILED_ROW;
    assert_eq!(batch.flags(), inline_and_all);
    let rows: Vec<_> = batch.rows().map(Result::unwrap).collect();
    assert_eq!((rows[0].index, rows[1].index), (0, 1));
    assert_eq!(rows[0].digest.to_string(), DIGEST);
    assert_eq!(rows[1].digest.partition().0, 1207);
    for row in &rows {
        let request = row.request.unwrap();
        assert_eq!(request.kind(), Ok(Kind::Read));
        assert!(request.header.info1.contains(Info1::READ | Info1::GET_ALL));
        assert_eq!(request.namespace(), Ok(&b"test"[..]));
        assert_eq!(request.set(), Ok(Some(&b"demo"[..])));
        assert_eq!(request.digest(), Ok(Some(row.digest)));
        assert_eq!(request.header.transaction_ttl, 1000);
    }
    assert_eq!(rows.len(), 2);
}

#[test]
fn every_attribute_of_a_row_reaches_its_header() {
    let attributes = vec![
        0x01, 0x8d, 0x48, 0x10, // the four flag bytes
        0x12, 0x34, // generation
        0x00, 0x00, 0x0e, 0x10, // ttl
        0x00, 0x02, 0x00, 0x01, // counts
    ];
    let write = op(2, 3, 0, b"a", b"text");
    let row = [start(9, 7, 0x1e), attributes, names(), write].concat();
    let parent = parent(&rows_field(1, &[row]));
    let row = items(&parent)[0].unwrap();
    let request = row.request.unwrap();
    let header = MessageHeader {
        info1: Info1(0x01),
        info2: Info2(0x8d),
        info3: Info3(0x48),
        info4: Info4(0x10),
        generation: 0x1234,
        record_ttl: 3600,
        transaction_ttl: 1000,
        field_count: 2,
        op_count: 1,
        ..MessageHeader::default()
    };
    assert_eq!(row.index, 9);
    assert_eq!(request.header, header);
    assert_eq!(request.kind(), Ok(Kind::Write));
    let op = request.ops.iter().next().unwrap();
    assert_eq!((op.code, op.value), (OpCode::Write, &b"text"[..]));
}

#[test]
fn a_row_without_flag_bytes_writes_nothing_and_reads_as_its_parent_says() {
    let parent = parent(&rows_field(1, &[plain(0, 7)]));
    let header = items(&parent)[0].unwrap().request.unwrap().header;
    assert_eq!(header.info2, Info2::NONE);
    assert_eq!(header.info3, Info3::SC_READ_TYPE); // and not the commit level
}

#[test]
fn a_row_is_no_parent_not_compressed_and_not_shipped() {
    let row = [start(0, 7, 0), vec![0xff, 0, 2, 0, 0], names()].concat();
    let parent = parent(&rows_field(1, &[row]));
    let request = items(&parent)[0].unwrap().request.unwrap();
    assert_eq!(request.header.info1, Info1(0x67));
    assert_eq!(request.kind(), Ok(Kind::Read));
}

#[test]
fn a_filter_of_the_parent_holds_for_rows_without_one() {
    let own = field(field::FILTER, b"own");
    let filtered = [start(1, 7, 0), vec![0x03, 0, 3, 0, 0], names(), own].concat();
    let rows = rows_field(3, &[plain(0, 7), filtered, repeat(2, 8)]);
    let fields = [
        field(field::FILTER, b"all"),
        field(field::BATCH_WITH_SET, &rows),
    ];
    let parent = message(parent_header(), &fields, &[]);
    let filters: Vec<_> = items(&parent)
        .iter()
        .map(|row| row.unwrap().request.unwrap().fields.filter.unwrap())
        .collect();
    assert_eq!(filters, [&b"all"[..], b"own", b"own"]);
}

#[test]
fn a_repeat_does_the_same_to_another_record_any_number_of_times() {
    let rows = [plain(0, 7), repeat(5, 8), repeat(6, 9)];
    let parent = parent(&rows_field(3, &rows));
    let rows: Vec<_> = items(&parent).into_iter().map(Result::unwrap).collect();
    let digests: Vec<_> = rows.iter().map(|row| row.digest.0[0]).collect();
    assert_eq!(digests, [7, 8, 9]);
    for row in &rows {
        let mut request = row.request.unwrap();
        assert_eq!(request.digest(), Ok(Some(row.digest)));
        request.fields.digest = rows[0].request.unwrap().fields.digest;
        assert_eq!(request, rows[0].request.unwrap());
    }
}

#[test]
fn a_repeat_needs_a_row_before_it_that_has_no_key() {
    let first = ends_with(&[repeat(0, 7), plain(1, 7)]);
    assert_eq!(first, (0, Malformed::RowRepeat { row: 0 }));
    let key = field(field::KEY, b"\x03key1");
    let keyed = [start(1, 7, 0), vec![0x03, 0, 3, 0, 0], names(), key].concat();
    let after_key = ends_with(&[plain(0, 6), keyed.clone(), repeat(2, 8)]);
    assert_eq!(after_key, (2, Malformed::RowRepeat { row: 2 }));
    let rows = [keyed, plain(1, 8), repeat(2, 9)];
    assert!(
        items(&parent(&rows_field(3, &rows)))
            .iter()
            .all(Result::is_ok)
    );
}

#[test]
fn a_count_of_no_fields_is_read_as_one() {
    let namespace = field(field::NAMESPACE, b"test");
    let row = [start(0, 7, 0), vec![0x03, 0, 0, 0, 0], namespace].concat();
    let parent = parent(&rows_field(2, &[row, repeat(1, 8)]));
    for item in items(&parent) {
        let request = item.unwrap().request.unwrap();
        assert_eq!(request.namespace(), Ok(&b"test"[..]));
    }
}

#[test]
fn a_row_begins_with_its_namespace() {
    let fields = [field(field::SET, b"demo"), field(field::NAMESPACE, b"test")].concat();
    let row = [start(0, 7, 0), vec![0x03, 0, 2, 0, 0], fields].concat();
    let error = ends_with(&[plain(0, 7), row]);
    assert_eq!(error, (1, Malformed::RowNamespace { row: 1 }));
}

#[test]
fn a_digest_among_the_fields_of_a_row_does_not_replace_the_rows_own() {
    let other = field(field::DIGEST, &[9; 20]);
    let row = [start(0, 7, 0), vec![0x03, 0, 3, 0, 0], names(), other].concat();
    let parent = parent(&rows_field(1, &[row]));
    let request = items(&parent)[0].unwrap().request.unwrap();
    assert_eq!(request.digest(), Ok(Some(Digest([7; 20]))));
}

#[test]
fn a_bad_bin_name_fails_its_row_and_its_repeats_but_not_the_batch() {
    let bad = op(1, 0, 0, &[b'n'; 16], b"");
    let bad = [start(0, 7, 0), vec![0x01, 0, 2, 0, 1], names(), bad].concat();
    let rows = [bad, repeat(1, 8), plain(2, 9)];
    let parent = parent(&rows_field(3, &rows));
    let rows: Vec<_> = items(&parent).into_iter().map(Result::unwrap).collect();
    for row in &rows[..2] {
        assert_eq!(row.request.unwrap_err().code(), ResultCode::BinName);
    }
    assert_eq!(rows[1].digest, Digest([8; 20]));
    assert!(rows[2].request.is_ok());
}

#[test]
fn flags_that_change_the_layout_unknowably_end_the_batch() {
    for flags in [0x20, 0x80, 0x03, 0x09, 0xff] {
        let mut row = plain(1, 7);
        row[24] = flags;
        let error = ends_with(&[plain(0, 7), row]);
        assert_eq!(error, (1, Malformed::RowFlags { row: 1, flags }));
    }
}

#[test]
fn a_batch_cut_at_any_byte_ends_with_an_error_and_keeps_the_rows_before() {
    let write = op(2, 3, 0, b"a", b"text");
    let second = [
        start(1, 8, 0x1e),
        vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![0, 2, 0, 1],
        names(),
        write,
    ]
    .concat();
    let (first, second) = (plain(0, 7), second);
    let first_bytes = first.len();
    let whole = rows_field(2, &[first, second]);
    for end in 5 + first_bytes..whole.len() {
        let parent = parent(&whole[..end]);
        let message = Message::parse(&parent).unwrap();
        let Ok(batch) = Batch::parse(&message) else {
            continue; // too short for two rows of any kind
        };
        let items: Vec<_> = batch.rows().collect();
        assert!(items[0].is_ok(), "cut at {end}");
        assert!(items[1].is_err(), "cut at {end}");
        assert_eq!(items.len(), 2);
        assert_eq!(items[1].unwrap_err().code(), ResultCode::Parameter);
    }
}

#[test]
fn bytes_behind_the_last_row_are_an_error_after_all_rows() {
    let parent = parent(&rows_field(1, &[plain(0, 7), repeat(1, 8)]));
    let items = items(&parent);
    assert!(items[0].is_ok());
    assert_eq!(items[1], Err(Malformed::Trailing { bytes: 25 }));
    assert_eq!(items.len(), 2);
}

#[test]
fn a_batch_that_cannot_be_is_refused_before_any_row_runs() {
    let refused = |data: Option<&[u8]>| {
        let fields: Vec<_> = data.iter().map(|data| field(field::BATCH, data)).collect();
        let parent = message(parent_header(), &fields, &[]);
        Batch::parse(&Message::parse(&parent).unwrap()).unwrap_err()
    };
    assert_eq!(refused(None), Malformed::BatchMissing);
    assert_eq!(refused(Some(&[0; 4])), Malformed::BatchHeader { bytes: 4 });
    assert_eq!(refused(Some(&[0; 5])), Malformed::BatchEmpty);
    let bytes = plain(0, 7).len();
    for rows in [bytes as u32 / 25 + 1, 1 << 20, u32::MAX] {
        let error = refused(Some(&rows_field(rows, &[plain(0, 7)])));
        assert_eq!(error, Malformed::BatchRows { rows, bytes });
    }
}

proptest! {
    #[test]
    fn any_rows_are_read_or_refused(
        count in 1..40u32,
        rows in prop::collection::vec(any::<u8>(), 0..1000),
    ) {
        let parent = parent(&rows_field(count, &[rows]));
        let message = Message::parse(&parent).unwrap();
        if let Ok(batch) = Batch::parse(&message) {
            prop_assert!(batch.rows().count() <= batch.row_count() + 1);
        }
    }

    #[test]
    fn a_damaged_batch_is_read_or_refused(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = body(BATCH);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(message) = Message::parse(&bytes)
            && let Ok(batch) = Batch::parse(&message)
        {
            for row in batch.rows().flatten() {
                let Ok(request) = row.request else { continue };
                prop_assert_ne!(request.kind(), Ok(Kind::Batch));
                prop_assert_eq!(request.digest(), Ok(Some(row.digest)));
                prop_assert_eq!(request.ops.iter().count(), request.ops.len());
            }
        }
    }
}
