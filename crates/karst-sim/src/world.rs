//! One node, its devices and its clients, in one thread, in an order and a time drawn from one seed.
//!
//! A turn is one small thing: a client begins a request or one goes on, a device completes a write, a
//! timer goes off, defrag moves a few records. Which one is drawn, so every delay and every order of what
//! may happen side by side comes up. Everything that a node would wait for is a state of its own here,
//! and whatever else may happen meanwhile does.

use std::sync::Arc;

use karst_data::key::PartitionId;
use karst_data::operation::{CommandFlags, Operation};
use karst_data::policy::GenerationRule;
use karst_data::time::Now;
use karst_engine::floor::Floor;
use karst_engine::namespace::FIRST_REGIME;
use karst_engine::write::{DeleteRequest, WriteRequest, Written};
use karst_engine::{Fetched, Reason, Refusal, Step};
use karst_storage::index::State;
use karst_storage::log::{BlockId, Commit, CommitPoint, DeviceRead, DeviceWrite, LaneId};

use crate::check::{self, Violation};
use crate::disk::{Disk, Flying, Tear, Tears};
use crate::memory::Memory;
use crate::node::{self, Defragged, Floors, Node};
use crate::oracle::{Change, Expected, Marks, Moment, Oracle, Standing, Window, may_be_too_big};
use crate::rng::Rng;
use crate::setup::Setup;
use crate::workload::{Ask, Deed, Key, PARTITIONS, SETS};

/// When the world begins, in ms since 2010.
const BEGINS_MS: u64 = 1_000_000;

/// How often a request waits for room before the world stops everything else to make some.
const WAITS_PATIENT: u32 = 20;

/// How often it waits before its client gives up.
const WAITS_MAX: u32 = 100;

/// How a node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Power goes: memory is lost, what devices were writing is torn.
    Power,
    /// The process is killed: what it had asked devices to do is done.
    Kill,
}

/// When, around one write, power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The log has asked for the write; no device has heard of it.
    Before,
    /// While it is out, with what is left of it.
    During(Tear),
    /// It is on the device; the log has not heard of it.
    Completed,
    /// The log has heard of it.
    Acknowledged,
}

impl When {
    /// All there are.
    pub fn all() -> impl Iterator<Item = When> {
        let around = [When::Before, When::Completed, When::Acknowledged];
        Tear::ALL.map(When::During).into_iter().chain(around)
    }
}

/// A cut that is planned: at this write of the run, then.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The number of the write, from 1.
    pub write: u64,
    /// When.
    pub when: When,
}

/// How far a request has come.
enum Stage {
    /// The engine is asked next, with what was read for it.
    Ready(Option<Fetched>),
    /// A device read is out.
    Reading(DeviceRead),
    /// Applied; the answer waits for the device.
    Committing(CommitPoint),
}

struct Request {
    key: usize,
    /// The set that its client believes the record to be in, or wants it in.
    set: usize,
    ask: Ask,
    core: u16,
    window: Window,
    stage: Stage,
    waits: u32,
}

/// What was done in a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Requests that were answered.
    pub requests: u64,
    /// Writes and deletes that took effect.
    pub changes: u64,
    /// Requests that were refused for what the record was.
    pub refused: u64,
    /// Requests that were refused, or given up, for want of room.
    pub no_room: u64,
    /// Times that a node stopped and started again.
    pub stops: u64,
    /// Blocks emptied by defrag.
    pub emptied: u64,
    /// Tombstones forgotten.
    pub tombstones: u64,
    /// Truncations.
    pub truncations: u64,
    /// Times that a partition was let go of.
    pub let_go: u64,
    /// Device writes, and bytes of them.
    pub writes: u64,
    /// Writes that failed.
    pub failed_writes: u64,
    /// Writes that a cut left in parts.
    pub torn_writes: u64,
}

impl Tally {
    /// Adds another run's.
    pub fn add(&mut self, other: &Tally) {
        self.requests += other.requests;
        self.changes += other.changes;
        self.refused += other.refused;
        self.no_room += other.no_room;
        self.stops += other.stops;
        self.emptied += other.emptied;
        self.tombstones += other.tombstones;
        self.truncations += other.truncations;
        self.let_go += other.let_go;
        self.writes += other.writes;
        self.failed_writes += other.failed_writes;
        self.torn_writes += other.torn_writes;
    }
}

/// See [the module](self).
pub struct World {
    /// What it looks like.
    pub setup: Setup,
    /// Its chance.
    pub rng: Rng,
    /// Its devices.
    pub disk: Disk,
    /// The node, which lives until the next stop.
    pub node: Node,
    /// Memory that outlives the process, if there is any.
    memory: Option<Memory>,
    /// What clients were promised.
    pub oracle: Oracle,
    /// The records that clients know of.
    pub keys: Vec<Key>,
    /// The time in ms since 2010.
    pub now_ms: u64,
    /// Truncation marks.
    pub marks: Marks,
    /// What is void of partitions that were let go of.
    pub floors: Floors,
    /// Where to cut, if that is planned.
    pub plan: Option<Plan>,
    tally: Tally,
    requests: Vec<Request>,
    /// The plan was met: nothing happens any more.
    is_off: bool,
    /// Tells what happens, for who replays a seed.
    pub told: bool,
    /// The node may stop while it lets go of a partition.
    pub ends_half_way: bool,
}

/// What a world does in a turn.
type Turn = fn(&mut World) -> Result<(), Violation>;

/// In the order of [`crate::setup::Pace::weights`].
const TURNS: [Turn; 11] = [
    World::begin,
    World::proceed,
    World::complete,
    World::land,
    World::flush_in_time,
    World::defrag,
    World::sweep,
    World::truncate,
    World::wait,
    World::scan,
    World::let_go,
];

impl World {
    /// The world of a seed.
    ///
    /// # Errors
    /// When blank devices cannot be opened.
    pub fn new(seed: u64) -> Result<World, Violation> {
        let mut rng = Rng::from_seed(seed);
        let setup = Setup::draw(&mut rng);
        World::of(setup, rng)
    }

    /// A world that looks like this.
    ///
    /// # Errors
    /// When blank devices cannot be opened.
    pub fn of(setup: Setup, rng: Rng) -> Result<World, Violation> {
        let mut disk = Disk::new(
            setup.devices,
            setup.device_bytes(),
            setup.block_bytes,
            setup.sector_bytes,
        );
        setup.format(&mut disk);
        let keys: Vec<Key> = (0..setup.keys)
            .map(|number| Key::numbered(number, setup.sets))
            .collect();
        let (marks, floors) = (Marks::default(), Floors::new());
        let memory = setup.shared_memory.then(Memory::new).transpose();
        let memory = memory.map_err(|error| Violation::new("memory", error.to_string()))?;
        let node = Node::boot(&setup, &mut disk, &marks, &floors, memory.as_ref())?;
        let mut world = World {
            node,
            memory,
            oracle: Oracle::new(keys.len()),
            setup,
            rng,
            disk,
            keys,
            now_ms: BEGINS_MS,
            marks,
            floors,
            plan: None,
            tally: Tally::default(),
            requests: Vec::new(),
            is_off: false,
            told: false,
            ends_half_way: false,
        };
        world.begin_session(false);
        Ok(world)
    }

    /// What was done so far.
    pub fn tally(&self) -> Tally {
        Tally {
            writes: self.disk.tally.writes,
            failed_writes: self.disk.tally.failed,
            torn_writes: self.disk.tally.torn,
            ..self.tally
        }
    }

    /// What is true now.
    pub fn moment(&self) -> Moment {
        Moment {
            now: Now::from_epoch_ms(self.now_ms),
            marks: self.marks,
        }
    }

    /// Takes so many turns, or fewer if a planned cut comes before.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn run(&mut self, turns: u64) -> Result<(), Violation> {
        let weights = self.setup.pace.weights();
        for _ in 0..turns {
            self.now_ms += self.rng.below(3);
            let turn = TURNS[self.rng.weighted(&weights)];
            turn(self)?;
            if self.is_off {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether the planned cut came.
    pub fn is_off(&self) -> bool {
        self.is_off
    }

    /// Says what happened, to whoever wants to be told.
    fn tell(&self, what: impl FnOnce() -> String) {
        if self.told {
            println!("{:>9} ms  {}", self.now_ms, what());
        }
    }

    fn begin(&mut self) -> Result<(), Violation> {
        if self.requests.len() >= self.setup.requests_max {
            return self.proceed();
        }
        let key = self.rng.index(self.keys.len());
        let moment = self.moment();
        let current = self.oracle.current(key, &moment);
        let generation = current.map_or(0, |state| state.generation);
        // A client that makes up its own digests may use one in several sets.
        let set = match current {
            Some(state) => state.set,
            None if self.rng.one_in(6) => self.rng.index(self.setup.sets),
            None => self.keys[key].set,
        };
        let ask = Ask::draw(&mut self.rng, &self.setup.sizes, generation);
        self.ask(key, set, ask);
        Ok(())
    }

    /// Lets a client begin a request.
    pub fn ask(&mut self, key: usize, set: usize, ask: Ask) {
        let core = self.rng.below(u64::from(self.setup.cores)) as u16;
        let window = self.oracle.window(key, self.moment());
        self.requests.push(Request {
            key,
            set,
            ask,
            core,
            window,
            stage: Stage::Ready(None),
            waits: 0,
        });
    }

    fn proceed(&mut self) -> Result<(), Violation> {
        if self.requests.is_empty() {
            return Ok(());
        }
        let at = self.rng.index(self.requests.len());
        self.proceed_with(at)
    }

    fn proceed_with(&mut self, at: usize) -> Result<(), Violation> {
        let mut request = self.requests.swap_remove(at);
        let fetched = match request.stage {
            Stage::Reading(read) => {
                request.stage = Stage::Ready(Some(node::fetch(&self.disk, read)));
                self.requests.push(request);
                return Ok(());
            }
            Stage::Committing(commit) => {
                match self.node.namespace.log().commit(commit) {
                    Commit::Pending => self.requests.push(request),
                    Commit::Durable | Commit::Lost => self.tally.requests += 1,
                }
                return Ok(());
            }
            Stage::Ready(ref mut fetched) => fetched.take(),
        };
        match request.ask {
            Ask::Read => self.read_on(request, fetched),
            Ask::Write { .. } | Ask::Delete => self.write_on(request, fetched),
        }
    }

    fn read_on(&mut self, mut request: Request, fetched: Option<Fetched>) -> Result<(), Violation> {
        let key = &self.keys[request.key];
        match self.node.read_on(key, self.now_ms, fetched.as_ref()) {
            Step::Read(read) => {
                request.stage = Stage::Reading(read);
                self.requests.push(request);
                Ok(())
            }
            Step::Wait => Err(Violation::new("read", "a read waits for room")),
            Step::Done(Ok(found)) => {
                self.tally.requests += 1;
                let moment = self.moment();
                self.oracle
                    .check_read(request.key, &request.window, &moment, found.as_ref())
            }
            Step::Done(Err(reason)) => {
                let what = format!("key {} cannot be read: {reason}", request.key);
                Err(Violation::new("read", what))
            }
        }
    }

    fn write_on(
        &mut self,
        mut request: Request,
        fetched: Option<Fetched>,
    ) -> Result<(), Violation> {
        let moment = self.moment();
        let default_ttl_s = self.setup.default_ttl_s;
        let expected = self.oracle.expect(
            request.key,
            request.set,
            &request.ask,
            default_ttl_s,
            &moment,
        );
        match self.attempt(&request, fetched.as_ref()) {
            Step::Read(read) => request.stage = Stage::Reading(read),
            Step::Wait => {
                request.waits += 1;
                if request.waits == WAITS_MAX {
                    return self.give_up();
                }
                if request.waits.is_multiple_of(WAITS_PATIENT) {
                    self.make_room()?;
                }
                request.stage = Stage::Ready(None);
            }
            Step::Done(Err(refusal)) => {
                self.tally.requests += 1;
                return self.check_refusal(refusal.reason, &expected);
            }
            Step::Done(Ok(done)) => {
                self.apply(request.key, done, expected)?;
                match done.commit {
                    Some(commit) if self.setup.commit_to_device => {
                        request.stage = Stage::Committing(commit);
                    }
                    Some(_) | None => {
                        self.tally.requests += 1;
                        return Ok(());
                    }
                }
            }
        }
        self.requests.push(request);
        Ok(())
    }

    /// Asks the engine once to carry a write or delete out.
    fn attempt(&self, request: &Request, fetched: Option<&Fetched>) -> Step<Result<Done, Refusal>> {
        let (key, request_set) = (&self.keys[request.key], request.set);
        let hand = self.node.hand(request.core, self.now_ms);
        let done = |written: Result<Written<'_>, Refusal>| {
            written.map(|written| Done {
                generation: written.generation,
                void_time_s: written.void_time_s,
                commit: written.commit,
            })
        };
        match &request.ask {
            Ask::Read => unreachable!("reads go another way"),
            Ask::Delete => {
                let request = DeleteRequest {
                    digest: key.digest,
                    set: SETS[request_set],
                    key: key.sent.as_deref(),
                    generation: GenerationRule::Any,
                    filter: None,
                };
                self.node.namespace.delete(&hand, &request, fetched, done)
            }
            Ask::Write {
                exists,
                generation,
                ttl,
                deeds,
            } => {
                let operations: Vec<Operation<'_>> = deeds.iter().map(Deed::operation).collect();
                let request = WriteRequest {
                    digest: key.digest,
                    set: SETS[request_set],
                    key: key.sent.as_deref(),
                    exists: *exists,
                    generation: generation.map_or(GenerationRule::Any, GenerationRule::Equal),
                    ttl: *ttl,
                    flags: CommandFlags::default(),
                    operations: &operations,
                    filter: None,
                };
                self.node.namespace.write(&hand, &request, fetched, done)
            }
        }
    }

    /// Compares what the engine did with what it had to do, and notes it.
    fn apply(&mut self, key: usize, done: Done, expected: Expected) -> Result<(), Violation> {
        self.tally.changes += 1;
        let wrong = |what: String| Err(Violation::new("result", format!("key {key}: {what}")));
        let Some(entry) = self.node.namespace.entry(&self.keys[key].digest) else {
            return wrong("a write left nothing in the index".into());
        };
        let state = match expected {
            Expected::Refused(reason) => {
                return wrong(format!("{done:?} where it had to be refused: {reason}"));
            }
            Expected::Deleted => None,
            Expected::Stored(mut state) => {
                state.update_time_ms = entry.update_time_ms;
                Some(Arc::new(state))
            }
        };
        let facts = |state: &Arc<_>| {
            let state: &crate::oracle::State = state;
            (state.generation, state.void_time_s)
        };
        let had = state.as_ref().map_or((0, 0), facts);
        if (done.generation, done.void_time_s) != had {
            return wrong(format!(
                "{done:?}, but generation and void time had to be {had:?}"
            ));
        }
        let mark = state
            .as_ref()
            .map_or(0, |state| self.marks.of_set(state.set));
        if entry.update_time_ms < mark.max(self.now_ms) && state.is_some() {
            return wrong(format!(
                "written {} ms, before now or the mark {mark}",
                entry.update_time_ms
            ));
        }
        let last = self.oracle.last(key);
        if entry.version <= last.version {
            return wrong(format!(
                "version {} follows {}",
                entry.version, last.version
            ));
        }
        self.tell(|| {
            format!(
                "key {key}: {done:?}, version {}, {:?}",
                entry.version, entry.place
            )
        });
        let change = Change {
            state,
            version: entry.version,
            commit: done.commit,
            standing: Standing::Pending,
        };
        self.oracle.changed(key, change);
        Ok(())
    }

    fn check_refusal(&mut self, reason: Reason, expected: &Expected) -> Result<(), Violation> {
        let log = self.node.namespace.log();
        let report = log.report();
        let is_right = match (reason, expected) {
            (Reason::OutOfSpace, _) => {
                self.tally.no_room += 1;
                report.live_bytes > log.live_bytes_max()
            }
            (Reason::DeviceFailed, _) => report.failed_devices == self.setup.devices as u64,
            (Reason::TooBig { .. }, Expected::Stored(state)) => {
                may_be_too_big(state, self.setup.record_bytes_max())
            }
            (reason, Expected::Refused(expected)) => {
                self.tally.refused += 1;
                reason == *expected
            }
            (_, Expected::Stored(_) | Expected::Deleted) => false,
        };
        if is_right {
            return Ok(());
        }
        let what = format!("refused: {reason}; had to be {expected:?}; {report:?}");
        Err(Violation::new("result", what))
    }

    /// A client gives up waiting for room, which it may have to only when records fill the devices.
    fn give_up(&mut self) -> Result<(), Violation> {
        self.tally.no_room += 1;
        let report = self.node.namespace.log().report();
        let half_full = report.live_bytes < report.total_bytes / 2;
        let bulky = self.setup.sizes.are_bulky(self.setup.block_bytes);
        if half_full && !bulky && report.failed_devices == 0 && self.could_gain_a_block() {
            let counts = self.node.namespace.report();
            let what = format!("a write found no room: {report:?}, {counts:?}");
            return Err(Violation::new("space", what));
        }
        Ok(())
    }

    /// Whether emptying blocks could free one: what is dead in those that are full adds up to a block. In a
    /// namespace of a dozen blocks the reserve and the open blocks, one of them parked on a slow device, may
    /// be more than half of all.
    fn could_gain_a_block(&self) -> bool {
        let log = self.node.namespace.log();
        let reports = node::blocks(&self.disk).map(|id| log.block_report(id));
        let full = reports.filter(|report| !report.free && !report.open);
        let block_bytes = self.setup.block_bytes;
        let dead = full.map(|report| block_bytes - report.live_bytes as usize);
        dead.sum::<usize>() >= block_bytes
    }

    /// Takes the writes that lanes hand out to the devices.
    fn collect(&mut self) -> Result<(), Violation> {
        let mut writes: Vec<DeviceWrite> = Vec::new();
        let log = self.node.namespace.log();
        let lanes: Vec<LaneId> = self.node.all_lanes().collect();
        lanes.into_iter().for_each(|lane| {
            log.take_writes(lane, &mut writes);
        });
        for write in writes {
            let next = self.disk.tally.writes + 1;
            let planned = self
                .plan
                .filter(|plan| plan.write == next)
                .map(|plan| plan.when);
            if planned == Some(When::Before) {
                self.is_off = true;
                return Ok(());
            }
            check::space::block_is_unused(self, &write)?;
            self.tell(|| {
                format!(
                    "write {next} asked: {} of block {:?}",
                    describe(&write),
                    write.block
                )
            });
            self.disk.submit(write)?;
            if let Some(When::During(_)) = planned {
                self.is_off = true;
                return Ok(());
            }
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<(), Violation> {
        self.collect()?;
        let busy = self.disk.busy();
        if self.is_off || busy.is_empty() {
            return Ok(());
        }
        let device = *self.rng.pick(&busy);
        if self.setup.slow_device == Some(device) && !self.rng.one_in(12) {
            return Ok(());
        }
        let fails = self.setup.failing_writes != 0 && self.rng.one_in(self.setup.failing_writes);
        self.complete_on(device, fails);
        Ok(())
    }

    fn complete_on(&mut self, device: usize, fails: bool) {
        let Flying { write, number } = match fails {
            true => self.disk.fail(device, &mut self.rng),
            false => self.disk.complete(device, &mut self.rng),
        };
        self.tell(|| {
            format!(
                "write {number} {}",
                if fails { "failed" } else { "completed" }
            )
        });
        let planned = self
            .plan
            .filter(|plan| plan.write == number)
            .map(|plan| plan.when);
        if planned == Some(When::Completed) {
            self.is_off = true;
            return;
        }
        self.node.namespace.log().written(&write, !fails);
        self.is_off |= planned == Some(When::Acknowledged);
    }

    fn land(&mut self) -> Result<(), Violation> {
        let busy = self.disk.busy();
        if !busy.is_empty() {
            let device = *self.rng.pick(&busy);
            self.disk.land_some(device, &mut self.rng);
        }
        Ok(())
    }

    /// The timer of a core goes off; with `commit_to_device` the end of its turn is such a timer.
    fn flush_in_time(&mut self) -> Result<(), Violation> {
        let core = self.rng.below(u64::from(self.setup.cores)) as u16;
        let at_once = self.setup.commit_to_device || self.rng.one_in(10);
        let due_ms = self.now_ms.saturating_sub(self.setup.flush_ms_max * 3 / 4);
        let before_ms = if at_once { u64::MAX } else { due_ms };
        for lane in self.node.lanes(core) {
            self.node.namespace.log().flush(lane, before_ms);
        }
        self.collect()
    }

    fn defrag(&mut self) -> Result<(), Violation> {
        let core = self.rng.below(u64::from(self.setup.cores)) as u16;
        self.defrag_on(core).map(|_| ())
    }

    fn defrag_on(&mut self, core: u16) -> Result<Defragged, Violation> {
        let defragged = self.node.defrag(&self.disk, core, self.now_ms);
        if let Defragged::Emptied(left) = defragged {
            self.tally.emptied += 1;
            if left != 0 {
                let what = format!("{left} live bytes of an emptied block were not found in it");
                return Err(Violation::new("defrag", what));
            }
        }
        Ok(defragged)
    }

    fn sweep(&mut self) -> Result<(), Violation> {
        let partition = *self.rng.pick(&PARTITIONS);
        let oldest_fill = self.node.namespace.log().oldest_fill();
        self.tally.tombstones += self.node.sweep(partition, self.now_ms, oldest_fill);
        Ok(())
    }

    fn truncate(&mut self) -> Result<(), Violation> {
        let set = self.rng.index(self.setup.sets + 1);
        self.truncate_set((set < self.setup.sets).then_some(set))
    }

    /// Truncates a set, or everything, now. The mark is kept before it is in force.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub fn truncate_set(&mut self, set: Option<usize>) -> Result<(), Violation> {
        let before_ms = self.now_ms + 1;
        let name = set.map(|set| SETS[set]).filter(|name| !name.is_empty());
        match set.filter(|_| name.is_some()) {
            Some(set) => self.marks.sets_ms[set] = before_ms,
            None => self.marks.namespace_ms = before_ms,
        }
        self.tell(|| format!("truncated: set {set:?} before {before_ms} ms"));
        self.tally.truncations += 1;
        let truncated = self.node.namespace.truncate(name, before_ms);
        truncated.map_err(|reason| Violation::new("truncate", reason.to_string()))
    }

    /// Lets go of a partition, and takes part in it again. Now and then the node stops half way.
    fn let_go(&mut self) -> Result<(), Violation> {
        let id = PartitionId(*self.rng.pick(&PARTITIONS));
        let (half, dropped) = (self.rng.one_in(4), self.rng.one_in(2));
        let stop = [Stop::Power, Stop::Kill][self.rng.index(2)];
        self.tell(|| format!("lets go of partition {}", id.0));
        self.tally.let_go += 1;
        let begun = self.node.namespace.begin_leaving(id, FIRST_REGIME);
        assert!(
            begun,
            "there is one regime, and no other turn comes between"
        );
        self.floors.insert(id, Floor::Leaving);
        for (number, key) in self.keys.iter().enumerate() {
            if key.digest.partition() == id {
                self.oracle.let_go(number);
            }
        }
        if half && self.ends_half_way {
            if dropped {
                self.node.namespace.drop_slice(id, None);
            }
            return self.stop(stop);
        }
        self.end_letting_go();
        Ok(())
    }

    /// Drops what is being let go of, and keeps the floors.
    fn end_letting_go(&mut self) {
        for (id, floor) in &mut self.floors {
            if *floor == Floor::Leaving {
                let fill = node::drop_all(&self.node.namespace, *id);
                *floor = Floor::Fill(fill);
                self.node.namespace.end_leaving(*id, fill);
            }
        }
    }

    fn wait(&mut self) -> Result<(), Violation> {
        self.now_ms += self.rng.between(500, 6000);
        Ok(())
    }

    fn scan(&mut self) -> Result<(), Violation> {
        let mut found = self.node.scan(self.now_ms);
        let visible = self.oracle.visible_keys(&self.moment());
        let mut wanted: Vec<_> = visible.iter().map(|key| self.keys[*key].digest).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        if found == wanted {
            return Ok(());
        }
        let what = format!(
            "{} records were named, {} were there",
            found.len(),
            wanted.len()
        );
        Err(Violation::new("scan", what))
    }

    fn flush_all(&mut self) -> Result<(), Violation> {
        let log = self.node.namespace.log();
        self.node
            .all_lanes()
            .for_each(|lane| log.flush(lane, u64::MAX));
        self.collect()
    }

    fn complete_all(&mut self) -> Result<(), Violation> {
        self.collect()?;
        while let Some(device) = self.disk.busy().first()
            && !self.is_off
        {
            self.complete_on(*device, false);
        }
        Ok(())
    }

    /// Does what a node does when a write waits: empties blocks and makes their successors durable.
    /// A sweep comes first: forgotten tombstones are back after a restart, and may lie in every block.
    fn make_room(&mut self) -> Result<(), Violation> {
        for partition in PARTITIONS {
            let oldest_fill = self.node.namespace.log().oldest_fill();
            self.tally.tombstones += self.node.sweep(partition, self.now_ms, oldest_fill);
        }
        for _ in 0..self.setup.blocks {
            let mut emptied = false;
            for core in 0..self.setup.cores {
                let mut defragged = self.defrag_on(core)?;
                while defragged == Defragged::Moving && !self.is_off {
                    defragged = self.defrag_on(core)?;
                }
                emptied |= matches!(defragged, Defragged::Emptied(_));
            }
            // Each flush pads to the sector: not before it is needed.
            if !emptied || self.node.namespace.log().wants_flush() {
                self.flush_all()?;
            }
            self.complete_all()?;
            if !emptied || self.is_off {
                break;
            }
        }
        Ok(())
    }

    /// Brings everything to rest: requests are answered, writes are durable, no block is half emptied.
    ///
    /// # Errors
    /// When a promise is broken on the way.
    pub fn rest(&mut self) -> Result<(), Violation> {
        while !self.requests.is_empty() && !self.is_off {
            for at in (0..self.requests.len()).rev() {
                self.proceed_with(at)?;
            }
            self.flush_all()?;
            self.complete_all()?;
        }
        for core in 0..self.setup.cores {
            while !self.is_off && self.node.is_emptying(core) {
                if self.defrag_on(core)? == Defragged::NoRoom {
                    break;
                }
            }
        }
        self.flush_all()?;
        self.complete_all()
    }

    /// Checks a node at rest.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn check_rest(&mut self) -> Result<(), Violation> {
        self.note_durable();
        let (pending, lost) = self.oracle.unsettled();
        if pending > 0 || (lost > 0 && self.setup.failing_writes == 0) {
            let what = format!("at rest {pending} changes are not durable, {lost} are lost");
            return Err(Violation::new("durable", what));
        }
        check::space::at_rest(self)?;
        check::index_matches_log::places_hold_their_records(self)
    }

    fn note_durable(&mut self) {
        let log = self.node.namespace.log();
        self.oracle.settle(|commit| match log.commit(commit) {
            Commit::Pending => Standing::Pending,
            Commit::Durable => Standing::Durable,
            Commit::Lost => Standing::Lost,
        });
    }

    /// Stops the node, starts it again, and checks that what must have survived has.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn stop(&mut self, stop: Stop) -> Result<(), Violation> {
        self.note_durable();
        self.tally.stops += 1;
        match stop {
            Stop::Power => {
                let of = self
                    .plan
                    .filter(|_| self.is_off)
                    .and_then(|plan| match plan.when {
                        When::During(tear) => Some((plan.write, tear)),
                        When::Before | When::Completed | When::Acknowledged => None,
                    });
                let shorn = self.setup.shorn_sectors;
                self.disk.cut(&Tears { shorn, of }, &mut self.rng);
            }
            Stop::Kill => self.disk.outlive_kill(),
        }
        // Where memory outlives the process, so does all that took effect.
        let outlives = stop == Stop::Kill && self.memory.is_some();
        if outlives {
            self.oracle.settle(|_| Standing::Durable);
        }
        self.tell(|| format!("{stop:?}, at {}", self.fullness()));
        self.requests.clear();
        (self.is_off, self.plan) = (false, None);
        self.now_ms += self.rng.below(4000);
        let mut before = check::index_matches_log::entries(self);
        before.retain(|entry| self.floors.get(&entry.digest.partition()) != Some(&Floor::Leaving));
        self.lose_memory(!outlives)?;
        self.start()?;
        self.tell(|| format!("started again, at {}", self.fullness()));
        self.check_survivors()?;
        if self.node.found.is_warm {
            check::index_matches_log::after_take_over(self, &before)?;
        } else {
            check::index_matches_log::after_recovery(self)?;
        }
        check::space::accounts(self)
    }

    fn lose_memory(&mut self, gone: bool) -> Result<(), Violation> {
        let Some(memory) = &mut self.memory else {
            return Ok(());
        };
        if gone {
            memory.lose();
            return Ok(());
        }
        let copied = memory.outlive_kill();
        copied.map_err(|error| Violation::new("memory", error.to_string()))
    }

    /// Boots and begins a session. Now and then power goes while the superblocks are written: then boot
    /// comes once more.
    fn start(&mut self) -> Result<(), Violation> {
        loop {
            let memory = self.memory.as_ref();
            let (disk, marks, floors) = (&mut self.disk, &self.marks, &self.floors);
            self.node = Node::boot(&self.setup, disk, marks, floors, memory)?;
            if let Some(memory) = memory {
                memory.tidy();
            }
            let found = &self.node.found;
            let mut rotten = found.rotten.iter().chain(&found.stale);
            let by_a_stop = |id: &BlockId| {
                self.disk
                    .is_torn(usize::from(id.device.0), id.block as usize)
            };
            if !rotten.all(by_a_stop) {
                let what = format!("a stop left what can only be rot: {found:?}");
                return Err(Violation::new("settled", what));
            }
            self.end_letting_go();
            if self.begin_session(self.rng.clone().one_in(12)) {
                self.rng.next();
                return Ok(());
            }
            self.lose_memory(true)?;
        }
    }

    /// Begins a session. `false` if power went while the superblocks were written, as it does if `cut`.
    fn begin_session(&mut self, cut: bool) -> bool {
        let reached = self.rng.index(self.setup.devices);
        let (namespace, disk) = (&self.node.namespace, &mut self.disk);
        let (rng, cut_at) = (&mut self.rng, cut.then_some(reached));
        let Some(session) = node::begin_session(namespace, disk, cut_at, || rng.one_in(2)) else {
            return false;
        };
        if let Some(memory) = self.node.namespace.log().memory() {
            self.node.namespace.arena().set_session(session);
            self.node.namespace.arena().set_state(State::Serving);
            memory.begin_session(session);
        }
        true
    }

    fn fullness(&self) -> String {
        let namespace = &self.node.namespace;
        format!("{:?}, {:?}", namespace.log().report(), namespace.report())
    }

    fn check_survivors(&mut self) -> Result<(), Violation> {
        let moment = self.moment();
        for (number, key) in self.keys.iter().enumerate() {
            let entry = self.node.namespace.entry(&key.digest);
            let found = match self.node.read(&self.disk, key, self.now_ms) {
                Ok(found) => found,
                Err(reason) => {
                    let (last, marks) = (self.oracle.last(number), self.marks);
                    let what = format!("key {number}: {reason}; {last:?}, {entry:?}, {marks:?}");
                    return Err(Violation::new("durable", what));
                }
            };
            let version = entry.map(|entry| entry.version);
            self.oracle
                .survived(number, found.as_ref(), version, &moment)?;
        }
        Ok(())
    }
}

fn describe(write: &DeviceWrite) -> String {
    format!("lane {} bytes {:?}", write.lane.0, write.range)
}

/// What the engine says of a write that took effect.
#[derive(Clone, Copy, Debug)]
struct Done {
    generation: u16,
    void_time_s: u32,
    commit: Option<CommitPoint>,
}
