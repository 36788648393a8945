//! Lines of a file that may be compressed, read on a thread of their own.
//!
//! Parsing JSON and inflating cost more than sending, so they leave the sending thread alone. The
//! queue between the two is bounded: a slow cluster slows the reader, it does not fill memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use serde_json::{Map, Value as Json};
use tokio::sync::mpsc;

use crate::failure::{Failure, Outcome};

/// Longest line, in bytes: twice the largest record.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Parsed lines waiting to be sent.
const QUEUE_LINES_MAX: usize = 512;

/// One line of the file.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: u64,
    /// The object on it, or why it is none.
    pub(super) object: Result<Map<String, Json>, String>,
}

/// The lines of a file as they become ready.
pub(super) struct Lines {
    /// Size of the file as it lies on disk.
    pub(super) file_bytes: u64,
    /// How much of it has been read.
    pub(super) bytes_read: Arc<AtomicU64>,
    queue: mpsc::Receiver<io::Result<Line>>,
}

impl Lines {
    /// Opens a file and starts reading it. `.gz` at the end of its name means gzip.
    pub(super) fn open(path: &Path) -> Outcome<Lines> {
        let explain = |error: io::Error| Failure::failed(format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(explain)?;
        let file_bytes = file.metadata().map_err(explain)?.len();
        let bytes_read = Arc::new(AtomicU64::new(0));
        let counted = BufReader::with_capacity(
            256 * 1024,
            Counted {
                inner: file,
                bytes: Arc::clone(&bytes_read),
            },
        );
        let (sender, queue) = mpsc::channel(QUEUE_LINES_MAX);
        let compressed = path.extension().is_some_and(|extension| extension == "gz");
        std::thread::Builder::new()
            .name("karst-load-reader".to_owned())
            .spawn(move || match compressed {
                true => send_lines(BufReader::new(MultiGzDecoder::new(counted)), &sender),
                false => send_lines(counted, &sender),
            })
            .map_err(explain)?;
        Ok(Lines {
            file_bytes,
            bytes_read,
            queue,
        })
    }

    /// The next line that is not blank; `None` at the end.
    ///
    /// # Errors
    ///
    /// The file cannot be read on: nothing follows.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        self.queue.recv().await.transpose()
    }
}

/// Reads until the end, an error, or nobody listens any more.
fn send_lines(mut reader: impl BufRead, sender: &mpsc::Sender<io::Result<Line>>) {
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let item = match (&mut reader)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut text)
        {
            Ok(0) => return,
            Ok(bytes) if bytes as u64 == LINE_BYTES_MAX && text.last() != Some(&b'\n') => {
                let what = format!("line {number} is longer than {LINE_BYTES_MAX} bytes");
                Err(io::Error::new(io::ErrorKind::InvalidData, what))
            }
            Ok(_) if text.trim_ascii().is_empty() => continue,
            Ok(_) => Ok(Line {
                number,
                object: parse(&text),
            }),
            Err(error) => Err(error),
        };
        let ends = item.is_err();
        if sender.blocking_send(item).is_err() || ends {
            return;
        }
    }
}

fn parse(text: &[u8]) -> Result<Map<String, Json>, String> {
    match serde_json::from_slice(text) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) => Err("is JSON but no object".to_owned()),
        // serde's own position is within this line; its line number would mislead.
        Err(error) => Err(format!("is no JSON (at column {})", error.column())),
    }
}

/// Counts what is read through it.
struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    async fn read(name: &str, bytes: &[u8]) -> (Vec<(u64, bool)>, io::Result<()>, u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let mut lines = Lines::open(&path).unwrap();
        let mut seen = Vec::new();
        let end = loop {
            match lines.next().await {
                Ok(Some(line)) => seen.push((line.number, line.object.is_ok())),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        (seen, end, lines.bytes_read.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn lines_keep_their_numbers_and_blank_ones_are_skipped() {
        let text = b"{\"a\": 1}\n\n  \n[1]\r\n{broken\n{\"last\": \"no line end\"}";
        let (seen, end, bytes) = read("x.jsonl", text).await;
        assert_eq!(seen, [(1, true), (4, false), (5, false), (6, true)]);
        assert!(end.is_ok());
        assert_eq!(bytes, text.len() as u64);
    }

    #[tokio::test]
    async fn a_compressed_file_reads_like_a_plain_one_even_in_parts() {
        // Two gzip members one after the other, as `cat a.gz b.gz` makes them.
        let mut bytes = Vec::new();
        for part in ["{\"a\": 1}\n", "{\"a\": 2}\n"] {
            let mut encoder = GzEncoder::new(&mut bytes, Compression::fast());
            encoder.write_all(part.as_bytes()).unwrap();
            encoder.finish().unwrap();
        }
        let (seen, end, _) = read("x.jsonl.gz", &bytes).await;
        assert_eq!(seen, [(1, true), (2, true)]);
        assert!(end.is_ok());
        let (_, end, _) = read("cut.jsonl.gz", &bytes[..bytes.len() - 5]).await;
        assert!(end.is_err(), "a file cut short was read as whole");
    }

    #[tokio::test]
    async fn a_line_without_end_is_an_error_and_not_a_full_memory() {
        let bytes = vec![b'x'; LINE_BYTES_MAX as usize + 10];
        let (seen, end, _) = read("x.jsonl", &bytes).await;
        assert_eq!(seen, []);
        assert!(end.unwrap_err().to_string().contains("line 1 is longer"));
    }

    #[tokio::test]
    async fn a_file_larger_than_the_queue_arrives_in_full_and_in_order() {
        let text: String = (0..5000).map(|n| format!("{{\"n\": {n}}}\n")).collect();
        let (seen, _, _) = read("x.jsonl", text.as_bytes()).await;
        let expected: Vec<_> = (1..=5000).map(|number| (number, true)).collect();
        assert_eq!(seen, expected);
    }
}
