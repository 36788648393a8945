//! What a node does about requests, writes on their way, and comparisons: the drivers of
//! `karst_cluster::replicate` and `karst_engine::migrate`, as those of `karst-node` are.

use karst_cluster::fabric::{Ack, Kind, OfPartition, Proxy, Replicate};
use karst_cluster::map::Regime;
use karst_cluster::plan::Holds;
use karst_cluster::replicate::{Next, Outcome, Spreading};
use karst_cluster::view::Way;
use karst_data::flat::Record;
use karst_data::key::{Digest, PartitionId};
use karst_data::operation::{CommandFlags, Operand, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::time::{Now, Ttl};
use karst_data::value::{ParticleType, Value};
use karst_engine::migrate::Cut;
use karst_engine::migrate::adopt::{Adopt, Adopted};
use karst_engine::migrate::answer::of_late;
use karst_engine::migrate::compare::{self, Comparison};
use karst_engine::migrate::duty::{After, Repair, Task};
use karst_engine::read::{Found, Need, ReadRequest};
use karst_engine::reconcile::How;
use karst_engine::write::{DeleteRequest, Stored, WriteRequest};
use karst_engine::{Reason, Refusal, Step};
use karst_storage::log::CommitPoint;
use karst_storage::place::Version;

use super::World;
use super::client::{Ask, Code, Held, Reply, SET, What};
use super::contend;
use super::control::NAMESPACE;
use super::devices::Waits;
use super::fabric::ReplyTo;
use super::net::Waiter;
use super::node::Deed;
use super::settle::Settles;
use super::strong::Flight;

/// How long a client's request may take.
const REQUEST_US: u64 = 1_000_000;

/// Pause before a request that does not belong here yet is tried again.
const MAP_PAUSE_US: u64 = 5_000;

/// How long a write that merging makes may take to arrive.
const ADOPT_US: u64 = 5_000_000;

/// Pause before such a write that has to wait is tried again.
const ADOPT_PAUSE_US: u64 = 2_000;

/// How long an answer to a comparison may take.
const COMPARE_US: u64 = 10_000_000;

/// Comparisons under way at once.
const COMPARISONS_MAX: usize = 4;

/// How often it is looked whom to compare with.
const FILL_EVERY_US: u64 = 250_000;

/// Pause between two rounds of comparisons.
const FILL_PAUSE_US: u64 = 50_000;

/// Pause before a record that found no room on its link is sent again.
const PUSH_PAUSE_US: u64 = 20_000;

/// What came back of a request to another node.
#[derive(Clone, Copy, Debug)]
pub enum Answered<'a> {
    /// The payload of the reply.
    Reply(&'a [u8]),
    /// It was not carried out.
    Refused(Ack),
    /// Nothing, and it may have been carried out.
    Lost,
}

/// Who asked.
#[derive(Clone, Copy, Debug)]
pub enum From {
    /// A client, for the request of this number.
    Client(usize, u64),
    /// Another node, on behalf of one.
    Node(ReplyTo),
}

/// A client's request that is not answered yet.
pub struct Request {
    from: From,
    ask: Ask,
    deadline_us: u64,
    /// It was tried here before.
    tried: bool,
}

/// A write that was made.
struct Made {
    commit: Option<CommitPoint>,
    image: Option<Vec<u8>>,
    in_flight: Option<Version>,
    generation: u16,
}

/// What waits for a write to arrive.
#[derive(Clone, Copy, Debug)]
pub enum Then {
    /// A request, and what it is answered then.
    Request(u64, Reply),
    /// A comparison.
    Compare(u64),
    /// A former primary.
    Late(ReplyTo),
    /// Nothing.
    Nothing,
}

/// A write on its way.
pub struct Write {
    pub(super) partition: PartitionId,
    pub(super) image: Vec<u8>,
    pub(super) spreading: Spreading,
    pub(super) then: Then,
    pub(super) look: u64,
    /// What it needs to be confirmed, where consistency is strong.
    pub(super) flight: Option<Flight>,
}

/// A comparison under way.
pub struct Running {
    pub(super) comparison: Comparison,
}

impl World {
    // Requests of clients.

    pub(crate) fn asked(&mut self, node: usize, ask: Ask) {
        self.carry_out(node, From::Client(ask.client, ask.number), ask);
    }

    pub(crate) fn carry_out(&mut self, node: usize, from: From, ask: Ask) {
        let number = self.nodes[node].number();
        let request = Request {
            from,
            ask,
            deadline_us: self.agenda.now_us() + REQUEST_US,
            tried: false,
        };
        self.nodes[node].requests.insert(number, request);
        self.attempt(node, number);
    }

    /// Whether a request has waited for too long.
    pub(super) fn is_late(&self, node: usize, number: u64) -> bool {
        let request = self.nodes[node].requests.get(&number);
        request.is_some_and(|request| self.agenda.now_us() >= request.deadline_us)
    }

    pub(crate) fn attempt(&mut self, node: usize, number: u64) {
        let Some(request) = self.nodes[node].requests.get_mut(&number) else {
            return;
        };
        let (ask, first) = (request.ask, !std::mem::replace(&mut request.tried, true));
        let (from, is_late) = (request.from, self.agenda.now_us() >= request.deadline_us);
        let deadline_us = request.deadline_us;
        let proxied = matches!(from, From::Node(_));
        match self.nodes[node]
            .share(ask.digest.partition())
            .way(ask.writes() || self.setup.is_strong())
        {
            Way::Here => {
                if let Some(reply) = self.at_engine(node, number, &ask, is_late) {
                    self.answer(node, number, reply);
                }
            }
            Way::At(_) | Way::Nowhere if proxied && first => {
                self.nodes[node].requests.remove(&number);
                if let From::Node(reply) = from {
                    self.acknowledge(node, reply, Ack::Misled);
                }
            }
            Way::Nowhere if is_late => self.answer(node, number, Reply::plain(Code::Refused)),
            Way::At(_) if is_late && !ask.writes() => {
                self.answer(node, number, Reply::plain(Code::Refused));
            }
            Way::At(_) if is_late => self.answer(node, number, Reply::plain(Code::InDoubt)),
            Way::At(other) if !proxied => {
                let mut message = Vec::new();
                ask.put(&mut message);
                let proxy = Proxy {
                    row: None,
                    message: &message,
                };
                let to = self.position(other);
                let put = |out: &mut Vec<u8>| proxy.put(out);
                match self.send(node, to, Kind::Proxy, Waiter::Proxy(number), put) {
                    None => self.later(node, MAP_PAUSE_US, Deed::Retry(number)),
                    Some(asked) => {
                        let epoch = self.net.link(node, to).epoch;
                        let us = deadline_us - self.agenda.now_us();
                        let deed = Deed::TimedOut {
                            to,
                            epoch,
                            number: asked,
                        };
                        self.later(node, us, deed);
                    }
                }
            }
            Way::At(_) | Way::Nowhere => self.later(node, MAP_PAUSE_US, Deed::Retry(number)),
        }
    }

    /// The position of a node.
    pub(crate) fn position(&self, id: karst_cluster::node::NodeId) -> usize {
        let position = self.nodes.iter().position(|node| node.id == id);
        position.expect("only nodes of this world are on its maps")
    }

    /// Carries a request out at the engine. The reply, unless it has to wait for something.
    fn at_engine(&mut self, node: usize, number: u64, ask: &Ask, is_late: bool) -> Option<Reply> {
        if !ask.writes() {
            return match self.setup.is_strong() {
                true => self.read_strong(node, number, ask, is_late),
                false => Some(self.read(node, ask)),
            };
        }
        let partition = ask.digest.partition();
        let share = self.nodes[node].share(partition);
        let regime = share.regime;
        let quorums = share.quorums.as_ref();
        let step = match quorums.is_some_and(|quorums| !quorums.can_confirm) {
            true => Step::Wait, // too few are there
            false => self.make(node, regime, ask),
        };
        let made = match step {
            Step::Done(Ok(made)) => made,
            Step::Done(Err(reason @ (Reason::NotFound | Reason::Generation))) => {
                let code = match reason {
                    Reason::NotFound => Code::NotFound,
                    _ => Code::Mismatch,
                };
                return self.has_found(node, number, ask, Reply::plain(code));
            }
            Step::Done(Err(_)) => return Some(Reply::plain(Code::Refused)),
            Step::Read(_) => unreachable!("it was read"),
            Step::Wait => {
                if self.setup.is_strong() {
                    self.unstick(node, &ask.digest);
                }
                if is_late {
                    return Some(Reply::plain(Code::Refused));
                }
                self.later(node, MAP_PAUSE_US, Deed::Retry(number));
                return None;
            }
        };
        let entry = self.nodes[node].engine.entry(&ask.digest);
        let reply = Reply {
            by: node,
            alone: regime.is_alone(),
            update_time_ms: entry.map_or(self.now_ms(node), |entry| entry.update_time_ms),
            held: Held {
                generation: made.generation,
                ..Held::default()
            },
            ..Reply::plain(Code::Done)
        };
        self.tell(|| {
            let Ask { what, value, .. } = ask;
            let version = entry.map(|entry| entry.version);
            format!(
                "n{node} carries out {what:?} {value} of {}, now {version:?}",
                ask.digest
            )
        });
        if let Some(entry) = entry {
            self.has_made(node, ask, entry.version);
        }
        let then = Then::Request(number, reply);
        self.appended(node);
        match (made.image, made.in_flight) {
            (None, _) => return Some(reply),
            (Some(image), None) => self.spread(node, partition, image, then, REQUEST_US),
            (Some(image), Some(version)) => {
                let request = self.nodes[node].requests.get(&number);
                let deadline_us = request.map_or(0, |request| request.deadline_us);
                let us = deadline_us.saturating_sub(self.agenda.now_us());
                self.later(node, us, Deed::Overdue(number));
                self.spread_strong(node, (ask.digest, version), image, then, made.commit);
            }
        }
        None
    }

    /// Makes a write in the engine.
    fn make(&self, node: usize, regime: Regime, ask: &Ask) -> Step<Result<Made, Reason>> {
        let replicated = self.nodes[node].state.nodes.len() > 1 || self.setup.is_strong();
        let hand = self.hand(node, regime.0, replicated);
        let engine = &self.nodes[node].engine;
        let made = |written: Result<karst_engine::write::Written<'_>, Refusal>| match written {
            Ok(written) => Ok(Made {
                commit: written.commit,
                image: written.image,
                in_flight: written.in_flight,
                generation: written.generation,
            }),
            Err(refusal) => Err(refusal.reason),
        };
        if ask.what == What::Delete {
            let request = DeleteRequest {
                digest: ask.digest,
                set: SET,
                key: None,
                generation: GenerationRule::Any,
                filter: None,
            };
            return self.with_reads(node, |fetched| {
                engine.delete(&hand, &request, fetched, made)
            });
        }
        let bytes = ask.value.to_le_bytes();
        let value = Value {
            particle: ParticleType::Blob,
            bytes: bytes[..].into(),
        };
        let (operation, exists) = match ask.what {
            What::Add => {
                let one = Operand::Value(Value::integer(1));
                (Operation::Increment(b"n", one), Exists::Any)
            }
            What::Append => (Operation::Append(b"v", value), Exists::Any),
            What::Put if !contend::replaces(ask.value) => {
                (Operation::Write(b"v", Some(value)), Exists::Any)
            }
            What::Put | What::Swap(_) | What::Delete | What::Get | What::Linearize => {
                (Operation::Write(b"v", Some(value)), Exists::Replace)
            }
        };
        let request = WriteRequest {
            digest: ask.digest,
            set: SET,
            key: None,
            exists,
            generation: match ask.what {
                What::Swap(generation) => GenerationRule::Equal(generation.into()),
                _ => GenerationRule::Any,
            },
            ttl: Ttl::Never,
            flags: CommandFlags::default(),
            operations: &[operation],
            filter: None,
        };
        self.with_reads(node, |fetched| engine.write(&hand, &request, fetched, made))
    }

    /// Reads a record, as a request for it is answered.
    fn read(&self, node: usize, ask: &Ask) -> Reply {
        match self.held_at(node, &ask.digest) {
            // What cannot be read is nowhere but where consistency is strong.
            None => Reply::plain(Code::NotFound),
            Some(held) => Reply {
                held,
                ..Reply::plain(Code::Done)
            },
        }
    }

    /// The value that a node holds of a record.
    pub(crate) fn value_at(&self, node: usize, digest: &Digest) -> Option<u64> {
        self.held_at(node, digest).map(|held| held.value)
    }

    /// What a node holds of a record, if it can be read.
    pub(crate) fn held_at(&self, node: usize, digest: &Digest) -> Option<Held> {
        self.look_up(node, digest).ok().flatten()
    }

    /// What a node holds of a record.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn look_up(&self, node: usize, digest: &Digest) -> Result<Option<Held>, Reason> {
        let request = ReadRequest {
            digest: *digest,
            set: SET,
            key: None,
            need: Need::Bins,
            filter: None,
        };
        let now = Now::from_epoch_ms(self.now_ms(node));
        let held = |found: Result<Found<'_>, Refusal>| {
            let found = match found {
                Err(refusal) if refusal.reason == Reason::NotFound => return Ok(None),
                found => found.map_err(|refusal| refusal.reason)?,
            };
            let Some(record) = found.record else {
                return Ok(None);
            };
            let list = record.bin(b"v").map_or(&[][..], |bin| bin.value);
            let (values, _) = list.as_chunks::<8>();
            let values = values.iter().map(|it| u64::from_le_bytes(*it));
            let number = record.bin(b"n").and_then(|bin| bin.value.try_into().ok());
            Ok(Some(Held {
                generation: found.generation,
                value: values.fold(0, Held::list),
                count: number.map_or(0, u64::from_be_bytes),
            }))
        };
        let engine = &self.nodes[node].engine;
        match self.with_reads(node, |fetched| engine.read(now, &request, fetched, held)) {
            Step::Done(held) => held,
            Step::Read(_) | Step::Wait => unreachable!("a read waits for nothing else"),
        }
    }

    /// Answers a request for good.
    pub(super) fn answer(&mut self, node: usize, number: u64, reply: Reply) {
        let Some(request) = self.nodes[node].requests.remove(&number) else {
            return;
        };
        match request.from {
            From::Client(client, asked) => self.reply_to_client(client, asked, reply),
            From::Node(to) => {
                let mut payload = Vec::new();
                reply.put(&mut payload);
                self.put_reply(node, to, Kind::Reply, &payload);
            }
        }
    }

    // Writes on their way.

    /// Sends a write to everybody who is to have it.
    fn spread(
        &mut self,
        node: usize,
        partition: PartitionId,
        image: Vec<u8>,
        then: Then,
        patience_us: u64,
    ) {
        let now_us = self.agenda.now_us();
        let share = self.nodes[node].share(partition);
        let Some(spreading) = Spreading::begin(share, now_us, now_us + patience_us) else {
            return self.arrived(node, then, Outcome::Arrived);
        };
        let write = Write {
            partition,
            image,
            spreading,
            then,
            look: 0,
            flight: None,
        };
        let number = self.nodes[node].number();
        self.nodes[node].writes.insert(number, write);
        self.wake(node, number);
    }

    pub(crate) fn look_at_write(&mut self, node: usize, number: u64, look: u64) {
        let write = self.nodes[node].writes.get(&number);
        if write.is_some_and(|write| write.look == look) {
            self.wake(node, number);
        }
    }

    /// Does for a write all that is to be done now.
    pub(super) fn wake(&mut self, node: usize, number: u64) {
        let now_us = self.agenda.now_us();
        loop {
            if !self.follow_flight(node, number) {
                return;
            }
            let it = &mut self.nodes[node];
            let Some(write) = it.writes.get_mut(&number) else {
                return;
            };
            let partition = write.partition;
            match write.spreading.next(it.view.share(0, partition), now_us) {
                Next::Send { to, kind, regime } => {
                    let image = write.image.clone();
                    let waiter = match kind {
                        Kind::Late => Waiter::Late(number),
                        _ => Waiter::Copy(number),
                    };
                    let replicate = Replicate {
                        of: of(partition, regime),
                        record: &image,
                    };
                    let at = self.position(to);
                    let sent = self.send(node, at, kind, waiter, |out| replicate.put(out));
                    let write = self.nodes[node].writes.get_mut(&number);
                    if let (None, Some(write)) = (sent, write) {
                        write.spreading.lost(to, kind, now_us);
                    }
                }
                Next::Repair(follower) => {
                    self.tell(|| format!("n{node}: {follower} missed a write of {partition}"));
                    if self.setup.is_strong() {
                        self.nodes[node].engine.misses(partition, follower);
                        continue;
                    }
                    self.nodes[node].repairs.insert(Repair {
                        namespace: 0,
                        partition,
                        node: follower,
                        how: How::Impose,
                    });
                }
                Next::Wait { until_us } => {
                    let us = until_us.saturating_sub(now_us).max(1);
                    write.look += 1;
                    let look = write.look;
                    return self.later(node, us, Deed::Wake(number, look));
                }
                Next::Over(outcome) => {
                    let waits = |flight: Flight| flight.waits_for_device();
                    let confirmed = write.spreading.is_confirmed(it.view.share(0, partition));
                    if write.flight.is_some_and(waits) && (outcome == Outcome::Arrived || confirmed)
                    {
                        return; // until it is durable here, or lost
                    }
                    if let Some(write) = it.writes.remove(&number) {
                        match write.flight {
                            None => self.arrived(node, write.then, outcome),
                            Some(flight) => self.over(node, &write, flight, outcome),
                        }
                    }
                    return;
                }
            }
        }
    }

    fn copied(&mut self, node: usize, to: usize, number: u64, kind: Kind, ack: Option<Ack>) {
        let (now_us, id) = (self.agenda.now_us(), self.nodes[to].id);
        if ack != Some(Ack::Done) {
            self.tell(|| format!("n{to} does not take a write of n{node}: {ack:?}"));
        }
        let Some(write) = self.nodes[node].writes.get_mut(&number) else {
            return;
        };
        match ack {
            Some(ack) => write.spreading.answered(id, kind, ack, now_us),
            None => write.spreading.lost(id, kind, now_us),
        }
        let is_strong = write.flight.is_some();
        if ack != Some(Ack::Done) || write.spreading.outcome().is_some() || is_strong {
            self.wake(node, number);
        }
    }

    fn arrived(&mut self, node: usize, then: Then, outcome: Outcome) {
        let arrived = match outcome {
            Outcome::Arrived => Ok(()),
            Outcome::Missed => Err(Cut::Later),
        };
        match then {
            Then::Request(number, reply) => {
                let reply = match arrived {
                    Ok(()) => reply,
                    Err(_) => Reply::plain(Code::InDoubt),
                };
                self.answer(node, number, reply);
            }
            Then::Compare(_) | Then::Late(_) => self.adopted(node, then, arrived),
            Then::Nothing => {}
        }
    }

    // Writes that others ask for.

    pub(crate) fn adopt(
        &mut self,
        node: usize,
        partition: PartitionId,
        regime: u32,
        adopt: Adopt,
        then: Then,
    ) {
        let hand = self.hand(node, regime, true);
        let engine = &self.nodes[node].engine;
        let mut adopted = adopt.attempt(engine, partition, &hand, None);
        while let Adopted::Read(read) = adopted {
            let fetched = self.fetch(node, read);
            adopted = adopt.attempt(engine, partition, &hand, Some(&fetched));
        }
        match adopted {
            Adopted::Stored(stored) => self.has_adopted(node, partition, &adopt, then, stored),
            Adopted::Read(_) => unreachable!("it was read"),
            Adopted::Wait => {
                let again = Deed::Adopt(partition, regime, adopt, then);
                self.later(node, ADOPT_PAUSE_US, again);
            }
            Adopted::Cut(cut) => self.adopted(node, then, Err(cut)),
        }
    }

    fn has_adopted(
        &mut self,
        node: usize,
        partition: PartitionId,
        adopt: &Adopt,
        then: Then,
        stored: Stored,
    ) {
        let kept = stored.commit.filter(|_| matches!(adopt, Adopt::Keep(_)));
        if self.wait_for_commit(node, kept, Waits::Kept(then)) {
            return;
        }
        let Some(image) = stored.image else {
            return self.adopted(node, then, Ok(()));
        };
        self.tally.adopted += 1;
        self.tell(|| format!("n{node} adopts of {partition}: {}", named(adopt)));
        match stored.in_flight {
            Some(version) => {
                let record = Record::parse_unsealed(&image).expect("it was laid out just now");
                let digest = record.meta.digest;
                self.spread_strong(node, (digest, version), image, then, stored.commit);
            }
            // Nobody else is told before the partition is served: the next comparison finds it.
            None if self.setup.is_strong() => self.adopted(node, then, Err(Cut::Later)),
            None => self.spread(node, partition, image, then, ADOPT_US),
        }
    }

    pub(super) fn adopted(&mut self, node: usize, then: Then, outcome: Result<(), Cut>) {
        match then {
            Then::Late(reply) => self.acknowledge(node, reply, of_late(outcome)),
            Then::Compare(number) => {
                if let Some(running) = self.nodes[node].running_tasks.get_mut(&number) {
                    running.comparison.adopted(outcome);
                    self.go_on_comparing(node, number);
                }
            }
            Then::Request(..) | Then::Nothing => unreachable!("what was adopted is waited for"),
        }
    }

    // Comparisons.

    pub(crate) fn fill(&mut self, node: usize, look: u64) {
        let it = &mut self.nodes[node];
        if look != it.fill_look || !it.running_tasks.is_empty() || !it.tasks.is_empty() {
            return;
        }
        let state = it.state.clone();
        let names = [NAMESPACE].into_iter();
        let repairs = || std::mem::take(&mut it.repairs).into_iter().collect();
        let engine = &it.engine;
        let stage = |_, id| engine.stage(id);
        let mine = |_| true;
        it.tasks = it.duties.look(it.id, &state, names, mine, repairs, stage);
        it.report_strong();
        it.tasks_of = it.generation;
        match it.tasks.is_empty() {
            true => self.fill_again(node, FILL_EVERY_US),
            false => self.begin_comparisons(node),
        }
    }

    /// Looks again, and not at the time that was put down before.
    pub(crate) fn fill_again(&mut self, node: usize, us: u64) {
        let look = self.nodes[node].number();
        self.nodes[node].fill_look = look;
        self.later(node, us, Deed::Fill(look));
    }

    fn begin_comparisons(&mut self, node: usize) {
        loop {
            let it = &mut self.nodes[node];
            if it.tasks_of != it.generation {
                for task in std::mem::take(&mut it.tasks) {
                    self.ended(node, task, Err(Cut::Overtaken));
                }
            }
            let it = &mut self.nodes[node];
            if it.running_tasks.len() >= COMPARISONS_MAX {
                return;
            }
            let Some(task) = it.tasks.pop_front() else {
                break;
            };
            let number = it.number();
            let comparison = Comparison::new(task, &it.engine);
            it.running_tasks.insert(number, Running { comparison });
            self.tally.comparisons += 1;
            self.tell(|| format!("n{node} compares: {task:?}"));
            match task.node == self.nodes[node].id {
                true => self.once_settled(node, Settles::Fence(number)),
                false => self.go_on_comparing(node, number),
            }
        }
        if self.nodes[node].running_tasks.is_empty() {
            self.fill_again(node, FILL_PAUSE_US);
        }
    }

    fn go_on_comparing(&mut self, node: usize, number: u64) {
        loop {
            let Some(running) = self.nodes[node].running_tasks.get_mut(&number) else {
                return;
            };
            let task = running.comparison.task();
            let to = self.position(task.node);
            let running = self.nodes[node].running_tasks.get_mut(&number);
            let Some(running) = running else { return };
            match running.comparison.go_on() {
                compare::Next::Ask(question) => {
                    let put = |out: &mut Vec<u8>| {
                        question.put(of(task.partition, task.regime), out);
                    };
                    let waiter = Waiter::Question(number);
                    match self.send(node, to, question.kind(), waiter, put) {
                        Some(asked) => self.wait_for(node, to, asked),
                        None => self.with(node, number, |it| it.failed(Cut::Later)),
                    }
                }
                compare::Next::Adopt(adopt) => {
                    let then = Then::Compare(number);
                    return self.adopt(node, task.partition, task.regime.0, adopt, then);
                }
                compare::Next::Push(digest) => self.push(node, number, digest),
                compare::Next::Wait => return,
                compare::Next::Over(outcome) => {
                    let it = &mut self.nodes[node];
                    let running = it.running_tasks.remove(&number);
                    let outcome = outcome.and_then(|()| match running {
                        Some(running) => running.comparison.conclude(&it.engine),
                        None => Ok(()),
                    });
                    return self.compared(node, task, outcome);
                }
            }
        }
    }

    fn wait_for(&mut self, node: usize, to: usize, number: u64) {
        let epoch = self.net.link(node, to).epoch;
        let deed = Deed::TimedOut { to, epoch, number };
        self.later(node, COMPARE_US, deed);
    }

    fn with(&mut self, node: usize, number: u64, change: impl FnOnce(&mut Comparison)) {
        if let Some(running) = self.nodes[node].running_tasks.get_mut(&number) {
            change(&mut running.comparison);
        }
    }

    fn push(&mut self, node: usize, number: u64, digest: Digest) {
        let Some(running) = self.nodes[node].running_tasks.get(&number) else {
            return;
        };
        let task = running.comparison.task();
        let engine = &self.nodes[node].engine;
        let image = match self.with_reads(node, |fetched| engine.image(&digest, fetched)) {
            Step::Done(Ok(Some(image))) => image,
            Step::Done(Ok(None)) => return self.with(node, number, |it| it.pushed(Ok(()))),
            Step::Done(Err(_)) | Step::Read(_) | Step::Wait => {
                return self.with(node, number, |it| it.pushed(Err(Cut::Later)));
            }
        };
        let replicate = Replicate {
            of: of(task.partition, task.regime),
            record: &image,
        };
        let (to, waiter) = (self.position(task.node), Waiter::Push(number));
        match self.send(node, to, Kind::Replicate, waiter, |out| replicate.put(out)) {
            Some(asked) => self.wait_for(node, to, asked),
            None => self.later(node, PUSH_PAUSE_US, Deed::Push(number, digest)),
        }
    }

    pub(crate) fn push_again(&mut self, node: usize, number: u64, digest: Digest) {
        let Some(running) = self.nodes[node].running_tasks.get(&number) else {
            return;
        };
        let task = running.comparison.task();
        match self.nodes[node].share(task.partition).regime == task.regime {
            true => self.push(node, number, digest),
            false => self.with(node, number, |it| it.pushed(Err(Cut::Overtaken))),
        }
        self.go_on_comparing(node, number);
    }

    pub(super) fn compared(&mut self, node: usize, task: Task, outcome: Result<(), Cut>) {
        self.tell(|| format!("n{node} compared {}: {outcome:?}", task.partition));
        self.ended(node, task, outcome);
        if outcome.is_ok() {
            let it = &mut self.nodes[node];
            let stage = it.engine.stage(task.partition);
            let more = it.duties.look_again(&it.state, NAMESPACE, task, &stage);
            it.tasks.extend(more);
            it.report_strong();
        }
        self.begin_comparisons(node);
    }

    fn ended(&mut self, node: usize, task: Task, outcome: Result<(), Cut>) {
        let it = &mut self.nodes[node];
        match it.duties.ended(&it.state, NAMESPACE, task, outcome) {
            After::Report => {
                it.outbox.insert(karst_cluster::plan::Synced {
                    namespace: NAMESPACE.into(),
                    partition: task.partition.0,
                    regime: task.regime,
                    node: task.node,
                    holds: Holds::All,
                });
            }
            After::Repair => {
                it.repairs.insert(task.repair());
            }
            After::Nothing => {}
        }
    }

    /// Something came back from another node, or never will.
    pub(crate) fn answered(
        &mut self,
        node: usize,
        from: usize,
        waiter: Waiter,
        answer: Answered<'_>,
    ) {
        match (waiter, answer) {
            (Waiter::Hello, _) => {}
            (Waiter::Ping, Answered::Reply(_)) => {
                let (id, now_us) = (self.nodes[from].id, self.agenda.now_us());
                self.nodes[node].hearing.insert(id, now_us);
            }
            (Waiter::Ping, Answered::Refused(_) | Answered::Lost) => {}
            (Waiter::Copy(write), answer) => {
                self.copied(node, from, write, Kind::Replicate, ack_of(answer));
            }
            (Waiter::Late(write), answer) => {
                self.copied(node, from, write, Kind::Late, ack_of(answer));
            }
            (Waiter::Stands(number), answer) => self.stands(node, from, number, answer),
            (Waiter::Question(number), answer) => {
                let it = &mut self.nodes[node];
                if let Some(running) = it.running_tasks.get_mut(&number) {
                    match answer {
                        Answered::Reply(payload) => running.comparison.replied(&it.engine, payload),
                        Answered::Refused(ack) => running.comparison.refused(ack),
                        Answered::Lost => running.comparison.failed(Cut::Later),
                    }
                    self.go_on_comparing(node, number);
                }
            }
            (Waiter::Push(number), answer) => {
                let outcome = match answer {
                    Answered::Reply(_) | Answered::Refused(Ack::Done) => Ok(()),
                    Answered::Refused(ack) => Err(Cut::of(ack)),
                    Answered::Lost => Err(Cut::Later),
                };
                self.with(node, number, |it| it.pushed(outcome));
                self.go_on_comparing(node, number);
            }
            (Waiter::Proxy(number), Answered::Reply(payload)) => {
                let reply = Reply::read(payload).unwrap_or(Reply::plain(Code::InDoubt));
                self.answer(node, number, reply);
            }
            (Waiter::Proxy(number), Answered::Refused(_)) => {
                self.later(node, MAP_PAUSE_US, Deed::Retry(number));
            }
            (Waiter::Proxy(number), Answered::Lost) => {
                let writes = self.nodes[node].requests.get(&number);
                match writes.is_some_and(|request| request.ask.writes()) {
                    true => self.answer(node, number, Reply::plain(Code::InDoubt)),
                    false => self.later(node, MAP_PAUSE_US, Deed::Retry(number)),
                }
            }
        }
    }
}

/// A write that others ask for, in few words.
fn named(adopt: &Adopt) -> String {
    match adopt {
        Adopt::Merge(image) | Adopt::Keep(image) | Adopt::TakeOver(image) => {
            match Record::parse_unsealed(image) {
                Ok(record) => {
                    let deleted = if record.meta.tombstone {
                        " is deleted"
                    } else {
                        ""
                    };
                    let Version { regime, sequence } = Version::unpack(record.meta.version);
                    let (digest, ms) = (record.meta.digest, record.meta.update_time_ms);
                    format!("{digest}{deleted} at {ms}, version {regime}:{sequence}")
                }
                Err(_) => "no record".into(),
            }
        }
        Adopt::Renew { digest, .. } => format!("{digest} anew"),
        Adopt::Bury(digest) => format!("{digest} is not known"),
    }
}

fn ack_of(answer: Answered<'_>) -> Option<Ack> {
    match answer {
        Answered::Reply(_) => Some(Ack::Done),
        Answered::Refused(ack) => Some(ack),
        Answered::Lost => None,
    }
}

pub(super) fn of(partition: PartitionId, regime: Regime) -> OfPartition<'static> {
    OfPartition {
        namespace: NAMESPACE.as_bytes(),
        partition: partition.0,
        regime,
    }
}
