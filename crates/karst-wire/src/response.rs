//! Answers as a client reads them: borrowed views over the body of one frame.
//!
//! Owns nothing and allocates nothing. A message is checked whole before it is handed out (every
//! field and operation lies inside the body, sizes add up), so walking its fields and operations
//! cannot fail. What the values mean is not looked at here.
//!
//! Any bytes may arrive. Bytes that are no answer give a [`BadResponse`]; nothing after it in the
//! frame can be trusted, and the connection it came from is to be closed.

use std::str;

use karst_data::key::{Digest, PARTITIONS, PartitionId};

use crate::code::ResultCode;
use crate::field;
use crate::flags::Info3;
use crate::frame::{MESSAGE_HEADER_BYTES, MessageHeader};

/// Operation flag: eight bytes of last update time stand between name and value.
const OP_HAS_UPDATE_TIME: u8 = 0x01;

/// Bytes of an operation between its size and its name.
const OP_HEAD_BYTES: usize = 4;

/// Why the body of a frame is not an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadResponse {
    /// The body ends inside a message header.
    #[error("{bytes} bytes where a message header of {MESSAGE_HEADER_BYTES} was expected")]
    Header {
        /// Bytes left in the body.
        bytes: usize,
    },
    /// A field reaches past the end of the body, or has no id.
    #[error("field {index} does not fit its message")]
    Field {
        /// Which field, from 0.
        index: u16,
    },
    /// An operation reaches past the end of the body, or its name past its own end.
    #[error("operation {index} does not fit its message")]
    Op {
        /// Which operation, from 0.
        index: u16,
    },
    /// Bytes follow where one message alone was expected.
    #[error("{bytes} bytes follow the answer")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// An info answer is not UTF-8.
    #[error("info answer is not UTF-8")]
    Text,
    /// An info answer does not repeat the command it should answer.
    #[error("info answer {index} belongs to another command")]
    Echo {
        /// Which command, from 0.
        index: usize,
    },
}

/// One message of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Its header.
    pub header: MessageHeader,
    fields: &'a [u8],
    ops: &'a [u8],
}

/// One field of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Which field, see [`crate::field`].
    pub id: u8,
    /// Its data.
    pub data: &'a [u8],
}

/// One operation's result: a bin, or what an operation returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpResult<'a> {
    /// Operation code; carries no meaning in an answer.
    pub code: u8,
    /// Particle type of the value, see [`crate::particle`].
    pub particle: u8,
    /// Name of the bin.
    pub name: &'a [u8],
    /// The value's bytes; empty with the null particle.
    pub value: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Reads a body that must hold one message and nothing else.
    ///
    /// # Errors
    /// [`BadResponse`] if it does not.
    #[inline]
    pub fn single(body: &'a [u8]) -> Result<Answer<'a>, BadResponse> {
        let (answer, rest) = Answer::split(body)?;
        match rest.len() {
            0 => Ok(answer),
            bytes => Err(BadResponse::Trailing { bytes }),
        }
    }

    /// Reads the first message of a body and returns what follows it.
    fn split(body: &'a [u8]) -> Result<(Answer<'a>, &'a [u8]), BadResponse> {
        let bytes = body.len();
        let (head, data) = body
            .split_first_chunk::<MESSAGE_HEADER_BYTES>()
            .ok_or(BadResponse::Header { bytes })?;
        let header = MessageHeader::parse(head);
        let mut after_fields = data;
        for index in 0..header.field_count {
            (_, after_fields) = split_field(after_fields).ok_or(BadResponse::Field { index })?;
        }
        let mut after_ops = after_fields;
        for index in 0..header.op_count {
            (_, after_ops) = split_op(after_ops).ok_or(BadResponse::Op { index })?;
        }
        let answer = Answer {
            header,
            fields: &data[..data.len() - after_fields.len()],
            ops: &after_fields[..after_fields.len() - after_ops.len()],
        };
        Ok((answer, after_ops))
    }

    /// The result.
    ///
    /// # Errors
    /// The number itself, if it is none this crate knows.
    #[inline]
    pub fn code(&self) -> Result<ResultCode, u8> {
        ResultCode::from_u8(self.header.result_code).ok_or(self.header.result_code)
    }

    /// Whether this is the last message of a batch or scan.
    #[inline]
    pub fn is_last(&self) -> bool {
        self.header.info3.contains(Info3::LAST)
    }

    /// The partition whose scan has ended with this message, if it is such a message. Its result
    /// says whether the partition was read at all.
    pub fn partition_done(&self) -> Option<PartitionId> {
        let id = u16::try_from(self.header.generation).ok()?;
        let done = self.header.info3.contains(Info3::PARTITION_DONE);
        (done && usize::from(id) < PARTITIONS).then_some(PartitionId(id))
    }

    /// The fields, in the order they came.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        walk(self.fields, split_field)
    }

    /// The data of the first field with this id.
    pub fn field(&self, id: u8) -> Option<&'a [u8]> {
        self.fields()
            .find(|field| field.id == id)
            .map(|field| field.data)
    }

    /// The record's digest; scans send it with every record.
    pub fn digest(&self) -> Option<Digest> {
        self.field(field::DIGEST).and_then(Digest::from_slice)
    }

    /// The index value the record was found under; queries by a secondary index send it with every record.
    pub fn index_value(&self) -> Option<u64> {
        let bytes = self.field(field::BVAL_ARRAY)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    /// The results of the operations, in the order they came.
    pub fn ops(&self) -> impl Iterator<Item = OpResult<'a>> + use<'a> {
        walk(self.ops, split_op)
    }
}

/// The messages that stand one behind the other in a body. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Answers<'a> {
    rest: &'a [u8],
}

impl<'a> Answers<'a> {
    /// The messages of `body`; an empty body holds none.
    pub fn new(body: &'a [u8]) -> Answers<'a> {
        Answers { rest: body }
    }
}

impl<'a> Iterator for Answers<'a> {
    type Item = Result<Answer<'a>, BadResponse>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let split = Answer::split(self.rest);
        self.rest = split.as_ref().map_or(&[], |(_, rest)| rest);
        Some(split.map(|(answer, _)| answer))
    }
}

/// Whether the body of a frame holds the last message of its stream.
///
/// # Errors
/// [`BadResponse`] if a message before that one cannot be read.
pub fn ends_stream(body: &[u8]) -> Result<bool, BadResponse> {
    for answer in Answers::new(body) {
        if answer?.is_last() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes one item off the front of some bytes and returns it with the rest; `None` if it does not fit.
type Split<'a, T> = fn(&'a [u8]) -> Option<(T, &'a [u8])>;

/// Repeats a split until the bytes are used up or no longer fit.
fn walk<'a, T>(mut rest: &'a [u8], split: Split<'a, T>) -> impl Iterator<Item = T> + use<'a, T> {
    std::iter::from_fn(move || {
        let (item, after) = split(rest)?;
        rest = after;
        Some(item)
    })
}

/// Takes four bytes of size and as many bytes as they say.
fn split_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*size) as usize)
}

fn split_field(bytes: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let (content, rest) = split_sized(bytes)?;
    let (id, data) = content.split_first()?;
    Some((Field { id: *id, data }, rest))
}

fn split_op(bytes: &[u8]) -> Option<(OpResult<'_>, &[u8])> {
    let (content, rest) = split_sized(bytes)?;
    let ([code, particle, flags, name_bytes], named) =
        content.split_first_chunk::<OP_HEAD_BYTES>()?;
    let (name, mut value) = named.split_at_checked(usize::from(*name_bytes))?;
    if flags & OP_HAS_UPDATE_TIME != 0 {
        (_, value) = value.split_at_checked(size_of::<u64>())?;
    }
    let op = OpResult {
        code: *code,
        particle: *particle,
        name,
        value,
    };
    Some((op, rest))
}

/// The values of an info answer, one for each of the commands it answers. A value may span lines; a
/// single line without an echo is an error about the whole request and stands for each command.
///
/// # Errors
/// [`BadResponse::Text`] if the body is not UTF-8, [`BadResponse::Echo`] if it answers something else.
pub fn info_values<'a>(body: &'a [u8], commands: &[&str]) -> Result<Vec<&'a str>, BadResponse> {
    let text = str::from_utf8(body).map_err(|_| BadResponse::Text)?;
    let mut rest = text.strip_suffix('\n').unwrap_or(text);
    if rest.starts_with("ERROR") && !rest.contains('\t') {
        return Ok(vec![rest; commands.len()]);
    }
    let mut values = Vec::with_capacity(commands.len());
    for (index, command) in commands.iter().enumerate() {
        let echoed = rest.strip_prefix(command);
        let value_on = echoed.and_then(|rest| rest.strip_prefix('\t'));
        let value_on = value_on.ok_or(BadResponse::Echo { index })?;
        let value_end = match commands.get(index + 1) {
            Some(next) => value_on
                .find(&format!("\n{next}\t"))
                .ok_or(BadResponse::Echo { index: index + 1 })?,
            None => value_on.len(),
        };
        values.push(&value_on[..value_end]);
        rest = value_on.get(value_end + 1..).unwrap_or_default();
    }
    match commands {
        [] if !rest.is_empty() => Err(BadResponse::Echo { index: 0 }),
        _ => Ok(values),
    }
}

/// The error an info value stands for, if it is one: `ERROR:code:message`, the code left out when it
/// is 1, or one of the older forms that begin with `FAIL` or `error=`.
pub fn info_error(value: &str) -> Option<(u8, &str)> {
    let unknown = ResultCode::Unknown.as_u8();
    if let Some(message) = value.strip_prefix("error=") {
        return Some((unknown, message));
    }
    let rest = value
        .strip_prefix("ERROR")
        .or_else(|| value.strip_prefix("FAIL"))?;
    let Some(rest) = rest.strip_prefix(':') else {
        return rest.is_empty().then_some((unknown, rest));
    };
    let (code, message) = rest.split_once(':').unwrap_or((rest, ""));
    Some((code.parse().unwrap_or(unknown), message))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::hex;

    /// The answer to a get of bin `a` = 1, generation 1, never expires.
    fn record() -> Vec<u8> {
        hex(
            "16 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 0d 01 01 \
             00 01 61 00 00 00 00 00 00 00 01",
        )
    }

    /// A scanned record with three fields, and partition 0 refused with 11.
    fn scanned() -> Vec<u8> {
        hex(
            "16 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00 00 03 00 01 00 00 00 05 00 74 \
             65 73 74 00 00 00 15 04 ec 91 19 2d 4b 7f 8c e3 5d 5d 78 d3 4b ca 65 cb aa aa c9 60 \
             00 00 00 05 01 64 65 6d 6f 00 00 00 0d 01 01 00 01 61 00 00 00 00 00 00 00 01 16 00 \
             00 04 00 0b 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
        )
    }

    #[test]
    fn a_read_answer_shows_its_bins() {
        let body = record();
        let answer = Answer::single(&body).unwrap();
        assert_eq!(answer.code(), Ok(ResultCode::Ok));
        assert_eq!(answer.header.generation, 1);
        let bins: Vec<_> = answer.ops().collect();
        assert_eq!(bins.len(), 1);
        assert_eq!((bins[0].name, bins[0].particle), (&b"a"[..], 1));
        assert_eq!(bins[0].value, 1i64.to_be_bytes());
        assert_eq!(answer.fields().count(), 0);
    }

    #[test]
    fn a_scan_answer_shows_digest_set_and_refused_partition() {
        let body = scanned();
        let answers: Vec<_> = Answers::new(&body).map(Result::unwrap).collect();
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[0].field(field::SET), Some(&b"demo"[..]));
        let partition = answers[0].digest().unwrap().partition();
        assert_eq!(partition, PartitionId(492));
        assert_eq!(answers[0].partition_done(), None);
        assert_eq!(answers[1].partition_done(), Some(PartitionId(0)));
        assert_eq!(answers[1].code(), Ok(ResultCode::Unavailable));
        assert_eq!(ends_stream(&body), Ok(false));
    }

    #[test]
    fn a_stream_ends_with_its_last_message() {
        let mut body = record();
        let mut last = vec![0; MESSAGE_HEADER_BYTES];
        last[3] = Info3::LAST.0;
        body.extend_from_slice(&last);
        assert_eq!(ends_stream(&body), Ok(true));
    }

    #[test]
    fn a_partition_number_out_of_range_names_no_partition() {
        let mut body = vec![0; MESSAGE_HEADER_BYTES];
        body[3] = Info3::PARTITION_DONE.0;
        body[8..10].copy_from_slice(&4096u16.to_be_bytes());
        assert_eq!(Answer::single(&body).unwrap().partition_done(), None);
        body[6] = 1;
        assert_eq!(Answer::single(&body).unwrap().partition_done(), None);
    }

    #[test]
    fn an_answer_cut_anywhere_is_refused() {
        let body = scanned();
        let second_at = body.len() - MESSAGE_HEADER_BYTES;
        for cut in (1..body.len()).filter(|cut| *cut != second_at) {
            let whole: Result<Vec<_>, _> = Answers::new(&body[..cut]).collect();
            assert!(whole.is_err(), "cut at {cut}");
        }
        let body = record();
        for cut in 0..body.len() {
            assert!(Answer::single(&body[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn bytes_after_a_single_answer_are_refused() {
        let mut body = record();
        body.push(0);
        assert_eq!(
            Answer::single(&body).unwrap_err(),
            BadResponse::Trailing { bytes: 1 }
        );
    }

    #[test]
    fn sizes_that_do_not_add_up_are_refused() {
        let op_at = MESSAGE_HEADER_BYTES;
        for (at, value) in [
            (op_at + 3, 3),
            (op_at + 3, 14),
            (op_at + 7, 10),
            (op_at, 0xff),
        ] {
            let mut body = record();
            body[at] = value;
            assert_eq!(
                Answer::single(&body).unwrap_err(),
                BadResponse::Op { index: 0 }
            );
        }
        let mut body = scanned();
        body[op_at + 3] = 0; // the first field: no room for its id
        assert_eq!(
            Answers::new(&body).next().unwrap().unwrap_err(),
            BadResponse::Field { index: 0 }
        );
    }

    #[test]
    fn a_last_update_time_is_not_part_of_the_value() {
        let mut body = record();
        body[MESSAGE_HEADER_BYTES + 6] = OP_HAS_UPDATE_TIME;
        let answer = Answer::single(&body).unwrap();
        assert_eq!(answer.ops().next().unwrap().value, b"");
    }

    #[test]
    fn info_values_belong_to_the_commands_they_echo() {
        let body = b"node\tBB9020011AC4202\nbuild\t8.1.2.0\nempty\t\n";
        let values = info_values(body, &["node", "build", "empty"]).unwrap();
        assert_eq!(values, ["BB9020011AC4202", "8.1.2.0", ""]);
        let index = 2;
        let swapped = info_values(body, &["node", "empty", "build"]);
        assert_eq!(swapped, Err(BadResponse::Echo { index }));
        let index = 0;
        assert_eq!(
            info_values(body, &["nod"]),
            Err(BadResponse::Echo { index })
        );
        assert_eq!(info_values(body, &[]), Err(BadResponse::Echo { index }));
        assert_eq!(info_values(b"", &[]), Ok(vec![]));
        assert_eq!(info_values(b"\xff\t\n", &["node"]), Err(BadResponse::Text));
    }

    #[test]
    fn an_info_value_may_span_lines() {
        let body = b"logs\tone\ntwo\nnode\tA\n";
        assert_eq!(
            info_values(body, &["logs", "node"]),
            Ok(vec!["one\ntwo", "A"])
        );
    }

    #[test]
    fn an_error_without_an_echo_stands_for_every_command() {
        let body = b"ERROR:80:not authenticated\n";
        let values = info_values(body, &["node", "build"]).unwrap();
        assert_eq!(values, ["ERROR:80:not authenticated"; 2]);
    }

    #[test]
    fn info_errors_are_told_from_values() {
        let check = |value, expected| assert_eq!(info_error(value), expected, "{value}");
        check(
            "ERROR:4:unrecognized command",
            Some((4, "unrecognized command")),
        );
        check("ERROR::unknown", Some((1, "unknown")));
        check("ERROR", Some((1, "")));
        check("FAIL:200:index exists", Some((200, "index exists")));
        check("error=file_not_found", Some((1, "file_not_found")));
        check(
            "ERROR:999:code out of range",
            Some((1, "code out of range")),
        );
        check("ok", None);
        check("ERRORS_SEEN=1", None);
        check("", None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
            for answer in Answers::new(&body).flatten() {
                prop_assert_eq!(answer.fields().count(), usize::from(answer.header.field_count));
                prop_assert_eq!(answer.ops().count(), usize::from(answer.header.op_count));
                let _ = (answer.digest(), answer.partition_done(), answer.code());
            }
            let _ = ends_stream(&body);
            let body = [b"a\t", &body[..]].concat();
            for value in info_values(&body, &["a", "b"]).unwrap_or_default() {
                let _ = info_error(value);
            }
        }

        #[test]
        fn no_flipped_byte_makes_the_decoder_read_outside(
            at in 0usize..100,
            value in any::<u8>(),
        ) {
            let mut body = scanned();
            let at = at % body.len();
            body[at] = value;
            let mut bytes = 0;
            for answer in Answers::new(&body).flatten() {
                bytes += answer.fields().map(|field| field.data.len()).sum::<usize>();
                bytes += answer.ops().map(|op| op.name.len() + op.value.len()).sum::<usize>();
            }
            prop_assert!(bytes <= body.len());
        }
    }
}
