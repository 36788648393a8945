//! One connection with many requests in flight.
//!
//! Servers answer the requests of a connection in the order they came, so the answers need no
//! number: the oldest waiter gets the next answer. Callers encode straight into the connection's
//! outgoing buffer under its lock; a writer task sends everything queued in one write; a reader task
//! hands the answers out.
//!
//! Invariants
//!   the order of `in_flight` is the order of the requests in the outgoing bytes
//!   the last `queued` of `in_flight` have not been handed to the socket
//!   at most `depth` requests are in flight; more wait for room, until their deadline
//!   whoever gave up leaves its place in line: the answer is read and dropped
//!
//! Any doubt about where an answer ends, or whose it is, closes the connection. All in flight then
//! fail, each with whether it may have reached the server. A server that stays silent long after the
//! oldest deadline is cut off by [`Pipe::close_if_stalled`].

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use karst_wire::command::CommandError;
use karst_wire::frame::{BODY_BYTES_MAX, FrameKind};
use karst_wire::response::ends_stream;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout_at;

use crate::error::CloseReason;
use crate::pool::frames::FrameBuffer;

/// Outgoing bytes of a connection beyond which callers wait. One request may exceed it.
const QUEUED_BYTES_MAX: usize = 8 << 20;

/// Capacity an outgoing buffer keeps between writes.
const KEEP_BYTES_MAX: usize = 1 << 20;

/// How long after its deadline the oldest request may stay unanswered before the connection is
/// given up. Slow servers still answer in that time, and every answer spares a reconnect.
const STALL_GRACE: Duration = Duration::from_secs(5);

/// What answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// One message in one frame.
    Message,
    /// Messages in any number of frames, up to one that says it is the last.
    Stream,
}

/// Why a request was not taken. Nothing was sent.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The deadline passed while waiting for room.
    NoRoom,
    /// The connection is closed.
    Closed(CloseReason),
    /// The request breaks a limit of the protocol.
    Command(CommandError),
}

/// How waiting for an answer failed.
#[derive(Debug)]
pub(crate) enum Lost {
    /// The deadline passed.
    Deadline,
    /// The connection ended; `sent` says whether the request may have reached the server.
    Closed { reason: CloseReason, sent: bool },
}

type Outcome = Result<Vec<u8>, Lost>;

/// An answer to come.
pub(crate) struct Pending {
    answer: oneshot::Receiver<Outcome>,
    deadline: Instant,
}

impl Pending {
    /// Waits for the body of the answer; of a stream, for the bodies of all its frames in one.
    pub(crate) async fn wait(self) -> Outcome {
        match timeout_at(self.deadline.into(), self.answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Lost::Closed {
                reason: CloseReason::ByClient, // the runtime dropped the connection's tasks
                sent: true,
            }),
            Err(_) => Err(Lost::Deadline),
        }
    }
}

struct Waiter {
    expect: Expect,
    /// Bodies of a stream so far.
    body: Vec<u8>,
    deadline: Instant,
    answer: oneshot::Sender<Outcome>,
}

#[derive(Default)]
struct State {
    out: Vec<u8>,
    in_flight: VecDeque<Waiter>,
    /// Requests that are still in `out`.
    queued: usize,
    closed: Option<CloseReason>,
    tasks: Vec<AbortHandle>,
}

struct Shared {
    state: Mutex<State>,
    /// One permit for each request that may still be sent.
    room: Semaphore,
    /// There is something to write.
    work: Notify,
    /// The outgoing buffer was taken.
    drained: Notify,
}

/// A pipelined connection. Closed when dropped.
pub(crate) struct Pipe {
    shared: Arc<Shared>,
}

impl Pipe {
    /// Connects to a server; up to `depth` requests will be in flight at once.
    pub(crate) async fn connect(address: SocketAddr, depth: usize) -> io::Result<Pipe> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Pipe::start(stream, depth))
    }

    fn start(stream: TcpStream, depth: usize) -> Pipe {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            room: Semaphore::new(depth),
            work: Notify::new(),
            drained: Notify::new(),
        });
        let (read_half, write_half) = stream.into_split();
        let (for_reader, for_writer) = (Arc::clone(&shared), Arc::clone(&shared));
        let reader = tokio::spawn(async move {
            let reason = read_answers(read_half, &for_reader).await;
            for_reader.close(reason);
        });
        let writer = tokio::spawn(async move {
            if let Err(error) = write_requests(write_half, &for_writer).await {
                for_writer.close(error.into());
            }
        });
        let mut state = shared.state.lock();
        state.tasks = vec![reader.abort_handle(), writer.abort_handle()];
        if state.closed.is_some() {
            state.stop_tasks(); // the connection ended before its tasks were known
        }
        drop(state);
        Pipe { shared }
    }

    /// Queues the request that `encode` appends to the outgoing bytes, waiting for room if need be.
    pub(crate) async fn submit(
        &self,
        expect: Expect,
        deadline: Instant,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), CommandError>,
    ) -> Result<Pending, Refused> {
        let place = self.take_place(deadline).await?;
        loop {
            let drained = self.shared.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable(); // before the check, so that no wake-up is missed
            {
                let mut state = self.shared.state.lock();
                if state.closed.is_some() || state.out.len() < QUEUED_BYTES_MAX {
                    let pending = self.shared.enqueue(&mut state, expect, deadline, encode)?;
                    place.forget(); // given back when the answer has come
                    return Ok(pending);
                }
            }
            let waited = timeout_at(deadline.into(), drained).await;
            waited.map_err(|_| Refused::NoRoom)?;
        }
    }

    /// Takes a place among those in flight.
    async fn take_place(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Refused> {
        let room = &self.shared.room;
        if let Ok(place) = room.try_acquire() {
            return Ok(place); // the common case needs no timer
        }
        match timeout_at(deadline.into(), room.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(Refused::Closed(self.shared.close_reason())),
            Err(_) => Err(Refused::NoRoom),
        }
    }

    /// Whether it still carries requests.
    pub(crate) fn is_open(&self) -> bool {
        !self.shared.room.is_closed()
    }

    /// How many more requests would find room at once.
    pub(crate) fn room(&self) -> usize {
        self.shared.room.available_permits()
    }

    /// Closes the connection: the process at its other end is known to be gone.
    pub(crate) fn close(&self) {
        self.shared.close(CloseReason::Restarted);
    }

    /// Closes the connection if its oldest request should have been answered long ago.
    pub(crate) fn close_if_stalled(&self, now: Instant) {
        let stalled = {
            let state = self.shared.state.lock();
            let oldest = state.in_flight.front();
            oldest.is_some_and(|waiter| waiter.deadline + STALL_GRACE < now)
        };
        if stalled {
            self.shared.close(CloseReason::Stalled);
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.shared.close(CloseReason::ByClient);
    }
}

impl State {
    fn stop_tasks(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}

impl Shared {
    fn enqueue(
        &self,
        state: &mut State,
        expect: Expect,
        deadline: Instant,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), CommandError>,
    ) -> Result<Pending, Refused> {
        if let Some(reason) = &state.closed {
            return Err(Refused::Closed(reason.clone()));
        }
        let idle = state.out.is_empty();
        encode(&mut state.out).map_err(Refused::Command)?;
        let (sender, answer) = oneshot::channel();
        state.in_flight.push_back(Waiter {
            expect,
            body: Vec::new(),
            deadline,
            answer: sender,
        });
        state.queued += 1;
        if idle {
            self.work.notify_one();
        }
        Ok(Pending { answer, deadline })
    }

    fn close_reason(&self) -> CloseReason {
        let closed = self.state.lock().closed.clone();
        closed.unwrap_or(CloseReason::ByClient)
    }

    /// Ends the connection and fails everything in flight. Only the first call has an effect.
    fn close(&self, reason: CloseReason) {
        let (waiters, sent) = {
            let mut state = self.state.lock();
            if state.closed.is_some() {
                return;
            }
            state.closed = Some(reason.clone());
            state.stop_tasks();
            state.out = Vec::new();
            let waiters = std::mem::take(&mut state.in_flight);
            let sent = waiters.len() - std::mem::take(&mut state.queued);
            (waiters, sent)
        };
        self.room.close();
        self.drained.notify_waiters();
        for (index, waiter) in waiters.into_iter().enumerate() {
            let _ = waiter.answer.send(Err(Lost::Closed {
                reason: reason.clone(),
                sent: index < sent,
            }));
        }
    }

    /// Takes everything queued, leaving the empty `spare` in its place. False if the connection is
    /// closed.
    fn take_queued(&self, spare: &mut Vec<u8>) -> bool {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return false;
        }
        std::mem::swap(&mut state.out, spare);
        state.queued = 0;
        true
    }

    /// Gives the body of a frame to the oldest waiter.
    fn deliver(&self, body: &[u8]) -> Result<(), CloseReason> {
        let mut state = self.state.lock();
        if state.in_flight.len() == state.queued {
            return Err(CloseReason::Unexpected); // nothing was asked that is not answered
        }
        let Some(waiter) = state.in_flight.front_mut() else {
            return Err(CloseReason::Unexpected);
        };
        if !waiter.receive(body)? {
            return Ok(());
        }
        let answered = state.in_flight.pop_front();
        drop(state);
        if let Some(waiter) = answered {
            let _ = waiter.answer.send(Ok(waiter.body)); // nobody waits after a deadline
        }
        self.room.add_permits(1);
        Ok(())
    }
}

impl Waiter {
    /// Adds the body of a frame; true if the answer is complete.
    fn receive(&mut self, body: &[u8]) -> Result<bool, CloseReason> {
        if self.body.len() + body.len() > BODY_BYTES_MAX {
            return Err(CloseReason::AnswerTooBig {
                limit_bytes: BODY_BYTES_MAX,
            });
        }
        if !self.answer.is_closed() {
            self.body.extend_from_slice(body);
        }
        match self.expect {
            Expect::Message => Ok(true),
            Expect::Stream => ends_stream(body).map_err(CloseReason::Answer),
        }
    }
}

async fn read_answers(mut socket: OwnedReadHalf, shared: &Shared) -> CloseReason {
    let mut frames = FrameBuffer::default();
    loop {
        match socket.read_buf(frames.room()).await {
            Ok(0) => return CloseReason::ByServer,
            Ok(_) => {}
            Err(error) => return error.into(),
        }
        if let Err(reason) = deliver_all(&mut frames, shared) {
            return reason;
        }
    }
}

fn deliver_all(frames: &mut FrameBuffer, shared: &Shared) -> Result<(), CloseReason> {
    while let Some(frame) = frames.next().map_err(CloseReason::Frame)? {
        match frame.kind {
            FrameKind::Message => shared.deliver(frames.body(&frame))?,
            // Info goes over connections of its own, and compression is never asked for.
            FrameKind::Info | FrameKind::Admin | FrameKind::Compressed => {
                return Err(CloseReason::Unexpected);
            }
        }
    }
    Ok(())
}

async fn write_requests(mut socket: OwnedWriteHalf, shared: &Shared) -> io::Result<()> {
    let mut taken = Vec::new();
    loop {
        shared.work.notified().await;
        while shared.take_queued(&mut taken) && !taken.is_empty() {
            shared.drained.notify_waiters();
            socket.write_all(&taken).await?;
            taken.clear();
            taken.shrink_to(KEEP_BYTES_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use karst_wire::frame::FrameHeader;
    use tokio::net::TcpListener;

    use super::*;

    /// A pipe of depth 8 and the server's end of it.
    async fn pipe() -> (Pipe, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (pipe, accepted) = tokio::join!(Pipe::connect(address, 8), listener.accept());
        (pipe.unwrap(), accepted.unwrap().0)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    async fn submit(pipe: &Pipe, bytes: &[u8]) -> Result<Pending, Refused> {
        let encode = |out: &mut Vec<u8>| {
            out.extend_from_slice(bytes);
            Ok(())
        };
        pipe.submit(Expect::Message, soon(), encode).await
    }

    /// A frame of the server with a body that is no message.
    fn frame(body: &[u8]) -> Vec<u8> {
        let (kind, body_bytes) = (FrameKind::Message, body.len());
        let header = FrameHeader { kind, body_bytes };
        [&header.to_bytes(), body].concat()
    }

    #[tokio::test]
    async fn a_request_that_had_not_left_was_not_sent() {
        let (pipe, mut server) = pipe().await;
        let sent = submit(&pipe, b"sent").await.unwrap();
        server.read_exact(&mut [0; 4]).await.unwrap();
        let queued = submit(&pipe, b"queued").await.unwrap();
        pipe.shared.close(CloseReason::Stalled); // before the writer had a turn
        let lost = (sent.wait().await, queued.wait().await);
        assert!(matches!(lost.0, Err(Lost::Closed { sent: true, .. })));
        assert!(matches!(lost.1, Err(Lost::Closed { sent: false, .. })));
        assert!(matches!(
            submit(&pipe, b"late").await,
            Err(Refused::Closed(_))
        ));
        assert!(!pipe.is_open());
    }

    #[tokio::test]
    async fn a_silent_server_is_cut_off_long_after_the_deadline_and_not_before() {
        let (pipe, _server) = pipe().await;
        let pending = submit(&pipe, b"request").await.unwrap();
        pipe.close_if_stalled(soon() + STALL_GRACE - Duration::from_secs(1));
        assert!(pipe.is_open());
        pipe.close_if_stalled(soon() + STALL_GRACE + Duration::from_secs(1));
        assert!(!pipe.is_open());
        let lost = pending.wait().await;
        let Err(Lost::Closed { reason, .. }) = lost else {
            panic!("{lost:?}");
        };
        assert!(matches!(reason, CloseReason::Stalled), "{reason}");
    }

    #[tokio::test]
    async fn an_answer_nobody_asked_for_ends_the_connection() {
        let (pipe, mut server) = pipe().await;
        let pending = submit(&pipe, b"request").await.unwrap();
        server.read_exact(&mut [0; 7]).await.unwrap();
        server.write_all(&frame(b"answer")).await.unwrap();
        assert_eq!(pending.wait().await.unwrap(), b"answer");
        server.write_all(&frame(b"another")).await.unwrap();
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
        assert!(!pipe.is_open());
    }

    #[tokio::test]
    async fn an_answer_before_its_request_has_left_is_nobodys() {
        let (pipe, _server) = pipe().await;
        let _pending = submit(&pipe, b"request").await.unwrap();
        let early = pipe.shared.deliver(b"answer"); // before the writer had a turn
        assert!(matches!(early, Err(CloseReason::Unexpected)));
    }

    #[tokio::test]
    async fn a_dropped_connection_is_closed() {
        let (pipe, mut server) = pipe().await;
        drop(pipe);
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_full_outgoing_buffer_makes_callers_wait_and_gives_their_place_back() {
        let (pipe, mut server) = pipe().await;
        let big = vec![0; QUEUED_BYTES_MAX];
        let mut pending = vec![];
        let refused = loop {
            let deadline = Instant::now() + Duration::from_millis(50);
            let encode = |out: &mut Vec<u8>| {
                out.extend_from_slice(&big);
                Ok(())
            };
            match pipe.submit(Expect::Message, deadline, encode).await {
                Ok(one) => pending.push(one),
                Err(refused) => break refused,
            }
        };
        assert!(matches!(refused, Refused::NoRoom));
        assert!(
            pending.len() < 8,
            "the server reads nothing: {}",
            pending.len()
        );
        assert_eq!(pipe.room(), 8 - pending.len());
        let mut sink = vec![0; QUEUED_BYTES_MAX];
        for _ in &pending {
            server.read_exact(&mut sink).await.unwrap();
        }
        assert!(submit(&pipe, b"small").await.is_ok());
    }
}
