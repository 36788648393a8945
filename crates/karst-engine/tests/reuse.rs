//! Readers on real threads against blocks that are emptied, freed and filled again under them.
//!
//! The argument is in docs/architecture.md ("A reader never meets a freed block"). Here readers hold
//! what [`Log::locate`] gave them, bytes in memory and device reads, across whole lives of blocks.

#![allow(
    clippy::disallowed_methods,
    reason = "real threads are watched on the real clock"
)]

mod plain;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use plain::{World, digest, value};

const KEYS: u64 = 64;
const VALUE_BYTES: usize = 900;
const BLOCKS: u32 = 24;
const HELD_MAX: usize = 100;

/// Versions of each key: begun, and answered.
struct Versions {
    begun: Vec<AtomicU64>,
    done: Vec<AtomicU64>,
}

fn write_all_the_time(world: &World, versions: &Versions, core: u16, stop: &AtomicBool) -> u64 {
    let mut random = u64::from(core) + 1;
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let key = (random >> 33) % (KEYS / 2) * 2 + u64::from(core); // each key has one writer
        let at = key as usize;
        let version = versions.begun[at].fetch_add(1, Ordering::SeqCst) + 1;
        while world
            .write(core, key, &value(key, version, VALUE_BYTES))
            .is_err()
        {
            if stop.load(Ordering::Relaxed) {
                return written; // the other writer may have ended, and with it what room waits for
            }
            make_room(world, core);
        }
        versions.done[at].store(version, Ordering::SeqCst);
        written += 1;
        if written % 16 == 0 {
            world.flush(core);
            make_room(world, core);
        }
    }
    written
}

fn make_room(world: &World, core: u16) {
    world.flush(core);
    if let Some(job) = world.namespace.log().next_move() {
        world.empty(core, job);
        world.flush(core);
    }
}

/// Reads keys through the engine; what it returns was current at some time during the read.
fn read_all_the_time(world: &World, versions: &Versions, stop: &AtomicBool) -> u64 {
    let (mut random, mut read) = (99u64, 0);
    while !stop.load(Ordering::Relaxed) {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let key = (random >> 33) % KEYS;
        let before = versions.done[key as usize].load(Ordering::SeqCst);
        if before == 0 {
            continue;
        }
        let found = world.read(key).expect("every key is there");
        let after = versions.begun[key as usize].load(Ordering::SeqCst);
        let version = u64::from_le_bytes(found[8..16].try_into().unwrap());
        assert!(
            (before..=after).contains(&version),
            "{version} is outside {before}..={after}"
        );
        assert_eq!(found, value(key, version, VALUE_BYTES));
        read += 1;
    }
    read
}

/// Holds records in memory while their blocks live on, and sees that not a byte changes.
fn hold_all_the_time(world: &World, stop: &AtomicBool) -> u64 {
    let (mut held, mut seen) = (Vec::new(), 0);
    let mut random = 7u64;
    while !stop.load(Ordering::Relaxed) {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let key = (random >> 33) % KEYS;
        if held.len() < HELD_MAX
            && let Some(resident) = world.namespace.resident(&digest(key))
        {
            let copy = resident.bytes().to_vec();
            held.push((resident, copy, world.namespace.log().fills()));
        }
        held.retain(|(resident, copy, fills)| {
            assert_eq!(
                resident.bytes(),
                &copy[..],
                "bytes that a reader holds have changed"
            );
            let reused = world.namespace.log().fills() - fills > 3 * u64::from(BLOCKS);
            seen += u64::from(reused);
            !reused
        });
        thread::sleep(Duration::from_micros(100));
    }
    seen
}

#[test]
fn a_reader_never_meets_a_freed_block_whether_it_holds_memory_or_reads_the_device() {
    let world = World::new(BLOCKS, 2);
    let versions = Versions {
        begun: (0..KEYS).map(|_| AtomicU64::new(0)).collect(),
        done: (0..KEYS).map(|_| AtomicU64::new(0)).collect(),
    };
    let stop = AtomicBool::new(false);
    let (world, versions, stop) = (&world, &versions, &stop);
    thread::scope(|scope| {
        let writers =
            [0, 1].map(|core| scope.spawn(move || write_all_the_time(world, versions, core, stop)));
        let readers =
            [(); 2].map(|()| scope.spawn(move || read_all_the_time(world, versions, stop)));
        let holder = scope.spawn(move || hold_all_the_time(world, stop));
        let until = Instant::now() + Duration::from_secs(20);
        let lives = || world.namespace.log().fills() / u64::from(BLOCKS);
        while lives() < 60 && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
            if writers.iter().any(thread::ScopedJoinHandle::is_finished) {
                break; // it panicked; so does the test
            }
        }
        stop.store(true, Ordering::Relaxed);
        let written: u64 = writers.map(|writer| writer.join().unwrap()).iter().sum();
        let read: u64 = readers.map(|reader| reader.join().unwrap()).iter().sum();
        let held = holder.join().unwrap();
        assert!(
            lives() >= 10,
            "blocks were used {} times, {written} writes",
            lives()
        );
        assert!(
            read > 1000 && held > 10,
            "{read} reads, {held} held over a block's reuse"
        );
    });
}
