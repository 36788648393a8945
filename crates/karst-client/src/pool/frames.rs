//! Bytes from a socket, cut into frames. Shared by every kind of connection.
//!
//! Invariants
//!   room grows with the bytes that arrive, never with what a header merely declares
//!   a frame handed out stays in place until the next call of [`FrameBuffer::room`]

use std::ops::Range;

use karst_wire::frame::{BODY_BYTES_MAX, FrameError, FrameHeader, FrameKind, HEADER_BYTES};

/// Room offered to one read.
const READ_BYTES: usize = 64 << 10;

/// Capacity beyond which an empty buffer is given back.
const KEEP_BYTES_MAX: usize = 1 << 20;

/// Collects bytes and hands out whole frames.
#[derive(Debug, Default)]
pub(crate) struct FrameBuffer {
    bytes: Vec<u8>,
    /// Start of what has not been handed out.
    at: usize,
}

/// One frame inside a [`FrameBuffer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// What the body holds.
    pub(crate) kind: FrameKind,
    /// Where the body lies; see [`FrameBuffer::body`].
    pub(crate) body: Range<usize>,
}

impl FrameBuffer {
    /// Drops what was handed out and returns the buffer with room for a read at its end.
    pub(crate) fn room(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.at);
        self.at = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEEP_BYTES_MAX {
            self.bytes = Vec::new();
        }
        self.bytes.reserve(READ_BYTES);
        &mut self.bytes
    }

    /// The next whole frame, if it has arrived.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(header) = self.bytes[self.at..].first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = FrameHeader::parse(header, BODY_BYTES_MAX)?;
        let start = self.at + HEADER_BYTES;
        let body = start..start + header.body_bytes;
        if body.end > self.bytes.len() {
            return Ok(None);
        }
        self.at = body.end;
        let kind = header.kind;
        Ok(Some(Frame { kind, body }))
    }

    /// The body of a frame handed out since the last call of [`FrameBuffer::room`].
    pub(crate) fn body(&self, frame: &Frame) -> &[u8] {
        &self.bytes[frame.body.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        let header = FrameHeader {
            kind: FrameKind::Message,
            body_bytes: body.len(),
        };
        [&header.to_bytes(), body].concat()
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_are_cut() {
        let stream = [frame(b"one"), frame(b""), frame(b"three")].concat();
        for step in 1..stream.len() {
            let mut buffer = FrameBuffer::default();
            let mut bodies = vec![];
            for part in stream.chunks(step) {
                buffer.room().extend_from_slice(part);
                while let Some(frame) = buffer.next().unwrap() {
                    bodies.push(buffer.body(&frame).to_vec());
                }
            }
            assert_eq!(bodies, [&b"one"[..], b"", b"three"], "step {step}");
        }
    }

    #[test]
    fn a_header_that_declares_much_reserves_nothing() {
        let mut buffer = FrameBuffer::default();
        let header = FrameHeader {
            kind: FrameKind::Message,
            body_bytes: BODY_BYTES_MAX,
        };
        buffer.room().extend_from_slice(&header.to_bytes());
        assert_eq!(buffer.next(), Ok(None));
        assert!(buffer.room().capacity() <= 2 * READ_BYTES);
    }

    #[test]
    fn a_frame_over_the_limit_is_refused() {
        let mut buffer = FrameBuffer::default();
        buffer
            .room()
            .extend_from_slice(&[2, 3, 0xff, 0, 0, 0, 0, 0]);
        assert!(matches!(buffer.next(), Err(FrameError::TooBig { .. })));
    }
}
