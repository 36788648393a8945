//! One running node as far as its storage goes: boot, reads, flushes, defrag, sweeps, in the order in
//! which `karst-node` does them, with every wait in between made visible to the world.

use std::collections::BTreeMap;

use karst_data::flat::Record;
use karst_data::key::PartitionId;
use karst_data::time::Now;
use karst_engine::floor::Floor;
use karst_engine::namespace::FIRST_REGIME;
use karst_engine::read::{Need, ReadRequest};
use karst_engine::recover::Intake;
use karst_engine::write::Hand;
use karst_engine::{Fetched, Namespace, Reason, Step};
use karst_io::buffer::AlignedBuffer;
use karst_storage::index::WalkCursor;
use karst_storage::log::format::{BlockHeader, Front, SUPERBLOCK_BYTES, Superblock, read_front};
use karst_storage::log::recover::{Scanned, Testimony};
use karst_storage::log::{BlockId, DeviceRead, LaneId, MoveJob};
use karst_storage::place::DeviceId;

use crate::check::Violation;
use crate::disk::Disk;
use crate::memory::{self, Memory};
use crate::oracle::{Marks, State};
use crate::setup::Setup;
use crate::workload::{Key, PARTITIONS, SETS};

/// What a node keeps of partitions that it has let go of.
pub type Floors = BTreeMap<PartitionId, Floor>;

/// Records that defrag moves before it lets others run.
const MOVES_PER_TURN: usize = 3;

/// Digests that a slice of a scan names at most.
const SCAN_SLICE: usize = 7;

/// The emptying of a block, as far as it has come.
struct Emptying {
    job: MoveJob,
    bytes: Vec<u8>,
    moved: usize,
}

/// What boot found on the devices beside records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The index was taken over from memory; the devices were not read.
    pub is_warm: bool,
    /// Superblocks that are damaged; the other copy stood in.
    pub damaged_superblocks: u64,
    /// Blocks with damage although all of them was durable once: rot, unless power went while the block,
    /// which nobody needed any more, was being filled anew and its header is still the old one.
    pub rotten: Vec<BlockId>,
    /// Blocks that are as they were before a fill that was wholly durable once.
    pub stale: Vec<BlockId>,
    /// Blocks whose header is damaged, be their fill known from a later block or not.
    pub damaged_headers: u64,
    /// Damage where writing may have been under way at a stop.
    pub torn: u64,
    /// Stretches of blocks that were wholly durable once of which nothing is known.
    pub rotten_stretches: u64,
    /// Blocks that are left out since nothing tells what they were.
    pub left_out: u64,
}

/// See [the module](self).
pub struct Node {
    /// The engine.
    pub namespace: Namespace,
    /// What boot found.
    pub found: Found,
    cores: u16,
    defrag: Defrag,
}

/// What of a node's blocks is being emptied, by core.
#[derive(Default)]
pub struct Defrag(Vec<Option<Emptying>>);

/// What defrag did in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defragged {
    /// Nothing was worth moving.
    Idle,
    /// It is under way.
    Moving,
    /// It found no block to move records to.
    NoRoom,
    /// A block was emptied, but for so many bytes that cannot be read.
    Emptied(u32),
}

impl Node {
    /// Opens a namespace and fills it, as boot does: superblocks, memory that outlived a process,
    /// truncation marks, and without such memory the headers of all blocks and then their records.
    ///
    /// # Errors
    /// When the devices are not ours, or the engine refuses what it wrote itself.
    pub fn boot(
        setup: &Setup,
        disk: &mut Disk,
        marks: &Marks,
        floors: &Floors,
        memory: Option<&Memory>,
    ) -> Result<Node, Violation> {
        let mut found = Found::default();
        let (session, fills) = read_fronts(setup, disk, &mut found)?;
        let begun = setup.begin(memory, session)?;
        for device in &setup.failed_devices {
            begun.log.fail_device(DeviceId(*device as u8));
        }
        let namespace = setup.namespace(begun.log, begun.arena);
        let refused = |reason: Reason| Violation::new("boot", reason.to_string());
        if marks.namespace_ms > 0 {
            namespace
                .truncate(None, marks.namespace_ms)
                .map_err(refused)?;
        }
        for (set, mark) in marks.sets_ms.iter().enumerate() {
            if *mark > 0 {
                namespace
                    .truncate(Some(SETS[set]), *mark)
                    .map_err(refused)?;
            }
        }
        for (id, floor) in floors {
            namespace.set_floor(*id, *floor);
        }
        if let Some(attach) = &begun.attach {
            memory::take_index(&namespace, attach)?;
            for block in &begun.left {
                namespace.see_left(block).map_err(refused)?;
            }
            memory::write_left(&namespace, begun.left, disk);
            namespace.log().finish_take_over();
        } else {
            memory::write_left(&namespace, begun.left, disk);
            let testimony = read_headers(&namespace, disk, &mut found);
            scan(&namespace, disk, &testimony, &mut found).map_err(refused)?;
            namespace.log().raise_fills(fills);
            namespace.log().finish_recovery();
        }
        found.is_warm = begun.attach.is_some();
        Ok(Node {
            namespace,
            found,
            cores: setup.cores,
            defrag: Defrag::default(),
        })
    }

    /// Who writes on a core, now.
    pub fn hand(&self, core: u16, now_ms: u64) -> Hand {
        Hand {
            lane: self.namespace.log().write_lane(core),
            now: Now::from_epoch_ms(now_ms),
            flush_clock_ms: now_ms,
            regime: FIRST_REGIME,
            replicated: false,
        }
    }

    /// All lanes of a core.
    pub fn lanes(&self, core: u16) -> [LaneId; 2] {
        let log = self.namespace.log();
        [log.write_lane(core), log.move_lane(core)]
    }

    /// All lanes.
    pub fn all_lanes(&self) -> impl Iterator<Item = LaneId> + '_ {
        (0..self.cores).flat_map(|core| self.lanes(core))
    }

    /// Reads a record to the end, with nothing happening in between.
    pub fn read(&self, disk: &Disk, key: &Key, now_ms: u64) -> Result<Option<State>, Reason> {
        let mut fetched = None;
        for _ in 0..3 {
            match self.read_on(key, now_ms, fetched.as_ref()) {
                Step::Done(found) => return found,
                Step::Read(read) => fetched = Some(fetch(disk, read)),
                Step::Wait => unreachable!("a read does not wait for room"),
            }
        }
        unreachable!("nothing moves under this read, so the bytes fetched are the right ones")
    }

    /// One attempt at a read.
    pub fn read_on(
        &self,
        key: &Key,
        now_ms: u64,
        fetched: Option<&Fetched>,
    ) -> Step<Result<Option<State>, Reason>> {
        let request = ReadRequest {
            digest: key.digest,
            set: b"", // whichever it is in
            key: key.sent.as_deref(),
            need: Need::Bins,
            filter: None,
        };
        let now = Now::from_epoch_ms(now_ms);
        self.namespace
            .read(now, &request, fetched, |found| match found {
                Ok(found) => Ok(Some(State {
                    set: self.set(found.set_id),
                    bins: bins(&found.record.expect("bins were asked for")),
                    generation: found.generation,
                    void_time_s: found.void_time_s,
                    update_time_ms: found.update_time_ms,
                })),
                Err(refusal) if refusal.reason == Reason::NotFound => Ok(None),
                Err(refusal) => Err(refusal.reason),
            })
    }

    /// The set of a number, as an index into [`SETS`].
    fn set(&self, number: u16) -> usize {
        let name = &self.namespace.sets().get(number).name;
        let known = SETS.iter().position(|set| *set == &**name);
        known.expect("only these sets are used")
    }

    /// Goes on emptying blocks on a core, by a few records.
    pub fn defrag(&mut self, disk: &Disk, core: u16, now_ms: u64) -> Defragged {
        self.defrag.go_on(&self.namespace, disk, core, now_ms)
    }

    /// Whether a core is emptying a block.
    pub fn is_emptying(&self, core: u16) -> bool {
        let of_core = self.defrag.0.get(usize::from(core));
        of_core.is_some_and(Option::is_some)
    }

    /// Sweeps a partition; returns how many tombstones went.
    pub fn sweep(&self, partition: u16, now_ms: u64, oldest_fill: u64) -> u64 {
        let now = Now::from_epoch_ms(now_ms);
        let mut tombstones = 0;
        let mut after: Option<WalkCursor> = None;
        loop {
            let id = PartitionId(partition);
            let swept = self.namespace.sweep_slice(id, after, oldest_fill, now);
            tombstones += swept.tombstones;
            after = swept.next;
            if after.is_none() {
                return tombstones;
            }
        }
    }

    /// The digests that a scan of everything names.
    pub fn scan(&self, now_ms: u64) -> Vec<karst_data::key::Digest> {
        let now = Now::from_epoch_ms(now_ms);
        let mut digests = Vec::new();
        for partition in PARTITIONS {
            let mut after = None;
            loop {
                let id = PartitionId(partition);
                let slice = self.namespace.scan_slice(id, None, after, SCAN_SLICE, now);
                digests.extend(slice.digests);
                after = slice.next;
                if after.is_none() {
                    break;
                }
            }
        }
        digests
    }
}

impl Defrag {
    /// Goes on emptying blocks on a core, by a few records.
    pub fn go_on(
        &mut self,
        namespace: &Namespace,
        disk: &Disk,
        core: u16,
        now_ms: u64,
    ) -> Defragged {
        let (log, core_at) = (namespace.log(), usize::from(core));
        if self.0.len() <= core_at {
            self.0.resize_with(core_at + 1, || None);
        }
        let slot = &mut self.0[core_at];
        let mut emptying = match slot.take() {
            Some(emptying) => emptying,
            None => match log.next_move() {
                Some(job) => Emptying::begin(namespace, disk, job),
                None => return Defragged::Idle,
            },
        };
        let lane = log.move_lane(core);
        let scanned = log.scan_block(emptying.job.id, &emptying.bytes);
        let mut left = scanned.filter_map(Scanned::record).skip(emptying.moved);
        for _ in 0..MOVES_PER_TURN {
            let Some(record) = left.next() else {
                return Defragged::Emptied(log.end_move(emptying.job));
            };
            if namespace.move_record(lane, now_ms, &record).is_err() {
                log.postpone_move(emptying.job);
                return Defragged::NoRoom;
            }
        }
        emptying.moved += MOVES_PER_TURN;
        *slot = Some(emptying);
        Defragged::Moving
    }
}

impl Emptying {
    fn begin(namespace: &Namespace, disk: &Disk, job: MoveJob) -> Emptying {
        let log = namespace.log();
        let bytes = match log.block_in_memory(job.id) {
            Some(block) => block.bytes(0..block.filled()).unwrap_or_default().to_vec(),
            None => {
                let range = disk.block_range(job.id.block as usize);
                disk.read(usize::from(job.id.device.0), range).to_vec()
            }
        };
        Emptying {
            job,
            bytes,
            moved: 0,
        }
    }
}

/// Reads the superblocks of all devices. Returns the session that they are in, or one that nothing else
/// bears if they do not agree, and how many fills they say were numbered.
fn read_fronts(setup: &Setup, disk: &Disk, found: &mut Found) -> Result<(u64, u64), Violation> {
    let (mut sessions, mut fills) = (Vec::new(), 0);
    for device in 0..disk.devices() {
        let bytes = disk.read(device, 0..2 * SUPERBLOCK_BYTES);
        let damaged = |copy: &&[u8]| Superblock::parse(copy).is_none();
        found.damaged_superblocks += bytes.chunks(SUPERBLOCK_BYTES).filter(damaged).count() as u64;
        let Front::Karst(front) = read_front(bytes) else {
            return Err(Violation::new(
                "boot",
                format!("device {device} is not ours"),
            ));
        };
        let wanted = Superblock {
            generation: front.generation,
            session: front.session,
            fills: front.fills,
            ..setup.superblock(device)
        };
        if front != wanted {
            return Err(Violation::new(
                "boot",
                format!("device {device} is another: {front:?}"),
            ));
        }
        fills = fills.max(front.fills);
        sessions.push(front.session);
    }
    let together = sessions.iter().all(|session| *session == sessions[0]);
    Ok((if together { sessions[0] } else { u64::MAX }, fills))
}

/// Reads all headers before any block is scanned, as boot does: the log learns every block's fill, and of
/// a block whose own header is damaged from what a later one says of it.
fn read_headers(namespace: &Namespace, disk: &Disk, found: &mut Found) -> Testimony {
    let log = namespace.log();
    let (mut testimony, mut unsound) = (Testimony::default(), Vec::new());
    for id in blocks(disk) {
        let bytes = block_bytes(disk, id);
        match log.block_header(id, bytes) {
            Some(header) => {
                testimony.hear(&header);
                log.recover_block(id, bytes, None);
            }
            None => {
                log.recover_block(id, bytes, None); // it learns whether there is something
                unsound.push(id);
            }
        }
    }
    for id in unsound {
        let bytes = block_bytes(disk, id);
        let told = testimony.fill_of(log.block_seal(id).device, id.block);
        if told.is_some() || BlockHeader::is_damaged(bytes) {
            found.damaged_headers += 1;
            found.left_out += u64::from(told.is_none());
            log.recover_block(id, bytes, told);
        }
    }
    testimony
}

/// Whether sound headers of other blocks say that a block is as it was before a later fill.
fn is_stale(namespace: &Namespace, testimony: &Testimony, id: BlockId) -> bool {
    let log = namespace.log();
    testimony.is_stale(log.block_seal(id).device, id.block, log.fill_of(id))
}

/// Takes in every record, and every damaged one that was durable once.
fn scan(
    namespace: &Namespace,
    disk: &Disk,
    testimony: &Testimony,
    found: &mut Found,
) -> Result<(), Reason> {
    let log = namespace.log();
    let mut intake = Intake::new(namespace).in_bulk();
    for id in blocks(disk).filter(|id| log.fill_of(*id) != 0) {
        if is_stale(namespace, testimony, id) {
            found.stale.push(id);
            continue;
        }
        let settled = testimony.is_settled(log.fill_of(id));
        let mut rotten = false;
        for scanned in log.scan_block(id, block_bytes(disk, id)) {
            match scanned {
                Scanned::Sealed(_) => found.torn += 1, // of another key: no node wrote that
                Scanned::Record(record) => intake.take(record.place, &record.facts)?,
                Scanned::Damaged(damage) => {
                    rotten |= settled;
                    found.rotten_stretches += u64::from(settled && damage.facts.is_none());
                    found.torn += u64::from(!settled);
                    if let Some(facts) = damage.facts.filter(|_| settled) {
                        intake.take_damaged(damage.place, &facts)?;
                    }
                }
            }
        }
        if rotten {
            found.rotten.push(id);
        }
    }
    intake.finish()?;
    PartitionId::all().for_each(|id| namespace.fit_index(id));
    Ok(())
}

/// Drops what is left of a partition that is being let go of, and says which floor is to be kept.
pub fn drop_all(namespace: &Namespace, id: PartitionId) -> u64 {
    let mut after = None;
    loop {
        after = namespace.drop_slice(id, after).next;
        if after.is_none() {
            return namespace.next_floor();
        }
    }
}

/// The latest session that any device knows.
fn session(disk: &Disk) -> u64 {
    let session = |device| match read_front(disk.read(device, 0..2 * SUPERBLOCK_BYTES)) {
        Front::Karst(front) => front.session,
        Front::Blank | Front::OtherFormat(_) | Front::Foreign => 0,
    };
    (0..disk.devices()).map(session).max().unwrap_or(0)
}

/// Writes the older superblock of each device anew, with the next session and the fills numbered so far; if power
/// goes at one of them, of that only the sectors which `keeps` names. The session; `None` if power went.
pub fn begin_session(
    namespace: &Namespace,
    disk: &mut Disk,
    cut_at: Option<usize>,
    mut keeps: impl FnMut() -> bool,
) -> Option<u64> {
    let fills = namespace.log().fills();
    let session = session(disk) + 1;
    for device in 0..disk.devices() {
        let Front::Karst(front) = read_front(disk.read(device, 0..2 * SUPERBLOCK_BYTES)) else {
            unreachable!("boot has read it");
        };
        let superblock = Superblock {
            generation: front.generation + 1,
            session,
            fills,
            ..front
        };
        let torn = cut_at == Some(device);
        disk.write_superblock(device, &superblock, |_| !torn || keeps());
        if torn {
            return None;
        }
    }
    Some(session)
}

/// The bytes of a block.
pub fn block_bytes(disk: &Disk, id: BlockId) -> &[u8] {
    disk.read(
        usize::from(id.device.0),
        disk.block_range(id.block as usize),
    )
}

/// Reads what a step wants from the devices.
pub fn fetch(disk: &Disk, read: DeviceRead) -> Fetched {
    let from = read.offset as usize;
    let bytes = disk.read(usize::from(read.device.0), from..from + read.bytes);
    let mut buffer = AlignedBuffer::with_capacity(read.bytes);
    buffer.as_mut_slice().copy_from_slice(bytes);
    Fetched { read, buffer }
}

/// Every block of every device.
pub fn blocks(disk: &Disk) -> impl Iterator<Item = BlockId> + '_ {
    (0..disk.devices()).flat_map(|device| {
        (0..disk.blocks(device)).map(move |block| BlockId {
            device: DeviceId(device as u8),
            block: block as u32,
        })
    })
}

fn bins(record: &Record<'_>) -> BTreeMap<u8, Vec<u8>> {
    let bins = record.bins();
    bins.map(|bin| (bin.name[0], bin.value.to_vec())).collect()
}
