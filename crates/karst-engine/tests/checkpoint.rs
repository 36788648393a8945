//! Checkpoints taken at random moments of a random load, and the device cut at random ones: what a
//! checkpoint and the blocks written after it bring back is what all blocks bring back, digest by
//! digest. A failing seed is in the panic message and replays exactly.

mod plain;
mod rng;

use karst_data::key::PartitionId;
use karst_data::operation::{CommandFlags, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::time::{Now, Ttl};
use karst_data::value::{ParticleType, Value};
use karst_engine::namespace::FIRST_REGIME;
use karst_engine::recover::Intake;
use karst_engine::write::{DeleteRequest, Hand, WriteRequest};
use karst_engine::{Namespace, Step};
use karst_storage::checkpoint::{
    ChunkRef, Encoder, FOOTER_BYTES, Fills, Footer, Front, Kind, Table, Unusable, entries, payload,
    sets,
};
use karst_storage::index::WalkCursor;
use karst_storage::log::recover::Scanned;
use karst_storage::log::{BlockId, DeviceWrite, LanePositions};
use karst_storage::place::DeviceId;
use plain::{BLOCK_BYTES, World, digest};
use rng::Rng;

const BLOCKS: u32 = 40;
const KEYS: u64 = 300;
const SECTOR_BYTES: usize = 512;
const CLUSTER: [u8; 16] = *b"0123456789abcdef";

/// Partitions that one step of a checkpoint takes.
const PARTITIONS_PER_STEP: usize = 400;

/// A checkpoint under way.
struct Taking {
    encoder: Encoder,
    file: Vec<u8>,
    sequences: Vec<u64>,
    /// Set when all partitions are in: what has to be safe before it is finished.
    waits_for: Option<LanePositions>,
}

struct Run {
    world: World,
    rng: Rng,
    out: Vec<DeviceWrite>,
    now_ms: u64,
    truncated_before_ms: u64,
    taking: Option<Taking>,
    finished: Option<Vec<u8>>,
    /// Restarts that used a checkpoint and still had less to scan than everything.
    spared_blocks: usize,
}

impl Run {
    fn new(seed: u64) -> Run {
        Run {
            world: World::new(BLOCKS, 1),
            rng: Rng(seed),
            out: Vec::new(),
            now_ms: 1_000_000,
            truncated_before_ms: 0,
            taking: None,
            finished: None,
            spared_blocks: 0,
        }
    }

    fn namespace(&self) -> &Namespace {
        &self.world.namespace
    }

    fn now(&self) -> Now {
        Now::from_epoch_ms(self.now_ms)
    }

    fn hand(&self) -> Hand {
        Hand {
            lane: self.namespace().log().write_lane(0),
            now: self.now(),
            flush_clock_ms: self.now_ms,
            regime: FIRST_REGIME,
            replicated: false,
        }
    }

    fn step(&mut self) {
        self.now_ms += self.rng.below(20);
        match self.rng.below(100) {
            0..=54 => self.write(),
            55..=62 => self.delete(),
            63..=76 => self.complete_one(),
            77..=83 => self.flush(),
            84..=90 => self.defrag(),
            91..=94 => self.sweep(),
            95 if self.rng.below(20) == 0 => {
                self.truncated_before_ms = self.now_ms;
                self.namespace().truncate(None, self.now_ms).unwrap();
            }
            _ => self.checkpoint_step(),
        }
    }

    fn write(&mut self) {
        let key = self.rng.below(KEYS);
        let bytes = vec![7; 1 + self.rng.below(1500) as usize];
        let ttl = match self.rng.below(5) {
            0 => Ttl::Seconds(1 + self.rng.below(3) as u32),
            _ => Ttl::Never,
        };
        let blob = Value {
            particle: ParticleType::Blob,
            bytes: (&*bytes).into(),
        };
        let operations = [Operation::Write(b"v", Some(blob))];
        let set: &[u8] = if key.is_multiple_of(3) { b"demo" } else { b"" };
        let request = WriteRequest {
            digest: digest(key),
            set,
            key: None,
            exists: Exists::Replace,
            generation: GenerationRule::Any,
            ttl,
            flags: CommandFlags::default(),
            operations: &operations,
            filter: None,
        };
        for _ in 0..100 {
            let step = self
                .namespace()
                .write(&self.hand(), &request, None, |written| written.is_ok());
            match step {
                Step::Done(accepted) => return assert!(accepted),
                Step::Read(_) => unreachable!("the write replaces"),
                Step::Wait => self.make_room(),
            }
        }
        panic!("a write waits for ever");
    }

    fn delete(&mut self) {
        let request = DeleteRequest {
            digest: digest(self.rng.below(KEYS)),
            set: b"",
            key: None,
            generation: GenerationRule::Any,
            filter: None,
        };
        let step = self
            .namespace()
            .delete(&self.hand(), &request, None, |deleted| deleted.is_ok());
        if matches!(step, Step::Wait) {
            self.make_room();
        }
    }

    fn collect(&mut self) {
        let log = self.world.namespace.log();
        log.take_writes(log.write_lane(0), &mut self.out);
        log.take_writes(log.move_lane(0), &mut self.out);
    }

    fn flush(&mut self) {
        self.namespace().log().flush_all();
        self.collect();
    }

    fn complete_one(&mut self) {
        self.collect();
        if self.out.is_empty() {
            return;
        }
        let at = self.rng.below(self.out.len() as u64) as usize;
        let write = self.out.swap_remove(at);
        self.put_down(&write, write.range.len());
        self.namespace().log().written(&write, true);
    }

    fn put_down(&self, write: &DeviceWrite, bytes: usize) {
        let range = write.range.start..write.range.start + bytes;
        let source = write.source.bytes(range).expect("it was filled");
        let at = write.offset as usize;
        self.world.device.write()[at..at + bytes].copy_from_slice(source);
    }

    fn make_room(&mut self) {
        self.defrag();
        self.flush();
        while !self.out.is_empty() {
            self.complete_one();
        }
    }

    fn defrag(&mut self) {
        if let Some(job) = self.namespace().log().next_move() {
            self.world.empty(0, job);
        }
    }

    fn sweep(&mut self) {
        let id = digest(self.rng.below(KEYS)).partition();
        let oldest_fill = self.namespace().log().oldest_fill();
        self.namespace()
            .sweep_slice(id, None, oldest_fill, self.now());
    }

    /// Begins a checkpoint, takes some partitions, or finishes it once everything is safe.
    fn checkpoint_step(&mut self) {
        let mut taking = match self.taking.take() {
            Some(taking) => taking,
            None => self.begin_checkpoint(),
        };
        let engine = self.namespace();
        match &taking.waits_for {
            None => {
                let from = taking.sequences.len();
                for id in PartitionId::all().skip(from).take(PARTITIONS_PER_STEP) {
                    taking.take(engine, id);
                }
                if taking.sequences.len() == PartitionId::all().len() {
                    taking.waits_for = Some(engine.log().flush_all());
                }
                self.taking = Some(taking);
            }
            Some(positions) if !engine.log().are_safe(positions) => self.taking = Some(taking),
            Some(_) => self.finished = Some(taking.finish(engine)),
        }
    }

    fn begin_checkpoint(&self) -> Taking {
        let log = self.namespace().log();
        let mut encoder = Encoder::new(&Front::of(CLUSTER, "test", log.config(), log.fills()));
        encoder.fills(0, &log.fills_now(DeviceId(0), 0..BLOCKS));
        Taking {
            file: encoder.take(),
            encoder,
            sequences: Vec::new(),
            waits_for: None,
        }
    }

    /// The power fails: of each write that is out some sectors arrive. Then the node starts twice, and
    /// goes on with what the checkpoint brought back.
    fn cut(&mut self) {
        self.collect();
        self.taking = None;
        for write in std::mem::take(&mut self.out) {
            let sectors = (write.range.len() / SECTOR_BYTES) as u64;
            let kept = self.rng.below(sectors + 1) as usize;
            self.put_down(&write, kept * SECTOR_BYTES);
        }
        let scanned = self.start();
        let filled = self.headers(&scanned);
        self.scan(&scanned, &filled);
        scanned.log().finish_recovery();
        let Some(file) = self.finished.take() else {
            self.world.namespace = scanned;
            return;
        };
        let loaded = self.start();
        let filled = self.headers(&loaded);
        let changed = load(&loaded, &file, &filled).unwrap();
        self.spared_blocks += filled.len() - changed.len();
        self.scan(&loaded, &changed);
        loaded.log().finish_recovery();
        self.compare(&scanned, &loaded);
        self.world.namespace = loaded;
        self.finished = Some(file); // it stays good until there is a newer one
    }

    fn start(&self) -> Namespace {
        let namespace = World::new(BLOCKS, 1).namespace;
        namespace.truncate(None, self.truncated_before_ms).unwrap();
        namespace
    }

    fn headers(&self, namespace: &Namespace) -> Vec<BlockId> {
        let blocks = (0..BLOCKS).map(|block| BlockId {
            device: DeviceId(0),
            block,
        });
        let filled = |id: &BlockId| {
            let front = &self.world.block(*id)[..4096];
            namespace.log().recover_block(*id, front, None).is_some()
        };
        blocks.filter(filled).collect()
    }

    fn scan(&self, namespace: &Namespace, blocks: &[BlockId]) {
        let mut intake = Intake::new(namespace);
        for id in blocks {
            let bytes = self.world.block(*id);
            for record in namespace
                .log()
                .scan_block(*id, &bytes)
                .filter_map(Scanned::record)
            {
                intake.take(record.place, &record.facts).unwrap();
            }
        }
        intake.finish().unwrap();
    }

    /// Every record that readers can see is the same in both, and so is what is counted of them.
    fn compare(&self, scanned: &Namespace, loaded: &Namespace) {
        for id in (0..KEYS).map(|key| digest(key).partition()) {
            let [one, other] = [scanned, loaded].map(|ns| ns.fingerprint(id, self.now()));
            assert_eq!(
                (one.records, one.fingerprint),
                (other.records, other.fingerprint),
                "{id:?}: {:#?} and {:#?}",
                scanned.entries_after(id, None, 10),
                loaded.entries_after(id, None, 10)
            );
        }
    }
}

impl Taking {
    fn take(&mut self, engine: &Namespace, id: PartitionId) {
        let (mut after, mut entries): (Option<WalkCursor>, _) = (None, Vec::new());
        loop {
            let slice = engine.entry_slice(id, after, &mut entries);
            after = slice.next;
            if after.is_none() {
                self.sequences.push(slice.sequence);
                self.encoder.partition(id, &entries);
                return;
            }
        }
    }

    fn finish(mut self, engine: &Namespace) -> Vec<u8> {
        let sets = engine.sets().all();
        self.encoder.sets(sets.iter().map(|set| &*set.name));
        self.encoder.finish(&self.sequences);
        self.file.extend(self.encoder.take());
        self.file
    }
}

/// Loads a checkpoint as a node does, and returns which blocks are to be scanned.
fn load(namespace: &Namespace, file: &[u8], filled: &[BlockId]) -> Result<Vec<BlockId>, Unusable> {
    let log = namespace.log();
    let (front, checksum) = Front::parse(file)?;
    front.check(&Front::of(CLUSTER, "test", log.config(), 0))?;
    let end = file.len() - FOOTER_BYTES;
    let footer = Footer::parse(&file[end..], file.len() as u64, checksum)?;
    let table = Table::parse(&footer, &file[footer.table as usize..end])?;
    let bytes =
        |at: &ChunkRef| &file[at.offset as usize..(at.offset + u64::from(at.bytes)) as usize];
    let of_kind = |kind| table.chunks.iter().filter(move |at| at.kind == kind);
    let mut fills = Fills::of_devices(1);
    for at in of_kind(Kind::Fills) {
        fills.add(at, payload(at, bytes(at))?)?;
    }
    fills.check(log.config())?;
    let changed = fills.changed(log, filled)?;
    let names = of_kind(Kind::Sets).map(|at| sets(at, payload(at, bytes(at))?));
    let names: Vec<Vec<u8>> = names.collect::<Result<Vec<_>, _>>()?.concat();
    let mut intake = Intake::new(namespace);
    for at in of_kind(Kind::Entries) {
        let mut taken = entries(at, payload(at, bytes(at))?, log.config())?;
        taken.retain(|entry| fills.vouch_for(log, entry));
        for entry in &mut taken {
            if let Some(name) = usize::from(entry.set_id).checked_sub(1) {
                entry.set_id = namespace.sets().find_or_make(&names[name]).unwrap();
            }
        }
        let id = PartitionId::all().nth(at.of.into()).unwrap();
        intake.take_partition(id, &taken).unwrap();
    }
    intake.finish().unwrap();
    for (id, sequence) in PartitionId::all().zip(&table.sequences) {
        namespace.recover_sequence(id, *sequence);
    }
    Ok(changed)
}

fn seeds() -> u64 {
    let seeds = std::env::var("KARST_SEEDS").ok();
    seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(12)
}

#[test]
fn a_checkpoint_and_the_blocks_written_after_it_bring_back_what_all_blocks_do() {
    let mut spared_blocks = 0;
    for seed in 0..seeds() {
        let run = std::panic::catch_unwind(|| {
            let mut run = Run::new(seed);
            for _ in 0..5 {
                for _ in 0..200 + run.rng.below(500) {
                    run.step();
                }
                run.cut();
            }
            run.spared_blocks
        });
        spared_blocks += run.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(
        spared_blocks > seeds() as usize * 10,
        "checkpoints spared only {spared_blocks} blocks: the test says little"
    );
}

#[test]
fn a_device_that_was_put_back_to_an_earlier_state_makes_a_checkpoint_unusable() {
    let mut run = Run::new(5);
    let at_first = run.world.device.read().clone();
    for _ in 0..2000 {
        run.step();
    }
    run.make_room();
    while run.finished.is_none() {
        run.checkpoint_step();
        run.make_room();
    }
    let file = run.finished.clone().unwrap();
    let found = run.start();
    let filled = run.headers(&found);
    assert!(load(&found, &file, &filled).is_ok());
    // One block is as it was some fills ago; as if the device had been restored from a copy of then.
    let newest = filled
        .iter()
        .max_by_key(|id| found.log().fill_of(**id))
        .unwrap();
    let older = filled
        .iter()
        .min_by_key(|id| found.log().fill_of(**id))
        .unwrap();
    let extent = |id: &BlockId| found.log().block_extent(*id).0 as usize;
    {
        let mut device = run.world.device.write();
        let (from, to) = (extent(older), extent(newest));
        device.copy_within(from..from + BLOCK_BYTES, to);
        assert_ne!(*device, at_first);
        let fill = device[to + 16..to + 24].to_vec();
        assert_eq!(fill, found.log().fill_of(*older).to_le_bytes());
        device[to + 24..to + 28].copy_from_slice(&newest.block.to_le_bytes());
        let checksum = crc(&device[to + 4..to + 64]);
        device[to..to + 4].copy_from_slice(&checksum.to_le_bytes());
    }
    let restored = run.start();
    let filled = run.headers(&restored);
    let refused = load(&restored, &file, &filled);
    assert!(matches!(refused, Err(Unusable::Foreign(_))), "{refused:?}");
}

/// crc32c, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}
