//! What an index in shared memory is after its process has gone, in order or at any instant.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use karst_io::shm::SharedFile;
use proptest::prelude::*;

use super::*;
use crate::index::front::State;
use crate::index::{EntryMut, Fate, Flags, NewEntry};
use crate::place::{DeviceId, Place, Rblocks, Version};

mod killed;
mod refused;

const KEY: HashKey = HashKey([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);

const OWNER: Owner<'static> = Owner {
    boot_id: [1; 16],
    cluster_id: [2; 16],
    namespace: b"test",
    key: KEY,
};

const SESSION: u64 = 7;

const ENTRIES_MAX: u64 = 20_000;

/// Partitions that are used; others are empty.
const USED: u16 = 5;

/// All entries of an index.
type Content = BTreeMap<Digest, NewEntry>;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn region(folder: &Path) -> Region {
    let file = SharedFile::open(folder.join("index")).expect("nobody else has it");
    let bytes = EntryArena::region_bytes(ENTRIES_MAX).expect("a small index");
    Region::shared(file, bytes).expect("address space")
}

/// A new index in a folder, serving.
fn created(folder: &Path) -> Arc<EntryArena> {
    let arena = EntryArena::create(region(folder), ENTRIES_MAX, &OWNER).expect("memory");
    assert_eq!(arena.state(), Some(State::Building));
    arena.set_session(SESSION);
    arena.set_state(State::Serving);
    Arc::new(arena)
}

fn directories(arena: &Arc<EntryArena>) -> Vec<Directory> {
    let empty = |id| Directory::new(arena.clone(), KEY, PartitionId(id));
    (0..USED).map(empty).collect()
}

fn attach(folder: &Path) -> Result<Attach, Refused> {
    EntryArena::attach(region(folder), ENTRIES_MAX, &OWNER, SESSION)
}

/// Attaches every partition, and checks that what was visited is what is there.
fn all_of(attach: &Attach) -> Result<(Vec<Directory>, Content), Damaged> {
    let (mut directories, mut visited) = (vec![], Content::new());
    for id in PartitionId::all() {
        let directory = attach.partition(id, |entry| {
            assert_eq!(visited.insert(*entry.digest(), entry.to_new()), None);
            Ok(())
        })?;
        directory.validate();
        assert!(directory.is_empty() || id.0 < USED);
        if id.0 < USED {
            directories.push(directory);
        }
    }
    assert_eq!(content(&directories), visited);
    Ok((directories, visited))
}

fn content(directories: &[Directory]) -> Content {
    let mut content = Content::new();
    for directory in directories {
        directory.walk(None, &mut |entry| {
            content.insert(*entry.digest(), entry.to_new());
            ControlFlow::Continue(())
        });
    }
    content
}

/// A stream of numbers (SplitMix64) that its seed determines.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

/// Digest `number` of the universe, in one of the partitions that are used.
fn digest(number: u64) -> Digest {
    let mut rng = Rng(number);
    let mut bytes: [u8; 24] = [0; 24];
    bytes
        .chunks_mut(8)
        .for_each(|chunk| chunk.copy_from_slice(&rng.next().to_le_bytes()));
    (bytes[0], bytes[1]) = ((number % u64::from(USED)) as u8, bytes[1] & 0xf0);
    Digest(std::array::from_fn(|at| bytes[at]))
}

fn new_entry(digest: Digest, salt: u64) -> NewEntry {
    NewEntry {
        digest,
        place: Place {
            device: DeviceId((salt % 100) as u8),
            start: Rblocks(salt >> 32),
            length: Rblocks(1 + salt % 1000),
        },
        version: Version {
            regime: 1,
            sequence: salt & Version::SEQUENCE_MAX,
        },
        update_time_ms: salt.rotate_left(17),
        void_time_s: (salt >> 7) as u32,
        generation: 1 + (salt % 1000) as u16,
        set_id: (salt >> 9) as u16,
        flags: Flags::KEY_STORED.when(Flags::TOMBSTONE, salt.is_multiple_of(3)),
    }
}

/// Some setter, which changes more than one field in two cases.
fn set_some(entry: &mut EntryMut<'_>, salt: u64) {
    let new = new_entry(*entry.digest(), salt);
    match salt % 6 {
        0 => entry.rewrite(&new),
        1 => entry.set_place(new.place),
        2 => entry.set_version(new.version),
        3 => entry.set_tombstone(new.void_time_s),
        4 => entry.set_generation(new.generation),
        _ => {
            entry.set_void_time_s(new.void_time_s);
            entry.set_update_time_ms(new.update_time_ms);
            entry.set_set_id(new.set_id);
            entry.set_flags(new.flags);
        }
    }
}

fn operate(directories: &mut [Directory], rng: &mut Rng, operations: u64, universe: u64) {
    for _ in 0..operations {
        let (what, salt) = (rng.next() % 100, rng.next());
        let digest = digest(rng.next() % universe);
        let directory = &mut directories[digest.partition().index()];
        match what {
            0..50 => drop(directory.insert(&new_entry(digest, salt))),
            50..70 => drop(directory.remove(&digest)),
            70..98 => {
                if let Some(mut entry) = directory.get_mut(&digest) {
                    set_some(&mut entry, salt);
                }
            }
            _ => {
                directory.walk_mut(None, &mut |mut entry| {
                    let salt = salt ^ u64::from(entry.digest().0[5]);
                    set_some(&mut entry, salt);
                    let gone = salt.is_multiple_of(7);
                    ControlFlow::Continue(if gone { Fate::Remove } else { Fate::Keep })
                });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn an_index_that_is_attached_again_and_again_is_what_it_was_entry_for_entry(
        seed: u64,
        rounds in prop::collection::vec((0u64..3_000, 1u64..4_000), 1..4),
    ) {
        let folder = folder();
        let mut rng = Rng(seed);
        let arena = created(folder.path());
        let mut directories = directories(&arena);
        let mut names: Vec<Box<[u8]>> = vec![];
        drop(arena);
        for (operations, universe) in rounds {
            operate(&mut directories, &mut rng, operations, universe);
            names.push(format!("set {}", names.len()).into_bytes().into());
            let arena = directories[0].arena().clone();
            arena.add_name(names.len() as u16, &names[names.len() - 1]);
            let sequences: Vec<_> = (0..u64::from(USED)).map(|at| 1 << 48 | at).collect();
            for (directory, sequence) in directories.iter_mut().zip(&sequences) {
                directory.set_sequence(*sequence);
            }
            let before = content(&directories);
            let in_use = arena.pages_in_use();
            drop((arena, directories));
            let attached = attach(folder.path()).expect("nothing is wrong with it");
            prop_assert_eq!(attached.undone(), 0);
            prop_assert_eq!(attached.arena().names(), names.clone());
            let (again, found) = all_of(&attached).expect("nothing is damaged");
            prop_assert_eq!(&found, &before);
            prop_assert!(attached.arena().pages_in_use() <= in_use);
            let kept: Vec<_> = again.iter().map(Directory::sequence).collect();
            prop_assert_eq!(kept, sequences);
            directories = again;
        }
    }
}

#[test]
fn pages_without_a_record_are_handed_out_before_fresh_ones_after_an_attach() {
    let folder = folder();
    let mut directories = directories(&created(folder.path()));
    (0..2_000).for_each(|n| drop(directories[(n % 5) as usize].insert(&new_entry(digest(n), n))));
    let emptied = |n: &u64| n % 5 < 2;
    for n in (0..2_000).filter(emptied) {
        let removed = directories[(n % 5) as usize].remove(&digest(n));
        assert!(removed.is_some());
    }
    drop(directories);
    let attached = attach(folder.path()).expect("nothing is wrong with it");
    let (mut directories, _) = all_of(&attached).expect("nothing is damaged");
    let arena = attached.arena();
    assert_eq!(arena.pages_in_use(), 3 * 400_u32.div_ceil(64));
    let backed = arena.memory_bytes();
    let numbers = (0..2_000).filter(emptied);
    numbers.for_each(|n| drop(directories[(n % 5) as usize].insert(&new_entry(digest(n), n))));
    directories.iter().for_each(Directory::validate);
    assert_eq!(content(&directories).len(), 2_000);
    assert_eq!((arena.pages_in_use(), arena.memory_bytes()), (35, backed));
}

#[test]
fn a_sequence_is_at_least_that_of_every_entry() {
    let folder = folder();
    let mut directories = directories(&created(folder.path()));
    let newest = new_entry(digest(3), 1 << 40 | 3);
    directories[3].insert(&newest).expect("room");
    directories[3].set_sequence(2); // killed between the two
    drop(directories);
    let (directories, _) = all_of(&attach(folder.path()).expect("right")).expect("sound");
    assert_eq!(directories[3].sequence(), newest.version.sequence);
}

#[test]
fn partitions_can_be_attached_by_several_threads() {
    let folder = folder();
    let mut directories = directories(&created(folder.path()));
    (0..5_000).for_each(|n| drop(directories[(n % 5) as usize].insert(&new_entry(digest(n), n))));
    let before = content(&directories);
    drop(directories);
    let attached = attach(folder.path()).expect("right");
    let found = std::thread::scope(|scope| {
        let half = |odd: u16| {
            let ids = (0..USED).filter(move |id| id % 2 == odd).map(PartitionId);
            let attached = &attached;
            scope.spawn(move || {
                let attach = |id| attached.partition(id, |_| Ok(())).expect("sound");
                ids.map(attach).collect::<Vec<_>>()
            })
        };
        let halves = [half(0), half(1)];
        halves.map(|half| half.join().expect("no panic"))
    });
    let found: Vec<_> = found.into_iter().flatten().collect();
    assert_eq!(content(&found), before);
}
