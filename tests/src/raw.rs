//! The client protocol one frame at a time, for tests that send what no client would.
//!
//! Nothing is checked on the way out. On the way in a frame must have a length that the protocol
//! allows, and must come within [`Connection::patience`]: a server that neither answers nor closes is
//! an error, never a test that hangs.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Type byte of a text command.
pub const INFO: u8 = 1;
/// Type byte of login and user administration.
pub const ADMIN: u8 = 2;

/// Type byte of a data message.
pub const MESSAGE: u8 = 3;

/// Type byte of a compressed data message.
pub const COMPRESSED: u8 = 4;

/// Bytes in front of every body.
pub const HEADER_BYTES: usize = 8;

/// The largest body that the protocol allows.
const BODY_BYTES_MAX: usize = 128 << 20;

/// Version byte of every frame.
const VERSION: u8 = 2;

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its version byte.
    pub version: u8,
    /// Its type byte.
    pub kind: u8,
    /// What follows the header.
    pub body: Vec<u8>,
}

impl Frame {
    /// The result code of the first message, or `None` if the frame holds no message.
    pub fn result_code(&self) -> Option<u8> {
        const CODE_AT: usize = 5;
        if self.kind == MESSAGE {
            self.body.get(CODE_AT).copied()
        } else {
            None
        }
    }
}

/// The header of a frame whose body is `body_bytes` long, true or not.
pub fn header(kind: u8, body_bytes: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = body_bytes.to_be_bytes();
    (bytes[0], bytes[1]) = (VERSION, kind);
    bytes
}

/// A plain connection to a server's client port.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// Connects, with a patience of 10 s for every read and write.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        let connection = Connection { stream };
        connection.patience(Duration::from_secs(10))?;
        Ok(connection)
    }

    /// How long a read or write may take.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn patience(&self, limit: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(limit))?;
        self.stream.set_write_timeout(Some(limit))
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the server has closed the connection or does not read.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn send_frame(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let mut frame = header(kind, body.len() as u64).to_vec();
        frame.extend_from_slice(body);
        self.send(&frame)
    }

    /// The next frame; `None` when the server has closed the connection in front of one.
    ///
    /// # Errors
    /// When the connection ends inside a frame, a body is longer than the protocol allows, or
    /// patience is at its end ([`io::ErrorKind::WouldBlock`]).
    pub fn read_frame(&mut self) -> io::Result<Option<Frame>> {
        let mut header = [0; HEADER_BYTES];
        match self.stream.read(&mut header[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => self.stream.read_exact(&mut header[1..])?,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        }
        let [version, kind, length @ ..] = header;
        let mut wide = [0; 8];
        wide[2..].copy_from_slice(&length);
        let body_bytes = usize::try_from(u64::from_be_bytes(wide)).unwrap_or(usize::MAX);
        if body_bytes > BODY_BYTES_MAX {
            let what =
                format!("a frame of {body_bytes} bytes, at most {BODY_BYTES_MAX} are allowed");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let mut body = vec![0; body_bytes];
        self.stream.read_exact(&mut body)?;
        Ok(Some(Frame {
            version,
            kind,
            body,
        }))
    }

    /// Sends a frame and waits for one.
    ///
    /// # Errors
    /// As [`Connection::read_frame`]; [`io::ErrorKind::UnexpectedEof`] when the server closes instead.
    pub fn call(&mut self, kind: u8, body: &[u8]) -> io::Result<Frame> {
        self.send_frame(kind, body)?;
        self.read_frame()?
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Asks text commands and returns the value of each, in order. A value may contain tabs; a line
    /// without one is its own name and an empty value.
    ///
    /// # Errors
    /// As [`Connection::call`]; [`io::ErrorKind::InvalidData`] when the answer is no text, or answers
    /// something else than was asked.
    pub fn info(&mut self, commands: &[&str]) -> io::Result<Vec<String>> {
        let asked: String = commands
            .iter()
            .map(|command| format!("{command}\n"))
            .collect();
        let frame = self.call(INFO, asked.as_bytes())?;
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let text = String::from_utf8(frame.body).map_err(|error| invalid(error.to_string()))?;
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.split_once('\t').unwrap_or((line, "")))
            .collect();
        if frame.kind != INFO
            || !lines
                .iter()
                .map(|(name, _)| *name)
                .eq(commands.iter().copied())
        {
            return Err(invalid(format!("asked {commands:?}, answered {text:?}")));
        }
        Ok(lines
            .into_iter()
            .map(|(_, value)| value.to_owned())
            .collect())
    }

    /// The socket itself, for half-closing and the like.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}
