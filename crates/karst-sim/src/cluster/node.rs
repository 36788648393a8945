//! One node: its process, its engine, what it goes by, and how it follows the cluster.
//!
//! A process that ends leaves its memory, or does not; the next one begins with an empty view, and takes part in
//! nothing before the cluster's state knows of it. A process that stands still does nothing, and does all that
//! was due when it goes on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use karst_cluster::island::alone_with;
use karst_cluster::lease::Lease;
use karst_cluster::map::Role;
use karst_cluster::node::{NamespaceFacts, NodeFacts, NodeId};
use karst_cluster::plan::Synced;
use karst_cluster::state::ClusterState;
use karst_cluster::view::{Share, View};
use karst_data::key::PartitionId;
use karst_data::mutation::{Mutation, is_planted};
use karst_data::time::Now;
use karst_engine::floor::Floor;
use karst_engine::migrate::adopt::Adopt;
use karst_engine::migrate::duty::{Duties, Repair, Task, reports, taken_over};
use karst_engine::namespace::FIRST_REGIME;
use karst_engine::write::Hand;
use karst_engine::{Namespace, NamespaceConfig};
use karst_storage::index::{EntryArena, HashKey};
use karst_storage::log::{DeviceGeometry, DeviceWrite, Log, LogConfig};

use super::client::{Ask, Reply};
use super::clock::Clock;
use super::control::{NAMESPACE, SUSPECT_US};
use super::devices::{Devices, Stop};
use super::fault::Kind;
use super::flow::{Request, Running, Then, Write};
use super::member::ToLeader;
use super::strong::{self, Read, Standing};
use super::{Event, World};
use crate::node;

/// Silence of the cluster after which a node goes on alone: four suspicion times, as in `karst_node::island`.
const SILENCE_US: u64 = 4 * SUSPECT_US;

/// Time between two looks at who is heard.
const LOOK_EVERY_US: u64 = 100_000;

/// Pause before the cluster is asked again to take a node back.
const STRAY_AGAIN_US: u64 = 200_000;

/// Time between two sweeps.
const SWEEP_EVERY_US: u64 = 200_000;

/// Time between two looks whether a device has failed, as in `karst_node::trust`.
pub const WATCH_EVERY_US: u64 = 500_000;

/// Something that a process does, or that comes to it.
pub enum Deed {
    /// It connects to another node.
    Connect(usize),
    /// A connection should have come up by now.
    Greeted {
        /// With whom.
        to: usize,
        /// Which.
        epoch: u64,
    },
    /// It tells the leader that it is there.
    Report,
    /// The leader has answered.
    Reported {
        /// When it was asked.
        asked_us: u64,
        /// How old its majority was then.
        quorum_age_us: u64,
        /// Whether it knows this node.
        known: bool,
        /// When it was asked, by the clock of who asked, and the generation of its state, if it has granted a lease.
        leased_from: Option<(u64, u64)>,
    },
    /// The leader knows that what this process should hold is lost, since this entry of the log.
    Lost(usize),
    /// It tells the leader so, if that was not heard yet.
    Lose,
    /// It learns of entries of the log, up to this one.
    Learn(usize),
    /// What it goes by is in force from now on.
    Publish(Arc<ClusterState>),
    /// The cluster knows that this node went on alone.
    Strayed,
    /// It asks the cluster to take it back, if that was not heard yet.
    Stray,
    /// It asks the others whether they are there.
    Ping,
    /// It looks whether it hears of the cluster.
    Look,
    /// It looks whom it has to compare with; only the look that was put down last counts.
    Fill(u64),
    /// It sweeps.
    Sweep,
    /// Something came by a link.
    Message {
        /// Who asks by that link.
        from: usize,
        /// Who is asked.
        to: usize,
        /// The connection.
        epoch: u64,
        /// Whether it is a request.
        forward: bool,
        /// The frame.
        bytes: Vec<u8>,
    },
    /// A write is to be looked at; only the look that was put down last counts.
    Wake(u64, u64),
    /// A client's request comes.
    Asked(Ask),
    /// A request is tried again.
    Retry(u64),
    /// A request has waited long enough.
    Overdue(u64),
    /// A record was read, and it is looked whether that may be told.
    HasRead(Read),
    /// Too few have said that the regime of a read stands.
    StandsNot(u64),
    /// A request is answered.
    Tell(u64, Reply),
    /// An answer should have come by now.
    TimedOut {
        /// Who was asked.
        to: usize,
        /// The connection.
        epoch: u64,
        /// The request.
        number: u64,
    },
    /// A write that had to wait is made.
    Adopt(PartitionId, u32, Adopt, Then),
    /// A record that could not be sent is sent.
    Push(u64, karst_data::key::Digest),
    /// A partition that is being let go of is dropped.
    Drop(PartitionId),
    /// That is kept.
    Left(PartitionId),
    /// It ends in order: the next step.
    Leave(u8),
    /// What was appended goes to the devices.
    Flush,
    /// A device has done a write, or not.
    Written(DeviceWrite, bool),
    /// A block is emptied a little further.
    Defrag,
    /// Something that waits for all to be durable has waited for long enough.
    SettlesLate(u64),
    /// It looks whether a device has failed.
    Watch,
}

/// How a node stands to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It goes by the cluster's state.
    Following,
    /// It hears nothing of it, and goes by a map of its own with these.
    Alone(Option<BTreeSet<NodeId>>),
    /// It waits for the cluster to know that it was alone; so often it had been before.
    Returning {
        /// Times that the cluster knew of.
        before: Option<u64>,
        /// The cluster said that it knows.
        told: bool,
    },
}

/// See [the module](self).
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Its clocks.
    pub clock: Clock,
    /// Counts its processes.
    pub life: u64,
    /// A process runs.
    pub running: bool,
    /// It stands still, and this is what is due.
    pub still: Option<Vec<Deed>>,
    /// It is to stand still for so long as soon as it has read a record and not told it yet.
    pub stands_still_at_read: Option<u64>,
    /// It is about to end in order.
    pub leaving: bool,
    /// It says that it is alive.
    pub reports: bool,
    /// Its records.
    pub engine: Namespace,
    /// What they lie on, if not in memory alone.
    pub devices: Option<Box<Devices>>,
    /// It does not hold what an earlier process held, and waits for the cluster to know.
    pub wiped: bool,
    /// A device has failed, and it waits for the cluster to know; so many have then.
    pub failing: Option<usize>,
    /// Its lease.
    pub lease: Lease,
    /// Reads for which others are asked whether the regime stands.
    pub standing: BTreeMap<u64, Standing>,
    /// What it goes by.
    pub view: View,
    /// What that was made from.
    pub state: Arc<ClusterState>,
    /// The newest state of the cluster that it knows.
    pub latest: Arc<ClusterState>,
    /// The entry of the log that this is.
    pub entry: usize,
    /// Something is being put into force.
    pub putting: bool,
    /// How it stands to the cluster.
    pub mode: Mode,
    /// It was noted on disk that it went on alone.
    pub note: bool,
    /// It has had a part in a whole map.
    pub placed: bool,
    /// When it was last in touch with a majority.
    pub contact_us: Option<u64>,
    /// Who answered, and when last.
    pub hearing: BTreeMap<NodeId, u64>,
    /// Complete copies that the leader is to know of.
    pub outbox: BTreeSet<Synced>,
    /// Writes on their way.
    pub writes: BTreeMap<u64, Write>,
    /// Requests of clients that are not answered yet.
    pub requests: BTreeMap<u64, Request>,
    /// What it has to compare.
    pub duties: Duties,
    /// Who missed a write.
    pub repairs: BTreeSet<Repair>,
    /// What is to be compared now.
    pub tasks: VecDeque<Task>,
    /// Comparisons under way.
    pub running_tasks: BTreeMap<u64, Running>,
    /// Counts maps that were put into force.
    pub generation: u64,
    /// Of the map by which the tasks were found.
    pub tasks_of: u64,
    /// Since when nobody can hold an older state of anything.
    pub rests_since_us: Option<u64>,
    /// Which look for comparisons counts.
    pub fill_look: u64,
    /// Counts whatever needs a number.
    pub count: u64,
}

fn engine(strong: bool) -> Namespace {
    let log = Log::new(LogConfig {
        on_devices: false,
        block_bytes: 64 << 10,
        devices: vec![DeviceGeometry {
            number: 0,
            blocks: 256,
            sector_bytes: 512,
        }],
        cores: 1,
        cache_bytes: 0,
        defrag_low_water_percent: 50,
    });
    let config = NamespaceConfig {
        name: NAMESPACE.into(),
        default_ttl_s: 0,
        record_bytes_max: 60 << 10,
        commit_to_device: false,
        flush_ms_max: 1000,
        strong,
    };
    let arena = Arc::new(EntryArena::new(1 << 14).expect("a small reservation"));
    let log = log.expect("a layout that a node accepts");
    Namespace::new(config, log, arena, HashKey([3, 4]))
}

impl Node {
    fn new(number: usize, strong: bool) -> Node {
        let id = NodeId(0xa1 + number as u64);
        let state = Arc::<ClusterState>::default();
        Node {
            id,
            clock: Clock::default(),
            life: 0,
            running: false,
            still: None,
            stands_still_at_read: None,
            leaving: false,
            reports: false,
            engine: engine(strong),
            devices: None,
            wiped: false,
            failing: None,
            lease: Lease::default(),
            standing: BTreeMap::new(),
            view: View::new(id, &state, &[NAMESPACE]),
            state: state.clone(),
            latest: state,
            entry: 0,
            putting: false,
            mode: Mode::Following,
            note: false,
            placed: false,
            contact_us: None,
            hearing: BTreeMap::new(),
            outbox: BTreeSet::new(),
            writes: BTreeMap::new(),
            requests: BTreeMap::new(),
            duties: Duties::default(),
            repairs: BTreeSet::new(),
            tasks: VecDeque::new(),
            running_tasks: BTreeMap::new(),
            generation: 0,
            tasks_of: 0,
            rests_since_us: None,
            fill_look: 0,
            count: 0,
        }
    }

    /// Whether its process does what is due.
    pub fn acts(&self) -> bool {
        self.running && self.still.is_none()
    }

    /// A number that it has not given out before.
    pub fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Its share of a partition.
    pub fn share(&self, id: PartitionId) -> &Share {
        self.view.share(0, id)
    }

    /// What the leader is to know of the strongly consistent partitions that it leads.
    pub fn report_strong(&mut self) {
        let map = self.state.maps.get(NAMESPACE);
        for (at, ownership) in map
            .filter(|map| map.strong)
            .iter()
            .flat_map(|map| map.partitions.iter().enumerate())
        {
            let id = PartitionId(at as u16);
            let share = self.view.share(0, id);
            if share.role == Role::Primary {
                let can_activate = self.engine.can_activate(id, share);
                let stage = self.engine.stage(id);
                let reports = reports(self.id, NAMESPACE, id, ownership, can_activate, &stage);
                self.outbox.extend(reports);
            }
        }
    }

    /// How often the cluster knew that it went on alone.
    fn strays(&self) -> Option<u64> {
        self.latest.nodes.get(&self.id).map(|member| member.strays)
    }
}

impl World {
    /// A node comes that was never there.
    pub(crate) fn join(&mut self) {
        let number = self.nodes.len();
        let mut node = Node::new(number, self.setup.is_strong());
        if self.setup.is_strong() {
            node.clock = Clock::draw(&mut self.rng, self.setup.drift);
        }
        let devices = self.setup.devices.as_ref();
        node.devices = devices.map(|setup| Box::new(Devices::new(setup)));
        self.nodes.push(node);
        self.start(number);
    }

    /// What a node tells of itself.
    pub(crate) fn facts(&self, node: usize) -> NodeFacts {
        let Node { id, life, .. } = self.nodes[node];
        NodeFacts {
            id,
            incarnation: life,
            name: format!("n{node}"),
            fabric: String::new(),
            control: String::new(),
            service: Vec::new(),
            rack: 0,
            namespaces: vec![NamespaceFacts {
                name: NAMESPACE.into(),
                replication_factor: self.setup.replication_factor,
                volatile: self.setup.volatile,
                strong: self.setup.is_strong(),
            }],
        }
    }

    /// The partitions in play.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.setup.partitions as u16).map(PartitionId)
    }

    /// A deed of the process that runs now, later.
    pub(crate) fn later(&mut self, node: usize, us: u64, deed: Deed) {
        let life = self.nodes[node].life;
        self.agenda.after(us, Event::Of { node, life, deed });
    }

    /// A process begins.
    pub(crate) fn start(&mut self, node: usize) {
        let ids: Vec<PartitionId> = self.partitions().collect();
        let is_strong = self.setup.is_strong();
        let old = &mut self.nodes[node];
        assert!(!old.running);
        let mut devices = old.devices.take();
        let (engine, lost) = match &mut devices {
            Some(devices) => devices.boot(),
            None => (std::mem::replace(&mut old.engine, engine(is_strong)), false),
        };
        let lost = lost && !is_planted(Mutation::HidesLosses);
        let (entry, latest) = (old.entry, old.latest.clone());
        *old = Node {
            life: old.life + 1,
            running: true,
            reports: true,
            engine,
            entry,
            latest,
            note: old.note,
            clock: old.clock,
            wiped: old.wiped || lost,
            devices,
            ..Node::new(node, is_strong)
        };
        for id in ids {
            if old.engine.floor(id) == Some(Floor::Leaving) {
                node::drop_all(&old.engine, id); // what it had begun to let go of goes
                old.engine.end_leaving(id, 0);
            }
            match is_strong {
                true => old.engine.learn(id, &strong::unknown()),
                false => old.engine.reign(id, FIRST_REGIME, false),
            }
        }
        if old.wiped {
            self.injected(Kind::Loss);
            self.later(node, 0, Deed::Lose);
        }
        if self.nodes[node].devices.is_some() {
            self.later(node, WATCH_EVERY_US, Deed::Watch);
        }
        let old = &mut self.nodes[node];
        if old.note {
            old.mode = Mode::Returning {
                before: old.strays(),
                told: false,
            };
            self.later(node, 0, Deed::Stray);
        }
        self.tell(|| format!("n{node} begins"));
        for deed in [
            Deed::Report,
            Deed::Ping,
            Deed::Look,
            Deed::Fill(0),
            Deed::Sweep,
        ] {
            let us = self.rng.below(100_000);
            self.later(node, us, deed);
        }
    }

    /// A process ends; its memory outlives it, or not. Where there are devices nothing but them outlives anything.
    pub(crate) fn end(&mut self, node: usize, keeps_memory: bool, stop: Stop) {
        self.tell(|| format!("n{node} ends ({stop:?}), keeps its memory: {keeps_memory}"));
        self.stop_devices(node, stop);
        let (is_strong, volatile) = (self.setup.is_strong(), self.setup.volatile);
        let ended = &mut self.nodes[node];
        assert!(ended.running);
        (ended.running, ended.still) = (false, None);
        if !keeps_memory && ended.devices.is_none() {
            ended.engine = engine(is_strong);
            ended.wiped = is_strong && !volatile;
        }
        for (from, to) in self.net.links_of(node) {
            if from == node {
                let link = self.net.link(from, to);
                link.close();
                link.trying = false;
            } else {
                let soon = self.net.reach(from, to);
                self.snap(from, to, soon);
            }
        }
    }

    /// A process stands still.
    pub(crate) fn stand_still(&mut self, node: usize) {
        self.tell(|| format!("n{node} stands still"));
        self.nodes[node].still = Some(Vec::new());
    }

    /// It goes on. What it is told of the cluster takes a moment; everything else was there already.
    pub(crate) fn go_on(&mut self, node: usize) {
        let Some(due) = self.nodes[node].still.take() else {
            return;
        };
        self.tell(|| format!("n{node} goes on"));
        for deed in due {
            let us = match deed {
                Deed::Learn(_) | Deed::Reported { .. } | Deed::HasRead(_) => {
                    self.rng.below(150_000)
                }
                _ => 0,
            };
            self.later(node, us, deed);
        }
    }

    pub(crate) fn of(&mut self, node: usize, life: u64, deed: Deed) {
        let it = &mut self.nodes[node];
        if !it.running || it.life != life {
            return;
        }
        match &mut it.still {
            Some(due) => due.push(deed),
            None => self.act(node, deed),
        }
    }

    fn act(&mut self, node: usize, deed: Deed) {
        match deed {
            Deed::Connect(to) => self.connect(node, to),
            Deed::Greeted { to, epoch } => self.greeted(node, to, epoch),
            Deed::Report => self.report(node),
            Deed::Reported {
                asked_us,
                quorum_age_us,
                known,
                leased_from,
            } => {
                self.reported(node, asked_us, quorum_age_us, known);
                self.leased(node, quorum_age_us, leased_from);
            }
            Deed::Learn(entry) => self.learn(node, entry),
            Deed::Publish(state) => self.publish(node, state),
            Deed::Strayed => self.strayed(node),
            Deed::Stray => self.stray(node),
            Deed::Ping => self.ping(node),
            Deed::Look => self.look(node),
            Deed::Fill(look) => self.fill(node, look),
            Deed::Sweep => self.sweep(node),
            Deed::Message {
                from,
                to,
                epoch,
                forward,
                bytes,
            } => self.message(from, to, epoch, forward, &bytes),
            Deed::Wake(write, look) => self.look_at_write(node, write, look),
            Deed::Asked(ask) => self.asked(node, ask),
            Deed::Retry(request) => self.attempt(node, request),
            Deed::Overdue(request) => self.overdue(node, request),
            Deed::StandsNot(number) => self.stands_not(node, number),
            Deed::HasRead(read) => self.has_read(node, &read),
            Deed::Tell(request, reply) => self.answer(node, request, reply),
            Deed::Lost(entry) => self.lost(node, entry),
            Deed::Lose => self.lose_held(node),
            Deed::TimedOut { to, epoch, number } => self.timed_out(node, to, epoch, number),
            Deed::Adopt(partition, regime, adopt, then) => {
                self.adopt(node, partition, regime, adopt, then);
            }
            Deed::Push(comparison, digest) => self.push_again(node, comparison, digest),
            Deed::Drop(id) => self.drop_partition(node, id),
            Deed::Left(id) => self.left(node, id),
            Deed::Leave(step) => self.leave(node, step),
            Deed::Flush => self.flush(node),
            Deed::Written(write, kept) => self.written(node, &write, kept),
            Deed::Defrag => self.defrag(node),
            Deed::SettlesLate(number) => self.settles_late(node, number),
            Deed::Watch => self.watch_devices(node),
        }
    }

    /// Who writes at a node, now.
    pub(crate) fn hand(&self, node: usize, regime: u32, replicated: bool) -> Hand {
        Hand {
            lane: self.nodes[node].engine.log().write_lane(0),
            now: Now::from_epoch_ms(self.now_ms(node)),
            flush_clock_ms: self.agenda.now_us() / 1000,
            regime,
            replicated,
        }
    }

    pub(super) fn learn(&mut self, node: usize, entry: usize) {
        let it = &mut self.nodes[node];
        if entry <= it.entry {
            return;
        }
        (it.entry, it.latest) = (entry, self.control.state(entry).clone());
        self.follow(node);
    }

    /// Puts into force what the node is to go by, as far as it is not.
    pub(super) fn follow(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        match &it.mode {
            Mode::Following => {}
            Mode::Alone(_) => return,
            Mode::Returning { before, told } => {
                let known = it.latest.nodes.get(&it.id).map(|member| member.strays);
                if !told || known <= *before {
                    return;
                }
                it.note = false;
                it.mode = Mode::Following;
            }
        }
        if !it.putting && !Arc::ptr_eq(&it.state, &it.latest) {
            let state = it.latest.clone();
            self.put(node, state);
        }
    }

    /// Puts a state into force, once it knows of this process: first no partition takes what was decided under
    /// an older regime any more, a moment later the new view is there.
    fn put(&mut self, node: usize, state: Arc<ClusterState>) {
        let it = &mut self.nodes[node];
        let known = state.nodes.get(&it.id);
        if it.wiped || known.is_none_or(|member| member.facts.incarnation != it.life) {
            return;
        }
        let view = View::new(it.id, &state, &[NAMESPACE]);
        for (at, is) in view.shares(0).iter().enumerate() {
            let id = PartitionId(at as u16);
            if is.quorums.is_some() {
                it.engine.learn(id, is);
            } else if it.view.share(0, id).regime != is.regime {
                it.engine.reign(id, is.regime.0, is.apart);
            }
        }
        it.putting = true;
        let us = match self.rng.one_in(20) {
            true => self.rng.below(30_000),
            false => self.rng.below(300),
        };
        self.later(node, us, Deed::Publish(state));
    }

    fn publish(&mut self, node: usize, state: Arc<ClusterState>) {
        let it = &mut self.nodes[node];
        it.putting = false;
        it.view = View::new(it.id, &state, &[NAMESPACE]);
        let alive = state.is_alive(it.id);
        let served = |map: &karst_cluster::map::NamespaceMap| {
            map.partitions.iter().all(|it| it.primary().is_some())
        };
        it.placed |= alive && state.maps.get(NAMESPACE).is_some_and(served);
        let before = std::mem::replace(&mut it.state, state);
        if it.state.may_be_outdated_somewhere(NAMESPACE) {
            it.rests_since_us = None;
            it.engine.keep_tombstones(true);
        }
        it.generation += 1;
        let map = |state: &ClusterState| state.maps.get(NAMESPACE).cloned();
        if let Some(now) = map(&it.state).filter(|map| !map.strong) {
            let before = map(&before);
            for (at, is) in now.partitions.iter().enumerate() {
                let id = PartitionId(at as u16);
                let was = before.as_ref().map(|map| map.partition(id));
                it.repairs.extend(taken_over(it.id, 0, id, was, is));
            }
        }
        self.tell(|| {
            let it = &self.nodes[node];
            let shares: Vec<_> = it.view.shares(0).iter().collect();
            let shares: Vec<_> = shares
                .iter()
                .map(|it| format!("{:?} under {:#x}", it.role, it.regime.0))
                .collect();
            format!("n{node} goes by entry {}: {}", it.entry, shares.join(", "))
        });
        self.let_go(node);
        self.link_up(node);
        self.wake_all(node);
        let us = self.rng.below(200);
        self.fill_again(node, us);
        self.follow(node);
    }

    /// The loop of `karst_node::island`, by its looks.
    fn look(&mut self, node: usize) {
        self.later(node, LOOK_EVERY_US, Deed::Look);
        let now_us = self.agenda.now_us();
        let it = &mut self.nodes[node];
        if it.putting {
            return;
        }
        let silent_us = it.contact_us.map(|at_us| now_us - at_us);
        match &it.mode {
            Mode::Following => {
                if it.placed && silent_us.is_some_and(|us| us >= SILENCE_US) {
                    it.note = true;
                    it.mode = Mode::Alone(None);
                    self.tally.islands += 1;
                    self.tell(|| format!("n{node} goes on alone"));
                }
            }
            Mode::Alone(_) if silent_us.is_some_and(|us| us < SUSPECT_US) => {
                it.mode = Mode::Returning {
                    before: it.strays(),
                    told: false,
                };
                self.tell(|| format!("n{node} comes back"));
                self.stray(node);
            }
            Mode::Alone(last) => {
                let lately = it.hearing.iter();
                let lately = lately.filter(|(_, at_us)| **at_us + SUSPECT_US >= now_us);
                let heard: BTreeSet<NodeId> = lately.map(|(id, _)| *id).collect();
                if last.as_ref() != Some(&heard) {
                    let state = alone_with(&it.latest, it.id, &heard);
                    it.mode = Mode::Alone(Some(heard));
                    self.put(node, Arc::new(state));
                }
            }
            Mode::Returning { .. } => {}
        }
    }

    fn stray(&mut self, node: usize) {
        let id = self.nodes[node].id;
        if matches!(self.nodes[node].mode, Mode::Returning { told: false, .. }) {
            self.ask_leader(node, ToLeader::Stray { node, id });
            self.later(node, STRAY_AGAIN_US, Deed::Stray);
        }
    }

    fn strayed(&mut self, node: usize) {
        if let Mode::Returning { told, .. } = &mut self.nodes[node].mode {
            *told = true;
            self.follow(node);
        }
    }

    fn sweep(&mut self, node: usize) {
        self.later(node, SWEEP_EVERY_US, Deed::Sweep);
        let now = Now::from_epoch_ms(self.now_ms(node));
        let (ids, now_us) = (self.partitions(), self.agenda.now_us());
        let it = &mut self.nodes[node];
        it.rests_since_us = match it.state.may_be_outdated_somewhere(NAMESPACE) {
            true => None,
            false => it.rests_since_us.or(Some(now_us)),
        };
        let rests = |since_us: u64| now_us - since_us >= self.setup.rest_us;
        let alone = it.state.nodes.len() == 1;
        it.engine
            .keep_tombstones(!alone && !it.rests_since_us.is_some_and(rests));
        self.flush_moved(node);
        let (engine, on_devices) = (&self.nodes[node].engine, self.nodes[node].devices.is_some());
        // As if a block were filled with each sweep, and every block anew within that time: tombstones go soon.
        let turnover = self.setup.turnover_us / SWEEP_EVERY_US;
        let oldest_fill = match on_devices {
            true => engine.log().oldest_fill(),
            false => {
                engine.log().raise_fills(now_us / SWEEP_EVERY_US + turnover);
                engine.log().fills() - turnover
            }
        };
        for id in ids {
            let swept = engine.sweep_slice(id, None, oldest_fill, now);
            self.tally.tombstones += swept.tombstones;
            if swept.tombstones > 0 {
                self.tell(|| format!("n{node} forgets {} deletes of {id}", swept.tombstones));
            }
        }
    }

    /// Lets go of partitions that others hold.
    fn let_go(&mut self, node: usize) {
        let it = &self.nodes[node];
        let Some(map) = it.state.maps.get(NAMESPACE) else {
            return;
        };
        let mut leaving = Vec::new();
        for (at, ownership) in map.partitions.iter().enumerate() {
            let id = PartitionId(at as u16);
            if ownership.is_needless_at(it.id)
                && it.engine.partition_counts(id) != (0, 0)
                && it.engine.begin_leaving(id, ownership.regime.0)
            {
                leaving.push(id);
            }
        }
        for id in leaving {
            self.tell(|| format!("n{node} lets go of {id}"));
            self.tally.let_go += 1;
            self.keep_floor(node, id, Floor::Leaving);
            let us = self.rng.below(20_000);
            self.later(node, us, Deed::Drop(id));
        }
    }

    fn drop_partition(&mut self, node: usize, id: PartitionId) {
        node::drop_all(&self.nodes[node].engine, id);
        let us = self.rng.below(20_000);
        self.later(node, us, Deed::Left(id));
    }

    fn left(&mut self, node: usize, id: PartitionId) {
        let floor = self.nodes[node].engine.next_floor();
        self.keep_floor(node, id, Floor::Fill(floor));
        self.nodes[node].engine.end_leaving(id, floor);
        self.let_go(node); // the next batch
    }

    /// What is kept on disk of a partition that is let go of.
    fn keep_floor(&mut self, node: usize, id: PartitionId, floor: Floor) {
        if let Some(devices) = &mut self.nodes[node].devices {
            devices.floors.insert(id, floor);
        }
    }
}
