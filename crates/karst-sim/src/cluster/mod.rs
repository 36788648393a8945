//! A whole cluster in one thread from one seed: nodes, links, the control plane, clients, and faults.
//!
//! What runs here is what is shipped: the engine (`karst-engine`), the map and its planner, each node's view
//! of it and the map of an island (`karst-cluster`), the flow of writes (`karst_cluster::replicate`) and of
//! comparisons (`karst_engine::migrate`), and every message between nodes as bytes. What stands in: Raft by an
//! [ideal log](control), sockets by [links](net) that delay, stall and snap, and the loops of `karst-node`
//! that drive all this by the events in [`node`], [`fabric`], [`flow`] and [`member`], with the same pauses.
//!
//! ```text
//! formed and settled -> clients begin, and faults -> faults end, everything is made whole
//!                    -> within 30 s all is settled -> checks -> every partition takes a write -> checks
//! ```
//!
//! The map is of a few partitions only: the others would behave the same, and cost the time.

pub mod agenda;
pub mod client;
pub mod clock;
pub mod contend;
pub mod control;
pub mod devices;
pub mod fabric;
pub mod fault;
pub mod flow;
pub mod member;
pub mod net;
pub mod node;
pub mod operator;
pub mod oracle;
pub mod settle;
pub mod setup;
pub mod strong;

use std::collections::BTreeMap;

use karst_data::key::PartitionId;

use agenda::Agenda;
use client::Client;
use contend::{Contended, Outcomes};
use control::Control;
use fault::Faults;
use net::Net;
use node::{Deed, Node};
use setup::{Setup, Wanted};

use crate::check::{self, Violation};
use crate::rng::Rng;

/// The time of day at the beginning, in ms since 2010.
const BEGINNING_MS: u64 = 100_000_000;

/// Within this all has to be settled again when faults have ended.
const SETTLE_US: u64 = 30_000_000;

/// How often it is looked whether all is settled.
const LOOK_US: u64 = 50_000;

/// How long a cluster may take to form.
const FORM_US: u64 = 10_000_000;

/// What a life came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Virtual time that went by.
    pub virtual_us: u64,
    /// Events.
    pub events: u64,
    /// Messages between nodes.
    pub messages: u64,
    /// Writes and deletes of clients.
    pub changes: u64,
    /// Of those, acknowledged.
    pub acknowledged: u64,
    /// Of those, in doubt.
    pub doubtful: u64,
    /// Reads.
    pub reads: u64,
    /// Times that others were asked whether a regime stands.
    pub asked_stands: u64,
    /// Reads that counted on a lease.
    pub leased_reads: u64,
    /// Requests of strongly consistent namespaces that were refused.
    pub refused: u64,
    /// Lives of strongly consistent namespaces.
    pub strong_lives: u64,
    /// Of those, with devices.
    pub device_lives: u64,
    /// Times that an operator revived partitions.
    pub revivals: u64,
    /// Faults.
    pub faults_by: Faults,
    /// Requests by what was asked and how it went.
    pub outcomes: Outcomes,
    /// Times that a node went on alone.
    pub islands: u64,
    /// Entries of the control plane's log.
    pub entries: u64,
    /// Comparisons of a partition with a node.
    pub comparisons: u64,
    /// Writes that merging made.
    pub adopted: u64,
    /// Writes that a former primary handed over.
    pub handed_over: u64,
    /// Partitions that were let go of.
    pub let_go: u64,
    /// Tombstones that were forgotten.
    pub tombstones: u64,
    /// Time from the end of faults until all was settled, summed up.
    pub settling_us: u64,
}

impl Tally {
    /// Adds another life's.
    pub fn add(&mut self, other: &Tally) {
        let Tally {
            virtual_us,
            events,
            messages,
            changes,
            acknowledged,
            doubtful,
            reads,
            asked_stands,
            leased_reads,
            refused,
            strong_lives,
            device_lives,
            revivals,
            faults_by,
            outcomes,
            islands,
            entries,
            comparisons,
            adopted,
            handed_over,
            let_go,
            tombstones,
            settling_us,
        } = *other;
        self.virtual_us += virtual_us;
        self.events += events;
        self.messages += messages;
        self.changes += changes;
        self.acknowledged += acknowledged;
        self.doubtful += doubtful;
        self.reads += reads;
        self.asked_stands += asked_stands;
        self.leased_reads += leased_reads;
        self.refused += refused;
        self.strong_lives += strong_lives;
        self.device_lives += device_lives;
        self.revivals += revivals;
        self.faults_by.add(&faults_by);
        self.outcomes.add(&outcomes);
        self.islands += islands;
        self.entries += entries;
        self.comparisons += comparisons;
        self.adopted += adopted;
        self.handed_over += handed_over;
        self.let_go += let_go;
        self.tombstones += tombstones;
        self.settling_us += settling_us;
    }
}

/// What comes to pass.
pub enum Event {
    /// Something of one process of a node. Nothing if that process has ended; later if it stands still.
    Of {
        /// The node.
        node: usize,
        /// Its process.
        life: u64,
        /// What.
        deed: Deed,
    },
    /// The next message of a link is there.
    Arrive {
        /// Who asks by the link.
        from: usize,
        /// Who is asked.
        to: usize,
        /// The connection.
        epoch: u64,
        /// Whether it is a request.
        forward: bool,
    },
    /// Who asks by a link that has snapped finds out.
    Notice {
        /// Who asks.
        from: usize,
        /// Who was asked.
        to: usize,
        /// The connection.
        epoch: u64,
    },
    /// A device has done a write, for this process of its node.
    Device {
        /// The node.
        node: usize,
        /// Its process.
        life: u64,
        /// The device.
        device: usize,
    },
    /// A request between nodes comes once more.
    Again {
        /// Who asked.
        from: usize,
        /// Who was asked.
        to: usize,
        /// The frame.
        bytes: Vec<u8>,
    },
    /// It is looked who leads, and whether there is a majority.
    Lead,
    /// The operator looks at the cluster.
    Operate,
    /// Something reaches the leader.
    ToLeader(member::ToLeader),
    /// A client goes on.
    Client(usize, client::Turn),
    /// Something goes wrong, or is made good.
    Fault(fault::Event),
}

/// See [the module](self).
pub struct World {
    pub(crate) setup: Setup,
    pub(crate) rng: Rng,
    pub(crate) agenda: Agenda<Event>,
    pub(crate) net: Net,
    pub(crate) control: Control,
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Vec<Client>,
    /// Keys of all clients, where consistency is strong.
    pub(crate) contended: Vec<Contended>,
    /// Partitions that are dead.
    pub(crate) dead: BTreeMap<PartitionId, operator::Dead>,
    pub(crate) tally: Tally,
    pub(crate) told: bool,
    /// Faults go on.
    pub(crate) troubled: bool,
    /// Clients go on.
    pub(crate) asked: bool,
    /// Nobody but this check may end a life.
    pub(crate) agreed: check::map_agreed::Agreed,
    pub(crate) broken: Option<Violation>,
}

/// Lives one life of a seed, of a cluster as it is wanted; `told` prints what happens in it.
///
/// # Errors
/// When a promise is broken.
pub fn life(seed: u64, wanted: &Wanted, told: bool) -> Result<Tally, Violation> {
    let mut world = World::new(seed, wanted, told);
    world.live()?;
    Ok(world.tally)
}

impl World {
    fn new(seed: u64, wanted: &Wanted, told: bool) -> World {
        let mut rng = Rng::from_seed(seed ^ 0x636c_7573_7465_7273);
        let setup = Setup::draw(&mut rng, wanted);
        let mut world = World {
            agenda: Agenda::default(),
            net: Net::new(setup.delay_us, setup.slow_one_in),
            control: Control::new(
                setup.replication_factor,
                setup.is_strong(),
                setup.first_partition,
                setup.partitions,
            ),
            nodes: Vec::new(),
            clients: Vec::new(),
            contended: Contended::all(&setup),
            dead: BTreeMap::new(),
            tally: Tally::default(),
            told,
            troubled: false,
            asked: false,
            agreed: check::map_agreed::Agreed::default(),
            broken: None,
            rng,
            setup,
        };
        if told {
            println!("{:?}", world.setup);
        }
        (0..world.setup.nodes).for_each(|_| world.join());
        (0..world.setup.clients).for_each(|number| {
            let client = Client::new(number, &world.setup);
            world.clients.push(client);
        });
        world.agenda.after(0, Event::Lead);
        if world.setup.is_strong() {
            world.agenda.after(operator::LOOK_EVERY_US, Event::Operate);
        }
        world
    }

    fn live(&mut self) -> Result<(), Violation> {
        self.settle(FORM_US)?;
        self.begin_requests();
        self.begin_faults();
        self.run_for(self.setup.faults_us)?;
        self.end_faults();
        let faults_end_us = self.agenda.now_us();
        // Clients go on for a moment while copies are merged.
        let more_us = self.rng.between(0, 3_000_000);
        self.run_for(more_us)?;
        self.end_requests();
        self.settle(SETTLE_US)?;
        self.tally.settling_us = self.agenda.now_us() - faults_end_us;
        self.check()?;
        check::serves::every_partition_takes_a_write(self)?;
        self.settle(SETTLE_US)?;
        self.check()?;
        if self.setup.is_strong() {
            check::linearizable::every_key_as_if_one_after_the_other(self)?;
        }
        self.tally.virtual_us = self.agenda.now_us();
        self.tally.strong_lives = u64::from(self.setup.is_strong());
        self.tally.device_lives = u64::from(self.setup.devices.is_some());
        self.tally.entries = self.control.last() as u64;
        Ok(())
    }

    fn check(&self) -> Result<(), Violation> {
        if self.setup.is_strong() {
            return check::converged::every_row_holds_the_same_and_nobody_else_anything(self);
        }
        check::durable::every_key_holds_what_its_writer_was_told(self)?;
        check::resurrection::nothing_that_was_deleted_is_anywhere(self)?;
        check::converged::every_row_holds_the_same_and_nobody_else_anything(self)
    }

    /// Lets time go by.
    pub(crate) fn run_for(&mut self, us: u64) -> Result<(), Violation> {
        let until_us = self.agenda.now_us() + us;
        while self.agenda.now_us() < until_us {
            self.turn()?;
        }
        Ok(())
    }

    /// Lets time go by until nothing is left to be done.
    fn settle(&mut self, within_us: u64) -> Result<(), Violation> {
        let until_us = self.agenda.now_us() + within_us;
        while let Some(unsettled) = check::serves::unsettled(self) {
            if self.agenda.now_us() >= until_us {
                let seconds = within_us / 1_000_000;
                let what = format!("not settled within {seconds} s: {unsettled}");
                return Err(Violation::new("serves", what));
            }
            self.run_for(LOOK_US)?;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), Violation> {
        let event = self.agenda.advance();
        let event = event.ok_or_else(|| Violation::new("serves", "nothing happens any more"))?;
        self.tally.events += 1;
        match event {
            Event::Of { node, life, deed } => self.of(node, life, deed),
            Event::Arrive {
                from,
                to,
                epoch,
                forward,
            } => self.arrive(from, to, epoch, forward),
            Event::Notice { from, to, epoch } => self.notice(from, to, epoch),
            Event::Device { node, life, device } => self.device_done(node, life, device),
            Event::Again { from, to, bytes } => self.comes_again(from, to, &bytes),
            Event::Lead => self.lead(),
            Event::Operate => self.operate(),
            Event::ToLeader(what) => self.at_leader(what),
            Event::Client(client, turn) => self.client(client, turn),
            Event::Fault(fault) => self.fault(fault),
        }
        self.broken.take().map_or(Ok(()), Err)
    }

    /// The time of day, by a node's coarse clock.
    pub(crate) fn now_ms(&self, node: usize) -> u64 {
        let ms = BEGINNING_MS + self.agenda.now_us() / 1000;
        let ms = self.nodes[node].clock.day_ms(ms);
        ms / self.setup.tick_ms * self.setup.tick_ms
    }

    /// The time since a node's machine was switched on, by its own clock.
    pub(crate) fn boot_us(&self, node: usize) -> u64 {
        self.nodes[node].clock.boot_us(self.agenda.now_us())
    }

    /// Prints what happens, if somebody wants to know.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.told {
            let us = self.agenda.now_us();
            println!("{:>4}.{:06} {}", us / 1_000_000, us % 1_000_000, what());
        }
    }
}
