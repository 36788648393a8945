//! A node's devices: what is appended is flushed, and what waits for it to be durable goes on when it is.
//!
//! The namespace is the one that ships, over the made-up devices of [`crate::disk`]; a start is the recovery that ships.
//! What a process has asked a device to write gets there whatever becomes of the process, unless power goes. Whoever
//! waits for a commit (a primary that has made a write, a replica that was sent one, a node that has taken something
//! over from another one) is told by the process, so not while it stands still.
//!
//! A device read takes no time. Clean writes take microseconds, and seconds where the device is slow.

use karst_cluster::fabric::Ack;
use karst_data::key::PartitionId;
use karst_data::mutation::{Mutation, is_planted};
use karst_engine::floor::Floor;
use karst_engine::migrate::Cut;
use karst_engine::{Fetched, Namespace, Step};
use karst_storage::index::{Flags, NewEntry};
use karst_storage::log::{Commit, CommitPoint, DeviceRead, DeviceWrite};
use karst_storage::place::DeviceId;

use super::fabric::ReplyTo;
use super::fault::Kind;
use super::flow::Then;
use super::node::Deed;
use super::settle::Settling;
use super::{Event, World};
use crate::disk::fault::{self, Aim, Fault};
use crate::disk::{Disk, Flying, Tears};
use crate::node::{self, Defrag, Defragged, Floors};
use crate::oracle::Marks;
use crate::rng::Rng;
use crate::setup::Setup;

/// Longest time from an append to its flush: as long as a turn of a core takes.
const TURN_US: u64 = 60;

/// Pause between two steps of emptying blocks.
const DEFRAG_US: u64 = 300;

/// How often it is tried to damage something that the next start sees.
const DAMAGE_TRIES: u32 = 6;

/// Live records may take no part of the devices while they are full.
const FULL_PERCENT: u8 = 0;

/// What a node's devices hold, and what it keeps beside them: outlives its processes.
pub struct Devices {
    /// What they look like.
    pub setup: Setup,
    /// What is on them.
    pub disk: Disk,
    /// What is void of partitions that were let go of.
    pub floors: Floors,
    /// They are slow until then.
    pub slow_until_us: u64,
    /// What they are asked to write before then is done after it.
    pub hang_until_us: u64,
    /// The next write fails.
    pub fails: bool,
    /// What the present process does with them.
    pub doing: Doing,
}

/// What a process does with its devices.
#[derive(Default)]
pub struct Doing {
    flush_due: bool,
    defrag: Defrag,
    defrags: bool,
    waiting: Vec<(CommitPoint, Waits)>,
    /// What waits for everything to be durable.
    pub settling: Vec<Settling>,
    /// Devices that had failed when the cluster was last told.
    pub told_failed: usize,
}

/// What waits for something to be durable.
#[derive(Clone, Copy, Debug)]
pub enum Waits {
    /// A write of this node's own, by its number.
    Write(u64),
    /// A replica, which then tells the primary.
    Copy(ReplyTo),
    /// Something that was taken over from another node.
    Kept(Then),
}

impl Devices {
    /// Blank ones.
    pub fn new(setup: &Setup) -> Devices {
        Devices {
            disk: blank(setup),
            setup: setup.clone(),
            floors: Floors::new(),
            slow_until_us: 0,
            hang_until_us: 0,
            fails: false,
            doing: Doing::default(),
        }
    }

    /// They are taken out, and blank ones put in.
    pub fn replace(&mut self) {
        self.setup.failed_devices.clear();
        self.disk = blank(&self.setup);
        self.fails = false;
    }

    /// Opens the namespace that is on them, and begins a session. The other result is whether something is lost that
    /// was durable once, as far as a start can tell (`karst_node::trust`).
    pub fn boot(&mut self) -> (Namespace, bool) {
        let lost = !self.setup.failed_devices.is_empty();
        let booted = self.recover();
        let (namespace, damaged) = booted.expect("devices that this simulation has formatted");
        let power_stays = node::begin_session(&namespace, &mut self.disk, None, || true);
        assert!(power_stays.is_some());
        self.doing = Doing {
            told_failed: self.setup.failed_devices.len(),
            ..Doing::default()
        };
        for (id, floor) in &mut self.floors {
            if *floor == Floor::Leaving {
                let fill = node::drop_all(&namespace, *id);
                *floor = Floor::Fill(fill);
                namespace.end_leaving(*id, fill);
            }
        }
        (namespace, lost || damaged)
    }

    /// What a start makes of them, and whether it finds damage; nothing if it refuses them.
    pub fn recover(&mut self) -> Option<(Namespace, bool)> {
        let marks = Marks::default();
        let booted = node::Node::boot(&self.setup, &mut self.disk, &marks, &self.floors, None);
        let booted = booted.ok()?;
        let found = &booted.found;
        let damaged = found.rotten_stretches + found.left_out > 0
            || !found.stale.is_empty()
            || has_damaged(&booted.namespace);
        Some((booted.namespace, damaged))
    }

    /// Devices that have failed by now.
    pub fn failed(&self, engine: &Namespace) -> Vec<usize> {
        let all = 0..self.setup.devices;
        all.filter(|device| engine.log().device_failed(DeviceId(*device as u8)))
            .collect()
    }
}

fn blank(setup: &Setup) -> Disk {
    let bytes = setup.device_bytes();
    let mut disk = Disk::new(setup.devices, bytes, setup.block_bytes, setup.sector_bytes);
    disk.remember();
    setup.format(&mut disk);
    disk
}

/// How a process ends, as far as devices are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// In order: everything is flushed.
    InOrder,
    /// The process is killed: what it had asked devices to do is done.
    Kill,
    /// Power goes: what devices were writing is torn.
    Power,
}

impl World {
    /// Asks an engine for something until it needs nothing from its devices any more.
    pub(crate) fn with_reads<T>(
        &self,
        node: usize,
        mut ask: impl FnMut(Option<&Fetched>) -> Step<T>,
    ) -> Step<T> {
        let mut fetched = None;
        loop {
            match ask(fetched.as_ref()) {
                Step::Read(read) => fetched = Some(self.fetch(node, read)),
                step => return step,
            }
        }
    }

    /// What a device holds.
    pub(crate) fn fetch(&self, node: usize, read: DeviceRead) -> Fetched {
        let devices = self.nodes[node].devices.as_ref();
        let devices = devices.expect("only what has devices wants to read from them");
        node::fetch(&devices.disk, read)
    }

    /// Something was appended: it is flushed at the end of the turn.
    pub(crate) fn appended(&mut self, node: usize) {
        let Some(devices) = &mut self.nodes[node].devices else {
            return;
        };
        if !std::mem::replace(&mut devices.doing.flush_due, true) {
            let us = self.rng.between(1, TURN_US);
            self.later(node, us, Deed::Flush);
        }
    }

    /// Something waits for a commit, where there are devices. `false` if there is nothing to wait for.
    pub(crate) fn wait_for_commit(
        &mut self,
        node: usize,
        point: Option<CommitPoint>,
        waits: Waits,
    ) -> bool {
        self.appended(node);
        let Some((devices, point)) = self.nodes[node].devices.as_mut().zip(point) else {
            return false;
        };
        if is_planted(Mutation::AnswersBeforeCommit) && matches!(waits, Waits::Copy(_)) {
            return false;
        }
        devices.doing.waiting.push((point, waits));
        true
    }

    /// The end of a turn: what was appended goes to the devices.
    pub(crate) fn flush(&mut self, node: usize) {
        let now_ms = self.agenda.now_us() / 1000;
        let it = &mut self.nodes[node];
        let Some(devices) = &mut it.devices else {
            return;
        };
        devices.doing.flush_due = false;
        let log = it.engine.log();
        log.tick(now_ms);
        log.flush(log.write_lane(0), u64::MAX);
        if log.wants_flush() {
            log.flush(log.move_lane(0), u64::MAX);
        }
        self.hand_to_devices(node);
        self.begin_defrag(node);
    }

    /// Flushes what defrag has moved, as a timer does.
    pub(crate) fn flush_moved(&mut self, node: usize) {
        if self.nodes[node].devices.is_some() {
            let log = self.nodes[node].engine.log();
            log.flush(log.move_lane(0), u64::MAX);
            self.hand_to_devices(node);
            self.begin_defrag(node);
        }
    }

    fn hand_to_devices(&mut self, node: usize) {
        let now_us = self.agenda.now_us();
        let it = &mut self.nodes[node];
        let Some(devices) = &mut it.devices else {
            return;
        };
        let (log, life) = (it.engine.log(), it.life);
        let mut writes: Vec<DeviceWrite> = Vec::new();
        let mut lost = false;
        for lane in [log.write_lane(0), log.move_lane(0)] {
            lost |= log.take_writes(lane, &mut writes);
        }
        for write in writes {
            let device = usize::from(write.block.device.0);
            if let Err(violation) = devices.disk.submit(write) {
                self.broken.get_or_insert(violation);
            }
            let us = match now_us < devices.slow_until_us {
                true => self.rng.between(100_000, 3_000_000),
                false => self.rng.between(30, self.setup.commit_us),
            };
            let us = us + devices.hang_until_us.saturating_sub(now_us);
            let done = Event::Device { node, life, device };
            self.agenda.after(us, done);
        }
        if lost {
            self.look_at_commits(node);
        }
    }

    /// A device has done one of the writes that it was asked for, or not.
    pub(crate) fn device_done(&mut self, node: usize, life: u64, device: usize) {
        let it = &mut self.nodes[node];
        let Some(devices) = it
            .devices
            .as_mut()
            .filter(|_| it.running && it.life == life)
        else {
            return;
        };
        let fails = std::mem::take(&mut devices.fails);
        let Flying { write, .. } = match fails {
            true => devices.disk.fail(device, &mut self.rng),
            false => devices.disk.complete(device, &mut self.rng),
        };
        if fails {
            self.injected(Kind::WriteError);
            self.tell(|| format!("device {device} of n{node} fails"));
        }
        self.of(node, life, Deed::Written(write, !fails));
    }

    /// A process hears that a write is done.
    pub(crate) fn written(&mut self, node: usize, write: &DeviceWrite, kept: bool) {
        let it = &mut self.nodes[node];
        it.engine.log().written(write, kept);
        if !kept && let Some(devices) = &mut it.devices {
            devices.setup.failed_devices = devices.failed(&it.engine); // kept beside the devices
        }
        self.hand_to_devices(node);
        self.look_at_commits(node);
        self.begin_defrag(node);
    }

    fn look_at_commits(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        let Some(devices) = &mut it.devices else {
            return;
        };
        let log = it.engine.log();
        let mut ended = Vec::new();
        devices
            .doing
            .waiting
            .retain(|(point, waits)| match log.commit(*point) {
                Commit::Pending => true,
                commit => {
                    ended.push((commit == Commit::Durable, *waits));
                    false
                }
            });
        for (durable, waits) in ended {
            match waits {
                Waits::Write(number) => self.is_durable(node, number, durable),
                Waits::Copy(reply) => {
                    let ack = if durable { Ack::Done } else { Ack::Failed };
                    self.acknowledge(node, reply, ack);
                }
                Waits::Kept(then) => {
                    let kept = if durable { Ok(()) } else { Err(Cut::Later) };
                    self.adopted(node, then, kept);
                }
            }
        }
        self.look_at_settling(node);
    }

    fn begin_defrag(&mut self, node: usize) {
        let Some(devices) = &mut self.nodes[node].devices else {
            return;
        };
        if !std::mem::replace(&mut devices.doing.defrags, true) {
            self.defrag(node);
        }
    }

    /// Empties a block a little further.
    pub(crate) fn defrag(&mut self, node: usize) {
        let now_ms = self.agenda.now_us() / 1000;
        let it = &mut self.nodes[node];
        let Some(devices) = &mut it.devices else {
            return;
        };
        let doing = &mut devices.doing;
        let step = doing.defrag.go_on(&it.engine, &devices.disk, 0, now_ms);
        doing.defrags = matches!(step, Defragged::Moving | Defragged::Emptied(_));
        if doing.defrags {
            let us = self.rng.between(1, DEFRAG_US);
            self.later(node, us, Deed::Defrag);
        }
        if step != Defragged::Idle {
            self.appended(node);
        }
    }

    /// What becomes of a node's devices when its process ends.
    pub(crate) fn stop_devices(&mut self, node: usize, stop: Stop) {
        let it = &mut self.nodes[node];
        let Some(devices) = &mut it.devices else {
            return;
        };
        let log = it.engine.log();
        if stop == Stop::InOrder {
            let mut writes = Vec::new();
            for lane in [log.write_lane(0), log.move_lane(0)] {
                log.flush(lane, u64::MAX);
                log.take_writes(lane, &mut writes);
            }
            for write in writes {
                if let Err(violation) = devices.disk.submit(write) {
                    self.broken.get_or_insert(violation);
                }
            }
        }
        match stop {
            Stop::InOrder | Stop::Kill => devices.disk.outlive_kill(),
            Stop::Power => {
                let shorn = devices.setup.shorn_sectors;
                devices.disk.cut(&Tears { shorn, of: None }, &mut self.rng);
            }
        }
        devices.doing = Doing::default();
    }

    /// What is durable is damaged while nobody runs, if that is seen at the next start: what goes unseen is taken back.
    pub(crate) fn damage(&mut self, node: usize) {
        let ids: Vec<PartitionId> = self.partitions().collect();
        let Some(devices) = &mut self.nodes[node].devices else {
            return;
        };
        let Some((sound, was_damaged)) = devices.recover() else {
            return;
        };
        let before = all_entries(&sound, &ids);
        let mut counted = Vec::new();
        for _ in 0..DAMAGE_TRIES {
            let Some((kind, fault)) = injure(devices, &before, &mut self.rng) else {
                continue;
            };
            let Some((after, damaged)) = devices.recover() else {
                devices.disk.heal(fault); // whoever runs it would empty that device
                continue;
            };
            if damaged && !was_damaged {
                counted.push((Kind::Damage, kind));
                break;
            }
            if damaged || all_entries(&after, &ids) == before {
                counted.push((Kind::HarmlessDamage, kind));
                continue;
            }
            devices.disk.heal(fault);
            counted.push((Kind::UnseenDamage, kind));
        }
        for (came, kind) in counted {
            self.injected(came);
            self.tell(|| format!("{kind:?} on a device of n{node}: {came:?}"));
        }
    }

    /// A node's devices are full for a while, or not any more.
    pub(crate) fn fill_up(&mut self, node: usize, is_full: bool) {
        let percent = match is_full {
            true => FULL_PERCENT,
            false => karst_storage::log::LIVE_PERCENT_MAX as u8,
        };
        self.tell(|| format!("n{node} has no room: {is_full}"));
        self.nodes[node].engine.log().set_live_percent_max(percent);
    }
}

fn has_damaged(namespace: &Namespace) -> bool {
    PartitionId::all().any(|id| {
        namespace.partition_counts(id) != (0, 0)
            && namespace
                .entries(id)
                .iter()
                .any(|it| it.flags.contains(Flags::DAMAGED))
    })
}

fn all_entries(namespace: &Namespace, ids: &[PartitionId]) -> Vec<NewEntry> {
    let mut all: Vec<NewEntry> = ids.iter().flat_map(|id| namespace.entries(*id)).collect();
    all.sort_unstable_by_key(|entry| entry.digest);
    all
}

/// Something happens to a stretch of a device, mostly where a record lies.
fn injure(
    devices: &mut Devices,
    entries: &[NewEntry],
    rng: &mut Rng,
) -> Option<(fault::Kind, Fault)> {
    let kind = *rng.pick(&fault::Kind::ALL);
    let (disk, block_bytes) = (&mut devices.disk, devices.setup.block_bytes);
    let aim = match entries.is_empty() || rng.one_in(5) {
        true => {
            let device = rng.index(disk.devices());
            Aim {
                device,
                block: rng.index(disk.blocks(device)),
                byte: rng.index(block_bytes),
            }
        }
        false => {
            let place = rng.pick(entries).place;
            let at = place.start.bytes() as usize + rng.index(place.length.bytes() as usize);
            Aim {
                device: usize::from(place.device.0),
                block: at / block_bytes - 1,
                byte: at % block_bytes,
            }
        }
    };
    disk.injure(kind, aim, rng).map(|fault| (kind, fault))
}
