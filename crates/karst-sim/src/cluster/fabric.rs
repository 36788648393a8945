//! A node's links, and its door: what `karst_node::fabric_port` does with sockets.

use karst_cluster::fabric::{
    self, Ack, Fetch, Frame, Hello, Kind, ListRange, Malformed, OfPartition, Proxy, Replicate,
};
use karst_cluster::node::ClusterId;
use karst_data::key::PartitionId;
use karst_engine::Step;
use karst_engine::migrate::adopt::Adopt;
use karst_engine::migrate::answer::{self, Gathering, Taken, sound};

use super::control::NAMESPACE;
use super::devices::Waits;
use super::fault;
use super::flow::{Answered, From, Then};
use super::net::Waiter;
use super::node::Deed;
use super::settle::Settles;
use super::{Event, World};
use crate::check::Violation;

/// Pause before a connection is tried again.
const RECONNECT_US: u64 = 50_000;

/// How long a connection may take to come up.
const CONNECT_MAX_US: u64 = 1_000_000;

/// Time between two questions whether a node is there.
const PING_EVERY_US: u64 = 200_000;

/// How late a request may come once more: before a delete may be forgotten that outweighs it. A node does that after a
/// minute of rest, and connections carry nothing for so long; here it may be two seconds.
const LATE_US: u64 = 1_500_000;

/// The cluster, everywhere in here.
const CLUSTER: ClusterId = ClusterId([7; 16]);

/// Where a reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// Who asked.
    pub from: usize,
    /// The connection.
    pub epoch: u64,
    /// The request.
    pub number: u64,
}

impl World {
    /// Sends a request, unless the link has no connection. Its number, if it was sent.
    pub(crate) fn send(
        &mut self,
        from: usize,
        to: usize,
        kind: Kind,
        waiter: Waiter,
        put: impl FnOnce(&mut Vec<u8>),
    ) -> Option<u64> {
        let link = self.net.link(from, to);
        if !link.connected && waiter != Waiter::Hello {
            return None;
        }
        let number = link.number(waiter);
        let mut bytes = Vec::new();
        fabric::put(&mut bytes, kind, number, put);
        if self.doubles(kind) {
            let us = match self.rng.one_in(2) {
                true => self.rng.below(20_000),
                false => self.rng.below(LATE_US),
            };
            let bytes = bytes.clone();
            self.agenda.after(us, Event::Again { from, to, bytes });
        }
        self.carry(from, to, true, bytes);
        Some(number)
    }

    /// Whether a request is to come once more; not one of a client, which whoever hands it on sends once.
    fn doubles(&mut self, kind: Kind) -> bool {
        let one_in = self.setup.doubled_one_in;
        let is_client = matches!(kind, Kind::Proxy | Kind::Hello | Kind::Ping);
        one_in != 0 && !is_client && self.rng.one_in(one_in)
    }

    /// A request comes once more, as another one, to whose answer nobody listens.
    pub(crate) fn comes_again(&mut self, from: usize, to: usize, bytes: &[u8]) {
        if !self.nodes[from].running || !self.net.link(from, to).connected {
            return;
        }
        let Ok(Some((frame, _))) = Frame::read(bytes) else {
            unreachable!("it was put here");
        };
        self.injected(fault::Kind::Doubled);
        let number = self.net.link(from, to).number(Waiter::Ping);
        let mut again = Vec::new();
        fabric::put(&mut again, frame.kind, number, |out| {
            out.extend(frame.payload);
        });
        self.carry(from, to, true, again);
    }

    fn carry(&mut self, from: usize, to: usize, forward: bool, bytes: Vec<u8>) {
        self.tally.messages += 1;
        let (now_us, delay_us) = (self.agenda.now_us(), self.net.delay_us(&mut self.rng));
        let link = self.net.link(from, to);
        if link.dead {
            return;
        }
        let epoch = link.epoch;
        let at_us = link.send(forward, bytes, now_us, delay_us);
        let event = Event::Arrive {
            from,
            to,
            epoch,
            forward,
        };
        self.agenda.at(at_us, event);
    }

    pub(crate) fn arrive(&mut self, from: usize, to: usize, epoch: u64, forward: bool) {
        let (sender, node) = if forward { (from, to) } else { (to, from) };
        let is_cut = self.net.is_cut(sender, node);
        let link = self.net.link(from, to);
        if link.epoch != epoch || link.dead {
            return;
        }
        if let Some(bytes) = link.arrive(forward, is_cut) {
            let life = self.nodes[node].life;
            let deed = Deed::Message {
                from,
                to,
                epoch,
                forward,
                bytes,
            };
            self.of(node, life, deed);
        }
    }

    /// A way that was cut is open again: what waited is carried on.
    pub(crate) fn open(&mut self, sender: usize, node: usize) {
        for (from, to, forward) in [(sender, node, true), (node, sender, false)] {
            let link = self.net.link(from, to);
            let epoch = link.epoch;
            for _ in 0..link.open(forward) {
                // As many come as waited, in their order, whichever is first.
                let us = self.rng.below(200_000);
                let event = Event::Arrive {
                    from,
                    to,
                    epoch,
                    forward,
                };
                self.agenda.after(us, event);
            }
        }
    }

    /// A link ends; who asks by it finds out soon, or after a while.
    pub(crate) fn snap(&mut self, from: usize, to: usize, soon: bool) {
        let link = self.net.link(from, to);
        if link.dead || (!link.connected && link.waiting.is_empty()) {
            return;
        }
        let epoch = link.epoch;
        link.snap();
        let us = match soon {
            true => self.rng.below(5_000),
            false => self.rng.below(3_000_000),
        };
        self.agenda.after(us, Event::Notice { from, to, epoch });
    }

    pub(crate) fn notice(&mut self, from: usize, to: usize, epoch: u64) {
        if self.net.link(from, to).epoch != epoch {
            return;
        }
        let waiting = self.net.link(from, to).close();
        if !self.nodes[from].running {
            return;
        }
        for waiter in waiting.into_values() {
            self.answered(from, to, waiter, Answered::Lost);
        }
        self.try_to_connect(from, to, RECONNECT_US);
    }

    fn try_to_connect(&mut self, node: usize, to: usize, us: u64) {
        let link = self.net.link(node, to);
        if !std::mem::replace(&mut link.trying, true) {
            self.later(node, us, Deed::Connect(to));
        }
    }

    /// Makes links to members that there are none to.
    pub(crate) fn link_up(&mut self, node: usize) {
        for to in 0..self.nodes.len() {
            let id = self.nodes[to].id;
            if to != node && self.nodes[node].state.nodes.contains_key(&id) {
                let link = self.net.link(node, to);
                if !link.connected && !link.dead && link.waiting.is_empty() {
                    self.try_to_connect(node, to, 0);
                }
            }
        }
    }

    pub(crate) fn connect(&mut self, node: usize, to: usize) {
        let there = self.nodes[to].running && self.net.reach(node, to);
        let link = self.net.link(node, to);
        link.trying = false;
        if link.connected || link.dead || !link.waiting.is_empty() {
            return;
        }
        if !there {
            return self.try_to_connect(node, to, RECONNECT_US);
        }
        let epoch = link.epoch;
        let hello = Hello {
            cluster: CLUSTER,
            node: self.nodes[node].id,
        };
        self.send(node, to, Kind::Hello, Waiter::Hello, |out| hello.put(out));
        self.later(node, CONNECT_MAX_US, Deed::Greeted { to, epoch });
    }

    pub(crate) fn greeted(&mut self, node: usize, to: usize, epoch: u64) {
        let link = self.net.link(node, to);
        if link.epoch == epoch && !link.connected {
            link.close();
            self.try_to_connect(node, to, RECONNECT_US);
        }
    }

    pub(crate) fn ping(&mut self, node: usize) {
        self.later(node, PING_EVERY_US, Deed::Ping);
        for to in (0..self.nodes.len()).filter(|to| *to != node) {
            self.send(node, to, Kind::Ping, Waiter::Ping, |_| {});
        }
    }

    pub(crate) fn timed_out(&mut self, node: usize, to: usize, epoch: u64, number: u64) {
        let link = self.net.link(node, to);
        if link.epoch == epoch
            && let Some(waiter) = link.waiting.get(&number).copied()
        {
            // The link still waits for the reply, which then is nobody's.
            link.waiting.insert(number, Waiter::Ping);
            self.answered(node, to, waiter, Answered::Lost);
        }
    }

    pub(crate) fn message(
        &mut self,
        from: usize,
        to: usize,
        epoch: u64,
        forward: bool,
        bytes: &[u8],
    ) {
        if self.net.link(from, to).epoch != epoch || self.net.link(from, to).dead {
            return;
        }
        let taken = match Frame::read(bytes) {
            Ok(Some((frame, end))) if end == bytes.len() => match forward {
                true => self.request(from, to, epoch, &frame),
                false => self.reply_came(from, to, &frame),
            },
            Ok(_) => Err(Malformed("no whole frame")),
            Err(malformed) => Err(malformed),
        };
        if let Err(malformed) = taken {
            let what = format!("n{from} and n{to}: {malformed}");
            self.broken.get_or_insert(Violation::new("fabric", what));
        }
    }

    fn reply_came(&mut self, from: usize, to: usize, frame: &Frame<'_>) -> Result<(), Malformed> {
        let link = self.net.link(from, to);
        let waiter = link.waiting.remove(&frame.number);
        let waiter = waiter.ok_or(Malformed("a reply to no request"))?;
        match (waiter, frame.kind) {
            (Waiter::Hello, Kind::Reply) => link.connected = true,
            (waiter, Kind::Reply) => {
                self.answered(from, to, waiter, Answered::Reply(frame.payload));
            }
            (waiter, Kind::Refused) => {
                let ack = Ack::read(frame.payload)?;
                self.answered(from, to, waiter, Answered::Refused(ack));
            }
            _ => return Err(Malformed("a request where replies belong")),
        }
        Ok(())
    }

    /// Sends a reply, if the connection is still there.
    pub(crate) fn put_reply(&mut self, node: usize, reply: ReplyTo, kind: Kind, payload: &[u8]) {
        let ReplyTo {
            from,
            epoch,
            number,
        } = reply;
        if self.net.link(from, node).epoch == epoch {
            let mut bytes = Vec::new();
            fabric::put(&mut bytes, kind, number, |out| out.extend(payload));
            self.carry(from, node, false, bytes);
        }
    }

    pub(crate) fn acknowledge(&mut self, node: usize, reply: ReplyTo, ack: Ack) {
        match ack {
            Ack::Done => self.put_reply(node, reply, Kind::Reply, &[]),
            ack => self.put_reply(node, reply, Kind::Refused, &[ack as u8]),
        }
    }

    fn request(
        &mut self,
        from: usize,
        node: usize,
        epoch: u64,
        frame: &Frame<'_>,
    ) -> Result<(), Malformed> {
        let reply = ReplyTo {
            from,
            epoch,
            number: frame.number,
        };
        let answer = match frame.kind {
            Kind::Hello => Hello::read(frame.payload).map(|_| Ok(Vec::new()))?,
            Kind::Ping => Ok(Vec::new()),
            Kind::Replicate => {
                let replicate = Replicate::read(frame.payload)?;
                match self.take_copy(node, &replicate, reply)? {
                    Some(ack) => Err(ack),
                    None => return Ok(()),
                }
            }
            Kind::Late => {
                let late = Replicate::read(frame.payload)?;
                let (partition, regime) = (PartitionId(late.of.partition), late.of.regime);
                sound(late.record, partition)?;
                self.tally.handed_over += 1;
                match answer::admit_late(self.nodes[node].share(partition), regime) {
                    Err(ack) => Err(ack),
                    Ok(()) => {
                        let adopt = Adopt::TakeOver(late.record.to_vec());
                        self.adopt(node, partition, regime.0, adopt, Then::Late(reply));
                        return Ok(());
                    }
                }
            }
            Kind::Proxy => {
                let proxy = Proxy::read(frame.payload)?;
                let ask = super::client::Ask::read(proxy.message);
                let ask = ask.ok_or(Malformed("no request of a client"))?;
                self.carry_out(node, From::Node(reply), ask);
                return Ok(());
            }
            Kind::Stands => {
                let of = OfPartition::read(frame.payload)?;
                self.place(node, &of).map(|_| Vec::new())
            }
            Kind::Hashes => {
                let of = OfPartition::read(frame.payload)?;
                self.hashed(node, reply, &of);
                return Ok(());
            }
            Kind::List => {
                let list = ListRange::read(frame.payload)?;
                let engine = &self.nodes[node].engine;
                let entries = self.place(node, &list.of);
                let entries = entries.and_then(|id| answer::list(engine, id, list.range));
                entries.map(|entries| {
                    let mut out = Vec::new();
                    entries.iter().for_each(|entry| entry.put(&mut out));
                    out
                })
            }
            Kind::Fetch => {
                let fetch = Fetch::read(frame.payload)?;
                self.place(node, &fetch.of)
                    .map(|_| self.gather(node, fetch.digests))
            }
            Kind::Reply | Kind::Refused => return Err(Malformed("not a request")),
        };
        match answer {
            Ok(payload) => self.put_reply(node, reply, Kind::Reply, &payload),
            Err(ack) => self.acknowledge(node, reply, ack),
        }
        Ok(())
    }

    pub(super) fn place(&self, node: usize, of: &OfPartition<'_>) -> Result<PartitionId, Ack> {
        assert_eq!(of.namespace, NAMESPACE.as_bytes());
        answer::admit(&self.nodes[node].engine, of)
    }

    /// Takes a record that a primary sends. Nothing is answered yet if it is to be durable first.
    fn take_copy(
        &mut self,
        node: usize,
        replicate: &Replicate<'_>,
        reply: ReplyTo,
    ) -> Result<Option<Ack>, Malformed> {
        let record = sound(replicate.record, PartitionId(replicate.of.partition))?;
        let hand = self.hand(node, replicate.of.regime.0, true);
        let taken = answer::take(&self.nodes[node].engine, &hand, &record);
        Ok(match taken {
            Taken::Answer(ack) => Some(ack),
            Taken::Known => {
                self.once_settled(node, Settles::Known(reply));
                None
            }
            Taken::Stored(point) => {
                let waits = self.wait_for_commit(node, point, Waits::Copy(reply));
                (!waits).then_some(Ack::Done)
            }
            Taken::Wait => Some(Ack::Full),
        })
    }

    fn gather(&self, node: usize, digests: Vec<karst_data::key::Digest>) -> Vec<u8> {
        let mut gathering = Gathering::new(digests);
        while let Some(digest) = gathering.wanted() {
            let engine = &self.nodes[node].engine;
            match self.with_reads(node, |fetched| engine.image(&digest, fetched)) {
                Step::Done(Ok(Some(image))) => gathering.add(&image),
                Step::Done(_) | Step::Read(_) | Step::Wait => {}
            }
        }
        gathering.into_reply()
    }
}
