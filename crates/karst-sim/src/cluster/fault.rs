//! What goes wrong, and when it is made good.

use karst_cluster::node::NodeId;
use karst_cluster::state::{Command, Outcome};

use super::World;
use super::devices::Stop;
use super::node::{Deed, Mode};
use crate::check::serves;

/// Most nodes that a life has.
const NODES_MAX: usize = 6;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ways between two nodes are cut.
    Cut,
    /// The nodes fall into two groups.
    Halves,
    /// One node reaches nobody, or hears nobody.
    Island,
    /// A connection ends, with what was on its way.
    Snap,
    /// A request between nodes came twice.
    Doubled,
    /// A process is killed.
    Crash,
    /// A process ends, and what it held in memory is gone.
    Forgets,
    /// A process stands still.
    Pause,
    /// A primary stands still with a read in its hands.
    PauseAtRead,
    /// A node is drained, or is to stay.
    Drain,
    /// A drained node is forgotten while it runs, and comes back as a new one.
    Remove,
    /// A node joins.
    Join,
    /// A process ends in order.
    Stop,
    /// Another node leads the group.
    Elect,
    /// A leader that was replaced and does not know goes on to grant leases.
    OldLeader,
    /// The time of day is set.
    Jump,
    /// Power goes at one machine.
    PowerLoss,
    /// Power goes at several at once.
    PowerOutage,
    /// A node comes back with blank devices.
    Wiped,
    /// Durable data is damaged, and the next start sees it.
    Damage,
    /// Bytes change that nobody needs.
    HarmlessDamage,
    /// Durable data was damaged so that no start can see it, and it was taken back.
    UnseenDamage,
    /// A device is slow for a while.
    SlowDevice,
    /// Nobody's device writes anything for a while, as where all of them are one storage network's.
    Stall,
    /// A write fails.
    WriteError,
    /// A device is full for a while.
    FullDevice,
    /// A node declares that it has lost something.
    Loss,
    /// A partition is dead.
    Dead,
}

impl Kind {
    /// All there are.
    pub const ALL: [Kind; 28] = [
        Kind::Cut,
        Kind::Halves,
        Kind::Island,
        Kind::Snap,
        Kind::Doubled,
        Kind::Crash,
        Kind::Forgets,
        Kind::Pause,
        Kind::PauseAtRead,
        Kind::Drain,
        Kind::Remove,
        Kind::Join,
        Kind::Stop,
        Kind::Elect,
        Kind::OldLeader,
        Kind::Jump,
        Kind::PowerLoss,
        Kind::PowerOutage,
        Kind::Wiped,
        Kind::Damage,
        Kind::HarmlessDamage,
        Kind::UnseenDamage,
        Kind::SlowDevice,
        Kind::Stall,
        Kind::WriteError,
        Kind::FullDevice,
        Kind::Loss,
        Kind::Dead,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cut => "ways between two nodes cut",
            Kind::Halves => "nodes in two halves",
            Kind::Island => "node reaches nobody, or hears nobody",
            Kind::Snap => "connection snapped",
            Kind::Doubled => "message came twice",
            Kind::Crash => "process killed",
            Kind::Forgets => "process killed, memory gone",
            Kind::Pause => "process stood still",
            Kind::PauseAtRead => "primary stood still with a read",
            Kind::Drain => "node drained, or kept after all",
            Kind::Remove => "drained node removed, and back as a new one",
            Kind::Join => "node joined",
            Kind::Stop => "process stopped in order",
            Kind::Elect => "leadership moved",
            Kind::OldLeader => "replaced leader granted a lease",
            Kind::Jump => "time of day set",
            Kind::PowerLoss => "power lost at one node",
            Kind::PowerOutage => "power lost at several at once",
            Kind::Wiped => "node came back with blank devices",
            Kind::Damage => "durable data damaged while down",
            Kind::HarmlessDamage => "  of no consequence",
            Kind::UnseenDamage => "  not to be seen (taken back)",
            Kind::SlowDevice => "device slow, commits take seconds",
            Kind::Stall => "all devices hung",
            Kind::WriteError => "device write failed",
            Kind::FullDevice => "device full",
            Kind::Loss => "loss declared at a start, or by a failed device",
            Kind::Dead => "partition dead",
        }
    }
}

/// Faults by kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults([u64; Kind::ALL.len()]);

impl Faults {
    /// One more.
    pub fn count(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    /// How many of a kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// Adds others.
    pub fn add(&mut self, other: &Faults) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    /// How many all together.
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Something goes wrong, or is made good.
pub enum Event {
    /// The next fault, whichever it is.
    Next,
    /// These ways are no longer cut.
    Mend(Vec<(usize, usize)>),
    /// A process begins.
    Start(usize),
    /// A process goes on.
    GoOn(usize, u64),
    /// A process's devices have room again.
    Room(usize, u64),
    /// Power goes at several nodes, while a device is slow.
    Outage,
    /// Power goes at some node that is the primary of something.
    PrimaryOutage,
}

impl World {
    pub(crate) fn begin_faults(&mut self) {
        self.troubled = true;
        let us = self.rng.below(self.setup.calm_us_max);
        self.agenda.after(us, super::Event::Fault(Event::Next));
    }

    /// Everything is made good.
    pub(crate) fn end_faults(&mut self) {
        self.troubled = false;
        self.tell(|| "faults have ended".into());
        for way in self.net.all_cut() {
            while !self.net.mend(way.0, way.1) {}
            self.open(way.0, way.1);
        }
        for node in 0..self.nodes.len() {
            self.nodes[node].stands_still_at_read = None;
            self.go_on(node);
            if let Some(devices) = &mut self.nodes[node].devices {
                devices.fails = false;
                (devices.slow_until_us, devices.hang_until_us) = (0, 0);
            }
            match self.nodes[node].running {
                true => self.fill_up(node, false),
                false => self.start(node),
            }
        }
    }

    pub(crate) fn fault(&mut self, event: Event) {
        match event {
            Event::Next if self.troubled => {
                self.next_fault();
                let us = self.rng.between(1, self.setup.calm_us_max);
                self.agenda.after(us, super::Event::Fault(Event::Next));
            }
            Event::Next => {}
            Event::Mend(ways) => {
                if self.troubled {
                    for (from, to) in ways {
                        if self.net.mend(from, to) {
                            self.tell(|| format!("n{from} to n{to} is open again"));
                            self.open(from, to);
                        }
                    }
                }
            }
            Event::Start(node) => {
                if !self.nodes[node].running {
                    self.start(node);
                }
            }
            Event::Outage => {
                if self.troubled {
                    self.outage();
                }
            }
            Event::PrimaryOutage => {
                if self.troubled {
                    self.primary_outage();
                }
            }
            Event::Room(node, life) => {
                if self.nodes[node].life == life && self.nodes[node].running {
                    self.fill_up(node, false);
                }
            }
            Event::GoOn(node, life) => {
                if self.nodes[node].life == life && self.nodes[node].running {
                    self.go_on(node);
                }
            }
        }
    }

    fn next_fault(&mut self) {
        let node = self.rng.index(self.nodes.len());
        let other = self.rng.index(self.nodes.len());
        // Where that is a loss like any other, too many might come at once.
        let loses = self.setup.is_strong() && self.setup.volatile;
        let fault = self.rng.weighted(&self.setup.pace.weights());
        match fault {
            0 if node != other => {
                let both = self.rng.one_in(2) || !self.setup.one_way;
                let ways = [(node, other), (other, node)];
                let ways = ways[..if both { 2 } else { 1 }].to_vec();
                self.injected(Kind::Cut);
                self.cut(ways, 6_000_000);
            }
            1 => {
                let side: Vec<bool> = self.nodes.iter().map(|_| self.rng.one_in(2)).collect();
                self.injected(Kind::Halves);
                self.cut(ways_between(&side, true), 8_000_000);
            }
            2 => {
                let side: Vec<bool> = (0..self.nodes.len()).map(|it| it == node).collect();
                let both = !self.rng.one_in(4) || !self.setup.one_way;
                self.injected(Kind::Island);
                self.cut(ways_between(&side, both), 10_000_000);
            }
            3 if node != other => {
                let soon = self.rng.one_in(2);
                self.tell(|| format!("the link of n{node} to n{other} snaps"));
                self.injected(Kind::Snap);
                self.snap(node, other, soon);
            }
            4 if self.nodes[node].running => {
                self.injected(Kind::Crash);
                self.end(node, true, Stop::Kill);
                self.start_later(node);
            }
            5 => self.lose(node),
            6 if self.nodes[node].acts() => {
                let us = match self.rng.one_in(3) {
                    true => self.rng.between(500_000, 5_000_000),
                    false => self.rng.between(10_000, 1_000_000),
                };
                match self.setup.is_strong() && self.rng.one_in(2) {
                    true => self.stand_still_at_read(),
                    false => {
                        self.injected(Kind::Pause);
                        self.stand_still_for(node, us);
                    }
                }
            }
            7 => {
                let id = self.nodes[node].id;
                let state = self.control.newest();
                let drained = state.nodes.get(&id).is_some_and(|it| it.draining);
                if drained && self.setup.is_strong() && self.rng.one_in(2) {
                    return self.remove(id);
                }
                let state = self.control.newest();
                let draining = state.nodes.get(&id).is_some_and(|it| !it.draining);
                let others = state.nodes.values().filter(|it| !it.draining).count();
                if !draining || others > 2 {
                    self.injected(Kind::Drain);
                    self.propose(Command::SetDraining { node: id, draining });
                }
            }
            8 if self.nodes.len() < NODES_MAX => {
                self.injected(Kind::Join);
                self.join();
            }
            9 if self.nodes[node].acts() && !self.nodes[node].leaving && !loses => {
                self.tell(|| format!("n{node} is told to stop"));
                self.injected(Kind::Stop);
                self.later(node, 0, Deed::Leave(0));
            }
            10 => {
                self.injected(Kind::Elect);
                self.elect();
            }
            11 => {
                self.injected(Kind::Jump);
                self.nodes[node].clock.set(&mut self.rng);
                self.tell(|| format!("the clock of n{node} is set to {}", self.now_ms(node)));
            }
            12.. => self.device_fault(fault, node),
            _ => {}
        }
    }

    pub(super) fn injected(&mut self, kind: Kind) {
        self.tally.faults_by.count(kind);
    }

    /// Forgets a node, unless it still holds something.
    fn remove(&mut self, id: NodeId) {
        if self.propose(Command::Remove(id)) == Some(Outcome::Applied) {
            self.injected(Kind::Remove);
        }
    }

    /// Power goes at several nodes at once.
    fn outage(&mut self) {
        self.injected(Kind::PowerOutage);
        let all = self.rng.one_in(2);
        for node in 0..self.nodes.len() {
            if self.nodes[node].running && (all || self.rng.one_in(2)) {
                self.end(node, false, Stop::Power);
                self.start_later(node);
            }
        }
    }

    /// Power goes at a primary.
    fn primary_outage(&mut self) {
        let key = self.rng.index(self.contended.len());
        let partition = self.contended[key].digest.partition();
        if let Some(node) = self.primary(partition).filter(|it| self.nodes[*it].running) {
            self.injected(Kind::PowerLoss);
            self.end(node, false, Stop::Power);
            self.start_later(node);
        }
    }

    /// No device writes anything for a while, in which power may go: at one who writes first, or at several.
    fn stall(&mut self) {
        self.injected(Kind::Stall);
        let us = self.rng.between(500_000, 10_000_000);
        let until_us = self.agenda.now_us() + us;
        self.tell(|| format!("all devices hang for {us} us"));
        for devices in self.nodes.iter_mut().filter_map(|it| it.devices.as_mut()) {
            devices.hang_until_us = until_us;
        }
        if self.rng.one_in(2) {
            let soon_us = self.rng.below(us / 4 + 1);
            let event = super::Event::Fault(Event::PrimaryOutage);
            self.agenda.after(soon_us, event);
        }
        if self.rng.one_in(2) {
            let event = super::Event::Fault(Event::Outage);
            let us = self.rng.below(us);
            self.agenda.after(us, event);
        }
    }

    /// Something becomes of a node's devices, or of its memory.
    fn device_fault(&mut self, fault: usize, node: usize) {
        if !self.nodes[node].running {
            return;
        }
        let life = self.nodes[node].life;
        match fault {
            12 if self.rng.one_in(4) => self.outage(),
            12 => {
                self.injected(Kind::PowerLoss);
                self.end(node, false, Stop::Power);
                self.start_later(node);
            }
            13 => {
                self.injected(Kind::Wiped);
                self.end(node, false, Stop::Power);
                self.replace_devices(node);
                self.start_later(node);
            }
            14 => {
                let stop = *self.rng.pick(&[Stop::Power, Stop::Kill]);
                self.end(node, false, stop);
                self.damage(node);
                self.start_later(node);
            }
            15 => {
                self.injected(Kind::SlowDevice);
                let us = self.rng.between(100_000, 6_000_000);
                let until_us = self.agenda.now_us() + us;
                if self.rng.one_in(2) {
                    let outage = super::Event::Fault(Event::Outage);
                    let us = self.rng.below(us);
                    self.agenda.after(us, outage);
                }
                self.tell(|| format!("devices of n{node} are slow for {us} us"));
                if let Some(devices) = &mut self.nodes[node].devices {
                    devices.slow_until_us = until_us;
                }
            }
            16 => {
                if let Some(devices) = &mut self.nodes[node].devices {
                    devices.fails = true;
                }
            }
            17 => {
                self.injected(Kind::FullDevice);
                self.fill_up(node, true);
                let us = self.rng.between(50_000, 4_000_000);
                let room = super::Event::Fault(Event::Room(node, life));
                self.agenda.after(us, room);
            }
            _ => self.stall(),
        }
    }

    /// Some primary is to stand still right after it has read something, for long enough that another one may take over.
    fn stand_still_at_read(&mut self) {
        let key = self.rng.index(self.contended.len());
        let us = self.rng.between(500_000, 3_000_000);
        if let Some(primary) = self.primary(self.contended[key].digest.partition()) {
            self.injected(Kind::PauseAtRead);
            self.nodes[primary].stands_still_at_read = Some(us);
        }
    }

    /// A process stands still for a while.
    pub(crate) fn stand_still_for(&mut self, node: usize, us: u64) {
        let life = self.nodes[node].life;
        self.stand_still(node);
        let go_on = super::Event::Fault(Event::GoOn(node, life));
        self.agenda.after(us, go_on);
    }

    /// A process ends with all that it held: only when others hold it, and are not about to lose it too.
    fn lose(&mut self, node: usize) {
        let follows = self.nodes.iter().all(|it| it.mode == Mode::Following);
        if serves::is_whole(self).is_none() && follows && self.nodes[node].acts() {
            self.injected(Kind::Forgets);
            self.end(node, false, Stop::Kill);
            self.start_later(node);
        }
    }

    fn start_later(&mut self, node: usize) {
        // Some are back before anybody misses them.
        let us = match self.rng.one_in(2) {
            true => self.rng.between(1_000, 500_000),
            false => self.rng.between(500_000, 5_000_000),
        };
        self.agenda
            .after(us, super::Event::Fault(Event::Start(node)));
    }

    fn cut(&mut self, ways: Vec<(usize, usize)>, us_max: u64) {
        if ways.is_empty() {
            return;
        }
        let us = match self.rng.one_in(2) {
            true => self.rng.between(10_000, 1_500_000),
            false => self.rng.between(500_000, us_max),
        };
        self.tell(|| format!("cut for {us} us: {ways:?}"));
        for (from, to) in &ways {
            self.net.cut(*from, *to);
            // Some connections live through it, others are given up.
            if self.rng.one_in(3) {
                self.snap(*from, *to, false);
            }
            if self.rng.one_in(3) {
                self.snap(*to, *from, false);
            }
        }
        self.agenda
            .after(us, super::Event::Fault(Event::Mend(ways)));
    }
}

/// All ways from one side to the other, and back if both.
fn ways_between(side: &[bool], both: bool) -> Vec<(usize, usize)> {
    let nodes = 0..side.len();
    let pairs = nodes.flat_map(|from| (0..side.len()).map(move |to| (from, to)));
    let across = pairs.filter(|(from, to)| match both {
        true => side[*from] != side[*to],
        false => side[*from] && !side[*to],
    });
    across.collect()
}
