//! Several devices: load is even, a slow one holds nobody else up, a failed one is left for good.

use std::collections::BTreeMap;

use karst_data::flat::{Draft, Meta};
use karst_data::key::{Digest, KeyBytes};

use super::*;
use crate::log::recover::Scanned;

/// Devices whose writes take a fixed time, on a clock of 1/1000 ms.
struct World {
    log: Log,
    write_us: Vec<u64>,
    now_us: u64,
    /// By the time they come back.
    out: BTreeMap<(u64, u64), DeviceWrite>,
    number: u64,
    /// When each device is done with what it has.
    busy_until_us: Vec<u64>,
}

impl World {
    fn new(blocks: u32, write_us: &[u64]) -> World {
        let mut config = config(true, write_us.len() as u64);
        config
            .devices
            .iter_mut()
            .for_each(|device| device.blocks = blocks);
        World {
            log: Log::new(config).unwrap(),
            write_us: write_us.to_vec(),
            now_us: 0,
            out: BTreeMap::new(),
            number: 0,
            busy_until_us: vec![0; write_us.len()],
        }
    }

    /// Lets time pass and takes what comes back meanwhile.
    fn pass(&mut self, us: u64) {
        self.now_us += us;
        while let Some(entry) = self.out.first_entry()
            && entry.key().0 <= self.now_us
        {
            let write = entry.remove();
            self.log.written(&write, true);
        }
        self.log.tick(self.now_us / 1000);
    }

    fn append(&mut self, bytes: usize) -> Result<Appended, NoSpace> {
        let now_ms = self.now_us / 1000;
        self.log
            .append(LANE, Purpose::Record, bytes, now_ms, |space, _| {
                space.fill(0xab)
            })
    }

    fn send(&mut self) {
        let mut writes = Vec::new();
        self.log.flush(LANE, u64::MAX);
        self.log.take_writes(LANE, &mut writes);
        for write in writes {
            let device = usize::from(write.block.device.0);
            let begins_us = self.busy_until_us[device].max(self.now_us);
            self.busy_until_us[device] = begins_us + self.write_us[device];
            self.number += 1;
            self.out
                .insert((self.busy_until_us[device], self.number), write);
        }
    }

    /// Waits for a commit as a client does and returns how long that took.
    fn commit(&mut self, point: CommitPoint) -> u64 {
        let from_us = self.now_us;
        while self.log.commit(point) == Commit::Pending {
            self.pass(100);
        }
        assert_eq!(self.log.commit(point), Commit::Durable);
        self.now_us - from_us
    }
}

#[test]
fn a_device_a_hundred_times_slower_does_not_hold_up_commits_on_the_others() {
    let mut world = World::new(400, &[500, 50_000, 500]);
    let (mut slowest_us, mut on_slow, mut writes) = (0, 0, 0);
    let mut pending: Vec<(CommitPoint, u64)> = Vec::new();
    while writes < 5_000 {
        let appended = world.append(1000).unwrap();
        world.log.release(appended.place);
        world.send();
        writes += 1;
        pending.push((appended.commit, world.now_us));
        on_slow += usize::from(appended.place.device == DeviceId(1));
        world.pass(600);
        let (log, now_us) = (&world.log, world.now_us);
        pending.retain(|(point, since_us)| {
            let is_pending = log.commit(*point) == Commit::Pending;
            if !is_pending && point.device != DeviceId(1) {
                slowest_us = slowest_us.max(now_us - since_us);
            }
            is_pending
        });
    }
    assert!(
        slowest_us <= 2_000,
        "a commit on a fast device took {slowest_us} us"
    );
    assert!(
        on_slow * 10 < writes,
        "{on_slow} of {writes} writes went to the slow device"
    );
    assert!(on_slow > 0, "it was never tried");
}

#[test]
fn a_device_that_has_recovered_is_used_again() {
    let mut world = World::new(400, &[500, 50_000]);
    let share = |world: &mut World| {
        let mut counts = [0; 2];
        for _ in 0..4000 {
            let appended = world.append(1000).unwrap();
            world.log.release(appended.place);
            counts[usize::from(appended.place.device.0)] += 1;
            world.send();
            world.pass(1000);
        }
        counts[1] * 100 / 4000
    };
    assert!(share(&mut world) < 20);
    world.write_us[1] = 500;
    world.pass(20_000_000);
    assert!((40..=60).contains(&share(&mut world)));
}

#[test]
fn a_block_left_for_a_faster_device_is_filled_later_and_wastes_nothing() {
    let mut world = World::new(12, &[500, 500_000]);
    let mut first = world.append(1000).unwrap();
    while first.place.device != DeviceId(1) {
        first = world.append(1000).unwrap(); // fills the block on the fast one
    }
    world.send();
    world.pass(100_000);
    let next = world.append(1000).unwrap();
    assert_eq!(
        next.place.device,
        DeviceId(0),
        "its block on the slow device is put aside"
    );
    assert_eq!(world.log.commit(first.commit), Commit::Pending);
    world.send();
    assert!(world.commit(next.commit) <= 1_000);
    world.pass(60_000_000);
    let again = loop {
        let appended = world.append(1000).unwrap();
        world.send();
        world.pass(1000);
        if appended.place.device == DeviceId(1) {
            break appended;
        }
    };
    assert_eq!(
        world.log.block_of(again.place),
        world.log.block_of(first.place)
    );
    assert!(again.place.start > first.place.start);
}

#[test]
fn what_is_kept_from_earlier_blocks_does_not_go_to_one_that_was_put_aside() {
    let mut world = World::new(12, &[500, 500_000]);
    let mut first = world.append(1000).unwrap();
    while first.place.device != DeviceId(1) {
        first = world.append(1000).unwrap();
    }
    world.send();
    world.pass(100_000);
    let next = world.append(1000).unwrap();
    assert_eq!(next.place.device, DeviceId(0), "the other is put aside");
    let floor = world.log.next_fill();
    world.pass(60_000_000);
    let fill = |world: &World, appended: &Appended| {
        let log = &world.log;
        log.fill_of(log.block_of(appended.place))
    };
    let mut devices = [false; 2];
    while devices != [true; 2] {
        let now_ms = world.now_us / 1000;
        let appended = world
            .log
            .append_from(LANE, Purpose::Record, floor, 1000, now_ms, |space, _| {
                space.fill(0xab)
            })
            .unwrap();
        world.send();
        world.pass(1000);
        assert!(fill(&world, &appended) >= floor);
        devices[usize::from(appended.place.device.0)] = true;
        world.log.release(appended.place);
    }
    world.pass(60_000_000);
    assert_eq!(world.log.commit(first.commit), Commit::Durable);
}

#[test]
fn equal_devices_share_the_load_evenly() {
    let mut world = World::new(100, &[500, 500, 500, 500]);
    let mut live = Vec::new();
    let (mut counts, mut random) = ([0u32; 4], 1u64);
    for _ in 0..40_000 {
        let appended = world.append(1000).unwrap();
        counts[usize::from(appended.place.device.0)] += 1;
        live.push(appended.place);
        if live.len() > 1500 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = (random >> 33) as usize % live.len();
            world.log.release(live.swap_remove(at));
        }
        world.send();
        world.pass(700);
        while let Some(job) = world.log.next_move() {
            // As defrag would, but without copying: what is in the block is overwritten elsewhere.
            let in_block = |place: &Place| world.log.block_of(*place) == job.id;
            let moved: Vec<Place> = live.extract_if(.., |place| in_block(place)).collect();
            for place in moved {
                let lane = world.log.move_lane(0);
                let bytes = place.length.bytes() as usize;
                let to = world
                    .log
                    .append(lane, Purpose::Move, bytes, 0, |space, _| space.fill(1));
                live.push(to.unwrap().place);
                world.log.release(place);
            }
            let mut writes = Vec::new();
            let lane = world.log.move_lane(0);
            world.log.flush(lane, u64::MAX);
            world.log.take_writes(lane, &mut writes);
            writes
                .iter()
                .for_each(|write| world.log.written(write, true));
            world.log.end_move(job);
        }
    }
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(most * 100 <= least * 105, "{counts:?}");
}

#[test]
fn filled_blocks_that_a_device_does_not_take_are_bounded_and_then_appends_wait() {
    let log = Log::new(LogConfig {
        devices: vec![DeviceGeometry {
            number: 1,
            blocks: 100,
            sector_bytes: 512,
        }],
        ..config(true, 1)
    })
    .unwrap();
    let mut appended = 0;
    let refused = loop {
        match append(&log, 8000) {
            Ok(_) => appended += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, NoSpace::Wait);
    assert!(
        appended / 2 <= OUTSTANDING_BLOCKS_MAX + 1,
        "{appended} records in blocks of two"
    );
    let mut writes = Vec::new();
    log.take_writes(LANE, &mut writes);
    log.written(&writes[0], true);
    assert!(append(&log, 8000).is_ok());
}

fn record(key: i64, version: u64) -> (Digest, Vec<u8>) {
    let digest = Digest::of(b"", KeyBytes::Integer(key));
    let meta = Meta {
        digest,
        generation: 1,
        void_time_s: 0,
        update_time_ms: 0,
        version: crate::place::Version {
            regime: 1,
            sequence: version,
        }
        .pack(),
        tombstone: true,
        over_tombstone: false,
        moves: 0,
    };
    let draft = Draft {
        meta,
        set: b"",
        key: None,
        bins: std::iter::empty(),
    };
    let mut bytes = vec![0; draft.size_bytes()];
    draft.write(
        &mut bytes,
        &Seal {
            device: 0,
            fill: 0,
            start: 0,
        },
    );
    (digest, bytes)
}

#[test]
fn no_write_is_handed_out_for_a_failed_device_whichever_lane_it_comes_from() {
    let log = Log::new(config(true, 2)).unwrap();
    let other = log.move_lane(0);
    let mine = append(&log, 100).unwrap();
    let theirs = loop {
        let appended = log
            .append(other, Purpose::Move, 6000, 0, |space, _| space.fill(1))
            .unwrap();
        if appended.place.device == mine.place.device {
            break appended;
        }
    };
    log.written(&flushed(&log)[0], false);
    let mut writes = Vec::new();
    log.flush(other, u64::MAX);
    assert!(
        log.take_writes(other, &mut writes),
        "the caller learns that outcomes are known"
    );
    assert!(
        writes
            .iter()
            .all(|write| write.block.device != mine.place.device)
    );
    assert_eq!(log.commit(theirs.commit), Commit::Lost);
    for _ in 0..20 {
        let appended = log.append(other, Purpose::Move, 6000, 0, |space, _| space.fill(1));
        assert_ne!(appended.unwrap().place.device, mine.place.device);
        log.take_writes(other, &mut writes);
        writes.drain(..).for_each(|write| log.written(&write, true));
    }
}

#[test]
fn what_was_appended_and_not_yet_sent_to_a_device_that_fails_is_lost_and_not_pending_for_ever() {
    let log = Log::new(config(true, 1)).unwrap();
    let first = append(&log, 100).unwrap();
    let writes = flushed(&log);
    let second = append(&log, 100).unwrap();
    log.written(&writes[0], false);
    let mut out = Vec::new();
    assert!(log.take_writes(LANE, &mut out));
    assert!(out.is_empty());
    assert_eq!(log.commit(first.commit), Commit::Lost);
    assert_eq!(log.commit(second.commit), Commit::Lost);
}

#[test]
fn records_of_lost_writes_are_brought_to_another_device_before_what_they_superseded_is_given_up() {
    let log = Log::new(config(true, 2)).unwrap();
    let (_, bytes) = record(1, 1);
    let write = |lane, purpose| {
        let put = |space: &mut [u8], seal: &Seal| {
            space[..bytes.len()].copy_from_slice(&bytes);
            karst_data::flat::reseal(space, seal).unwrap();
        };
        log.append(lane, purpose, bytes.len(), 0, put).unwrap()
    };
    // An old version in a block that is then filled with what does not last.
    let old = write(LANE, Purpose::Record);
    loop {
        let filler = append(&log, 8000).unwrap();
        log.release(filler.place);
        if log.block_of(filler.place) != log.block_of(old.place) {
            break;
        }
    }
    for write in flushed(&log) {
        log.written(&write, true);
    }
    // Its successor goes to the other device, whose write fails.
    let new = write(LANE, Purpose::Record);
    assert_ne!(new.place.device, old.place.device);
    log.release(old.place);
    log.written(&flushed(&log)[0], false);
    assert_eq!(log.commit(new.commit), Commit::Lost);
    let old_block = log.block_of(old.place);
    let is_free = |log: &Log| {
        let mut space = log.space.lock();
        log.release_quarantine(&mut space);
        space.life(old_block) == Life::Free
    };
    assert!(!is_free(&log), "the only durable version would be gone");
    // Defrag is told to save it, from memory.
    let job = log.next_move().expect("a block to rescue");
    assert_eq!(job.id, log.block_of(new.place));
    let memory = log
        .block_in_memory(job.id)
        .expect("what was lost is in memory");
    let content = memory.bytes(0..memory.filled()).unwrap();
    let scanned = log.scan_block(job.id, content).filter_map(Scanned::record);
    let found: Vec<Place> = scanned.map(|record| record.place).collect();
    assert_eq!(found, [new.place]);
    let lane = log.move_lane(0);
    let saved = write(lane, Purpose::Move);
    log.release(new.place);
    assert_eq!(log.end_move(job), 0);
    assert_eq!(log.next_move(), None);
    assert!(!is_free(&log), "the saved copy is not durable yet");
    let mut writes = Vec::new();
    log.flush(lane, u64::MAX);
    log.take_writes(lane, &mut writes);
    writes.iter().for_each(|write| log.written(write, true));
    assert_eq!(log.commit(saved.commit), Commit::Durable);
    assert!(is_free(&log));
    assert_eq!(log.report().unrescued_blocks, 0);
}

#[test]
fn what_was_appended_is_unsettled_until_its_write_has_come_back_whatever_comes_behind_it() {
    let mut world = World::new(400, &[500]);
    assert_eq!(world.log.unsettled(), []);
    let first = world.append(1000).unwrap();
    assert_eq!(world.log.unsettled(), [first.commit]);
    world.send();
    let by_now = world.log.unsettled();
    let second = world.append(1000).unwrap();
    world.commit(first.commit);
    assert!(by_now.iter().all(|point| world.log.is_settled(point)));
    assert_eq!(world.log.unsettled(), [second.commit]);
    world.send();
    world.commit(second.commit);
    assert_eq!(world.log.unsettled(), []);
}
