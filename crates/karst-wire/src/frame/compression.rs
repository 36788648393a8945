//! Compressed frames: a message frame inside a message frame.
//!
//! ```text
//! outer header, type 4 | size of the inner frame u64 | zlib stream of: inner header, type 3 | body
//! ```
//!
//! The size is a stranger's claim. It is checked against the limit and against the inner header, but
//! memory is allocated as data really comes out, and never beyond the size: a small body that
//! expands without end is cut off there.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{BODY_BYTES_MAX, FrameError, FrameHeader, FrameKind, HEADER_BYTES};

/// Bytes of the size in front of the stream.
const SIZE_BYTES: usize = 8;

/// Memory that is allocated on nothing but the claim.
const UNPROVEN_BYTES_MAX: usize = 1 << 20;

/// Unpacks the body of a [`FrameKind::Compressed`] frame and returns the body of the message frame
/// in it, of at most `limit_bytes`.
///
/// # Errors
/// [`FrameError::TooBig`] beyond the limit, [`FrameError::Compressed`] if the body is not exactly
/// one compressed message frame of the size it claims. The outer frame was sound, so the stream can
/// be read on.
pub fn inflate(body: &[u8], limit_bytes: usize) -> Result<Vec<u8>, FrameError> {
    let (size, stream) = body
        .split_first_chunk::<SIZE_BYTES>()
        .ok_or(FrameError::Compressed("no size in front of the stream"))?;
    let claimed_bytes = u64::from_be_bytes(*size);
    let mut inflater = Inflater {
        zlib: Decompress::new(true),
        stream,
        ended: false,
    };
    let mut header = [0; HEADER_BYTES];
    if inflater.fill(&mut header)? != HEADER_BYTES {
        return Err(FrameError::Compressed("shorter than a frame header"));
    }
    let inner = FrameHeader::parse(&header, limit_bytes)?;
    if inner.kind != FrameKind::Message {
        return Err(FrameError::Compressed("not a message frame"));
    }
    if (inner.body_bytes + HEADER_BYTES) as u64 != claimed_bytes {
        return Err(FrameError::Compressed("size differs from the inner header"));
    }
    let message = inflater.body(inner.body_bytes)?;
    inflater.end()?;
    Ok(message)
}

/// Packs a whole message frame, header and body, and appends the compressed frame to `out`. Whether
/// that pays is for the caller to decide: small or random bodies get larger.
///
/// # Errors
/// [`FrameError::TooBig`] if the result exceeds what a frame can hold; `out` is as it was.
pub fn deflate(message_frame: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    let frame_at = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    out.extend_from_slice(&(message_frame.len() as u64).to_be_bytes());
    deflate_stream(message_frame, out);
    let body_bytes = out.len() - frame_at - HEADER_BYTES;
    if body_bytes > BODY_BYTES_MAX {
        out.truncate(frame_at);
        return Err(FrameError::TooBig {
            body_bytes: body_bytes as u64,
            limit_bytes: BODY_BYTES_MAX,
        });
    }
    let header = FrameHeader {
        kind: FrameKind::Compressed,
        body_bytes,
    };
    out[frame_at..frame_at + HEADER_BYTES].copy_from_slice(&header.to_bytes());
    Ok(())
}

/// Appends the zlib stream of `input`.
fn deflate_stream(input: &[u8], out: &mut Vec<u8>) {
    let mut zlib = Compress::new(Compression::fast(), true);
    loop {
        out.reserve((input.len() / 4).max(256));
        let rest = &input[zlib.total_in() as usize..]; // never more than the input has
        let status = zlib.compress_vec(rest, out, FlushCompress::Finish);
        match status.expect("a fresh compressor takes any input") {
            Status::StreamEnd => return,
            Status::Ok | Status::BufError => {} // wants more room
        }
    }
}

/// A zlib stream being unpacked.
struct Inflater<'a> {
    zlib: Decompress,
    stream: &'a [u8],
    ended: bool,
}

impl Inflater<'_> {
    /// Unpacks until `out` is full or nothing more comes, and returns the bytes unpacked.
    fn fill(&mut self, out: &mut [u8]) -> Result<usize, FrameError> {
        let mut filled = 0;
        while filled < out.len() && !self.ended {
            let (before_in, before_out) = (self.zlib.total_in(), self.zlib.total_out());
            let room = &mut out[filled..];
            let status = self
                .zlib
                .decompress(self.stream, room, FlushDecompress::None);
            let status = status.map_err(|_| FrameError::Compressed("corrupt stream"))?;
            let consumed = (self.zlib.total_in() - before_in) as usize; // at most the stream
            let produced = (self.zlib.total_out() - before_out) as usize; // at most the room
            self.stream = &self.stream[consumed..];
            filled += produced;
            self.ended = status == Status::StreamEnd;
            if consumed == 0 && produced == 0 {
                break; // nothing is left to read, though the stream has not ended
            }
        }
        Ok(filled)
    }

    /// Unpacks a body of that size. The buffer doubles each time the stream has filled it.
    fn body(&mut self, body_bytes: usize) -> Result<Vec<u8>, FrameError> {
        let mut body = Vec::new();
        while body.len() < body_bytes {
            let filled = body.len();
            let room = next_room(filled, body_bytes);
            body.reserve_exact(room);
            body.resize(filled + room, 0);
            if self.fill(&mut body[filled..])? != room {
                return Err(FrameError::Compressed("shorter than the size it claims"));
            }
        }
        Ok(body)
    }

    /// Makes sure that the stream ends here, its checksum is right and nothing follows.
    fn end(&mut self) -> Result<(), FrameError> {
        match self.fill(&mut [0])? {
            0 if self.ended && self.stream.is_empty() => Ok(()),
            0 if self.ended => Err(FrameError::Compressed("bytes follow the stream")),
            0 => Err(FrameError::Compressed("stream without its end")),
            _ => Err(FrameError::Compressed("longer than the size it claims")),
        }
    }
}

/// How much more to allocate when `filled` bytes of a body have come out: as much again, so that
/// every byte beyond the first [`UNPROVEN_BYTES_MAX`] is backed by one that came.
fn next_room(filled: usize, body_bytes: usize) -> usize {
    filled.max(UNPROVEN_BYTES_MAX).min(body_bytes - filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_allocated_on_a_claim_is_at_most_a_mebibyte_or_what_has_come() {
        assert_eq!(next_room(0, 100), 100);
        assert_eq!(next_room(0, BODY_BYTES_MAX), 1 << 20);
        assert_eq!(next_room(4 << 20, BODY_BYTES_MAX), 4 << 20);
        assert_eq!(next_room(100 << 20, BODY_BYTES_MAX), 28 << 20);
    }
}
