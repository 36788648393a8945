//! What a node does about requests of a strongly consistent namespace: the rest of [`flow`](super::flow).
//!
//! ```text
//! read  at the primary: the record, then whether it is confirmed, then (a moment later) the lease
//!       -> no lease, or none is to count: others are asked whether the regime stands -> answered (a moment later)
//! write made at the primary -> sent -> answered as soon as it is confirmed, in doubt when its time is over
//!                                  -> it goes on until everybody has it, or for two seconds
//! ```

use karst_cluster::fabric::Kind;
use karst_cluster::lease;
use karst_cluster::map::{Regime, Role};
use karst_cluster::node::NodeId;
use karst_cluster::replicate::{Outcome, Spreading};
use karst_cluster::view::{Quorums, Share};
use karst_data::key::{Digest, PartitionId};
use karst_data::mutation::{Mutation, is_planted};
use karst_engine::Step;
use karst_engine::migrate::Cut;
use karst_engine::tenure::Observed;
use karst_storage::log::CommitPoint;
use karst_storage::place::Version;

use super::World;
use super::client::{Ask, Code, Reply, What};
use super::control::SUSPECT_US;
use super::devices::Waits;
use super::flow::{Answered, Then, Write, of};
use super::net::Waiter;
use super::node::Deed;
use super::settle::Settles;

/// How long a write is sent to whoever does not have it.
const SPREAD_US: u64 = 2_000_000;

/// Pause before what waits for a write, or for others' maps, is tried again.
const PAUSE_US: u64 = 2_000;

/// How long others may take to say whether a regime stands before it is asked anew.
const STANDS_US: u64 = 100_000;

/// A record that was read.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// The request.
    request: u64,
    /// What it is answered.
    reply: Reply,
    partition: PartitionId,
    /// Under which it was read.
    regime: Regime,
    /// Of the map by which it was: a lease that counts by a later one only says nothing of it.
    generation: u64,
    /// Whether a lease counts.
    linearize: bool,
}

/// A read for which others are asked whether its regime stands.
pub struct Standing {
    read: Read,
    quorums: Quorums,
    /// Who has said so.
    agree: Vec<NodeId>,
    /// How many have not answered yet.
    open: usize,
}

/// What a write needs that is to be confirmed.
#[derive(Clone, Copy, Debug)]
pub struct Flight {
    /// The record.
    pub digest: Digest,
    /// Its version by this write.
    pub version: Version,
    /// It is.
    pub confirmed: bool,
    /// Whether it is on this node's device, if there is one; nothing is known yet if neither.
    pub durable: Option<bool>,
}

impl Flight {
    /// Whether it is still to be seen if it comes to be durable here.
    pub fn waits_for_device(&self) -> bool {
        self.durable.is_none() && !self.confirmed
    }
}

/// What a process knows of a partition before it knows anything.
pub fn unknown() -> Share {
    Share {
        regime: Regime(0),
        role: Role::Stranger,
        apart: false,
        primary: None,
        followers: Box::default(),
        quorums: Some(Quorums {
            in_sync: Box::default(),
            prior: Box::default(),
            activated: Regime(0),
            can_confirm: false,
            knows: false,
            stands: false,
            processes: Box::default(),
        }),
    }
}

impl World {
    // Leases.

    /// The leader has answered a report: a lease may follow from it, asked for then, and granted by one who had this state.
    pub(crate) fn leased(&mut self, node: usize, quorum_age_us: u64, from: Option<(u64, u64)>) {
        let it = &mut self.nodes[node];
        if let (Some((asked_us, generation)), true) = (from, it.reports) {
            let until_us = lease::lasts_until(asked_us, quorum_age_us, SUSPECT_US);
            if it.failing.is_none() {
                it.lease.renew(until_us, generation);
            }
        }
    }

    // Reads.

    /// A request has found that a record is, or is not, what it asked for: that is a read like any other.
    pub(crate) fn has_found(
        &mut self,
        node: usize,
        request: u64,
        ask: &Ask,
        reply: Reply,
    ) -> Option<Reply> {
        if !self.setup.is_strong() {
            return Some(reply);
        }
        let partition = ask.digest.partition();
        let read = Read {
            request,
            reply,
            partition,
            regime: self.nodes[node].share(partition).regime,
            generation: self.nodes[node].view.generation,
            linearize: ask.what == What::Linearize,
        };
        let us = self.rng.below(20);
        self.later(node, us, Deed::HasRead(read));
        if let Some(us) = self.nodes[node].stands_still_at_read.take() {
            self.stand_still_for(node, us);
        }
        None
    }

    /// Reads a record at the primary, and sees whether that may be told. The reply if not.
    pub(crate) fn read_strong(
        &mut self,
        node: usize,
        request: u64,
        ask: &Ask,
        is_late: bool,
    ) -> Option<Reply> {
        let regime = self.nodes[node].share(ask.digest.partition()).regime;
        let held = match self.look_up(node, &ask.digest) {
            Ok(held) => held,
            Err(_) => return Some(Reply::plain(Code::Refused)), // nothing is told of it
        };
        let observed = self.nodes[node].engine.observe(&ask.digest, regime.0);
        match observed {
            Observed::Confirmed => {
                let reply = match held {
                    None => Reply::plain(Code::NotFound),
                    Some(held) => Reply {
                        held,
                        ..Reply::plain(Code::Done)
                    },
                };
                return self.has_found(node, request, ask, reply);
            }
            Observed::Stuck(version) => self.send_again(node, &ask.digest, version),
            Observed::Waits | Observed::Elsewhere => {}
        }
        if is_late {
            return Some(Reply::plain(Code::Refused));
        }
        let us = self.rng.between(PAUSE_US / 2, PAUSE_US);
        self.later(node, us, Deed::Retry(request));
        None
    }

    /// A record is unconfirmed, and nobody sees to it: its newest state goes to everybody once more.
    fn send_again(&mut self, node: usize, digest: &Digest, version: Version) {
        self.once_settled(node, Settles::Again(*digest, version));
    }

    /// The same, once it is durable here.
    pub(super) fn send_settled(&mut self, node: usize, digest: &Digest, version: Version) {
        self.tell(|| format!("n{node} sends {digest} again, version {version}"));
        let engine = &self.nodes[node].engine;
        match self.with_reads(node, |fetched| engine.image(digest, fetched)) {
            Step::Done(Ok(Some(image))) => {
                self.spread_strong(node, (*digest, version), image, Then::Nothing, None);
            }
            Step::Done(_) => self.nodes[node].engine.settle(digest, version),
            Step::Read(_) | Step::Wait => unreachable!("it was read"),
        }
    }

    /// A request waits; if that is for a write that nobody sees to, somebody does from now on.
    pub(crate) fn unstick(&mut self, node: usize, digest: &Digest) {
        let regime = self.nodes[node].share(digest.partition()).regime;
        let observed = self.nodes[node].engine.observe(digest, regime.0);
        if let Observed::Stuck(version) = observed {
            self.send_again(node, digest, version);
        }
    }

    /// A record was read a moment ago: a lease that lasts still says that it may be told, or a quorum.
    pub(crate) fn has_read(&mut self, node: usize, read: &Read) {
        let now_us = self.boot_us(node);
        let it = &mut self.nodes[node];
        let covered = it.lease.covers(read.generation, now_us);
        if !read.linearize && covered {
            self.tally.leased_reads += 1;
            return self.tell_soon(node, read);
        }
        let Some(quorums) = it.view.share(0, read.partition).quorums.clone() else {
            return;
        };
        if it.view.share(0, read.partition).regime != read.regime {
            return self.later(node, PAUSE_US, Deed::Retry(read.request));
        }
        if quorums.are_met_by(&[it.id]) {
            return self.tell_soon(node, read);
        }
        self.ask_whether_it_stands(node, read, quorums);
    }

    fn tell_soon(&mut self, node: usize, read: &Read) {
        self.tells_of(node, read.partition);
        let us = self.rng.below(20);
        self.later(node, us, Deed::Tell(read.request, read.reply));
    }

    fn ask_whether_it_stands(&mut self, node: usize, read: &Read, quorums: Quorums) {
        self.tally.asked_stands += 1;
        let it = &mut self.nodes[node];
        let (me, number) = (it.id, it.number());
        let mut others: Vec<NodeId> = Vec::new();
        for other in quorums.in_sync.iter().chain(&quorums.prior) {
            if *other != me && !others.contains(other) {
                others.push(*other);
            }
        }
        let mut open = 0;
        for other in others {
            let put = |out: &mut Vec<u8>| of(read.partition, read.regime).put(out);
            let (to, waiter) = (self.position(other), Waiter::Stands(number));
            open += usize::from(self.send(node, to, Kind::Stands, waiter, put).is_some());
        }
        let standing = Standing {
            read: *read,
            quorums,
            agree: vec![me],
            open,
        };
        self.nodes[node].standing.insert(number, standing);
        let us = if open == 0 { PAUSE_US } else { STANDS_US };
        self.later(node, us, Deed::StandsNot(number));
    }

    /// Another node has said whether a regime stands.
    pub(crate) fn stands(&mut self, node: usize, from: usize, number: u64, answer: Answered<'_>) {
        let other = self.nodes[from].id;
        let Some(standing) = self.nodes[node].standing.get_mut(&number) else {
            return;
        };
        standing.open -= 1;
        if matches!(answer, Answered::Reply(_)) {
            standing.agree.push(other);
        }
        if standing.quorums.are_met_by(&standing.agree) {
            let read = standing.read;
            self.nodes[node].standing.remove(&number);
            return self.tell_soon(node, &read);
        }
        if standing.open == 0 {
            self.later(node, PAUSE_US, Deed::StandsNot(number));
        }
    }

    /// A read that too few have agreed to is begun anew.
    pub(crate) fn stands_not(&mut self, node: usize, number: u64) {
        if let Some(standing) = self.nodes[node].standing.remove(&number) {
            let request = standing.read.request;
            match self.is_late(node, request) {
                true => self.answer(node, request, Reply::plain(Code::Refused)),
                false => self.attempt(node, request),
            }
        }
    }

    // Writes.

    /// A request has waited long enough. If it was made, it is in doubt, and goes on.
    pub(crate) fn overdue(&mut self, node: usize, request: u64) {
        let waits = |write: &Write| matches!(write.then, Then::Request(it, _) if it == request);
        if self.nodes[node].writes.values().any(waits) {
            self.answer(node, request, Reply::plain(Code::InDoubt));
        }
    }

    /// Sends a write to everybody who is to have it, until they do.
    pub(crate) fn spread_strong(
        &mut self,
        node: usize,
        (digest, version): (Digest, Version),
        image: Vec<u8>,
        then: Then,
        point: Option<CommitPoint>,
    ) {
        let deadline_us = self.agenda.now_us() + SPREAD_US;
        let number = self.nodes[node].number();
        let waits = self.wait_for_commit(node, point, Waits::Write(number))
            && !is_planted(Mutation::ConfirmsBeforeCommit);
        let write = Write {
            partition: digest.partition(),
            image,
            spreading: Spreading::begin_strong(deadline_us),
            then,
            look: 0,
            flight: Some(Flight {
                digest,
                version,
                confirmed: false,
                durable: (!waits).then_some(true),
            }),
        };
        self.nodes[node].writes.insert(number, write);
        self.wake(node, number);
    }

    /// A write of this node's is on its device, or will never be.
    pub(crate) fn is_durable(&mut self, node: usize, number: u64, durable: bool) {
        let write = self.nodes[node].writes.get_mut(&number);
        if let Some(flight) = write.and_then(|write| write.flight.as_mut()) {
            flight.durable = Some(durable);
            self.wake(node, number);
        }
    }

    /// Sees how far a write is that is to be confirmed. Whether it goes on.
    pub(crate) fn follow_flight(&mut self, node: usize, number: u64) -> bool {
        let it = &mut self.nodes[node];
        let Some(write) = it.writes.get_mut(&number) else {
            return false;
        };
        let Some(flight) = &mut write.flight else {
            return true;
        };
        let Flight {
            digest, version, ..
        } = *flight;
        let share = it.view.share(0, write.partition);
        if !it.engine.is_in_flight(&digest, version) {
            // This node serves no more: who does has it, or has not.
            let then = write.then;
            let confirmed = flight.confirmed;
            it.writes.remove(&number);
            self.tell(|| format!("n{node} sees to {version} of {digest} no more"));
            self.landed(node, then, confirmed, Err(Cut::Overtaken));
            return false;
        }
        let durable = flight.durable == Some(true);
        if !flight.confirmed && durable && write.spreading.is_confirmed(share) {
            let confirmed = it.engine.confirm(&digest, version, share.regime.0);
            flight.confirmed = confirmed;
            let then = write.then;
            if confirmed {
                self.tells_of(node, digest.partition());
            }
            if let (true, Then::Request(request, reply)) = (confirmed, then) {
                self.answer(node, request, reply);
            }
        }
        true
    }

    /// A write that was to be confirmed is on its way no more.
    pub(crate) fn over(&mut self, node: usize, write: &Write, flight: Flight, outcome: Outcome) {
        self.nodes[node]
            .engine
            .settle(&flight.digest, flight.version);
        let arrived = match outcome {
            Outcome::Arrived => Ok(()),
            Outcome::Missed => Err(Cut::Later),
        };
        self.landed(node, write.then, flight.confirmed, arrived);
    }

    fn landed(&mut self, node: usize, then: Then, confirmed: bool, arrived: Result<(), Cut>) {
        match then {
            Then::Request(request, _) if !confirmed => {
                self.answer(node, request, Reply::plain(Code::InDoubt));
            }
            Then::Request(..) | Then::Nothing => {}
            Then::Compare(_) | Then::Late(_) => self.adopted(node, then, arrived),
        }
    }

    /// Another map is in force: by that writes may be confirmed, or be nobody's any more.
    pub(crate) fn wake_all(&mut self, node: usize) {
        let all = self.nodes[node].writes.iter();
        let strong = all.filter(|(_, write)| write.flight.is_some());
        let numbers: Vec<u64> = strong.map(|(number, _)| *number).collect();
        numbers
            .into_iter()
            .for_each(|number| self.wake(node, number));
    }
}
