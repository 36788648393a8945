//! How each server wants to be asked, and where its answer ends.
//!
//! The same key is asked of every server: 16 bytes of text, or what its client makes of them. Karst
//! wants the digest of the key; digests are computed before anything is measured, as names are.
//! Karst's answer to a GET carries the bin's name and the record's generation besides the value.

use std::io;

use karst_data::key::{Digest, KeyBytes};
use karst_wire::command::message;
use karst_wire::flags::{Info1, Info2};
use karst_wire::frame::{BODY_BYTES_MAX, FrameHeader, HEADER_BYTES, MessageHeader};
use karst_wire::op::OpCode;
use karst_wire::particle;
use karst_wire::response::Answer;

/// Namespace of the records in Karst.
pub(crate) const NAMESPACE: &str = "bench";

const SET: &str = "bench";
const BIN: &str = "v";

/// Longest first line of an answer that is waited for.
const LINE_BYTES_MAX: usize = 256;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Op {
    /// Reads a value.
    Get,
    /// Writes one.
    Set,
}

impl Op {
    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Op::Get => "GET",
            Op::Set => "SET",
        }
    }
}

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The Aerospike client protocol.
    Karst,
    /// The meta commands of memcached.
    Memcached,
    /// That of redis and valkey.
    Resp,
}

/// Every key, as its protocol names it.
pub(crate) enum Keys {
    /// Digests.
    Digests(Vec<Digest>),
    /// As many keys as this; their text is made when it is needed.
    Text(u64),
}

impl Keys {
    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Keys::Digests(digests) => digests.len() as u64,
            Keys::Text(count) => *count,
        }
    }
}

/// The text of a key: `key:` and twelve digits.
fn text(number: u64) -> [u8; 16] {
    let mut text = *b"key:000000000000";
    let mut rest = number;
    for digit in text[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    text
}

impl Dialect {
    /// The first `count` keys.
    pub(crate) fn keys(self, count: u64) -> Keys {
        match self {
            Dialect::Karst => {
                let digest = |key| Digest::of(SET.as_bytes(), KeyBytes::String(&text(key)));
                Keys::Digests((0..count).map(digest).collect())
            }
            Dialect::Memcached | Dialect::Resp => Keys::Text(count),
        }
    }

    /// Appends one request.
    pub(crate) fn ask(self, op: Op, keys: &Keys, key: u64, value: &[u8], out: &mut Vec<u8>) {
        match (self, keys) {
            (Dialect::Karst, Keys::Digests(digests)) => {
                karst(op, &digests[key as usize], value, out)
            }
            (Dialect::Memcached, _) => memcached(op, &text(key), value, out),
            (Dialect::Resp, _) => resp(op, &text(key), value, out),
            (Dialect::Karst, Keys::Text(_)) => unreachable!("Dialect::keys gives Karst digests"),
        }
    }

    /// Bytes of the answer at the front of `input`; `None` while it is not whole.
    ///
    /// # Errors
    /// When it is anything but the value asked for, or the word that it was written.
    pub(crate) fn answer(self, op: Op, input: &[u8]) -> io::Result<Option<usize>> {
        match self {
            Dialect::Karst => karst_answer(input),
            Dialect::Memcached => memcached_answer(op, input),
            Dialect::Resp => resp_answer(op, input),
        }
    }
}

fn karst(op: Op, digest: &Digest, value: &[u8], out: &mut Vec<u8>) {
    let header = match op {
        Op::Get => MessageHeader {
            info1: Info1::READ | Info1::GET_ALL,
            ..Default::default()
        },
        Op::Set => MessageHeader {
            info2: Info2::WRITE,
            ..Default::default()
        },
    };
    let written = message(out, header, |body| {
        body.namespace(NAMESPACE);
        body.set(SET);
        body.digest(digest);
        if op == Op::Set {
            body.op(OpCode::Write, particle::BLOB, BIN, value);
        }
    });
    written.expect("names and sizes here are within the protocol's limits");
}

/// The meta commands: in memcached 1.6 pipelined ones cost a sixth of the classic `get`, whose every
/// answer is sent by itself.
fn memcached(op: Op, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    match op {
        Op::Get => out.extend_from_slice(b"mg "),
        Op::Set => out.extend_from_slice(b"ms "),
    }
    out.extend_from_slice(key);
    match op {
        Op::Get => out.extend_from_slice(b" v"),
        Op::Set => {
            out.extend_from_slice(format!(" {}\r\n", value.len()).as_bytes());
            out.extend_from_slice(value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn resp(op: Op, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    match op {
        Op::Get => out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n$16\r\n"),
        Op::Set => out.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$16\r\n"),
    }
    out.extend_from_slice(key);
    if op == Op::Set {
        out.extend_from_slice(format!("\r\n${}\r\n", value.len()).as_bytes());
        out.extend_from_slice(value);
    }
    out.extend_from_slice(b"\r\n");
}

fn unexpected(input: &[u8]) -> io::Error {
    let start = String::from_utf8_lossy(&input[..input.len().min(80)]).into_owned();
    io::Error::other(format!("unexpected answer: {start:?}"))
}

fn karst_answer(input: &[u8]) -> io::Result<Option<usize>> {
    let Some(header) = input.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let header = FrameHeader::parse(header, BODY_BYTES_MAX).map_err(io::Error::other)?;
    let end = HEADER_BYTES + header.body_bytes;
    let Some(body) = input.get(HEADER_BYTES..end) else {
        return Ok(None);
    };
    let answer = Answer::single(body).map_err(io::Error::other)?;
    match answer.header.result_code {
        0 => Ok(Some(end)),
        code => Err(io::Error::other(format!(
            "unexpected answer: result code {code}"
        ))),
    }
}

/// The first line without its end; `None` while it is not whole.
fn line(input: &[u8]) -> io::Result<Option<&[u8]>> {
    match input
        .windows(2)
        .take(LINE_BYTES_MAX)
        .position(|pair| pair == b"\r\n")
    {
        Some(end) => Ok(Some(&input[..end])),
        None if input.len() > LINE_BYTES_MAX => Err(unexpected(input)),
        None => Ok(None),
    }
}

/// Size of an answer whose first line ends in the number of bytes that follow; `None` while it is not
/// whole.
fn value_behind(line: &[u8], digits: &[u8], input: &[u8]) -> io::Result<Option<usize>> {
    let bytes: Option<usize> = std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok());
    let value = bytes.ok_or_else(|| unexpected(input))?;
    let bytes = value.saturating_add(line.len() + 4);
    Ok((input.len() >= bytes).then_some(bytes))
}

/// `VA bytes` and the value; or `HD`.
fn memcached_answer(op: Op, input: &[u8]) -> io::Result<Option<usize>> {
    let Some(line) = line(input)? else {
        return Ok(None);
    };
    match (op, line) {
        (Op::Set, b"HD") => Ok(Some(line.len() + 2)),
        (Op::Get, [b'V', b'A', b' ', digits @ ..]) => value_behind(line, digits, input),
        (Op::Get | Op::Set, _) => Err(unexpected(input)),
    }
}

/// `$bytes` and the value; or `+OK`.
fn resp_answer(op: Op, input: &[u8]) -> io::Result<Option<usize>> {
    let Some(line) = line(input)? else {
        return Ok(None);
    };
    match (op, line) {
        (Op::Set, b"+OK") => Ok(Some(line.len() + 2)),
        // "$-1" says that it is not there.
        (Op::Get, [b'$', digits @ ..]) => value_behind(line, digits, input),
        (Op::Get | Op::Set, _) => Err(unexpected(input)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(dialect: Dialect, op: Op, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        dialect.ask(op, &dialect.keys(8), 7, value, &mut out);
        out
    }

    #[test]
    fn requests_are_spelled_as_the_servers_want_them() {
        let key = "key:000000000007";
        assert_eq!(
            asked(Dialect::Memcached, Op::Get, b""),
            format!("mg {key} v\r\n").as_bytes()
        );
        assert_eq!(
            asked(Dialect::Memcached, Op::Set, b"xyz"),
            format!("ms {key} 3\r\nxyz\r\n").as_bytes()
        );
        assert_eq!(
            asked(Dialect::Resp, Op::Set, b"xyz"),
            format!("*3\r\n$3\r\nSET\r\n$16\r\n{key}\r\n$3\r\nxyz\r\n").as_bytes()
        );
        let frame = asked(Dialect::Karst, Op::Set, b"xyz");
        assert_eq!(&frame[..2], [2, 3], "a message of the second version");
        assert!(frame.ends_with(b"vxyz"));
    }

    #[test]
    fn an_answer_ends_where_it_ends_and_not_before() {
        let check = |dialect: Dialect, op: Op, answer: &[u8]| {
            for cut in 0..answer.len() {
                assert_eq!(
                    dialect.answer(op, &answer[..cut]).unwrap(),
                    None,
                    "{cut} of {answer:?}"
                );
            }
            let more = [answer, b"more"].concat();
            assert_eq!(dialect.answer(op, &more).unwrap(), Some(answer.len()));
        };
        check(Dialect::Memcached, Op::Get, b"VA 3\r\nx\r\n\r\n");
        check(Dialect::Memcached, Op::Set, b"HD\r\n");
        check(Dialect::Resp, Op::Get, b"$3\r\nxyz\r\n");
        check(Dialect::Resp, Op::Set, b"+OK\r\n");
        let mut ack = Vec::new();
        karst_wire::reply::ack(&mut ack, karst_wire::code::ResultCode::Ok, 1, 0);
        check(Dialect::Karst, Op::Set, &ack);
    }

    #[test]
    fn a_miss_or_an_error_is_no_answer() {
        let wrong = |dialect: Dialect, op: Op, answer: &[u8]| {
            assert!(dialect.answer(op, answer).is_err(), "{answer:?}");
        };
        wrong(Dialect::Memcached, Op::Get, b"EN\r\n");
        wrong(
            Dialect::Memcached,
            Op::Set,
            b"SERVER_ERROR out of memory storing object\r\n",
        );
        wrong(Dialect::Resp, Op::Get, b"$-1\r\n");
        wrong(Dialect::Resp, Op::Set, b"-OOM command not allowed\r\n");
        wrong(Dialect::Resp, Op::Get, &[b'x'; LINE_BYTES_MAX + 1]);
        let mut missing = Vec::new();
        karst_wire::reply::ack(&mut missing, karst_wire::code::ResultCode::NotFound, 0, 0);
        wrong(Dialect::Karst, Op::Get, &missing);
    }
}
