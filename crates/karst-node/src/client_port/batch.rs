//! A batch: many single-record requests in one message, each answered as if it had come alone.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use karst_io::clock;
use karst_wire::batch::{Batch, BatchRow};
use karst_wire::code::ResultCode;
use karst_wire::flags::BatchFlags;
use karst_wire::reply;
use karst_wire::request::Message;

use super::call;
use super::connection::{Closed, Connection};
use super::single::{self, Asked, Pending, Refused, Try};
use crate::core::Core;
use crate::counters::{Ending, Op};

/// Rows of one batch that may wait for devices at once.
const ROWS_WAITING_MAX: usize = 128;

/// Bytes that waiting rows may hold or be about to answer with; one row alone may exceed it.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// Rows after which others of the core get a turn.
const ROWS_PER_TURN: usize = 256;

/// Bytes of answers that are gathered before they are sent.
const CHUNK_BYTES: usize = 128 << 10;

/// Digests that are brought towards the cache together.
const PREFETCH_ROWS: usize = 16;

/// A row that waits, resolving to its answer and to the bytes that were expected of it.
type Waiting<'a> = Pin<Box<dyn Future<Output = (Vec<u8>, usize)> + 'a>>;

/// One batch under way.
struct Run<'c, 'a> {
    connection: &'c mut Connection,
    core: Rc<Core>,
    flags: BatchFlags,
    /// When it arrived.
    at_us: u64,
    /// Position of the namespace of the first row.
    namespace: Option<usize>,
    out: Vec<u8>,
    waiting: FuturesUnordered<Waiting<'a>>,
    waiting_bytes: usize,
    /// Commits that what is in `out` has to wait for.
    commits: Vec<Pending>,
    verdict: ResultCode,
}

/// Carries out a batch and streams its answers. Rows are answered in the order in which they finish.
///
/// # Errors
/// When the client has gone.
pub(super) async fn run(connection: &mut Connection, body: &[u8]) -> Result<(), Closed> {
    let core = connection.core.clone();
    core.begin_turn();
    let batch = match parsed(&core, body) {
        Ok(batch) => batch,
        Err(Refused(code)) => {
            core.counters.malformed.add(1);
            // Clients take whatever does not end the batch for a row, and wait for more.
            connection.link.append(|out| reply::last(out, code));
            return Ok(());
        }
    };
    let mut run = Run {
        connection,
        at_us: core.now_us(),
        core,
        flags: batch.flags(),
        namespace: None,
        out: Vec::new(),
        waiting: FuturesUnordered::new(),
        waiting_bytes: 0,
        commits: Vec::new(),
        verdict: ResultCode::Ok,
    };
    run.rows(&batch).await?;
    run.finish().await
}

/// A batch whose own filter, if it has one, means something: else no row is looked at.
fn parsed<'a>(core: &Core, body: &'a [u8]) -> Result<Batch<'a>, Refused> {
    let message = Message::parse(body)?;
    call::filter(core, message.fields.filter)?;
    Ok(Batch::parse(&message)?)
}

impl<'a> Run<'_, 'a> {
    async fn rows(&mut self, batch: &Batch<'a>) -> Result<(), Closed> {
        let mut ahead = batch.rows();
        for (count, row) in batch.rows().enumerate() {
            if count % PREFETCH_ROWS == 0 {
                self.prefetch(ahead.by_ref().take(PREFETCH_ROWS).flatten());
            }
            let Ok(row) = row else {
                self.verdict = ResultCode::Parameter;
                return Ok(());
            };
            self.row(row).await?;
            if self.stopped() {
                return Ok(());
            }
            if count % ROWS_PER_TURN == ROWS_PER_TURN - 1 || self.core.has_taken_long() {
                tokio::task::yield_now().await;
                self.core.begin_turn();
            }
        }
        Ok(())
    }

    fn prefetch(&mut self, rows: impl Iterator<Item = BatchRow<'a>>) {
        let mut digests = smallvec::SmallVec::<[_; PREFETCH_ROWS]>::new();
        let mut name: Option<&[u8]> = None;
        for row in rows {
            name = name.or(row
                .request
                .ok()
                .and_then(|message| message.fields.namespace));
            digests.push(row.digest);
        }
        if let Some((index, namespace)) = name.and_then(|name| self.core.node.namespace(name)) {
            self.namespace.get_or_insert(index);
            namespace.engine.prefetch(&digests);
        }
    }

    async fn row(&mut self, row: BatchRow<'a>) -> Result<(), Closed> {
        let asked = Asked::row(row.index, self.at_us);
        let start = self.out.len();
        let tried = match row.request {
            Ok(message) => single::attempt(&self.core, &message, asked, None, &mut self.out),
            Err(malformed) => {
                single::error(&mut self.out, asked, malformed.code());
                Try::Replied(None)
            }
        };
        match tried {
            Try::Replied(pending) => {
                self.commits.extend(pending);
                self.judge(start);
            }
            tried @ (Try::Read(..)
            | Try::Wait(_)
            | Try::Call(..)
            | Try::Aside(..)
            | Try::Overtaken
            | Try::Away(..)
            | Try::Nowhere) => {
                while self.waiting.len() >= ROWS_WAITING_MAX
                    || self.waiting_bytes >= WAITING_BYTES_MAX
                {
                    self.take_finished().await;
                }
                if let Ok(message) = row.request {
                    self.wait_for(message, asked, tried);
                }
            }
        }
        if self.out.len() >= CHUNK_BYTES {
            self.send().await?;
        }
        Ok(())
    }

    fn wait_for(&mut self, message: Message<'a>, asked: Asked, tried: Try) {
        let core = self.core.clone();
        let expected_bytes = tried.expected_bytes(&message);
        self.waiting_bytes += expected_bytes;
        self.waiting.push(Box::pin(async move {
            let mut reply = Vec::new();
            single::carry_on_message(&core, &message, asked, tried, &mut reply).await;
            (reply, expected_bytes)
        }));
    }

    async fn take_finished(&mut self) {
        if let Some((reply, expected_bytes)) = self.waiting.next().await {
            self.waiting_bytes -= expected_bytes;
            let start = self.out.len();
            self.out.extend_from_slice(&reply);
            self.judge(start);
        }
    }

    /// Notes an error of the row whose answer begins at `start`, if it ends the batch.
    fn judge(&mut self, start: usize) {
        if self.stopped() || self.flags.contains(BatchFlags::RESPOND_ALL_KEYS) {
            return;
        }
        match code_of_reply(&self.out[start..]) {
            ResultCode::Ok | ResultCode::NotFound | ResultCode::FilteredOut => {}
            code => {
                self.verdict = code;
                if !self.flags.contains(BatchFlags::RESPOND_FAILED_ROW) {
                    self.out.clear();
                }
            }
        }
    }

    fn stopped(&self) -> bool {
        self.verdict != ResultCode::Ok
    }

    /// Sends what is ready, once the writes in it are durable.
    async fn send(&mut self) -> Result<(), Closed> {
        for pending in std::mem::take(&mut self.commits) {
            if !pending.comes_true(&self.core).await {
                // Which rows it hit is not told apart: the client holds all that it has no answer for
                // to be in doubt.
                self.out.clear();
                self.verdict = ResultCode::Timeout;
            }
        }
        self.connection
            .link
            .append(|ready| ready.append(&mut self.out));
        self.connection.settle().await
    }

    async fn finish(mut self) -> Result<(), Closed> {
        while !self.waiting.is_empty() {
            let stopped = self.stopped();
            let start = self.out.len();
            self.take_finished().await;
            if stopped {
                self.out.truncate(start); // rows under way end, but are not reported
            }
            if self.out.len() >= CHUNK_BYTES {
                self.send().await?;
            }
        }
        self.send().await?;
        let ending = if self.stopped() {
            Ending::Refused
        } else {
            Ending::Ok
        };
        if let Some(index) = self.namespace {
            let counted = self.core.counted(index);
            counted.count(Op::Batch, ending);
            let took_us = clock::monotonic_us() - self.at_us;
            counted.latency[Op::Batch as usize].record(took_us, 1);
        }
        self.connection
            .link
            .append(|out| karst_wire::reply::last(out, self.verdict));
        Ok(())
    }
}

/// The result code of a framed reply that this node made.
pub(super) fn code_of_reply(reply: &[u8]) -> ResultCode {
    const CODE_AT: usize = karst_wire::frame::HEADER_BYTES + 5;
    reply
        .get(CODE_AT)
        .and_then(|code| ResultCode::from_u8(*code))
        .unwrap_or(ResultCode::Unknown)
}
