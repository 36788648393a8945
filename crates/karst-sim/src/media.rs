//! Faults of media on durable data: whatever happens to a sector, no reader ever gets wrong bytes.
//!
//! A node works for a while, comes to rest and starts again, so that every record is on a device and none
//! in memory. Then faults are injected one by one, and for each three things are looked at:
//!
//! - *reads*: a record of which a byte was changed is refused and counted; every other is served as it is;
//! - *scrub*: a walk of the blocks under the running node's seals finds every other record, and not that;
//! - *a cold start* from the damaged devices: each record is as it was, or what is missing is noticed, or
//!   an older state stands in its place unnoticed. The last cannot be ruled out with one copy of the data
//!   (a write that was lost whole leaves nothing behind) and is counted apart.
//!
//! Then the fault is taken back.

use std::ops::Range;

use karst_data::flat::size_of_record_at;
use karst_engine::Reason;
use karst_storage::log::BlockId;
use karst_storage::log::recover::Scanned;
use karst_storage::place::DeviceId;

use crate::check::Violation;
use crate::disk::fault::{Aim, Fault, Kind};
use crate::node::{Found, Node, block_bytes};
use crate::oracle::{State, describe};
use crate::rng::Rng;
use crate::setup::Setup;
use crate::world::{Stop, World};

/// Faults of one life.
pub const FAULTS_PER_LIFE: u64 = 500;

/// Faults between two stretches of work.
const FAULTS_PER_REST: u64 = 100;

/// What came of the faults of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Faults injected.
    pub injected: u64,
    /// Of these, that changed no byte that anybody needs.
    pub harmless: u64,
    /// That changed live records or metadata, each refused or named by the running node.
    pub detected: u64,
    /// Cold starts that found everything as it was.
    pub cold_same: u64,
    /// That missed something and noticed damage where it was.
    pub cold_noticed: u64,
    /// After which an older state stood unnoticed.
    pub cold_older: u64,
}

/// What came of all faults, in the order of [`Kind::ALL`].
pub type Counts = [Count; Kind::ALL.len()];

impl Count {
    /// Adds another's.
    pub fn add(&mut self, other: &Count) {
        self.injected += other.injected;
        self.harmless += other.harmless;
        self.detected += other.detected;
        self.cold_same += other.cold_same;
        self.cold_noticed += other.cold_noticed;
        self.cold_older += other.cold_older;
    }
}

/// A live record on a device, before anything happened to it.
struct Target {
    key: usize,
    device: usize,
    block: usize,
    bytes: Range<usize>,
    state: State,
}

/// Lives the life of a seed, with faults of all kinds.
///
/// # Errors
/// When wrong bytes are served, or damage passes for sound.
pub fn life(seed: u64) -> Result<Counts, Violation> {
    let mut rng = Rng::from_seed(seed);
    let mut setup = Setup::draw(&mut rng);
    setup.failing_writes = 0;
    setup.slow_device = None;
    setup.shared_memory = false; // what is in memory cannot rot
    setup.pace.truncate = 0;
    setup.pace.let_go = 0;
    setup.keys = setup.keys.max(12);
    let mut world = World::of(setup, rng)?;
    world.disk.remember();
    let mut counts = Counts::default();
    for round in 0..FAULTS_PER_LIFE / FAULTS_PER_REST {
        world.run(if round == 0 { 2000 } else { 300 })?;
        world.rest()?;
        world.stop(Stop::Kill)?;
        let targets = targets(&world);
        if targets.is_empty() {
            continue;
        }
        for _ in 0..FAULTS_PER_REST {
            let (kind, count) = loop {
                let number = world.rng.index(Kind::ALL.len());
                let kind = Kind::ALL[number];
                if let Some(fault) = inject(&mut world, kind, &targets) {
                    let count = judge(&mut world, &targets, &fault)?;
                    world.disk.heal(fault);
                    break (number, count);
                }
            };
            counts[kind].add(&count);
        }
    }
    Ok(counts)
}

/// Every live record that a reader can see, where it lies.
fn targets(world: &World) -> Vec<Target> {
    let moment = world.moment();
    let log = world.node.namespace.log();
    let visible = world.oracle.visible_keys(&moment).into_iter();
    visible
        .map(|key| {
            let entry = world.node.namespace.entry(&world.keys[key].digest);
            let place = entry.expect("what is visible is in the index").place;
            let (device, start) = (usize::from(place.device.0), place.start.bytes() as usize);
            let whole = world
                .disk
                .read(device, start..start + place.length.bytes() as usize);
            let size = size_of_record_at(whole).expect("it was read a moment ago");
            let state = world.oracle.current(key, &moment).expect("it is visible");
            Target {
                key,
                device,
                block: log.block_of(place).block as usize,
                bytes: start..start + size,
                state: (**state).clone(),
            }
        })
        .collect()
}

/// Injects a fault, mostly where it hurts.
fn inject(world: &mut World, kind: Kind, targets: &[Target]) -> Option<Fault> {
    let rng = &mut world.rng;
    let aim = if rng.one_in(5) {
        let device = rng.index(world.disk.devices());
        Aim {
            device,
            block: rng.index(world.disk.blocks(device)),
            byte: rng.index(world.setup.block_bytes),
        }
    } else {
        let target = rng.pick(targets);
        let begins = world.disk.block_range(target.block).start;
        Aim {
            device: target.device,
            block: target.block,
            byte: target.bytes.start - begins + rng.index(target.bytes.len()),
        }
    };
    world.disk.injure(kind, aim, rng)
}

fn judge(world: &mut World, targets: &[Target], fault: &Fault) -> Result<Count, Violation> {
    let hit = |target: &&Target| fault.hits(&world.disk, target.device, &target.bytes);
    let hit: Vec<&Target> = targets.iter().filter(hit).collect();
    let mut count = Count {
        injected: 1,
        ..Count::default()
    };
    reads_refuse(world, targets, &hit, fault)?;
    scrub_finds(world, targets, &hit, fault)?;
    let needed = match fault.kind {
        Kind::Superblock => true,
        Kind::BlockHeader => {
            let (device, block) = fault.blocks(&world.disk)[0];
            targets
                .iter()
                .any(|target| (target.device, target.block) == (device, block))
        }
        _ => !hit.is_empty(),
    };
    if !needed {
        count.harmless = 1;
        count.cold_same = 1;
        return Ok(count);
    }
    let cold = cold_start(world, targets, fault)?;
    match cold {
        Cold::Same => count.cold_same = 1,
        Cold::Noticed => count.cold_noticed = 1,
        Cold::Older => count.cold_older = 1,
    }
    // A running node has no use for headers and superblocks: there it is the start that may notice.
    let is_metadata = matches!(fault.kind, Kind::BlockHeader | Kind::Superblock);
    count.detected = u64::from(!is_metadata || cold == Cold::Noticed);
    Ok(count)
}

/// Every record that was hit is refused and counted, every other one served as it is.
fn reads_refuse(
    world: &World,
    targets: &[Target],
    hit: &[&Target],
    fault: &Fault,
) -> Result<(), Violation> {
    let errors = || -> u64 {
        let log = world.node.namespace.log();
        (0..world.disk.devices())
            .map(|device| log.read_errors(DeviceId(device as u8)))
            .sum()
    };
    let before = errors();
    for target in targets {
        let is_hit = hit.iter().any(|hit| hit.key == target.key);
        let found = world
            .node
            .read(&world.disk, &world.keys[target.key], world.now_ms);
        let is_right = match &found {
            Ok(state) => !is_hit && state.as_ref() == Some(&target.state),
            Err(Reason::Unreadable) => is_hit,
            Err(_) => false,
        };
        if !is_right {
            let found = found.as_ref().map(|state| describe(state.as_ref()));
            let what = format!(
                "{:?}: key {}, hit: {is_hit}, gave {found:?}",
                fault.kind, target.key
            );
            return Err(Violation::new("nothing_rotten_served", what));
        }
    }
    if errors() - before != hit.len() as u64 {
        let what = format!(
            "{} damaged records were read, {} counted",
            hit.len(),
            errors() - before
        );
        return Err(Violation::new("nothing_rotten_served", what));
    }
    Ok(())
}

/// A walk of the blocks that were touched finds what was not hit, and only that.
fn scrub_finds(
    world: &World,
    targets: &[Target],
    hit: &[&Target],
    fault: &Fault,
) -> Result<(), Violation> {
    for (device, block) in fault.blocks(&world.disk) {
        let id = block_id(device, block);
        let scanned = world
            .node
            .namespace
            .log()
            .scan_block(id, block_bytes(&world.disk, id));
        let found: Vec<usize> = scanned
            .filter_map(Scanned::record)
            .map(|record| record.place.start.bytes() as usize)
            .collect();
        let here = |target: &&Target| (target.device, target.block) == (device, block);
        for target in targets.iter().filter(here) {
            let is_hit = hit.iter().any(|hit| hit.key == target.key);
            if found.contains(&target.bytes.start) == is_hit {
                let what = format!("{:?}: key {}, hit: {is_hit}", fault.kind, target.key);
                return Err(Violation::new("scrub", what));
            }
        }
    }
    Ok(())
}

/// What a cold start makes of damaged devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cold {
    Same,
    Noticed,
    Older,
}

fn cold_start(world: &mut World, targets: &[Target], fault: &Fault) -> Result<Cold, Violation> {
    let Ok(node) = Node::boot(
        &world.setup,
        &mut world.disk,
        &world.marks,
        &world.floors,
        None,
    ) else {
        return Ok(Cold::Noticed); // the devices were refused
    };
    let (mut same, mut refused) = (true, false);
    for target in targets {
        match node.read(&world.disk, &world.keys[target.key], world.now_ms) {
            Ok(Some(state)) if state == target.state => {}
            Ok(Some(state)) => {
                same = false;
                if !world.oracle.was_ever(target.key, &state) {
                    let what = format!(
                        "{:?}: key {} came back as {}",
                        fault.kind,
                        target.key,
                        describe(Some(&state))
                    );
                    return Err(Violation::new("nothing_rotten_served", what));
                }
            }
            Ok(None) => same = false,
            Err(_) => refused = true,
        }
    }
    let Found {
        damaged_superblocks,
        rotten,
        stale,
        damaged_headers,
        torn: _,             // may be what a stop leaves
        rotten_stretches: _, // in blocks that are named
        left_out: _,
        is_warm: _,
    } = &node.found;
    let named =
        damaged_superblocks + damaged_headers > 0 || !rotten.is_empty() || !stale.is_empty();
    Ok(match (same, refused || named) {
        (_, true) => Cold::Noticed,
        (true, false) => Cold::Same,
        (false, false) => Cold::Older,
    })
}

fn block_id(device: usize, block: usize) -> BlockId {
    BlockId {
        device: DeviceId(device as u8),
        block: block as u32,
    }
}
