//! What a client sends: frames, messages, batches, compressed messages, values.

use karst_data::value::Value;
use karst_wire::batch::{Batch, BatchRow};
use karst_wire::command::{self, BatchParent, Body, RowHeader};
use karst_wire::field;
use karst_wire::frame::{self, BODY_BYTES_MAX, FrameHeader, FrameKind, HEADER_BYTES};
use karst_wire::frame::{MESSAGE_HEADER_BYTES, MessageHeader};
use karst_wire::request::{Fields, Info1, Info4, Message, Ops};

/// Largest message that is unpacked here, so that a round stays short.
const INFLATED_BYTES_MAX: usize = 1 << 20;

/// Reads `bytes` as one end of a connection would: frame by frame until one is refused or cut off.
pub fn check(bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((head, after)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let Ok(header) = FrameHeader::parse(head, BODY_BYTES_MAX) else {
            return;
        };
        let again = FrameHeader::parse(&header.to_bytes(), header.body_bytes);
        assert_eq!(again, Ok(header));
        let Some((body, after)) = after.split_at_checked(header.body_bytes) else {
            return;
        };
        match header.kind {
            FrameKind::Message => message(body),
            FrameKind::Compressed => compressed(body),
            FrameKind::Info | FrameKind::Admin => {}
        }
        rest = after;
    }
}

/// The body of a compressed frame. What comes out goes in again.
fn compressed(body: &[u8]) {
    let Ok(inner) = frame::inflate(body, INFLATED_BYTES_MAX) else {
        return;
    };
    assert!(inner.len() <= INFLATED_BYTES_MAX);
    assert!(inner.capacity() <= 2 * INFLATED_BYTES_MAX);
    message(&inner);
    let header = FrameHeader {
        kind: FrameKind::Message,
        body_bytes: inner.len(),
    };
    let mut packed = Vec::new();
    frame::deflate(&[&header.to_bytes()[..], &inner].concat(), &mut packed).unwrap();
    let unpacked = frame::inflate(&packed[HEADER_BYTES..], inner.len());
    assert_eq!(unpacked.as_ref(), Ok(&inner));
}

/// The body of a message frame.
pub fn message(body: &[u8]) {
    if let Some(head) = body.first_chunk::<MESSAGE_HEADER_BYTES>() {
        let header = MessageHeader::parse(head);
        assert_eq!(MessageHeader::parse(&header.to_bytes()), header);
    }
    let Ok(message) = Message::parse(body) else {
        return;
    };
    look(&message);
    if let Some(written) = rewritten(&message) {
        let again = Message::parse(&written[HEADER_BYTES..]).unwrap();
        assert_same(&again, &message);
    }
    if let Ok(batch) = Batch::parse(&message) {
        rows(&message, &batch, body.len());
    }
}

/// Asks a message everything that a server asks.
fn look(message: &Message<'_>) {
    let _ = (
        message.kind(),
        message.namespace(),
        message.set(),
        message.digest(),
    );
    let _ = (
        message.transaction_id(),
        message.task_id(),
        message.socket_timeout_ms(),
    );
    let _ = (message.records_per_second(), message.sample_max());
    if let Some(key) = message.key() {
        let _ = key.check_storable();
        assert_eq!(
            usize::from(key.particle().is_some()) + key.value().len(),
            key.0.len()
        );
    }
    let _ = (message.index_range(), message.index_kind());
    if let Ok(filter) = message.partition_filter() {
        assert_eq!(
            filter.from_start().len() + filter.resumed().len(),
            filter.count()
        );
        assert!((1..=4096).contains(&filter.count()));
    }
    assert_eq!(message.ops.iter().count(), message.ops.len());
    for op in message.ops.iter() {
        let Ok(Some(value)) = Value::from_wire(op.particle, op.value) else {
            continue;
        };
        assert!(value.bytes.len() <= 8 + 2 * op.value.len());
        let again = Value::from_wire(value.particle as u8, &value.bytes);
        assert_eq!(
            again.as_ref(),
            Ok(&Some(value.clone())),
            "a stored value can be sent back"
        );
    }
}

/// The message as this project's client would write it; `None` where it has no way to say it: a bin
/// name that is no text.
fn rewritten(message: &Message<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let names_are_text = message
        .ops
        .iter()
        .all(|op| std::str::from_utf8(op.name).is_ok());
    let write = |body: &mut Body<'_>| {
        write_fields(body, &message.fields, true);
        write_ops(body, message.ops);
    };
    names_are_text.then(|| command::message(&mut out, message.header, write).unwrap())?;
    Some(out)
}

fn write_ops(body: &mut Body<'_>, ops: Ops<'_>) {
    for op in ops {
        let name = std::str::from_utf8(op.name).expect("names were found to be text");
        body.op(op.code, op.particle, name, op.value);
    }
}

fn write_fields(body: &mut Body<'_>, fields: &Fields<'_>, with_digest: bool) {
    for (id, data) in known_fields(fields) {
        if id != field::DIGEST || with_digest {
            body.field(id, data);
        }
    }
}

fn known_fields<'a>(fields: &Fields<'a>) -> impl Iterator<Item = (u8, &'a [u8])> {
    let table = [
        (field::NAMESPACE, fields.namespace),
        (field::SET, fields.set),
        (field::KEY, fields.key),
        (field::RECORD_VERSION, fields.record_version),
        (field::DIGEST, fields.digest),
        (field::TRANSACTION_ID, fields.transaction_id),
        (field::TRANSACTION_DEADLINE, fields.transaction_deadline),
        (field::TASK_ID, fields.task_id),
        (field::SOCKET_TIMEOUT, fields.socket_timeout),
        (field::RECORDS_PER_SECOND, fields.records_per_second),
        (field::PARTITION_IDS, fields.partition_ids),
        (field::DIGEST_ARRAY, fields.digest_array),
        (field::SAMPLE_MAX, fields.sample_max),
        (field::LAST_UPDATE_TIME, fields.last_update_time),
        (field::BVAL_ARRAY, fields.bval_array),
        (field::INDEX_NAME, fields.index_name),
        (field::INDEX_RANGE, fields.index_range),
        (field::INDEX_CONTEXT, fields.index_context),
        (field::INDEX_EXPRESSION, fields.index_expression),
        (field::INDEX_TYPE, fields.index_type),
        (field::UDF_FILENAME, fields.udf_filename),
        (field::UDF_FUNCTION, fields.udf_function),
        (field::UDF_ARGUMENTS, fields.udf_arguments),
        (field::UDF_OP, fields.udf_op),
        (field::QUERY_BIN_LIST, fields.query_bin_list),
        (field::BATCH, fields.batch),
        (field::FILTER, fields.filter),
    ];
    table.into_iter().filter_map(|(id, data)| Some((id, data?)))
}

/// Two messages mean the same: fields nobody knows and the update time of shipped operations are not
/// part of what a message means.
fn assert_same(found: &Message<'_>, expected: &Message<'_>) {
    let counts = (expected.header.field_count, expected.header.op_count);
    let (field_count, op_count) = counts;
    let header = MessageHeader {
        field_count,
        op_count,
        ..found.header
    };
    assert_eq!(header, expected.header);
    assert_eq!(found.fields, expected.fields);
    assert!(found.ops.iter().eq(expected.ops.iter()));
}

/// The rows of a batch: they end, and what is well formed in front can be written again.
fn rows(parent: &Message<'_>, batch: &Batch<'_>, bytes: usize) {
    assert!(
        batch.row_count() * 25 <= bytes,
        "a count that the bytes do not back"
    );
    let all: Vec<_> = batch.rows().take(batch.row_count() + 2).collect();
    assert!(all.len() <= batch.row_count() + 1, "rows do not end");
    assert!(
        all.iter().rev().skip(1).all(Result::is_ok),
        "rows behind an error"
    );
    let sound = |row: BatchRow<'_>| row.request.is_ok_and(|message| is_writable(&message));
    if all.len() != batch.row_count() || !all.iter().all(|row| row.is_ok_and(sound)) {
        return;
    }
    let all: Vec<BatchRow<'_>> = all.into_iter().flatten().collect();
    let written = rewritten_rows(parent, batch, &all);
    let again = Message::parse(&written[HEADER_BYTES..]).unwrap();
    let again = Batch::parse(&again).unwrap();
    assert_eq!(
        (again.row_count(), again.flags()),
        (batch.row_count(), batch.flags())
    );
    for (found, expected) in again.rows().map(Result::unwrap).zip(&all) {
        assert_eq!(
            (found.index, found.digest),
            (expected.index, expected.digest)
        );
        assert_same(&found.request.unwrap(), &expected.request.unwrap());
    }
}

/// Whether this project's client has a way to say it in a row.
fn is_writable(row: &Message<'_>) -> bool {
    let namespace = row.fields.namespace.is_some();
    let names_are_text = row
        .ops
        .iter()
        .all(|op| std::str::from_utf8(op.name).is_ok());
    look(row);
    namespace && names_are_text && row.header.info4 == Info4::NONE
}

fn rewritten_rows(parent: &Message<'_>, batch: &Batch<'_>, rows: &[BatchRow<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let shared = BatchParent {
        flags: batch.flags(),
        info3: parent.header.info3,
        timeout_ms: parent.header.transaction_ttl,
        filter: None, // each row brings its own
    };
    let write = |writer: &mut command::Rows<'_>| {
        for row in rows {
            let message = row.request.expect("only sound rows are written");
            let header = row_header(&message.header);
            writer.row(row.index, &row.digest, header, |body| {
                write_fields(body, &message.fields, false);
                write_ops(body, message.ops);
            });
        }
    };
    command::batch(&mut out, shared, write).unwrap();
    out
}

fn row_header(header: &MessageHeader) -> RowHeader {
    assert!(
        !header
            .info1
            .intersects(Info1::BATCH | Info1::COMPRESS_RESPONSE | Info1::XDR)
    );
    RowHeader {
        info1: header.info1,
        info2: header.info2,
        info3: header.info3,
        generation: Some(u16::try_from(header.generation).expect("a row has 16 bits for it")),
        ttl: Some(header.record_ttl),
    }
}
