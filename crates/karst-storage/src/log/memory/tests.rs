//! A log whose process ends without a word, and the one that finds its memory.

use std::path::Path;

use karst_data::bin::BinRef;
use karst_data::flat::{Draft, Meta};
use karst_data::key::{Digest, KeyBytes};
use karst_io::shm::SharedFile;

use super::*;
use crate::log::recover::Scanned;
use crate::log::{Appended, DeviceGeometry, DeviceWrite, LaneId, Purpose};

const BLOCK_BYTES: u32 = 64 << 10;
const LANE: LaneId = LaneId(0);

fn config() -> LogConfig {
    let geometry = |number| DeviceGeometry {
        number,
        blocks: 12,
        sector_bytes: 512,
    };
    LogConfig {
        on_devices: true,
        block_bytes: BLOCK_BYTES,
        devices: vec![geometry(11), geometry(12)],
        cores: 1,
        cache_bytes: 0,
        defrag_low_water_percent: 50,
    }
}

fn identity(session: u64) -> MemoryIdentity {
    MemoryIdentity {
        boot: [1; 16],
        cluster: [2; 16],
        session,
    }
}

fn region(folder: &Path, config: &LogConfig) -> Region {
    let file = SharedFile::open(folder.join("log")).unwrap();
    Region::shared(file, LogMemory::bytes(config)).unwrap()
}

/// A log over fresh memory, in its first session.
fn first(folder: &Path) -> Log {
    let memory = LogMemory::create(region(folder, &config()), &config(), &identity(0)).unwrap();
    let log = Log::with_memory(config(), Some(memory)).unwrap();
    log.memory().unwrap().begin_session(1);
    log
}

fn attach(
    folder: &Path,
    config: LogConfig,
    identity: MemoryIdentity,
) -> Result<Log, MemoryRefused> {
    let memory = LogMemory::attach(region(folder, &config), &config, &identity)?;
    Ok(Log::with_memory(config, Some(memory)).unwrap())
}

fn append(log: &Log, key: u64, bytes: usize) -> Appended {
    let value = vec![key as u8; bytes];
    let bin = BinRef {
        name: b"v",
        particle: karst_data::value::ParticleType::Blob,
        value: &value,
    };
    let meta = Meta {
        digest: Digest::of(b"", KeyBytes::Integer(key as i64)),
        generation: 1,
        void_time_s: 0,
        update_time_ms: 1,
        version: [1; 10],
        tombstone: false,
        over_tombstone: false,
        moves: 0,
    };
    let draft = Draft {
        meta,
        set: b"",
        key: None,
        bins: [bin].into_iter(),
    };
    log.append(
        LANE,
        Purpose::Record,
        draft.size_bytes(),
        0,
        |space, seal| {
            draft.write(space, seal);
        },
    )
    .unwrap()
}

fn flush(log: &Log) -> Vec<DeviceWrite> {
    let mut writes = Vec::new();
    log.flush(LANE, u64::MAX);
    log.take_writes(LANE, &mut writes);
    writes
}

fn digests(log: &Log, left: &LeftBlock) -> Vec<Digest> {
    let scanned = log.left_records(left).filter_map(Scanned::record);
    scanned.map(|record| record.facts.meta.digest).collect()
}

fn key(key: i64) -> Digest {
    Digest::of(b"", KeyBytes::Integer(key))
}

#[test]
fn what_was_appended_and_not_durable_is_found_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let log = first(folder.path());
    append(&log, 1, 100);
    for write in flush(&log) {
        log.written(&write, true);
    }
    append(&log, 2, 100);
    let out = flush(&log); // submitted, and nobody knows whether it came to the device
    append(&log, 3, 100);
    let fills = log.fills();
    drop((log, out));

    let mut log = attach(folder.path(), config(), identity(1)).unwrap();
    let mut left = log.take_over();
    assert_eq!(left.len(), 1);
    let left = left.remove(0);
    assert_eq!(digests(&log, &left), [key(1), key(2), key(3)]);
    let (block_offset, _) = log.block_extent(left.id);
    let (offset, bytes) = log.left_write(&left);
    assert_eq!(offset, block_offset + 512, "the first sector is durable");
    assert_eq!(bytes.len(), 1024);
    assert_eq!(log.fills(), fills);
    log.left_written(left, true);
    drop(log);

    let mut log = attach(folder.path(), config(), identity(1)).unwrap();
    assert!(log.take_over().is_empty(), "all of it is durable now");
}

#[test]
fn half_an_append_is_not_found_and_its_bytes_are_wiped() {
    let folder = tempfile::tempdir().unwrap();
    let log = first(folder.path());
    let filled = 64 + append(&log, 1, 100).place.length.bytes() as usize;
    drop(log);
    let path = folder.path().join("log");
    let bytes = std::fs::read(&path).unwrap();
    let block = bytes.windows(4).position(|bytes| bytes == b"KBLK").unwrap() - 4;
    change(&path, block + filled, &[0xee; 200]); // as far as a killed process came
    let mut log = attach(folder.path(), config(), identity(1)).unwrap();
    let left = log.take_over();
    assert_eq!(digests(&log, &left[0]), [key(1)]);
    let (_, bytes) = log.left_write(&left[0]);
    assert_eq!(bytes.len(), 512);
    assert!(bytes[filled..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_block_that_is_used_again_is_found_in_its_latest_fill_only() {
    let folder = tempfile::tempdir().unwrap();
    let log = first(folder.path());
    for round in 0..200 {
        let place = append(&log, round, 30_000).place;
        for write in flush(&log) {
            log.written(&write, true);
        }
        log.release(place);
    }
    let live = append(&log, 1000, 30_000);
    let mut end_mark = Vec::new(); // of the block before
    log.take_writes(LANE, &mut end_mark);
    end_mark.iter().for_each(|write| log.written(write, true));
    drop(end_mark);
    let fills = log.fills();
    assert!(fills > 24, "blocks were used more than once");
    drop(log);
    let mut log = attach(folder.path(), config(), identity(1)).unwrap();
    let left = log.take_over();
    assert_eq!(left.len(), 1);
    assert_eq!(digests(&log, &left[0]).last(), Some(&key(1000)));
    log.claim(live.place);
    assert_eq!(log.seal(live.place).fill, log.block_seal(left[0].id).fill);
    assert_eq!(log.fills(), fills);
}

#[test]
fn memory_that_does_not_belong_to_these_devices_as_they_are_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let unfinished = LogMemory::create(region(path, &config()), &config(), &identity(0));
    drop(unfinished.unwrap());
    let refused = |config, identity| attach(path, config, identity).err();
    assert_eq!(
        refused(config(), identity(0)),
        Some(MemoryRefused::Unfinished)
    );
    std::fs::remove_file(path.join("log")).unwrap();
    drop(first(path));

    assert_eq!(refused(config(), identity(1)), None);
    let other = MemoryRefused::Session {
        devices: 2,
        memory: 1,
    };
    assert_eq!(refused(config(), identity(2)), Some(other));
    let rebooted = MemoryIdentity {
        boot: [9; 16],
        ..identity(1)
    };
    assert_eq!(refused(config(), rebooted), Some(MemoryRefused::Boot));
    let foreign = MemoryIdentity {
        cluster: [9; 16],
        ..identity(1)
    };
    assert_eq!(refused(config(), foreign), Some(MemoryRefused::Cluster));
    let mut replaced = config();
    replaced.devices[1].number = 13;
    assert_eq!(refused(replaced, identity(1)), Some(MemoryRefused::Shape));
}

#[test]
fn more_cores_or_a_larger_cache_do_not_cost_what_was_left() {
    let folder = tempfile::tempdir().unwrap();
    let log = first(folder.path());
    append(&log, 1, 100);
    drop(log);
    let config = LogConfig {
        cores: 2,
        cache_bytes: 4 << 20,
        ..config()
    };
    let mut log = attach(folder.path(), config, identity(1)).unwrap();
    assert_eq!(log.take_over().len(), 1);
}

#[test]
fn memory_of_any_content_is_taken_over_or_refused_and_never_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let log = first(folder.path());
    append(&log, 1, 100);
    drop(log);
    let path = folder.path().join("log");
    let sound = std::fs::read(&path).unwrap();
    let words = (16 + 24) * 8 + 64 * 4;
    for at in 0..words {
        for bit in [0x01, 0x80] {
            change(&path, 0, &sound[..words]);
            change(&path, at, &[sound[at] ^ bit]);
            if let Ok(mut log) = attach(folder.path(), config(), identity(1)) {
                for left in log.take_over() {
                    assert!(digests(&log, &left).len() <= 1);
                    log.left_write(&left);
                }
            }
        }
    }
}

fn change(path: &Path, at: usize, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, at as u64).unwrap();
}
