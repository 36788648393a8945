//! A scan of a set by its index is the scan without: the same records in the same order, from wherever it goes on,
//! whatever was written, deleted, expired, truncated, swept, copied, moved to another set or let go of.

mod plain;
mod rng;

use karst_data::bin::BinRef;
use karst_data::flat::{Draft, Meta, Record};
use karst_data::key::{Digest, PartitionId};
use karst_data::operation::{CommandFlags, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::sindex::{Definition, Kind, Source};
use karst_data::time::{Now, Ttl};
use karst_data::value::{ParticleType, Value};
use karst_engine::Step;
use karst_engine::read::{Need, ReadRequest};
use karst_engine::seen::Scan;
use karst_engine::write::{DeleteRequest, Hand, WriteRequest};
use karst_storage::place::Version;

use plain::{NOW_MS, World};
use rng::Rng;

/// All records are in one partition, so that many of them are of another set.
const PARTITION: PartitionId = PartitionId(0);
const KEYS: u64 = 600;

/// One record in so many is of the set.
const FEW_IN: u64 = 12;

const SETS: [&[u8]; 2] = [b"few", b"many"];

fn digest(key: u64) -> Digest {
    let mut bytes = [0; Digest::BYTES];
    bytes[2..10].copy_from_slice(&key.to_le_bytes());
    let digest = Digest(bytes);
    assert_eq!(digest.partition(), PARTITION);
    digest
}

fn set_of(key: u64) -> &'static [u8] {
    SETS[usize::from(!key.is_multiple_of(FEW_IN))]
}

fn definitions() -> [(String, Definition); 2] {
    let by_n = Definition::of_bin("few", "n", Kind::Numeric, Source::Bin);
    [
        ("of_few".into(), Definition::of_set("few")),
        ("by_n".into(), by_n),
    ]
}

struct Play {
    world: World,
    rng: Rng,
    now_ms: u64,
    truncated: bool,
    /// Sequence of the next copy.
    sequence: u64,
}

impl Play {
    /// With all records, of which no index knows.
    fn new(seed: u64) -> Play {
        Play::of(World::new(128, 1), seed)
    }

    fn of(world: World, seed: u64) -> Play {
        let mut play = Play {
            world,
            rng: Rng(seed),
            now_ms: NOW_MS,
            truncated: false,
            sequence: 1_000_000,
        };
        for key in 0..KEYS {
            play.write(key, set_of(key), Ttl::Never);
        }
        play
    }

    /// The same, indexed.
    fn indexed(self) -> Play {
        self.world.namespace.set_sindexes(&definitions());
        self.build();
        self
    }

    fn now(&self) -> Now {
        Now::from_epoch_ms(self.now_ms)
    }

    fn hand(&self) -> Hand {
        Hand {
            now: self.now(),
            ..self.world.hand(0)
        }
    }

    /// One that is of another set now is refused.
    fn write(&mut self, key: u64, set: &[u8], ttl: Ttl) {
        let number = self.rng.below(9) as i64;
        let exists = match self.rng.below(2) {
            0 => Exists::Any,
            _ => Exists::Replace,
        };
        let operations = [Operation::Write(b"n", Some(Value::integer(number)))];
        let request = WriteRequest {
            filter: None,
            digest: digest(key),
            set,
            key: None,
            exists,
            generation: GenerationRule::Any,
            ttl,
            flags: CommandFlags::default(),
            operations: &operations,
        };
        let namespace = &self.world.namespace;
        self.world
            .patiently(|fetched| namespace.write(&self.hand(), &request, fetched, |_| ()));
    }

    fn delete(&self, key: u64) {
        let request = DeleteRequest {
            filter: None,
            digest: digest(key),
            set: b"",
            key: None,
            generation: GenerationRule::Any,
        };
        let namespace = &self.world.namespace;
        self.world
            .patiently(|_| namespace.delete(&self.hand(), &request, None, |_| ()));
    }

    /// A record of either set, or a delete, comes from another node.
    fn take_copy(&mut self, key: u64) {
        self.sequence += 1;
        let version = Version {
            regime: 1,
            sequence: self.sequence,
        };
        let set = SETS[self.rng.below(2) as usize];
        let meta = Meta {
            generation: 1,
            ..Meta::tombstone(digest(key), version.pack(), self.now_ms, 0)
        };
        let number = 7i64.to_be_bytes();
        let bin = BinRef {
            name: b"n",
            particle: ParticleType::Integer,
            value: &number,
        };
        let image = match self.rng.below(3) {
            0 => Draft::tombstone(meta, set).image(),
            _ => Draft {
                meta: Meta {
                    tombstone: false,
                    void_time_s: 0,
                    ..meta
                },
                set,
                key: None,
                bins: [bin].into_iter(),
            }
            .image(),
        };
        let record = Record::parse_unsealed(&image).unwrap();
        let namespace = &self.world.namespace;
        self.world
            .patiently(|_| namespace.take_copy(&self.hand(), &record));
    }

    fn sweep(&self) {
        let namespace = &self.world.namespace;
        let (oldest_fill, mut after) = (namespace.log().oldest_fill(), None);
        loop {
            let swept = namespace.sweep_slice(PARTITION, after, oldest_fill, self.now());
            after = swept.next;
            if after.is_none() {
                break;
            }
        }
    }

    /// Builds what lacks; returns how many records had to be read from the device for it.
    fn build(&self) -> usize {
        let (namespace, mut reads) = (&self.world.namespace, 0);
        for id in PartitionId::all() {
            let Some(build) = namespace.begin_build(id) else {
                continue;
            };
            let mut after = None;
            loop {
                let slice = namespace.build_slice(&build, after);
                for digest in &slice.digests {
                    let mut fetched = None;
                    while let Step::Read(read) =
                        namespace.build_record(&build, digest, fetched.as_ref(), self.now())
                    {
                        fetched = Some(self.world.fetch(read));
                        reads += 1;
                    }
                }
                after = slice.next;
                if after.is_none() {
                    break;
                }
            }
            namespace.end_build(&build);
        }
        reads
    }

    fn restart(&mut self) {
        self.world.flush(0);
        let mark = self.world.namespace.truncations();
        let marks: Vec<(&[u8], u64)> = match self.truncated {
            true => vec![(b"few", mark)],
            false => Vec::new(),
        };
        self.world.start_again(&marks);
        self.world.namespace.set_sindexes(&definitions());
        self.build();
    }

    fn truncate(&mut self) {
        self.now_ms += 1;
        let namespace = &self.world.namespace;
        namespace.truncate(Some(b"few"), self.now_ms).unwrap();
        self.truncated = true;
    }

    fn step(&mut self) {
        self.now_ms += self.rng.below(200);
        let key = self.rng.below(KEYS);
        let few = key - key % FEW_IN;
        match self.rng.below(100) {
            0..=29 => self.write(key, set_of(key), Ttl::Never),
            30..=49 => self.write(few, set_of(few), Ttl::Never),
            50..=54 => self.write(few, set_of(few), Ttl::Seconds(1)),
            55..=59 => self.write(few, b"many", Ttl::Never),
            60..=69 => self.delete(few),
            70..=79 => self.take_copy(few),
            80..=86 => self.sweep(),
            87..=90 => self.world.make_room(),
            91 => self.truncate(),
            92 => {
                self.world.namespace.undo_truncate(Some(b"few"));
                self.truncated = false;
            }
            93 => {
                self.world.namespace.set_sindexes(&definitions()[1..]);
                self.world.namespace.set_sindexes(&definitions());
                self.write(few, set_of(few), Ttl::Never);
                self.build();
            }
            94 => self.restart(),
            _ => self.check(),
        }
    }

    /// Names the set's records by the way that a scan of it takes, in slices of at most so many; `between` happens
    /// before every slice.
    fn scan(&self, records_max: usize, mut between: impl FnMut(&Play)) -> Vec<Digest> {
        let namespace = &self.world.namespace;
        let (mut all, mut after) = (Vec::new(), None);
        let Some(set_id) = namespace.sets().find(b"few") else {
            return all;
        };
        loop {
            between(self);
            let slice =
                namespace.scan_slice(PARTITION, Some(set_id), after, records_max, self.now());
            let scan = Scan {
                partition: PARTITION,
                set_id: Some(set_id),
                filter: None,
                need: Need::Facts,
            };
            let seen = namespace.see_slice(&scan, after, records_max, self.now());
            let digests: Vec<Digest> = seen.records.iter().map(|seen| *seen.digest()).collect();
            assert_eq!(digests, slice.digests);
            assert_eq!(seen.next, slice.next);
            all.extend(digests);
            after = slice.next;
            if after.is_none() {
                return all;
            }
        }
    }

    /// Those of the set, found by a look at all records.
    fn looked_for(&self) -> Vec<Digest> {
        let namespace = &self.world.namespace;
        let (mut all, mut after) = (Vec::new(), None);
        let set_id = namespace.sets().find(b"few");
        loop {
            let slice = namespace.scan_slice(PARTITION, None, after, usize::MAX, self.now());
            let is_meant = |digest: &&Digest| {
                let request = ReadRequest {
                    filter: None,
                    digest: **digest,
                    set: b"",
                    key: None,
                    need: Need::Facts,
                };
                let step = namespace.read(self.now(), &request, None, |found| {
                    found.ok().map(|found| found.set_id)
                });
                matches!(step, Step::Done(found) if found == set_id)
            };
            all.extend(slice.digests.iter().filter(is_meant));
            after = slice.next;
            if after.is_none() {
                return all;
            }
        }
    }

    fn check(&mut self) {
        let expected = self.looked_for();
        assert_eq!(self.scan(usize::MAX, |_| ()), expected);
        assert_eq!(self.scan(1, |_| ()), expected);
        // By the index and without it, in turns.
        let mut rng = Rng(self.rng.below(u64::MAX));
        let records_max = 4 + self.rng.below(16) as usize;
        let in_turns = self.scan(records_max, |play| {
            let namespace = &play.world.namespace;
            match rng.below(3) {
                0 => namespace.set_sindexes(&definitions()[1..]),
                1 => namespace.set_sindexes(&definitions()), // and not built
                _ => {
                    namespace.set_sindexes(&definitions());
                    play.build();
                }
            }
        });
        assert_eq!(in_turns, expected);
        self.world.namespace.set_sindexes(&definitions());
        self.build();
        assert_eq!(self.scan(usize::MAX, |_| ()), expected);
    }

    fn items(&self) -> u64 {
        let named = self.world.namespace.sindex_named(b"of_few");
        named.expect("it was made").index.report().items
    }

    /// Slices that it takes to scan the set.
    fn slices(&self) -> usize {
        let mut slices = 0;
        self.scan(usize::MAX, |_| slices += 1);
        slices
    }
}

#[test]
fn a_scan_by_the_index_is_the_scan_without_it() {
    for seed in 0..6 {
        let mut play = Play::new(seed).indexed();
        let steps = std::panic::AssertUnwindSafe(|| {
            (0..400).for_each(|_| play.step());
            play.check();
        });
        if let Err(panic) = std::panic::catch_unwind(steps) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_scan_goes_by_the_index_once_it_is_built() {
    let play = Play::new(1);
    let without = play.looked_for();
    assert_eq!(without.len() as u64, KEYS / FEW_IN);
    assert_eq!(play.slices(), 3, "each looks at 256 records");
    play.world.namespace.set_sindexes(&definitions());
    assert_eq!(play.slices(), 3, "it is not built");
    assert_eq!(play.scan(usize::MAX, |_| ()), without);
    play.build();
    assert_eq!(play.slices(), 1);
    assert_eq!(play.scan(usize::MAX, |_| ()), without);
    play.world.namespace.set_sindexes(&definitions()[1..]);
    assert_eq!(play.slices(), 3, "it has gone");
}

#[test]
fn building_it_reads_no_record_and_another_index_those_of_its_set() {
    let play = Play::new(1);
    play.world.flush(0);
    play.world.namespace.set_sindexes(&definitions()[..1]);
    assert_eq!(play.build(), 0);
    assert_eq!(play.items(), KEYS / FEW_IN);
    play.world.namespace.set_sindexes(&definitions());
    let reads = play.build() as u64;
    assert!((1..=KEYS / FEW_IN).contains(&reads), "{reads} reads");
}

#[test]
fn writes_and_deletes_leave_nothing_over() {
    for world in [World::new(128, 1), World::in_memory(128)] {
        let mut play = Play::of(world, 3).indexed();
        let all = KEYS / FEW_IN;
        assert_eq!(play.items(), all);
        for _ in 0..20 {
            for key in (0..KEYS).step_by(FEW_IN as usize) {
                play.write(key, b"few", Ttl::Never);
                assert_eq!(play.items(), all);
            }
        }
        for key in 0..KEYS {
            play.delete(key);
        }
        assert_eq!(play.items(), 0);
        let of_few = play.world.namespace.sindex_named(b"of_few").unwrap();
        assert_eq!(of_few.index.swept(), 0);
    }
}

#[test]
fn what_goes_without_a_write_is_taken_out_by_sweeps() {
    let mut play = Play::new(3).indexed();
    for key in (0..KEYS).step_by(FEW_IN as usize) {
        play.write(key, b"few", Ttl::Seconds(1));
    }
    play.now_ms += 5000;
    assert!(play.scan(usize::MAX, |_| ()).is_empty());
    (0..3).for_each(|_| play.sweep());
    assert_eq!(play.items(), 0);
    play.write(0, b"few", Ttl::Never);
    play.truncate();
    assert!(play.scan(usize::MAX, |_| ()).is_empty());
    (0..3).for_each(|_| play.sweep());
    assert_eq!(play.items(), 0);
}

#[test]
fn a_partition_that_was_let_go_of_has_nothing_in_the_index() {
    let mut play = Play::new(3).indexed();
    play.world.let_go(PARTITION);
    assert_eq!(play.items(), 0);
    play.write(0, b"few", Ttl::Never);
    assert_eq!(play.scan(usize::MAX, |_| ()), [digest(0)]);
}
