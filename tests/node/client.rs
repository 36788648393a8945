//! The handful of requests that these tests send, one connection each, no retries.
//!
//! Values are made so that any wrong byte shows: they begin with the key and version they belong to,
//! and all that follows is computed from the two.

use std::io;

use karst_data::key::Digest;
use karst_tests::{Connection, Frame, Server};
use karst_wire::code::ResultCode;
use karst_wire::command;
use karst_wire::flags::{Info1, Info2};
use karst_wire::frame::MessageHeader;
use karst_wire::op::OpCode;
use karst_wire::particle;
use karst_wire::response::Answer;

/// The bin that all records of these tests have.
pub(crate) const BIN: &str = "value";

/// Bytes in front of a value's filler: key and version.
const VALUE_HEAD_BYTES: usize = 16;

/// A connection that reads and writes records of one namespace.
pub(crate) struct Client {
    pub(crate) connection: Connection,
    namespace: String,
}

/// A request ready to be sent, alone or in a row with others.
#[derive(Clone, Debug)]
pub(crate) struct Request(pub(crate) Vec<u8>);

/// The digest of a test's key. Keys are spread over partitions by their low bits.
pub(crate) fn digest(key: u64) -> Digest {
    let mut digest = [0x5a; Digest::BYTES];
    digest[..8].copy_from_slice(&key.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    digest[12..].copy_from_slice(&key.to_le_bytes());
    Digest(digest)
}

/// The value of a version of a key, `bytes` long.
pub(crate) fn value(key: u64, version: u64, bytes: usize) -> Vec<u8> {
    let mut value = [key.to_be_bytes(), version.to_be_bytes()].concat();
    let mut state = key.rotate_left(32) ^ version;
    while value.len() < bytes {
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        value.extend_from_slice(&state.to_be_bytes());
    }
    value.truncate(bytes.max(VALUE_HEAD_BYTES));
    value
}

/// Which version of a key a value is.
///
/// # Panics
/// When it is none: a wrong byte was served.
pub(crate) fn version_of(key: u64, found: &[u8]) -> u64 {
    let head = found.first_chunk::<VALUE_HEAD_BYTES>();
    let head = head.unwrap_or_else(|| panic!("key {key}: a value of {} bytes", found.len()));
    let version = u64::from_be_bytes(std::array::from_fn(|at| head[8 + at]));
    let expected = value(key, version, found.len());
    let at = expected
        .iter()
        .zip(found)
        .position(|(expected, found)| expected != found);
    assert_eq!(
        at, None,
        "key {key}, version {version}: this byte of its value is wrong"
    );
    version
}

/// A write of one value. `ttl_s` 0 is the namespace's default.
pub(crate) fn put(namespace: &str, key: u64, value: &[u8], ttl_s: u32) -> Request {
    let header = MessageHeader {
        info2: Info2::WRITE,
        record_ttl: ttl_s,
        ..MessageHeader::default()
    };
    request(header, namespace, key, Some(value))
}

/// A write of one value to a set, never to expire.
pub(crate) fn put_in_set(namespace: &str, set: &str, key: u64, value: &[u8]) -> Request {
    let header = MessageHeader {
        info2: Info2::WRITE,
        record_ttl: u32::MAX,
        ..MessageHeader::default()
    };
    request_in_set(header, namespace, set, key, Some(value))
}

/// A read of the whole record.
pub(crate) fn get(namespace: &str, key: u64) -> Request {
    let header = MessageHeader {
        info1: Info1::READ | Info1::GET_ALL,
        ..MessageHeader::default()
    };
    request(header, namespace, key, None)
}

/// A delete.
pub(crate) fn delete(namespace: &str, key: u64) -> Request {
    let header = MessageHeader {
        info2: Info2::WRITE | Info2::DELETE,
        ..MessageHeader::default()
    };
    request(header, namespace, key, None)
}

fn request(header: MessageHeader, namespace: &str, key: u64, value: Option<&[u8]>) -> Request {
    request_in_set(header, namespace, "", key, value)
}

fn request_in_set(
    header: MessageHeader,
    namespace: &str,
    set: &str,
    key: u64,
    value: Option<&[u8]>,
) -> Request {
    let mut out = Vec::new();
    let header = MessageHeader {
        transaction_ttl: 5000,
        ..header
    };
    let written = command::message(&mut out, header, |body| {
        body.namespace(namespace);
        if !set.is_empty() {
            body.set(set);
        }
        body.digest(&digest(key));
        if let Some(value) = value {
            body.op(OpCode::Write, particle::BLOB, BIN, value);
        }
    });
    written.expect("requests of tests are within the protocol's limits");
    Request(out)
}

/// What a read found: the value, or why there is none.
pub(crate) type Read = Result<Vec<u8>, ResultCode>;

/// The result code of a reply.
///
/// # Panics
/// When the frame is no reply.
pub(crate) fn code_of(frame: &Frame) -> ResultCode {
    let answer = Answer::single(&frame.body).expect("a reply is one message");
    answer.code().expect("a documented result code")
}

/// What a reply to a read says.
pub(crate) fn read_of(frame: &Frame) -> Read {
    let answer = Answer::single(&frame.body).expect("a reply is one message");
    match answer.code().expect("a documented result code") {
        ResultCode::Ok => {
            let bin = answer.ops().find(|bin| bin.name == BIN.as_bytes());
            Ok(bin
                .expect("a record of these tests has its bin")
                .value
                .to_vec())
        }
        code => Err(code),
    }
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Whatever the system says.
    pub(crate) fn open(server: &Server, namespace: &str) -> io::Result<Client> {
        let connection = Connection::open(server.service())?;
        Ok(Client {
            connection,
            namespace: namespace.into(),
        })
    }

    /// Sends requests in one write and waits for as many replies.
    ///
    /// # Errors
    /// When the connection ends before the last reply.
    pub(crate) fn call_all(&mut self, requests: &[Request]) -> io::Result<Vec<Frame>> {
        self.send_all(requests)?;
        requests.iter().map(|_| self.reply()).collect()
    }

    /// Sends requests in one write.
    ///
    /// # Errors
    /// As the connection's.
    pub(crate) fn send_all(&mut self, requests: &[Request]) -> io::Result<()> {
        let bytes: Vec<u8> = requests
            .iter()
            .flat_map(|request| request.0.iter().copied())
            .collect();
        self.connection.send(&bytes)
    }

    /// The next reply.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(crate) fn reply(&mut self) -> io::Result<Frame> {
        self.connection
            .read_frame()?
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn call(&mut self, request: Request) -> io::Result<Frame> {
        self.connection.send(&request.0)?;
        self.reply()
    }

    /// Writes one value.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(crate) fn put(&mut self, key: u64, value: &[u8]) -> io::Result<ResultCode> {
        let request = put(&self.namespace, key, value, 0);
        Ok(code_of(&self.call(request)?))
    }

    /// Reads one record.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(crate) fn get(&mut self, key: u64) -> io::Result<Read> {
        let request = get(&self.namespace, key);
        Ok(read_of(&self.call(request)?))
    }

    /// Deletes one record.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(crate) fn delete(&mut self, key: u64) -> io::Result<ResultCode> {
        let request = delete(&self.namespace, key);
        Ok(code_of(&self.call(request)?))
    }

    /// Reads many records, a hundred requests in a row at a time.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(crate) fn get_all(&mut self, keys: &[u64]) -> io::Result<Vec<Read>> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(100) {
            let requests: Vec<_> = keys.iter().map(|key| get(&self.namespace, *key)).collect();
            found.extend(self.call_all(&requests)?.iter().map(read_of));
        }
        Ok(found)
    }
}

/// Connects to a server that is known to run.
///
/// # Panics
/// When that fails.
pub(crate) fn connect(server: &Server, namespace: &str) -> Client {
    Client::open(server, namespace).expect("a running server takes connections")
}
