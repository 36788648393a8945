//! One client connection: frames in, replies out, in order.
//!
//! Runs on the core that it was handed to, for life. Everything that has arrived is taken frame by
//! frame before anything is sent, so that pipelined requests share one read, one submission to the
//! devices and one write. Batches, queries and watches have the connection to themselves while they run. Requests
//! on one record are carried out in the order in which they came.
//!
//! Closed without a word: what is no frame of this protocol, or larger than it allows. Everything that
//! is a frame gets an answer.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use karst_data::key::Digest;
use karst_wire::frame::{BODY_BYTES_MAX, FrameHeader, FrameKind, HEADER_BYTES, inflate};
use karst_wire::request::{Kind, Message, peek_record};
use tokio::io::{AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::link::{Link, Subject, consume};
use super::single::{self, Asked, Try};
use super::{aggregate, background, batch, scan, security, watch};
use crate::core::Core;
use crate::info;

/// Bytes by which the input buffer grows.
const READ_BYTES: usize = 16 << 10;

/// Largest info request: the text of a module of functions fits in.
const INFO_BYTES_MAX: usize = 3 << 19;

/// Requests that one turn of a connection takes before others of the core get theirs.
const REQUESTS_PER_TURN: usize = 64;

/// Pipelined requests of one connection whose records are fetched ahead; those behind come next time.
const LOOK_AHEAD: usize = 64;

/// The connection has ended, or must.
pub(super) struct Closed;

impl From<io::Error> for Closed {
    fn from(_: io::Error) -> Closed {
        Closed
    }
}

/// See [the module](self).
pub(super) struct Connection {
    pub(super) core: Rc<Core>,
    pub(super) link: Rc<Link>,
    stream: TcpStream,
    input: BytesMut,
    session: info::Session,
    idle_timeout: Option<Duration>,
}

/// What the frames that had arrived leave to be done.
enum Turn {
    /// Nothing, until more arrives or replies leave.
    Wait,
    /// More frames are there; others should run first.
    Again,
    /// Something that wants the connection to itself.
    Alone(Alone),
}

/// A request that wants the connection to itself: its body.
enum Alone {
    Batch(Vec<u8>),
    Scan(Vec<u8>),
    Background(Vec<u8>),
    Aggregation(Vec<u8>),
    Watch(Vec<u8>),
}

/// What became of one frame.
enum Taken {
    /// It is answered, or will be in its place.
    Answered,
    /// It must not overtake one before it, and is to be taken again.
    Barred,
    /// It wants the connection to itself.
    Alone(Alone),
}

impl Connection {
    /// A connection that was just accepted.
    pub(super) fn new(core: Rc<Core>, stream: TcpStream) -> Connection {
        Connection {
            idle_timeout: core.node.config.service.idle_timeout,
            core,
            link: Rc::default(),
            stream,
            input: BytesMut::new(),
            session: info::Session::default(),
        }
    }

    /// Serves until either side ends it.
    pub(super) async fn serve(mut self) {
        let Closed = match self.run().await {
            Ok(()) => Closed,
            Err(closed) => closed,
        };
        self.session.end(&self.core.node);
    }

    async fn run(&mut self) -> Result<(), Closed> {
        loop {
            match self.take_frames()? {
                Turn::Wait => {
                    if !self.exchange().await? {
                        return self.settle().await; // it may still read what it asked for
                    }
                    self.look_ahead();
                    behind_others().await;
                    self.core.fetch_ahead();
                }
                Turn::Again => {
                    self.send_now().await?;
                    tokio::task::yield_now().await;
                    self.look_ahead();
                    self.core.fetch_ahead();
                }
                Turn::Alone(alone) => {
                    self.settle().await?;
                    match alone {
                        Alone::Batch(body) => batch::run(self, &body).await?,
                        Alone::Scan(body) => scan::run(self, &body).await?,
                        Alone::Background(body) => background::run(self, body).await,
                        Alone::Aggregation(body) => aggregate::run(self, &body).await?,
                        Alone::Watch(body) => watch::run(self, &body).await?,
                    }
                }
            }
        }
    }

    /// Carries out the requests that have arrived whole, as one turn of the core.
    fn take_frames(&mut self) -> Result<Turn, Closed> {
        self.core.begin_turn();
        let turn = self.take_frames_of_turn();
        self.core.end_turn();
        turn
    }

    fn take_frames_of_turn(&mut self) -> Result<Turn, Closed> {
        for _ in 0..REQUESTS_PER_TURN {
            if self.link.is_blocked() {
                return Ok(Turn::Wait);
            }
            let Some(header) = self.input.first_chunk::<HEADER_BYTES>() else {
                return Ok(Turn::Wait);
            };
            let header = FrameHeader::parse(header, BODY_BYTES_MAX).map_err(|error| {
                self.core.counters.connections_rejected.add(1);
                tracing::debug!(%error, "a connection is closed");
                Closed
            })?;
            if header.kind == FrameKind::Info && header.body_bytes > INFO_BYTES_MAX {
                return Err(Closed);
            }
            let end = HEADER_BYTES + header.body_bytes;
            if self.input.len() < end {
                return Ok(Turn::Wait);
            }
            let taken = self.take_frame(header.kind, end);
            if let Taken::Barred = taken {
                return Ok(Turn::Wait); // the frame stays until its turn has come
            }
            consume(&mut self.input, end);
            if let Taken::Alone(alone) = taken {
                return Ok(Turn::Alone(alone));
            }
            if self.core.has_taken_long() {
                return Ok(Turn::Again);
            }
        }
        Ok(Turn::Again)
    }

    /// Notes which records the requests that have arrived will touch.
    fn look_ahead(&self) {
        let mut input: &[u8] = &self.input;
        for _ in 0..LOOK_AHEAD {
            let Some((header, rest)) = input.split_first_chunk::<HEADER_BYTES>() else {
                return;
            };
            let Ok(header) = FrameHeader::parse(header, BODY_BYTES_MAX) else {
                return;
            };
            let Some((body, rest)) = rest.split_at_checked(header.body_bytes) else {
                return;
            };
            input = rest;
            if let Some((name, digest)) = peek_record(body)
                && let Some((index, _)) = self.core.node.namespace(name)
            {
                self.core.will_touch(index, Digest(*digest));
            }
        }
    }

    /// Carries out the frame that fills the input up to `end`.
    fn take_frame(&mut self, kind: FrameKind, end: usize) -> Taken {
        let body = &self.input[HEADER_BYTES..end];
        match kind {
            FrameKind::Message => take_message(&self.core, &self.link, body),
            FrameKind::Compressed => match inflate(body, BODY_BYTES_MAX) {
                Ok(body) => take_message(&self.core, &self.link, &body),
                Err(error) => {
                    self.link
                        .append(|out| single::refuse(&self.core, out, error.code()));
                    Taken::Answered
                }
            },
            FrameKind::Info if info::Watch::of(body).is_some() => {
                Taken::Alone(Alone::Watch(body.to_vec()))
            }
            FrameKind::Info if info::needs_agreement(body) => {
                self.core.counters.info.add(1);
                let (core, body) = (self.core.clone(), Box::<[u8]>::from(body));
                let place = self.link.hold(body.len(), None);
                tokio::task::spawn_local(async move {
                    let mut reply = Vec::new();
                    info::answer_agreed(&core.node, &body, &mut reply).await;
                    place.fill(reply);
                });
                Taken::Answered
            }
            FrameKind::Info => {
                let (core, session) = (&self.core, &mut self.session);
                answer_info(core, &self.link, session, body);
                Taken::Answered
            }
            FrameKind::Admin => {
                self.link.append(|out| security::answer(body, out));
                Taken::Answered
            }
        }
    }

    /// Answers an info request that had the connection to itself.
    pub(super) fn answer_info(&mut self, body: &[u8]) {
        answer_info(&self.core, &self.link, &mut self.session, body);
    }

    /// Waits until the client sends more, which is left for the next turn.
    ///
    /// # Errors
    /// When the client has closed its side.
    pub(super) async fn hear(&mut self) -> Result<(), Closed> {
        self.input.reserve(READ_BYTES);
        let count = self.stream.read_buf(&mut self.input).await?;
        self.core.counters.bytes_in.add(count as u64);
        match count {
            0 => Err(Closed),
            _ => Ok(()),
        }
    }

    /// The client's address, as far as the system tells.
    pub(super) fn client(&self) -> String {
        let address = self.stream.peer_addr();
        address.map_or_else(|_| "unknown".into(), |address| address.to_string())
    }

    /// Whether the client has closed its side. What it has sent stays to be read.
    pub(super) async fn is_left(&self) -> bool {
        let mut byte = [0];
        poll_fn(|context| {
            let mut buffer = ReadBuf::new(&mut byte);
            Poll::Ready(match self.stream.poll_peek(context, &mut buffer) {
                Poll::Ready(Ok(count)) => count == 0,
                Poll::Ready(Err(_)) => true,
                Poll::Pending => false,
            })
        })
        .await
    }

    /// Sends what is ready and receives what comes, until either changed something. `false` when the
    /// client has closed its side.
    async fn exchange(&mut self) -> Result<bool, Closed> {
        let Some(idle) = self.idle_timeout else {
            return self.exchange_forever().await;
        };
        match tokio::time::timeout(idle, self.exchange_forever()).await {
            Ok(exchanged) => exchanged,
            Err(_) => Err(Closed),
        }
    }

    async fn exchange_forever(&mut self) -> Result<bool, Closed> {
        let was_blocked = self.link.is_blocked();
        self.input.reserve(READ_BYTES);
        let before = self.input.len();
        let received = poll_fn(|context| {
            self.poll_send(context)?; // what is left wakes us when the socket can take more
            if was_blocked && !self.link.is_blocked() {
                return Poll::Ready(Ok(None));
            }
            self.link.listen(context);
            if was_blocked {
                return Poll::Pending;
            }
            let read = pin!(self.stream.read_buf(&mut self.input));
            match read.poll(context) {
                Poll::Ready(count) => Poll::Ready(count.map(Some).map_err(Closed::from)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await?;
        let count = (self.input.len() - before) as u64;
        self.core.counters.bytes_in.add(count);
        Ok(received != Some(0))
    }

    /// Sends what is ready as far as the socket takes it. `true` when nothing is left.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Result<bool, Closed> {
        let Connection {
            core, link, stream, ..
        } = self;
        link.send(
            |bytes| match Pin::new(&mut *stream).poll_write(context, bytes) {
                Poll::Ready(Ok(0)) => Err(Closed),
                Poll::Ready(Ok(count)) => {
                    core.counters.bytes_out.add(count as u64);
                    Ok(Some(count))
                }
                Poll::Ready(Err(_)) => Err(Closed),
                Poll::Pending => Ok(None),
            },
        )
    }

    /// Sends what is ready without waiting for the socket.
    async fn send_now(&mut self) -> Result<(), Closed> {
        poll_fn(|context| Poll::Ready(self.poll_send(context).map(|_| ()))).await
    }

    /// Waits until every request so far is answered and every answer sent.
    pub(super) async fn settle(&mut self) -> Result<(), Closed> {
        poll_fn(|context| {
            let sent_all = self.poll_send(context)?;
            if sent_all && self.link.is_settled() {
                return Poll::Ready(Ok(()));
            }
            self.link.listen(context);
            Poll::Pending
        })
        .await
    }
}

/// Lets what else is ready on this core run first: other connections note what they will touch, so that
/// all of it is fetched together.
async fn behind_others() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Appends the answer to an info request.
fn answer_info(core: &Core, link: &Link, session: &mut info::Session, body: &[u8]) {
    core.counters.info.add(1);
    link.append(|out| info::answer(&core.node, session, body, out));
}

/// Carries out one message, or says that it wants the connection to itself.
fn take_message(core: &Rc<Core>, link: &Rc<Link>, body: &[u8]) -> Taken {
    let parsed = Message::parse(body).and_then(|message| Ok((message, message.kind()?)));
    let (message, kind) = match parsed {
        Ok(parsed) => parsed,
        Err(malformed) => {
            link.append(|out| single::refuse(core, out, malformed.code()));
            return Taken::Answered;
        }
    };
    let asked = Asked::now(core);
    match kind {
        Kind::Batch => Taken::Alone(Alone::Batch(body.to_vec())),
        Kind::Query => Taken::Alone(Alone::Scan(body.to_vec())),
        Kind::BackgroundOps | Kind::BackgroundUdf => Taken::Alone(Alone::Background(body.to_vec())),
        Kind::Aggregation => Taken::Alone(Alone::Aggregation(body.to_vec())),
        Kind::Read => take_single(core, link, &message, false, body, asked),
        Kind::Write | Kind::Delete | Kind::Udf => {
            take_single(core, link, &message, true, body, asked)
        }
    }
}

/// Answers a single-record request at once, or lets it wait in its place, or not yet.
fn take_single(
    core: &Rc<Core>,
    link: &Rc<Link>,
    message: &Message<'_>,
    writes: bool,
    body: &[u8],
    asked: Asked,
) -> Taken {
    let digest = message.digest().ok().flatten();
    let subject = digest.map(|digest| Subject::of(&digest, writes));
    if subject.is_some_and(|subject| link.bars(subject)) {
        return Taken::Barred;
    }
    let mut held = None;
    let tried = link.append(|out| {
        let start = out.len();
        let tried = single::attempt(core, message, asked, None, out);
        if let Try::Replied(Some(_)) = tried {
            held = Some(out.split_off(start)); // not before its write is durable
        }
        tried
    });
    if let Try::Replied(None) = tried {
        return Taken::Answered;
    }
    let core = core.clone();
    let tried = match (tried, held) {
        (Try::Replied(Some(pending)), Some(mut reply)) => {
            let place = link.hold(reply.len(), None);
            tokio::task::spawn_local(async move {
                single::settle(&core, asked, Some(pending), &mut reply).await;
                place.fill(reply);
            });
            return Taken::Answered;
        }
        (tried, _) => tried,
    };
    let expected_bytes = body.len() + tried.expected_bytes(message);
    let (body, place) = (Box::from(body), link.hold(expected_bytes, subject));
    tokio::task::spawn_local(async move {
        place.fill(single::carry_on(core, body, asked, tried).await);
    });
    Taken::Answered
}
