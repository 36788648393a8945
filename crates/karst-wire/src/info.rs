//! Info: text commands and their answers, in one frame each way.
//!
//! ```text
//! request:  command \n command \n ...           a last one without \n is ignored
//! answer:   command \t value \n ...             in request order, each command as it was sent
//! command:  name [/argument...] [:key=value;key=value...]
//! ```
//!
//! Commands are bytes, not text: a client may send anything. Names and parameters are handed out as
//! text only if they are; the echo is byte for byte. Answers grow to [`INFO_REPLY_BYTES_MAX`] and
//! no further.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use crate::code::ResultCode;
use crate::frame::{BODY_BYTES_MAX, FrameHeader, FrameKind, HEADER_BYTES};

/// Longest command name in bytes. No command has a longer one.
pub const NAME_BYTES_MAX: usize = 31;

/// Most bytes of the body of one answer: many small commands must not ask for endless text.
pub const INFO_REPLY_BYTES_MAX: usize = 32 << 20;

const _: () = assert!(INFO_REPLY_BYTES_MAX <= BODY_BYTES_MAX);

/// The commands of a request's body, in order. An empty body holds none: the client asks for the
/// summary. What follows the last newline is not a command.
pub fn commands(body: &[u8]) -> impl Iterator<Item = Command<'_>> {
    let whole = body.iter().rposition(|byte| *byte == b'\n');
    let lines = whole.map(|end| body[..end].split(|byte| *byte == b'\n'));
    lines.into_iter().flatten().map(Command::new)
}

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    text: &'a [u8],
    name: &'a [u8],
    path: &'a [u8],
    params: Params<'a>,
}

impl<'a> Command<'a> {
    /// Takes a command, without its newline, apart.
    pub fn new(text: &'a [u8]) -> Command<'a> {
        let (name, tail) = split_before(text, b"/:;");
        let (path, params) = match tail.split_first() {
            Some((b'/', tail)) => split_before(tail, b":;"),
            Some(_) | None => (&[] as &[u8], tail),
        };
        let params = Params(params.get(1..).unwrap_or_default()); // behind the separator
        Command {
            text,
            name,
            path,
            params,
        }
    }

    /// The whole command as it was sent.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The command's name; `None` if it is too long or not text, so that no command has it.
    pub fn name(&self) -> Option<&'a str> {
        let fits = self.name.len() <= NAME_BYTES_MAX;
        std::str::from_utf8(self.name).ok().filter(|_| fits)
    }

    /// The arguments between slashes, such as `test` and `demo` in `sets/test/demo`. An argument
    /// that is not text comes as an empty one.
    pub fn arguments(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let path = (!self.path.is_empty()).then_some(self.path);
        let parts = path
            .into_iter()
            .flat_map(|path| path.split(|byte| *byte == b'/'));
        parts.map(|part| std::str::from_utf8(part).unwrap_or_default())
    }

    /// The parameters behind the name and its arguments.
    pub fn params(&self) -> Params<'a> {
        self.params
    }
}

/// Parameters of a command: `key=value` pairs with `;` between them, in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params<'a>(&'a [u8]);

impl<'a> Params<'a> {
    /// Every pair in order: the key up to the first `=`, the value up to the next `;`. A pair
    /// without `=` has an empty value; empty pairs are skipped.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let pairs = self.0.split(|byte| *byte == b';');
        pairs.filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = split_before(pair, b"=");
            (key, value.get(1..).unwrap_or_default())
        })
    }

    /// The value of `key`; of the first, if it comes more than once.
    pub fn get(&self, key: &str) -> Option<&'a [u8]> {
        let mut pairs = self.iter();
        pairs.find_map(|(found, value)| (found == key.as_bytes()).then_some(value))
    }

    /// The value of `key` as text of 1 to `bytes_max` bytes, or `None` if the key is absent.
    ///
    /// # Errors
    /// The answer to send if the value is empty, too long or not text.
    pub fn text(&self, key: &str, bytes_max: usize) -> Result<Option<&'a str>, InfoError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let wrong = |what: String| Err(InfoError::new(parameter_code(key), what));
        match std::str::from_utf8(value) {
            Ok("") => wrong(format!("missing '{key}' value")),
            Ok(text) if text.len() <= bytes_max => Ok(Some(text)),
            Ok(_) => wrong(format!("'{key}' value too long")),
            Err(_) => wrong(format!("'{key}' value is not text")),
        }
    }

    /// The value of `key` as text of 1 to `bytes_max` bytes.
    ///
    /// # Errors
    /// The answer to send if the key is absent or its value empty, too long or not text.
    pub fn require(&self, key: &str, bytes_max: usize) -> Result<&'a str, InfoError> {
        let missing = || InfoError::new(parameter_code(key), format!("missing '{key}'"));
        self.text(key, bytes_max)?.ok_or_else(missing)
    }
}

/// The code of an answer about a bad parameter.
fn parameter_code(key: &str) -> ResultCode {
    match key {
        "namespace" => ResultCode::Namespace,
        _ => ResultCode::Parameter,
    }
}

/// Splits before the first of `separators`, which opens the second half; the second half is empty
/// if there is none.
fn split_before<'a>(bytes: &'a [u8], separators: &[u8]) -> (&'a [u8], &'a [u8]) {
    let at = bytes.iter().position(|byte| separators.contains(byte));
    bytes.split_at(at.unwrap_or(bytes.len()))
}

/// A command failed. Prints as clients look for it: `ERROR:4:message`, without the number if it
/// is 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfoError {
    /// Why.
    pub code: ResultCode,
    /// Why, for people.
    pub message: Cow<'static, str>,
}

impl InfoError {
    /// An error with its message.
    pub fn new(code: ResultCode, message: impl Into<Cow<'static, str>>) -> InfoError {
        let message = message.into();
        InfoError { code, message }
    }
}

impl fmt::Display for InfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            ResultCode::Unknown => write!(f, "ERROR::{}", self.message),
            code => write!(f, "ERROR:{}:{}", code.as_u8(), self.message),
        }
    }
}

impl std::error::Error for InfoError {}

/// The answers would exceed [`INFO_REPLY_BYTES_MAX`]. Nothing of them is in the buffer; the
/// connection is best closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("info reply exceeds {INFO_REPLY_BYTES_MAX} bytes")]
pub struct InfoReplyTooBig;

/// The frame that answers one info request, being written at the end of a buffer.
///
/// Dropped before it is finished it takes itself out of the buffer again.
#[derive(Debug)]
#[must_use = "a reply that is not finished takes itself out of the buffer"]
pub struct InfoReply<'o> {
    out: &'o mut Vec<u8>,
    frame_at: usize,
    too_big: bool,
    finished: bool,
}

impl<'o> InfoReply<'o> {
    /// Begins the answer.
    pub fn begin(out: &'o mut Vec<u8>) -> InfoReply<'o> {
        let frame_at = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        InfoReply {
            out,
            frame_at,
            too_big: false,
            finished: false,
        }
    }

    /// Appends the answer to one command. A value must not hold newlines, except where clients
    /// expect several lines.
    pub fn answer(&mut self, command: &Command<'_>, value: &[u8]) {
        self.append(&[command.text, b"\t", value, b"\n"]);
    }

    /// Appends the error that one command ended with.
    pub fn error(&mut self, command: &Command<'_>, error: &InfoError) {
        self.answer(command, error.to_string().as_bytes());
    }

    /// Appends a line without the command it answers, as clients expect it of an error that
    /// concerns the whole request.
    pub fn line(&mut self, text: &[u8]) {
        self.append(&[text, b"\n"]);
    }

    /// Whether a limit was exceeded: asking for more answers is wasted work.
    pub fn is_too_big(&self) -> bool {
        self.too_big
    }

    /// Completes the frame.
    ///
    /// # Errors
    /// [`InfoReplyTooBig`] if the limit was exceeded; the buffer is as it was before the reply.
    pub fn finish(mut self) -> Result<(), InfoReplyTooBig> {
        if self.too_big {
            return Err(InfoReplyTooBig); // dropping takes the bytes out
        }
        let frame = FrameHeader {
            kind: FrameKind::Info,
            body_bytes: self.body_bytes(),
        };
        let header = &mut self.out[self.frame_at..self.frame_at + HEADER_BYTES];
        header.copy_from_slice(&frame.to_bytes());
        self.finished = true;
        Ok(())
    }

    fn body_bytes(&self) -> usize {
        self.out.len() - self.frame_at - HEADER_BYTES
    }

    fn append(&mut self, parts: &[&[u8]]) {
        let more: usize = parts.iter().map(|part| part.len()).sum();
        self.too_big |= self.body_bytes() + more > INFO_REPLY_BYTES_MAX;
        if !self.too_big {
            parts
                .iter()
                .for_each(|part| self.out.extend_from_slice(part));
        }
    }
}

impl Drop for InfoReply<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.out.truncate(self.frame_at);
        }
    }
}
