//! The memory file system that holds the index is full: an insert is refused, and nothing else happens.
//!
//! The test runs itself again as another process, for which a folder holds 8 MiB.

use std::env;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use karst_data::key::{Digest, PartitionId};
use karst_io::buffer::Region;
use karst_io::shm::SharedFile;
use karst_storage::index::{
    ArenaFull, Directory, EntryArena, Flags, HashKey, InsertError, NewEntry, Owner, State,
};
use karst_storage::place::{DeviceId, Place, Rblocks, Version};

const SCRIPT: &str = include_str!("../../karst-io/tests/small_folder.sh");

const ENTRIES_MAX: u64 = 1 << 20; // 64 MiB

const KEY: HashKey = HashKey([1, 2]);

const OWNER: Owner<'static> = Owner {
    boot_id: [1; 16],
    cluster_id: [2; 16],
    namespace: b"test",
    key: KEY,
};

#[test]
fn an_insert_that_finds_no_memory_is_refused_and_the_index_stays_whole() {
    const NAME: &str = "an_insert_that_finds_no_memory_is_refused_and_the_index_stays_whole";
    if let Some(folder) = env::var_os("KARST_TEST_SMALL_FOLDER") {
        return fill(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let done = Command::new("sh")
        .args(["-c", SCRIPT, "sh"])
        .args([folder.path(), &env::current_exe().unwrap(), Path::new(NAME)])
        .env("KARST_TEST_SMALL_FOLDER", folder.path())
        .output()
        .unwrap();
    let output = [done.stdout, done.stderr].concat();
    let output = String::from_utf8_lossy(&output);
    assert!(done.status.success(), "{}: {output}", done.status);
    assert!(output.contains("refused after"), "it was not run: {output}");
}

/// Inserts until memory is used up, whatever room the limit leaves.
fn fill(folder: &Path) {
    let region = || {
        let file = SharedFile::open(folder.join("index")).unwrap();
        Region::shared(file, EntryArena::region_bytes(ENTRIES_MAX).unwrap()).unwrap()
    };
    let arena = Arc::new(EntryArena::create(region(), ENTRIES_MAX, &OWNER).unwrap());
    arena.set_session(1);
    arena.set_state(State::Serving);
    let mut directory = Directory::new(arena.clone(), KEY, PartitionId(0));
    let refused = (0..).find_map(|number| Some((number, insert(&mut directory, number).err()?)));
    let (records, refused) = refused.unwrap();
    println!("refused after {records} records: {refused}");
    let pages = (records / 64) as u32;
    assert!(records > 1 << 15 && records < ENTRIES_MAX);
    assert!(
        matches!(refused, InsertError::ArenaFull(ArenaFull::Memory { pages: p, .. }) if p == pages)
    );
    assert!(arena.prepare_ahead(1 << 20).is_err());
    directory.validate();

    directory.remove(&digest(5)).unwrap();
    insert(&mut directory, records).unwrap();
    assert_eq!(insert(&mut directory, 5), Err(refused));
    drop((directory, arena));

    let attach = EntryArena::attach(region(), ENTRIES_MAX, &OWNER, 1).unwrap();
    let mut directory = attach.partition(PartitionId(0), |_| Ok(())).unwrap();
    directory.validate();
    assert_eq!(directory.len() as u64, records);
    assert!((0..=records).all(|number| directory.get(&digest(number)).is_some() == (number != 5)));
    assert_eq!(insert(&mut directory, 5), Err(refused));
}

/// Digest `number` of partition 0.
fn digest(number: u64) -> Digest {
    let mut bytes = [0; 20];
    bytes[4..12].copy_from_slice(&number.to_le_bytes());
    Digest(bytes)
}

fn insert(directory: &mut Directory, number: u64) -> Result<(), InsertError> {
    let new = NewEntry {
        digest: digest(number),
        place: Place {
            device: DeviceId(0),
            start: Rblocks(number),
            length: Rblocks(1),
        },
        version: Version::default(),
        update_time_ms: number,
        void_time_s: 0,
        generation: 1,
        set_id: 0,
        flags: Flags::NONE,
    };
    directory.insert(&new).map(drop)
}
