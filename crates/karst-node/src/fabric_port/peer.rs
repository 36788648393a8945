//! One core's links to one other node: one for writes as they come and for what clients wait for, one for what
//! is moved in bulk, so that a partition on its way holds up no write.
//!
//! Requests of a turn gather and leave in one write. A reply finds who asked by the request's number. When
//! the connection ends, everybody who waits for a reply is told that it is gone: the other node may or
//! may not have carried it out. The link connects again for as long as the node is a member.
//!
//! Bounds: at most `OUT_BYTES_MAX` unsent bytes and `WAITING_MAX` unanswered requests; beyond that no
//! request is taken, so a node that is slow or stopped makes nothing grow.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use karst_cluster::fabric::{self, Ack, Frame, Hello, Kind};
use karst_cluster::node::NodeId;
use slab::Slab;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, oneshot};

use crate::core::Core;
use crate::counters::Counter;

/// Unsent bytes of a link beyond which it takes no requests.
const OUT_BYTES_MAX: usize = 8 << 20;

/// Unanswered requests of a link beyond which it takes no more.
const WAITING_MAX: usize = 16 << 10;

/// How long a connection may take to come up.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// Pause before a connection is tried again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);

/// Time between two questions whether a node is there.
const PING_EVERY: Duration = Duration::from_millis(200);

/// How long an answer to that may take.
const PING_PATIENCE: Duration = Duration::from_secs(1);

/// Bytes by which the input buffer grows.
const READ_BYTES: usize = 64 << 10;

/// Silence after which the kernel asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// What came back.
#[derive(Debug)]
pub enum Answer {
    /// The payload of the reply.
    Reply(Vec<u8>),
    /// It was not carried out.
    Refused(Ack),
}

/// Why nothing came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// It was never sent.
    NotSent,
    /// It was sent and the connection ended: it may have been carried out.
    Gone,
}

/// A request that was sent.
pub type Asked = oneshot::Receiver<Answer>;

#[derive(Default)]
struct State {
    out: Vec<u8>,
    waiting: Slab<Waiting>,
    connected: bool,
}

/// Who waits for an answer.
struct Waiting {
    sender: oneshot::Sender<Answer>,
    /// It is to confirm a record.
    confirms: bool,
}

/// See [the module](self).
pub struct Peer {
    node: NodeId,
    state: RefCell<State>,
    /// There is something to send.
    wake: Notify,
    /// There is room again, or a connection.
    room: Notify,
    /// The node is no member any more.
    retired: Cell<bool>,
    /// Records that it has not confirmed.
    lag: Arc<Counter>,
}

impl Peer {
    /// A link that is kept up from now on.
    fn start(core: &Rc<Core>, node: NodeId, lag: Arc<Counter>) -> Rc<Peer> {
        let peer = Rc::new(Peer {
            node,
            state: RefCell::default(),
            wake: Notify::new(),
            room: Notify::new(),
            retired: Cell::new(false),
            lag,
        });
        tokio::task::spawn_local(keep(core.clone(), peer.clone()));
        peer
    }

    /// Lets the link end.
    fn retire(&self) {
        self.retired.set(true);
        self.wake.notify_one();
    }

    /// Sends a request, unless the link has no connection or no room.
    pub fn ask(&self, kind: Kind, put: impl FnOnce(&mut Vec<u8>)) -> Option<Asked> {
        let state = &mut *self.state.borrow_mut();
        if !state.connected
            || state.out.len() >= OUT_BYTES_MAX
            || state.waiting.len() >= WAITING_MAX
        {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        let confirms = matches!(kind, Kind::Replicate | Kind::Late);
        self.lag.add(u64::from(confirms));
        let number = state.waiting.insert(Waiting { sender, confirms }) as u64;
        if state.out.is_empty() {
            self.wake.notify_one();
        }
        fabric::put(&mut state.out, kind, number, put);
        Some(receiver)
    }

    /// Waits until the link may take a request, or for a while.
    pub async fn has_room(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.room.notified()).await;
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// When there is none; the link may need time to come up.
    pub async fn request(
        &self,
        kind: Kind,
        patience: Duration,
        put: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Answer, NoAnswer> {
        let asked = self.ask(kind, put).ok_or(NoAnswer::NotSent)?;
        match tokio::time::timeout(patience, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(NoAnswer::Gone),
        }
    }

    fn answered(&self, number: u64, answer: Answer) -> Result<(), fabric::Malformed> {
        let mut state = self.state.borrow_mut();
        let key = usize::try_from(number).unwrap_or(usize::MAX);
        let waiting = state.waiting.try_remove(key);
        let waiting = waiting.ok_or(fabric::Malformed("a reply to no request"))?;
        self.lag.subtract(u64::from(waiting.confirms));
        let _ = waiting.sender.send(answer); // who asked may have given up
        if state.waiting.len() + 1 == WAITING_MAX {
            self.room.notify_waiters();
        }
        Ok(())
    }

    fn connected(&self) {
        self.state.borrow_mut().connected = true;
        self.room.notify_waiters();
    }

    /// Forgets everything that was asked on the connection that has ended.
    fn disconnected(&self) {
        let mut state = self.state.borrow_mut();
        *state = State::default();
        self.lag.subtract(self.lag.get());
    }
}

/// The links to one node.
struct Links {
    live: Rc<Peer>,
    bulk: Rc<Peer>,
}

/// The links of one core.
#[derive(Default)]
pub struct Peers {
    links: RefCell<HashMap<NodeId, Links>>,
}

impl Peers {
    /// The link to a node for what does not wait, if it is a member.
    pub fn to(&self, node: NodeId) -> Option<Rc<Peer>> {
        let links = self.links.borrow();
        links.get(&node).map(|links| links.live.clone())
    }

    /// The link to a node for what is moved in bulk, if it is a member.
    pub fn bulk(&self, node: NodeId) -> Option<Rc<Peer>> {
        let links = self.links.borrow();
        links.get(&node).map(|links| links.bulk.clone())
    }

    /// All for what does not wait.
    fn all(&self) -> Vec<Rc<Peer>> {
        let links = self.links.borrow();
        links.values().map(|links| links.live.clone()).collect()
    }

    /// Makes links to those who have become members and ends those to who are none any more.
    fn follow(&self, core: &Rc<Core>) {
        let sight = core.node.sights.now();
        let mut links = self.links.borrow_mut();
        links.retain(|node, links| {
            let stays = sight.state.nodes.contains_key(node);
            if !stays {
                links.live.retire();
                links.bulk.retire();
            }
            stays
        });
        let others = sight.state.nodes.keys();
        for node in others.filter(|node| **node != core.node.id) {
            links.entry(*node).or_insert_with(|| Links {
                live: Peer::start(core, *node, core.node.lags.counter(*node, core.number)),
                bulk: Peer::start(core, *node, Arc::default()), // nobody waits for what is on its way there
            });
        }
    }
}

/// Keeps a core's links in step with the members; never returns.
pub async fn follow_members(core: Rc<Core>) {
    let mut changes = core.node.sights.changes();
    loop {
        core.peers.follow(&core);
        if changes.changed().await.is_err() {
            return; // the node is gone
        }
    }
}

/// Asks every node again and again whether it is there, and notes who answers; never returns. One core does
/// that for all.
pub async fn listen(core: Rc<Core>) {
    loop {
        tokio::time::sleep(PING_EVERY).await;
        for link in core.peers.all() {
            let Some(asked) = link.ask(Kind::Ping, |_| {}) else {
                continue;
            };
            let core = core.clone();
            tokio::task::spawn_local(async move {
                let answered = tokio::time::timeout(PING_PATIENCE, asked).await;
                if let Ok(Ok(Answer::Reply(_))) = answered {
                    core.node.hearing.note(link.node);
                }
            });
        }
    }
}

/// Keeps one link up for as long as its node is a member.
async fn keep(core: Rc<Core>, peer: Rc<Peer>) {
    while !peer.retired.get() {
        let address = {
            let sight = core.node.sights.now();
            sight.facts(peer.node).map(|facts| facts.fabric.clone())
        };
        if let Some(address) = address {
            let ended = connect(&core, &peer, &address).await;
            peer.disconnected();
            if let Err(error) = ended {
                tracing::debug!(peer = %peer.node, address, %error, "a link to a node has ended");
            }
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

async fn connect(core: &Rc<Core>, peer: &Rc<Peer>, address: &str) -> std::io::Result<()> {
    let connecting = tokio::time::timeout(CONNECT_PATIENCE, TcpStream::connect(address));
    let stream = connecting.await.map_err(std::io::Error::other)??;
    stream.set_nodelay(true)?;
    keep_alive(&stream)?;
    let (input, output) = stream.into_split();
    let hello = Hello {
        cluster: core.node.cluster_id,
        node: core.node.id,
    };
    let (sender, greeted) = oneshot::channel();
    {
        let state = &mut *peer.state.borrow_mut();
        let confirms = false;
        let number = state.waiting.insert(Waiting { sender, confirms }) as u64;
        fabric::put(&mut state.out, Kind::Hello, number, |out| hello.put(out));
        peer.wake.notify_one();
    }
    let greet = async {
        match tokio::time::timeout(CONNECT_PATIENCE, greeted).await {
            Ok(Ok(Answer::Reply(_))) => peer.connected(),
            Ok(Ok(Answer::Refused(_)) | Err(_)) | Err(_) => {
                return Err(std::io::Error::other("the node does not take this link"));
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        ended = receive(peer, input) => ended,
        ended = send(peer, output) => ended,
        ended = greet => ended,
    }
}

/// Lets the kernel notice a peer that vanished without a word.
pub(super) fn keep_alive(stream: &TcpStream) -> std::io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE)?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    Ok(())
}

async fn send(peer: &Peer, mut output: OwnedWriteHalf) -> std::io::Result<()> {
    loop {
        peer.wake.notified().await;
        if peer.retired.get() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut peer.state.borrow_mut().out);
        output.write_all(&bytes).await?;
        if bytes.len() >= OUT_BYTES_MAX {
            peer.room.notify_waiters();
        }
    }
}

async fn receive(peer: &Peer, mut input: OwnedReadHalf) -> std::io::Result<()> {
    let mut bytes = BytesMut::new();
    loop {
        while let Some((frame, end)) = Frame::read(&bytes).map_err(std::io::Error::other)? {
            let answer = match frame.kind {
                Kind::Reply => Ok(Answer::Reply(frame.payload.to_vec())),
                Kind::Refused => Ack::read(frame.payload).map(Answer::Refused),
                _ => Err(fabric::Malformed("a request where replies belong")),
            };
            let number = frame.number;
            answer
                .and_then(|answer| peer.answered(number, answer))
                .map_err(std::io::Error::other)?;
            bytes.advance(end);
        }
        bytes.reserve(READ_BYTES);
        if input.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
