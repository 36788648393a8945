use proptest::prelude::*;

use super::*;
use crate::code::ResultCode;
use crate::testing::{DIGEST, GET_ALL, PUT, SCAN, body, field, message, op};
use karst_data::key::PartitionId;

fn with_info(info1: Info1, info2: Info2) -> MessageHeader {
    MessageHeader {
        info1,
        info2,
        ..MessageHeader::default()
    }
}

/// A message of nothing but these fields.
fn of_fields(fields: &[Vec<u8>]) -> Vec<u8> {
    message(MessageHeader::default(), fields, &[])
}

/// A message of nothing but these operations.
fn of_ops(ops: &[Vec<u8>]) -> Vec<u8> {
    message(MessageHeader::default(), &[], ops)
}

fn refused(bytes: &[u8]) -> Malformed {
    Message::parse(bytes).expect_err("the message must be refused")
}

#[test]
fn the_worked_put_is_understood() {
    let bytes = body(PUT);
    let put = Message::parse(&bytes).unwrap();
    assert_eq!(put.kind(), Ok(Kind::Write));
    assert_eq!(put.header.transaction_ttl, 1000);
    assert_eq!(put.namespace(), Ok(&b"test"[..]));
    assert_eq!(put.set(), Ok(Some(&b"demo"[..])));
    assert_eq!(put.digest().unwrap().unwrap().to_string(), DIGEST);
    assert_eq!(put.key(), None);
    let write = Op {
        code: OpCode::Write,
        particle: particle::INTEGER,
        name: b"a",
        value: &[0, 0, 0, 0, 0, 0, 0, 1],
    };
    assert_eq!(put.ops.len(), 1);
    assert_eq!(put.ops.iter().collect::<Vec<_>>(), [write]);
}

#[test]
fn the_worked_get_is_understood() {
    let bytes = body(GET_ALL);
    let get = Message::parse(&bytes).unwrap();
    assert_eq!(get.kind(), Ok(Kind::Read));
    assert!(get.header.info1.contains(Info1::READ | Info1::GET_ALL));
    assert!(get.ops.is_empty());
}

#[test]
fn the_worked_scan_is_understood() {
    let bytes = body(SCAN);
    let scan = Message::parse(&bytes).unwrap();
    assert_eq!(scan.kind(), Ok(Kind::Query));
    assert!(scan.header.info3.contains(Info3::PARTITION_DONE));
    assert_eq!(scan.header.record_ttl, u32::MAX);
    assert_eq!(scan.task_id(), Ok(Some(0x1122_3344_5566_7788)));
    assert_eq!(scan.socket_timeout_ms(), Ok(Some(30_000)));
    assert_eq!(scan.digest(), Ok(None));
    let partitions = scan.partition_filter().unwrap();
    let from_start: Vec<_> = partitions.from_start().collect();
    assert_eq!(from_start, [PartitionId(0), PartitionId(492)]);
    assert_eq!(partitions.resumed().count(), 0);
}

#[test]
fn a_message_cut_at_any_byte_or_one_byte_longer_is_refused() {
    for example in [PUT, GET_ALL, SCAN] {
        let mut bytes = body(example);
        for end in 0..bytes.len() {
            assert_eq!(refused(&bytes[..end]).code(), ResultCode::Parameter);
        }
        bytes.push(0);
        assert_eq!(refused(&bytes), Malformed::Trailing { bytes: 1 });
    }
}

#[test]
fn counts_that_lie_are_refused() {
    let (fields_at, ops_at) = (18, 20);
    for (at, truth) in [(fields_at, 3), (ops_at, 1)] {
        let mut bytes = body(PUT);
        for count in 0..=u16::MAX {
            bytes[at..at + 2].copy_from_slice(&count.to_be_bytes());
            assert_eq!(Message::parse(&bytes).is_ok(), count == truth, "{count}");
        }
    }
}

#[test]
fn sizes_that_are_off_by_one_are_refused() {
    let (namespace_at, set_at, digest_at, op_at) = (22, 31, 40, 65);
    for at in [namespace_at, set_at, digest_at, op_at] {
        let bytes = body(PUT);
        let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        for wrong in [0, size - 1, size + 1, u32::MAX] {
            let mut bytes = bytes.clone();
            bytes[at..at + 4].copy_from_slice(&wrong.to_be_bytes());
            assert_eq!(
                refused(&bytes).code(),
                ResultCode::Parameter,
                "{at} {wrong}"
            );
        }
    }
}

#[test]
fn a_field_needs_at_least_its_id() {
    let empty = vec![0, 0, 0, 0];
    let error = refused(&of_fields(&[field(0, b"test"), empty]));
    assert_eq!(error, Malformed::FieldEmpty { index: 1 });
}

#[test]
fn a_request_names_one_record() {
    let digest = field(field::DIGEST, &[7; 20]);
    let error = refused(&of_fields(&[digest.clone(), digest]));
    assert_eq!(error, Malformed::DigestTwice);
}

#[test]
fn of_other_fields_the_first_counts_and_unknown_ones_do_not() {
    let bytes = of_fields(&[
        field(200, b"what"),
        field(field::NAMESPACE, b"first"),
        field(8, &[]),
        field(field::NAMESPACE, b"second"),
        field(255, &[0; 300]),
    ]);
    let found = Message::parse(&bytes).unwrap();
    assert_eq!(found.namespace(), Ok(&b"first"[..]));
    let only = Fields {
        namespace: Some(b"first"),
        ..Fields::default()
    };
    assert_eq!(found.fields, only);
}

#[test]
fn every_known_field_is_filed_under_its_own_name() {
    let ids = [
        0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 21, 22, 23, 24, 26, 30, 31, 32, 33, 40,
        41, 43,
    ];
    let all: Vec<_> = ids.iter().map(|id| field(*id, &[*id])).collect();
    let bytes = of_fields(&all);
    let found = Message::parse(&bytes).unwrap().fields;
    let data = [
        found.namespace,
        found.set,
        found.key,
        found.record_version,
        found.digest,
        found.transaction_id,
        found.transaction_deadline,
        found.task_id,
        found.socket_timeout,
        found.records_per_second,
        found.partition_ids,
        found.digest_array,
        found.sample_max,
        found.last_update_time,
        found.bval_array,
        found.index_name,
        found.index_range,
        found.index_context,
        found.index_expression,
        found.index_type,
        found.udf_filename,
        found.udf_function,
        found.udf_arguments,
        found.udf_op,
        found.query_bin_list,
        found.batch,
        found.filter,
    ];
    let data: Vec<_> = data.iter().map(|data| data.unwrap()[0]).collect();
    assert_eq!(data, ids);
}

#[test]
fn an_operation_smaller_than_its_own_parts_is_refused() {
    for op_bytes in 0..4u32 {
        let mut bytes = op_bytes.to_be_bytes().to_vec();
        bytes.resize(4 + op_bytes as usize, 0);
        let error = refused(&of_ops(&[bytes]));
        assert_eq!(error, Malformed::OpSize { index: 0, op_bytes });
    }
    let mut name_outside = op(1, 0, 0, b"abc", b"");
    name_outside[7] = 4;
    let error = refused(&of_ops(&[op(1, 0, 0, b"a", b""), name_outside]));
    let outside = Malformed::OpSize {
        index: 1,
        op_bytes: 7,
    };
    assert_eq!(error, outside);
}

#[test]
fn bin_names_have_at_most_15_bytes_and_no_nul_and_say_so_with_their_own_code() {
    assert!(Message::parse(&of_ops(&[op(1, 0, 0, &[b'n'; 15], b"")])).is_ok());
    let long = refused(&of_ops(&[op(1, 0, 0, &[b'n'; 16], b"")]));
    let (index, bytes) = (0, 16);
    assert_eq!(long, Malformed::BinNameLong { index, bytes });
    assert_eq!(long.code(), ResultCode::BinName);
    for name in [&b"\0"[..], b"a\0", b"\0a", b"a\0b"] {
        let nul = refused(&of_ops(&[
            op(1, 0, 0, b"fine", b""),
            op(2, 1, 0, name, b""),
        ]));
        assert_eq!(nul, Malformed::BinNameNul { index: 1 });
        assert_eq!(nul.code(), ResultCode::BinName);
    }
}

#[test]
fn a_broken_boundary_counts_for_more_than_a_bad_name() {
    let mut bytes = of_ops(&[op(1, 0, 0, &[b'n'; 16], b"")]);
    bytes.push(0);
    assert_eq!(refused(&bytes).code(), ResultCode::Parameter);
}

#[test]
fn the_update_time_of_a_shipped_operation_is_not_part_of_its_value() {
    let shipped = op(2, particle::STRING, 1, b"a", b"12345678text");
    let bytes = of_ops(&[shipped, op(2, 0, 0, b"b", b"")]);
    let ops: Vec<_> = Message::parse(&bytes).unwrap().ops.iter().collect();
    assert_eq!((ops[0].name, ops[0].value), (&b"a"[..], &b"text"[..]));
    assert_eq!(ops[1].name, b"b");
    let error = refused(&of_ops(&[op(2, particle::STRING, 1, b"a", b"1234567")]));
    assert!(matches!(error, Malformed::OpSize { .. }));
}

#[test]
fn a_request_has_at_most_32768_operations() {
    let mut ops = vec![op(11, 0, 0, b"", b""); usize::from(OPS_MAX)];
    assert_eq!(
        Message::parse(&of_ops(&ops)).unwrap().ops.iter().count(),
        32768
    );
    ops.push(op(11, 0, 0, b"", b""));
    let error = refused(&of_ops(&ops));
    assert_eq!(error, Malformed::OpCount { count: 32769 });
    assert_eq!(error.code(), ResultCode::Parameter);
}

/// The kind of a message with these flags and one field for each id given.
fn kind(info1: Info1, info2: Info2, fields: &[(u8, &[u8])]) -> Result<Kind, Malformed> {
    let fields: Vec<_> = fields.iter().map(|(id, data)| field(*id, data)).collect();
    Message::parse(&message(with_info(info1, info2), &fields, &[]))
        .unwrap()
        .kind()
}

#[test]
fn a_request_with_a_digest_concerns_one_record() {
    let digest = (field::DIGEST, &[7; 20][..]);
    let udf = (field::UDF_FILENAME, &b"module"[..]);
    let (read, write) = (Info1::READ, Info2::WRITE);
    let delete = write | Info2::DELETE;
    assert_eq!(kind(read, Info2::NONE, &[digest]), Ok(Kind::Read));
    assert_eq!(
        kind(read, Info2::RESPOND_ALL_OPS, &[digest]),
        Ok(Kind::Read)
    );
    assert_eq!(kind(Info1::NONE, write, &[digest]), Ok(Kind::Write));
    assert_eq!(kind(read, write, &[digest]), Ok(Kind::Write));
    assert_eq!(kind(Info1::NONE, delete, &[digest]), Ok(Kind::Delete));
    assert_eq!(kind(Info1::NONE, write, &[digest, udf]), Ok(Kind::Udf));
    assert_eq!(kind(Info1::NONE, delete, &[digest, udf]), Ok(Kind::Delete));
    let nothing = kind(Info1::GET_ALL, Info2::DELETE, &[digest]);
    assert_eq!(nothing, Err(Malformed::NoAction));
    let batch = kind(read | Info1::BATCH, Info2::NONE, &[digest]);
    assert_eq!(batch, Ok(Kind::Batch));
}

#[test]
fn a_request_without_a_digest_concerns_many_records() {
    let udf = (field::UDF_FILENAME, &b"module"[..]);
    let udf_op = |op: &'static [u8]| (field::UDF_OP, op);
    let (none, read, write) = (Info1::NONE, Info1::READ, Info2::WRITE);
    assert_eq!(kind(read, Info2::NONE, &[]), Ok(Kind::Query));
    assert_eq!(kind(none, write, &[]), Ok(Kind::BackgroundOps));
    assert_eq!(
        kind(none, write, &[udf, udf_op(&[2])]),
        Ok(Kind::BackgroundUdf)
    );
    assert_eq!(
        kind(read, Info2::NONE, &[udf, udf_op(&[1])]),
        Ok(Kind::Aggregation)
    );
    for bad in [&[0u8][..], &[3], &[], &[1, 1]] {
        let kind = kind(read, write, &[udf, udf_op(bad)]);
        assert_eq!(kind, Err(Malformed::UdfOp), "{bad:?}");
    }
    assert_eq!(kind(read, write, &[udf]), Err(Malformed::UdfOp));
}

#[test]
fn names_of_namespaces_and_sets_are_bounded() {
    let named = |namespace: usize, set: usize| {
        let names = [vec![b'n'; namespace], vec![b's'; set]];
        of_fields(&[field(0, &names[0]), field(1, &names[1])])
    };
    let longest = named(31, 63);
    let longest = Message::parse(&longest).unwrap();
    assert_eq!(longest.namespace().unwrap().len(), 31);
    assert_eq!(longest.set().unwrap().unwrap().len(), 63);
    let longer = named(32, 64);
    let longer = Message::parse(&longer).unwrap();
    assert_eq!(
        longer.namespace().unwrap_err().code(),
        ResultCode::Namespace
    );
    assert_eq!(longer.set().unwrap_err().code(), ResultCode::Parameter);
    let none = of_fields(&[field(1, b"")]);
    let none = Message::parse(&none).unwrap();
    assert_eq!(none.namespace(), Err(Malformed::NamespaceMissing));
    assert_eq!(none.set(), Ok(None));
}

#[test]
fn a_digest_has_20_bytes() {
    for bytes in [0, 19, 21] {
        let wrong = of_fields(&[field(field::DIGEST, &vec![7; bytes])]);
        let error = Message::parse(&wrong).unwrap().digest().unwrap_err();
        let (id, expected) = (field::DIGEST, 20);
        assert_eq!(
            error,
            Malformed::FieldSize {
                id,
                bytes,
                expected
            }
        );
        assert_eq!(error.code(), ResultCode::Parameter);
    }
}

#[test]
fn numbers_in_fields_have_their_size_and_byte_order() {
    let bytes = of_fields(&[
        field(field::TRANSACTION_ID, &[1, 0, 0, 0, 0, 0, 0, 0]),
        field(field::RECORDS_PER_SECOND, &[0, 0, 0, 2]),
        field(field::SAMPLE_MAX, &[0, 0, 0, 0, 0, 0, 0, 3]),
    ]);
    let found = Message::parse(&bytes).unwrap();
    assert_eq!(found.transaction_id(), Ok(Some(1)));
    assert_eq!(found.records_per_second(), Ok(Some(2)));
    assert_eq!(found.sample_max(), Ok(Some(3)));
    assert_eq!(found.task_id(), Ok(None));
    let bytes = of_fields(&[
        field(field::TRANSACTION_ID, &[0; 7]),
        field(field::TASK_ID, &[0; 9]),
        field(field::SOCKET_TIMEOUT, &[0; 8]),
        field(field::RECORDS_PER_SECOND, &[]),
        field(field::SAMPLE_MAX, &[0; 4]),
    ]);
    let wrong = Message::parse(&bytes).unwrap();
    assert!(wrong.transaction_id().is_err());
    assert!(wrong.task_id().is_err());
    assert!(wrong.socket_timeout_ms().is_err());
    assert!(wrong.records_per_second().is_err());
    assert!(wrong.sample_max().is_err());
}

#[test]
fn a_key_is_stored_only_with_a_type_and_an_integer_only_with_eight_bytes() {
    let check = |bytes: &[u8]| UserKey(bytes).check_storable().is_ok();
    assert!(check(&[particle::INTEGER, 0, 0, 0, 0, 0, 0, 0, 1]));
    assert!(check(b"\x03key1"));
    assert!(check(&[particle::STRING]));
    assert!(!check(&[]));
    assert!(!check(&[particle::INTEGER]));
    assert!(!check(&[particle::INTEGER, 0, 0, 0, 1]));
    let error = UserKey(&[]).check_storable().unwrap_err();
    assert_eq!(error.code(), ResultCode::UnsupportedFeature);
    assert_eq!(UserKey(&[]).value(), b"");
    assert_eq!(UserKey(b"\x03key1").particle(), Some(particle::STRING));
    assert_eq!(UserKey(b"\x03key1").value(), b"key1");
}

/// Reads the partitions of a message with these three lists.
fn partitions(
    numbers: Option<&[u16]>,
    digests: Option<&[[u8; 20]]>,
    bvals: Option<&[u64]>,
) -> Result<(Vec<PartitionId>, Vec<Resume>), Malformed> {
    let numbers = numbers.map(|list| list.iter().flat_map(|n| n.to_le_bytes()).collect());
    let bvals = bvals.map(|list| list.iter().flat_map(|n| n.to_le_bytes()).collect());
    let lists: [(u8, Option<Vec<u8>>); 3] = [
        (field::PARTITION_IDS, numbers),
        (field::DIGEST_ARRAY, digests.map(|list| list.concat())),
        (field::BVAL_ARRAY, bvals),
    ];
    let lists = lists.iter();
    let fields: Vec<_> = lists
        .filter_map(|(id, data)| data.as_ref().map(|data| field(*id, data)))
        .collect();
    let bytes = of_fields(&fields);
    let filter = Message::parse(&bytes).unwrap().partition_filter()?;
    assert_eq!(
        filter.count(),
        filter.from_start().len() + filter.resumed().len()
    );
    Ok((filter.from_start().collect(), filter.resumed().collect()))
}

/// Some digest in that partition.
fn digest_in(partition: u16) -> [u8; 20] {
    let mut digest = [0xf7; 20];
    digest[..2].copy_from_slice(&(partition | 0xf000).to_le_bytes());
    digest
}

#[test]
fn a_query_may_name_every_partition_once() {
    let all: Vec<u16> = (0..4096).rev().collect();
    let (from_start, resumed) = partitions(Some(&all), None, None).unwrap();
    assert_eq!(from_start.len(), 4096);
    assert_eq!(from_start[0], PartitionId(4095));
    assert!(resumed.is_empty());
}

#[test]
fn a_query_resumes_behind_digests_with_their_index_values() {
    let digests = [digest_in(5), digest_in(4095)];
    let (from_start, resumed) = partitions(Some(&[6]), Some(&digests), Some(&[1, 2])).unwrap();
    assert_eq!(from_start, [PartitionId(6)]);
    let resume = |digest, bval| Resume {
        digest: Digest(digest),
        bval,
    };
    let both = [resume(digests[0], Some(1)), resume(digests[1], Some(2))];
    assert_eq!(resumed, both);
    let (_, resumed) = partitions(None, Some(&digests[..1]), None).unwrap();
    assert_eq!(resumed, [resume(digests[0], None)]);
}

#[test]
fn bad_lists_of_partitions_are_refused() {
    let twice = |partition| Err(Malformed::PartitionTwice { partition });
    let unknown = |partition| Err(Malformed::PartitionUnknown { partition });
    let count = |count| Err(Malformed::PartitionCount { count });
    let pairs = |digests, values| Err(Malformed::ResumeValues { digests, values });
    let five = digest_in(5);
    let mut other_five = five;
    other_five[19] = 0;
    let missing = partitions(None, None, None);
    assert_eq!(missing, Err(Malformed::PartitionsMissing));
    assert_eq!(missing.unwrap_err().code(), ResultCode::UnsupportedFeature);
    assert_eq!(partitions(Some(&[]), None, None), count(0));
    assert_eq!(partitions(Some(&[0; 4097]), None, None), count(4097));
    assert_eq!(partitions(None, Some(&[]), None), count(0));
    assert_eq!(partitions(Some(&[4096]), None, None), unknown(4096));
    assert_eq!(partitions(Some(&[65535]), None, None), unknown(65535));
    assert_eq!(partitions(Some(&[3, 5, 3]), None, None), twice(3));
    assert_eq!(partitions(Some(&[5]), Some(&[five]), None), twice(5));
    assert_eq!(partitions(None, Some(&[five, other_five]), None), twice(5));
    assert_eq!(partitions(None, Some(&[five]), Some(&[1, 2])), pairs(1, 2));
    assert_eq!(partitions(Some(&[1]), None, Some(&[1])), pairs(0, 1));
    assert_eq!(partitions(None, None, Some(&[1])), pairs(0, 1));
    for (id, bytes) in [(field::PARTITION_IDS, 3), (field::DIGEST_ARRAY, 39)] {
        let odd = of_fields(&[field(id, &vec![0; bytes])]);
        let error = Message::parse(&odd).unwrap().partition_filter();
        assert!(matches!(error, Err(Malformed::FieldSize { .. })), "{id}");
    }
}

/// Asks everything there is to ask, so that anything that could panic does.
fn exercise(bytes: &[u8]) -> Result<(), Malformed> {
    let message = Message::parse(bytes)?;
    assert_eq!(message.ops.iter().count(), message.ops.len());
    for op in message.ops {
        assert!(op.name.len() <= BIN_NAME_BYTES_MAX && !op.name.contains(&0));
    }
    let _ = (message.kind(), message.namespace(), message.set());
    let _ = (message.digest(), message.task_id(), message.sample_max());
    let _ = (message.socket_timeout_ms(), message.records_per_second());
    let _ = (message.transaction_id(), message.key());
    if let Ok(filter) = message.partition_filter() {
        assert!(filter.from_start().all(|partition| partition.0 < 4096));
        assert_eq!(
            filter.from_start().len() + filter.resumed().len(),
            filter.count()
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_body_is_parsed_or_refused(bytes: Vec<u8>) {
        let _ = exercise(&bytes);
    }

    #[test]
    fn a_damaged_message_is_parsed_or_refused(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        example in prop::sample::select(vec![PUT, GET_ALL, SCAN]),
    ) {
        let mut bytes = body(example);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = exercise(&bytes);
    }

    #[test]
    fn operations_come_out_as_they_went_in(
        ops in prop::collection::vec(
            (any::<u8>(), any::<u8>(), "[a-z]{0,15}", any::<Vec<u8>>()),
            0..20,
        ),
    ) {
        let wire: Vec<_> = ops
            .iter()
            .map(|(code, particle, name, value)| op(*code, *particle, 0, name.as_bytes(), value))
            .collect();
        let bytes = message(MessageHeader::default(), &[field(0, b"test")], &wire);
        let found = Message::parse(&bytes).unwrap();
        let expected: Vec<_> = ops
            .iter()
            .map(|(code, particle, name, value)| Op {
                code: OpCode::from_u8(*code),
                particle: *particle,
                name: name.as_bytes(),
                value,
            })
            .collect();
        prop_assert_eq!(found.ops.iter().collect::<Vec<_>>(), expected);
    }
}
