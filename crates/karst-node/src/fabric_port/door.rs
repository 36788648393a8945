//! The fabric port: requests of other nodes.
//!
//! A connection belongs to the core that it was handed to. Records that a primary sends are taken at once;
//! whatever has to wait is carried on by a task of its own, so a slow request holds up no other. Replies
//! leave in the order in which they are ready.
//!
//! Bounds: no more is read from a connection while `OUT_BYTES_MAX` of its replies are unsent or
//! `RUNNING_MAX` of its requests are under way.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use karst_cluster::fabric::{
    self, Ack, Fetch, Frame, Hello, Kind, ListRange, Malformed, OfPartition, Proxy, Replicate,
};
use karst_data::flat::Record;
use karst_data::key::PartitionId;
use karst_engine::migrate::answer::{self, Gathering, Taken, sound};
use karst_storage::log::CommitPoint;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::client_port;
use crate::core::Core;

/// Unsent bytes of replies beyond which nothing more is read.
const OUT_BYTES_MAX: usize = 8 << 20;

/// Requests of one connection that may be under way at once.
const RUNNING_MAX: usize = 4096;

/// Bytes by which the input buffer grows.
const READ_BYTES: usize = 64 << 10;

/// Pause before a record that found no free block is tried again, and how often it is.
const SPACE_PAUSE: Duration = Duration::from_millis(2);
const SPACE_TRIES: usize = 250;

/// Connections that may wait for their core.
pub const HAND_OVER_MAX: usize = 64;

/// Accepts for as long as it runs and gives the connections to the cores in turn.
pub async fn accept(listener: TcpListener, cores: Vec<mpsc::Sender<std::net::TcpStream>>) {
    for core in (0..cores.len()).cycle() {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Ok(stream) = stream.into_std() {
                    let _ = cores[core].try_send(stream); // dropped, it is closed: they try again
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a node's connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Serves the connections that a core is given; ends with the hand-over.
pub async fn serve(core: Rc<Core>, mut given: mpsc::Receiver<std::net::TcpStream>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            given = given.recv() => match given {
                Some(stream) => stream,
                None => return,
            },
            Some(_) = connections.join_next() => continue,
        };
        let core = core.clone();
        connections.spawn_local(async move {
            if let Ok(stream) = TcpStream::from_std(stream)
                && let Err(error) = connection(core, stream).await
            {
                tracing::debug!(%error, "a node's connection has ended");
            }
        });
    }
}

/// What is to be sent on one connection.
#[derive(Default)]
struct Replies {
    out: RefCell<Vec<u8>>,
    wake: Notify,
    running: Cell<usize>,
    /// There is room again.
    eased: Notify,
}

impl Replies {
    fn put(&self, kind: Kind, number: u64, payload: impl FnOnce(&mut Vec<u8>)) {
        let mut out = self.out.borrow_mut();
        if out.is_empty() {
            self.wake.notify_one();
        }
        fabric::put(&mut out, kind, number, payload);
    }

    fn acknowledge(&self, number: u64, ack: Ack) {
        match ack {
            Ack::Done => self.put(Kind::Reply, number, |_| {}),
            ack => self.put(Kind::Refused, number, |out| out.push(ack as u8)),
        }
    }

    fn is_full(&self) -> bool {
        self.out.borrow().len() >= OUT_BYTES_MAX || self.running.get() >= RUNNING_MAX
    }

    /// Carries a request on in a task of its own.
    fn run(self: &Rc<Replies>, task: impl Future<Output = ()> + 'static) {
        self.running.set(self.running.get() + 1);
        let replies = self.clone();
        tokio::task::spawn_local(async move {
            task.await;
            replies.running.set(replies.running.get() - 1);
            replies.eased.notify_one();
        });
    }
}

async fn connection(core: Rc<Core>, stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    super::peer::keep_alive(&stream)?;
    let (mut input, output) = stream.into_split();
    let replies = Rc::<Replies>::default();
    let mut bytes = BytesMut::new();
    let receive = async {
        let mut greeted = false;
        loop {
            core.begin_turn();
            while !replies.is_full()
                && let Some((frame, end)) = Frame::read(&bytes).map_err(std::io::Error::other)?
            {
                let taken = match greeted {
                    true => take(&core, &replies, &frame),
                    false => greet(&core, &replies, &frame),
                };
                taken.map_err(std::io::Error::other)?;
                greeted = true;
                bytes.advance(end);
            }
            core.end_turn();
            if replies.is_full() {
                replies.eased.notified().await;
                continue;
            }
            bytes.reserve(READ_BYTES);
            if input.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        }
    };
    tokio::select! {
        ended = receive => ended,
        ended = send(&replies, output) => ended,
    }
}

async fn send(replies: &Replies, mut output: OwnedWriteHalf) -> std::io::Result<()> {
    loop {
        replies.wake.notified().await;
        let bytes = std::mem::take(&mut *replies.out.borrow_mut());
        output.write_all(&bytes).await?;
        replies.eased.notify_one();
    }
}

/// The first frame of a connection: who it is.
fn greet(core: &Core, replies: &Replies, frame: &Frame<'_>) -> Result<(), Malformed> {
    if frame.kind != Kind::Hello {
        return Err(Malformed("a connection that does not say who it is"));
    }
    let hello = Hello::read(frame.payload)?;
    if hello.cluster != core.node.cluster_id {
        tracing::warn!(node = %hello.node, cluster = %hello.cluster, "a node of another cluster is refused");
        return Err(Malformed("a node of another cluster"));
    }
    replies.acknowledge(frame.number, Ack::Done);
    Ok(())
}

/// Carries a request out, or lets a task do it.
fn take(core: &Rc<Core>, replies: &Rc<Replies>, frame: &Frame<'_>) -> Result<(), Malformed> {
    let number = frame.number;
    match frame.kind {
        Kind::Replicate => {
            let replicate = Replicate::read(frame.payload)?;
            replicated(core, replies, number, &replicate)
        }
        Kind::Late => {
            let late = Replicate::read(frame.payload)?;
            sound(late.record, PartitionId(late.of.partition))?;
            let Some((index, _)) = core.node.namespace(late.of.namespace) else {
                replies.acknowledge(number, Ack::Misled);
                return Ok(());
            };
            let (partition, regime) = (PartitionId(late.of.partition), late.of.regime);
            let (core, answers) = (core.clone(), replies.clone());
            let image = late.record.to_vec();
            replies.run(async move {
                let ack = super::adopt::late(&core, index, partition, regime, image).await;
                answers.acknowledge(number, ack);
            });
            Ok(())
        }
        Kind::Proxy => {
            let proxy = Proxy::read(frame.payload)?;
            let (row, message) = (proxy.row, Box::<[u8]>::from(proxy.message));
            let (core, answers) = (core.clone(), replies.clone());
            replies.run(async move {
                match client_port::carry_out_for(&core, row, &message).await {
                    Ok(reply) => answers.put(Kind::Reply, number, |out| out.extend(reply)),
                    Err(ack) => answers.acknowledge(number, ack),
                }
            });
            Ok(())
        }
        Kind::Hashes => {
            let of = OfPartition::read(frame.payload)?;
            hashed(core, replies, number, &of);
            Ok(())
        }
        Kind::List => {
            let list = ListRange::read(frame.payload)?;
            listed(core, replies, number, &list);
            Ok(())
        }
        Kind::Fetch => {
            let fetch = Fetch::read(frame.payload)?;
            match place(core, &fetch.of) {
                Err(ack) => replies.acknowledge(number, ack),
                Ok((index, _)) => {
                    let (core, answers) = (core.clone(), replies.clone());
                    let digests = fetch.digests;
                    replies.run(async move {
                        let mut gathering = Gathering::new(digests);
                        while let Some(digest) = gathering.wanted() {
                            if let Ok(Some(image)) = core.image(index, &digest).await {
                                gathering.add(&image);
                            }
                        }
                        let records = gathering.into_reply();
                        answers.put(Kind::Reply, number, |out| out.extend(records));
                    });
                }
            }
            Ok(())
        }
        Kind::Stands => {
            let of = OfPartition::read(frame.payload)?;
            let stands = place(core, &of);
            replies.acknowledge(number, stands.map_or_else(|ack| ack, |_| Ack::Done));
            Ok(())
        }
        Kind::Ping => {
            replies.acknowledge(number, Ack::Done);
            Ok(())
        }
        Kind::Hello | Kind::Reply | Kind::Refused => {
            Err(Malformed("not a request that is expected here"))
        }
    }
}

/// The namespace's position and the partition that are asked about, if the asker's map is this node's.
fn place(core: &Core, of: &OfPartition<'_>) -> Result<(usize, PartitionId), Ack> {
    let (index, namespace) = core.node.namespace(of.namespace).ok_or(Ack::Misled)?;
    Ok((index, answer::admit(&namespace.engine, of)?))
}

/// Tells what the ranges of a partition hash to; of a strongly consistent one, once all that is here is durable.
fn hashed(core: &Rc<Core>, replies: &Rc<Replies>, number: u64, of: &OfPartition<'_>) {
    let (index, id) = match place(core, of) {
        Ok(place) => place,
        Err(ack) => return replies.acknowledge(number, ack),
    };
    let put = move |core: &Core, replies: &Replies| {
        let engine = &core.namespace(index).engine;
        replies.put(Kind::Reply, number, |out| {
            answer::put_hashes(engine, id, out)
        });
    };
    if !core.namespace(index).engine.config().strong || core.is_settled(index) {
        return put(core, replies);
    }
    let (core, answers, regime) = (core.clone(), replies.clone(), of.regime);
    replies.run(async move {
        if core.settled(index).await.is_err() {
            return answers.acknowledge(number, Ack::Failed);
        }
        let of = OfPartition {
            namespace: core.namespace(index).config.name.as_bytes(),
            partition: id.0,
            regime,
        };
        match place(&core, &of) {
            Ok(_) => put(&core, &answers),
            Err(ack) => answers.acknowledge(number, ack),
        }
    });
}

fn listed(core: &Core, replies: &Replies, number: u64, list: &ListRange<'_>) {
    let (index, id) = match place(core, &list.of) {
        Ok(place) => place,
        Err(ack) => return replies.acknowledge(number, ack),
    };
    match answer::list(&core.namespace(index).engine, id, list.range) {
        Err(ack) => replies.acknowledge(number, ack),
        Ok(entries) => replies.put(Kind::Reply, number, |out| {
            entries.iter().for_each(|entry| entry.put(out));
        }),
    }
}

/// A record that the primary sends.
fn replicated(
    core: &Rc<Core>,
    replies: &Rc<Replies>,
    number: u64,
    replicate: &Replicate<'_>,
) -> Result<(), Malformed> {
    core.counters.replicated_in.add(1);
    let record = sound(replicate.record, PartitionId(replicate.of.partition))?;
    let Some((index, _)) = core.node.namespace(replicate.of.namespace) else {
        replies.acknowledge(number, Ack::Misled);
        return Ok(());
    };
    let regime = replicate.of.regime;
    let hand = core.hand(index, regime, true);
    match answer::take(&core.namespace(index).engine, &hand, &record) {
        Taken::Answer(ack) => replies.acknowledge(number, ack),
        Taken::Known => known(core, replies, number, index),
        Taken::Stored(point) => stored(core, replies, number, index, point),
        Taken::Wait => {
            let (core, answers) = (core.clone(), replies.clone());
            let image = replicate.record.to_vec();
            replies.run(async move {
                let Ok(record) = Record::parse_unsealed(&image) else {
                    return; // it was parsed before it was copied
                };
                for _ in 0..SPACE_TRIES {
                    tokio::time::sleep(SPACE_PAUSE).await;
                    core.begin_turn();
                    let hand = core.hand(index, regime, true);
                    match answer::take(&core.namespace(index).engine, &hand, &record) {
                        Taken::Answer(ack) => return answers.acknowledge(number, ack),
                        Taken::Known => return known(&core, &answers, number, index),
                        Taken::Stored(point) => {
                            return stored(&core, &answers, number, index, point);
                        }
                        Taken::Wait => {}
                    }
                }
                answers.acknowledge(number, Ack::Full);
            });
        }
    }
    Ok(())
}

/// Answers once a record that is here is as durable as its namespace asks.
fn stored(
    core: &Rc<Core>,
    replies: &Rc<Replies>,
    number: u64,
    index: usize,
    point: Option<CommitPoint>,
) {
    let engine = &core.namespace(index).engine;
    if engine.log().config().on_devices {
        core.appended(index);
    }
    match point.filter(|_| engine.config().commit_to_device) {
        None => replies.acknowledge(number, Ack::Done),
        Some(point) => {
            let (core, answers) = (core.clone(), replies.clone());
            replies.run(async move {
                answers.acknowledge(number, durable(&core, index, point).await);
            });
        }
    }
}

/// Answers once a record that was here before is as durable as its namespace asks.
fn known(core: &Rc<Core>, replies: &Rc<Replies>, number: u64, index: usize) {
    if !core.namespace(index).engine.config().commit_to_device || core.is_settled(index) {
        return replies.acknowledge(number, Ack::Done);
    }
    let (core, answers) = (core.clone(), replies.clone());
    replies.run(async move {
        let settled = core.settled(index).await;
        answers.acknowledge(number, settled.map_or(Ack::Failed, |()| Ack::Done));
    });
}

async fn durable(core: &Core, index: usize, point: CommitPoint) -> Ack {
    match core.committed(index, point).await {
        Ok(()) => Ack::Done,
        Err(_) => Ack::Failed,
    }
}
