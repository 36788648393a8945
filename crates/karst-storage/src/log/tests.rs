use super::*;

pub(super) const BLOCK_BYTES: u32 = 16 << 10;
pub(super) const LANE: LaneId = LaneId(0);

pub(super) fn config(on_devices: bool, devices: u64) -> LogConfig {
    let geometry = |number| DeviceGeometry {
        number,
        blocks: 12,
        sector_bytes: 512,
    };
    LogConfig {
        on_devices,
        block_bytes: BLOCK_BYTES,
        devices: (1..=devices).map(geometry).collect(),
        cores: 1,
        cache_bytes: 0,
        defrag_low_water_percent: 50,
    }
}

fn append(log: &Log, bytes: usize) -> Result<Appended, NoSpace> {
    log.append(LANE, Purpose::Record, bytes, 0, |space, _| space.fill(0xab))
}

/// Flushes and returns what the lane hands out.
fn flushed(log: &Log) -> Vec<DeviceWrite> {
    let mut writes = Vec::new();
    log.flush(LANE, u64::MAX);
    log.take_writes(LANE, &mut writes);
    writes
}

#[test]
fn an_append_is_durable_when_every_write_up_to_it_has_come_back() {
    let log = Log::new(config(true, 1)).unwrap();
    let first = append(&log, 100).unwrap();
    let one = flushed(&log);
    let second = append(&log, 100).unwrap();
    let two = flushed(&log);
    assert_eq!((one.len(), two.len()), (1, 1));
    log.written(&two[0], true);
    assert_eq!(log.commit(first.commit), Commit::Pending);
    assert_eq!(log.commit(second.commit), Commit::Pending);
    log.written(&one[0], true);
    assert_eq!(log.commit(first.commit), Commit::Durable);
    assert_eq!(log.commit(second.commit), Commit::Durable);
}

#[test]
fn flushes_write_whole_sectors_and_never_the_same_one_twice() {
    let log = Log::new(config(true, 1)).unwrap();
    let mut end = u64::from(BLOCK_BYTES);
    for size in [1, 600, 40, 2000] {
        append(&log, size).unwrap();
        let writes = flushed(&log);
        assert_eq!(writes.len(), 1);
        assert_eq!(writes[0].offset, end);
        assert_eq!(writes[0].range.len() % 512, 0);
        end += writes[0].range.len() as u64;
    }
    assert!(flushed(&log).is_empty(), "nothing was appended since");
}

#[test]
fn a_record_that_no_block_can_hold_is_refused_and_one_that_just_fits_is_not() {
    let log = Log::new(config(true, 1)).unwrap();
    let most = log.record_bytes_max();
    assert_eq!(
        append(&log, most + 1),
        Err(NoSpace::TooBig {
            size_bytes: most + 1
        })
    );
    let placed = append(&log, most).unwrap().place;
    let block_end = u64::from(BLOCK_BYTES) * 2;
    assert_eq!(placed.start.bytes() + placed.length.bytes(), block_end);
}

#[test]
fn the_same_place_has_another_seal_when_its_block_is_filled_anew() {
    let log = Log::new(config(false, 1)).unwrap();
    let first = append(&log, 16_000).unwrap().place;
    let before = log.seal(first);
    log.release(first);
    let again = loop {
        let place = append(&log, 16_000).unwrap().place;
        log.release(place);
        if place.start == first.start && log.seal(place) != before {
            break place;
        }
    };
    assert!(log.seal(again).fill > before.fill);
}

#[test]
fn a_failed_write_ends_its_device_and_its_records_stay_readable_from_memory() {
    let log = Log::new(config(true, 2)).unwrap();
    let lost = append(&log, 100).unwrap();
    let writes = flushed(&log);
    log.written(&writes[0], false);
    assert_eq!(log.commit(lost.commit), Commit::Lost);
    assert!(matches!(log.locate(lost.place), Located::Memory(_)));
    assert_eq!(log.report().failed_devices, 1);
    let next = append(&log, 100).unwrap();
    assert_ne!(next.place.device, lost.place.device);
    log.written(&flushed(&log)[0], false);
    assert_eq!(append(&log, 100), Err(NoSpace::Failed));
}

#[test]
fn what_lies_behind_a_failed_write_in_its_block_is_lost_although_it_was_written() {
    let log = Log::new(config(true, 2)).unwrap();
    let first = append(&log, 100).unwrap();
    let header = flushed(&log);
    let second = append(&log, 100).unwrap();
    let behind = flushed(&log);
    assert_eq!(behind[0].block, header[0].block);
    log.written(&header[0], false);
    log.written(&behind[0], true);
    assert_eq!(log.commit(first.commit), Commit::Lost);
    assert_eq!(
        log.commit(second.commit),
        Commit::Lost,
        "no header leads recovery to it"
    );
}

#[test]
fn a_log_in_memory_is_durable_at_once_and_gives_emptied_blocks_back() {
    let log = Log::new(config(false, 1)).unwrap();
    for _ in 0..1000 {
        let appended = append(&log, 5000).unwrap();
        assert_eq!(log.commit(appended.commit), Commit::Durable);
        log.release(appended.place);
    }
    assert_eq!(log.report().live_bytes, 0);
}

#[test]
fn tombstones_and_moves_may_use_blocks_that_records_may_not() {
    let log = Log::new(config(true, 1)).unwrap();
    while append(&log, 8000).is_ok() {}
    let tombstone = log
        .append(LANE, Purpose::Tombstone, 8000, 0, |space, _| space.fill(1))
        .map(|_| ());
    assert_eq!(tombstone, Ok(()));
    while log
        .append(LANE, Purpose::Tombstone, 8000, 0, |space, _| space.fill(1))
        .is_ok()
    {}
    let lane = log.move_lane(0);
    assert!(
        log.append(lane, Purpose::Move, 8000, 0, |space, _| space.fill(1))
            .is_ok()
    );
}

fn append_from(log: &Log, lane: LaneId, floor: u64, bytes: usize) -> Result<Appended, NoSpace> {
    log.append_from(lane, Purpose::Move, floor, bytes, 0, |space, _| {
        space.fill(0xcd);
    })
}

#[test]
fn what_is_kept_from_open_blocks_goes_to_later_ones_and_all_else_stays_where_it_was() {
    let log = Log::new(config(true, 1)).unwrap();
    let lanes = [log.write_lane(0), log.move_lane(0)];
    let fill_of = |appended: &Appended| log.fill_of(log.block_of(appended.place));
    let before = lanes.map(|lane| append_from(&log, lane, 0, 100).unwrap());
    let floor = log.next_fill();
    for (lane, before) in lanes.into_iter().zip(&before) {
        let beside = append_from(&log, lane, 0, 100).unwrap();
        assert_eq!(
            log.block_of(beside.place),
            log.block_of(before.place),
            "no block is left for nothing"
        );
        assert!(fill_of(&beside) < floor);
        let after = append_from(&log, lane, floor, 100).unwrap();
        assert!(fill_of(&after) >= floor);
        let again = append_from(&log, lane, floor, 100).unwrap();
        let beside = append_from(&log, lane, 0, 100).unwrap();
        for appended in [&again, &beside] {
            let block = log.block_of(appended.place);
            assert_eq!(block, log.block_of(after.place), "a block is left once");
        }
        let mut writes = Vec::new();
        log.flush(lane, u64::MAX);
        log.take_writes(lane, &mut writes);
        writes.iter().for_each(|write| log.written(write, true));
        assert_eq!(log.commit(before.commit), Commit::Durable);
        assert_eq!(log.commit(beside.commit), Commit::Durable);
        log.release(before.place);
    }
}

#[test]
fn an_append_that_is_kept_from_the_open_block_is_refused_while_no_other_is_free() {
    let log = Log::new(config(true, 1)).unwrap();
    let lane = log.move_lane(0);
    append_from(&log, lane, 0, 100).unwrap();
    let floor = log.next_fill();
    let other = log.write_lane(0);
    while append_from(&log, other, 0, 16_000).is_ok() {
        let mut writes = Vec::new();
        log.flush(other, u64::MAX);
        log.take_writes(other, &mut writes);
        writes.iter().for_each(|write| log.written(write, true));
    }
    let fills = log.fills();
    assert!(append_from(&log, lane, floor, 100).is_err());
    assert_eq!(log.fills(), fills);
    assert!(
        append_from(&log, lane, 0, 100).is_ok(),
        "the block is still open for everything else"
    );
}

#[test]
fn too_few_blocks_for_the_cores_is_an_error_at_start() {
    let mut small = config(true, 1);
    small.devices[0].blocks = 5;
    assert!(matches!(
        Log::new(small),
        Err(LayoutError::Blocks { found: 5, .. })
    ));
}

/// Opens blocks until every block but the open one was opened again, and frees each at once.
fn fill_one(log: &Log) -> (Place, Vec<DeviceWrite>) {
    let placed = append(log, log.record_bytes_max()).expect("a block is free");
    (placed.place, flushed(log))
}

#[test]
fn a_block_holds_its_earlier_fill_until_the_header_of_the_new_one_is_on_the_device() {
    let log = Log::new(config(true, 1)).unwrap();
    assert_eq!(log.oldest_fill(), u64::MAX);
    let mut before = None;
    let mut reopened = false;
    for fill in 1..40 {
        let (place, writes) = fill_one(&log);
        assert_eq!(log.fills(), fill);
        let oldest = log.oldest_fill();
        for write in &writes {
            if let Some(before) = before
                && write.range.start == 0
            {
                assert!(
                    oldest <= before,
                    "fill {fill}: forgotten before it was overwritten"
                );
            }
            log.written(write, true);
        }
        reopened |= log.oldest_fill() > oldest && oldest != u64::MAX;
        before = Some(log.oldest_fill());
        log.release(place);
    }
    assert!(reopened, "no block was ever filled anew");
}

#[test]
fn a_block_whose_new_header_was_not_kept_holds_its_earlier_fill_for_good() {
    let log = Log::new(config(true, 2)).unwrap();
    let mut first = None;
    for _ in 0..24 {
        let (place, writes) = fill_one(&log);
        first.get_or_insert(log.block_of(place));
        writes.iter().for_each(|write| log.written(write, true));
        log.release(place);
    }
    assert_eq!(log.oldest_fill(), 1, "all blocks were filled once");
    let (place, writes) = fill_one(&log);
    assert_eq!(Some(log.block_of(place)), first, "the longest-free block");
    writes.iter().for_each(|write| log.written(write, false));
    log.release(place);
    while let Some(rescue) = log.next_move() {
        log.end_move(rescue);
    }
    assert_eq!(log.oldest_fill(), 1, "the failed device may give it back");
}

#[test]
fn records_are_refused_beyond_the_part_that_may_be_live_and_deletes_wait_instead() {
    let log = Log::new(config(true, 1)).unwrap();
    log.set_live_percent_max(50);
    let mut placed = Vec::new();
    let refused = loop {
        match append(&log, log.record_bytes_max()) {
            Ok(appended) => placed.push(appended.place),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, NoSpace::Full);
    assert_eq!(log.refusal(), Some(NoSpace::Full));
    assert!(
        log.report().free_bytes > 0,
        "there are free blocks, kept for moving"
    );
    let tombstone =
        |bytes| log.append(LANE, Purpose::Tombstone, bytes, 0, |space, _| space.fill(1));
    let refused = loop {
        match tombstone(log.record_bytes_max()) {
            Ok(appended) => placed.push(appended.place),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, NoSpace::Wait, "a delete is not refused");
    placed.into_iter().for_each(|place| log.release(place));
    assert_eq!(log.refusal(), None);
}

#[test]
fn a_block_with_a_damaged_header_counts_as_older_than_any_delete() {
    let log = Log::new(config(true, 1)).unwrap();
    let device = log.config().devices[0].number;
    let (fill, block) = (7, 3);
    let header = BlockHeader {
        device,
        fill,
        block,
        previous: None,
        since: 1,
        settled: 1,
    };
    let mut bytes = vec![0; BLOCK_BYTES as usize];
    bytes[..BLOCK_HEADER_BYTES].copy_from_slice(&header.encode());
    let id = |block| BlockId {
        device: DeviceId(0),
        block,
    };
    assert!(log.recover_block(id(3), &bytes, None).is_some());
    assert_eq!(log.oldest_fill(), 7);
    assert!(
        log.recover_block(id(4), &vec![0; BLOCK_BYTES as usize], None)
            .is_none()
    );
    assert_eq!(log.oldest_fill(), 7, "a block of zeros was never filled");
    for (block, at) in [(5, 20), (6, 5)] {
        let log = Log::new(config(true, 1)).unwrap();
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(log.recover_block(id(block), &damaged, None).is_none());
        assert_eq!(log.oldest_fill(), 1, "byte {at}");
    }
    assert!(
        log.recover_block(id(5), &bytes, None).is_none(),
        "the header of another block"
    );
    assert_eq!(log.oldest_fill(), 1);
}
mod devices;

/// Lets the device keep everything that the lane has to write.
pub(super) fn settle(log: &Log, device: &mut [u8]) {
    for write in flushed(log) {
        keep(&write, device, write.range.len());
        log.written(&write, true);
    }
}

fn keep(write: &DeviceWrite, device: &mut [u8], bytes: usize) {
    let source = write.source.bytes(write.range.clone()).unwrap();
    let at = write.offset as usize;
    device[at..at + bytes].copy_from_slice(&source[..bytes]);
}

/// Appends a record of `bytes` that is mostly `mark`.
pub(super) fn put(log: &Log, mark: u8, bytes: usize) -> Appended {
    let bin = karst_data::bin::BinRef {
        name: b"a",
        particle: karst_data::value::ParticleType::Blob,
        value: &vec![mark; bytes - 100],
    };
    let draft = karst_data::flat::Draft {
        meta: karst_data::flat::Meta {
            digest: karst_data::key::Digest([mark; 20]),
            generation: 1,
            void_time_s: 0,
            update_time_ms: 1,
            version: [mark; 10],
            tombstone: false,
            over_tombstone: false,
            moves: 0,
        },
        set: b"demo",
        key: None,
        bins: std::iter::once(bin),
    };
    let write = |space: &mut [u8], seal: &Seal| {
        draft.write(space, seal);
    };
    log.append(LANE, Purpose::Record, draft.size_bytes(), 0, write)
        .unwrap()
}

pub(super) fn blank_device() -> Vec<u8> {
    vec![0; (BLOCK_BYTES * 13) as usize]
}

/// What the scan of a block finds: the marks of sound records, then the number of damaged stretches.
fn scan(log: &Log, block: u32, device: &[u8]) -> (Vec<u8>, u64) {
    let id = block_id(block);
    let (offset, size) = log.block_extent(id);
    let bytes = &device[offset as usize..offset as usize + size];
    let Some(mut scanned) = log.recover_block(id, bytes, None) else {
        return (vec![], 0);
    };
    let marks = scanned.by_ref().filter_map(recover::Scanned::record);
    let marks = marks.map(|record| record.facts.meta.digest.0[0]).collect();
    (marks, scanned.damaged())
}

pub(super) fn block_id(block: u32) -> BlockId {
    BlockId {
        device: DeviceId(0),
        block,
    }
}

fn header_of(log: &Log, block: u32, device: &[u8]) -> BlockHeader {
    let at = log.block_extent(block_id(block)).0 as usize;
    log.block_header(block_id(block), &device[at..]).unwrap()
}

fn recovered(device: &[u8]) -> Log {
    let log = Log::new(config(true, 1)).unwrap();
    for block in 0..12 {
        scan(&log, block, device);
    }
    log.finish_recovery();
    log
}

#[test]
fn a_fill_that_never_became_durable_is_never_used_again() {
    let mut device = blank_device();
    let log = Log::new(config(true, 1)).unwrap();
    let fronts: Vec<_> = (0..3).map(|block| put(&log, block, 12_000)).collect(); // a block each
    let writes = flushed(&log);
    // Power is lost: of block 1 the second half is kept, which nobody was told.
    let torn = &writes[1];
    let source = torn.source.bytes(torn.range.clone()).unwrap();
    let half = torn.range.len() / 2;
    let at = torn.offset as usize + half;
    device[at..at + half].copy_from_slice(&source[half..]);
    let fills = log.fills();
    drop(log);
    let log = recovered(&device);
    assert!(
        log.fills() >= fills,
        "{} of {fills} fills would be used again",
        fills - log.fills()
    );
    for block in 0..3 {
        put(&log, 100 + block, 8000);
        put(&log, 100 + block, 3000);
        put(&log, 100 + block, 3000);
    }
    let seal = log.block_seal(log.block_of(fronts[1].place));
    assert!(
        seal.fill > fills,
        "no seal of the first life is used in the second"
    );
}

#[test]
fn a_session_that_left_no_header_on_a_device_does_not_lend_its_fills_to_the_next() {
    let mut device = blank_device();
    let mut sessions = Vec::new();
    let mut kept = 0; // by the superblock
    for _ in 0..3 {
        let log = Log::new(config(true, 1)).unwrap();
        log.raise_fills(kept);
        log.finish_recovery();
        kept = log.fills();
        let place = put(&log, 1, 4000).place;
        put(&log, 1, 4000);
        let write = &flushed(&log)[0];
        let at = write.offset as usize + 4096; // the first sectors, and the header, are lost
        let source = write.source.bytes(write.range.clone()).unwrap();
        device[at..at + source.len() - 4096].copy_from_slice(&source[4096..]);
        sessions.push(log.seal(place).fill);
    }
    sessions.dedup();
    assert_eq!(sessions.len(), 3, "{sessions:?}");
}

#[test]
fn a_torn_record_of_a_first_life_is_not_sound_in_the_second() {
    let mut device = blank_device();
    let log = Log::new(config(true, 1)).unwrap();
    put(&log, 1, 4000);
    let first = flushed(&log);
    let lost = put(&log, 2, 4000).place; // behind it, in a write of its own
    let second = flushed(&log);
    assert_eq!((first.len(), second.len()), (1, 1));
    keep(&second[0], &mut device, second[0].range.len()); // out of order, then power is lost
    drop(log);
    let log = recovered(&device);
    let again = put(&log, 3, 4000);
    assert_eq!(
        log.block_of(again.place),
        log.block_of(lost),
        "the block is opened again"
    );
    settle(&log, &mut device);
    let (marks, damaged) = scan(&recovered(&device), 0, &device);
    assert_eq!((marks, damaged), (vec![3], 1));
}

#[test]
fn what_follows_the_end_mark_of_a_block_is_not_looked_at() {
    let mut device = blank_device();
    device[BLOCK_BYTES as usize..].fill(0xee); // what was there before
    let log = Log::new(config(true, 1)).unwrap();
    put(&log, 1, 9000);
    put(&log, 2, 9000); // in the next block
    settle(&log, &mut device);
    assert_eq!(scan(&log, 0, &device), (vec![1], 0));
    let (marks, damaged) = scan(&log, 1, &device); // still open
    assert_eq!((marks, damaged), (vec![2], 1));
}

#[test]
fn a_damaged_record_is_known_by_its_header_and_costs_only_itself() {
    let mut device = blank_device();
    let log = Log::new(config(true, 1)).unwrap();
    let places: Vec<_> = (1..=3).map(|mark| put(&log, mark, 1000).place).collect();
    settle(&log, &mut device);
    device[places[0].start.bytes() as usize + 30] ^= 1; // the header
    device[places[1].start.bytes() as usize + 500] ^= 1; // the payload
    let (offset, size) = log.block_extent(block_id(0));
    let bytes = &device[offset as usize..offset as usize + size];
    let found: Vec<_> = log.scan_block(block_id(0), bytes).collect();
    let [
        recover::Scanned::Damaged(unknown),
        recover::Scanned::Damaged(known),
        recover::Scanned::Record(sound),
    ] = &found[..]
    else {
        panic!("{found:?}");
    };
    assert_eq!((unknown.place, unknown.facts), (places[0], None));
    assert_eq!(known.place, places[1]);
    let facts = known.facts.unwrap();
    assert_eq!((facts.meta.digest.0, &*facts.set), ([2; 20], &b"demo"[..]));
    assert_eq!(sound.place, places[2]);
}

#[test]
fn a_header_calls_settled_only_what_was_wholly_durable_when_its_block_was_opened() {
    let mut device = blank_device();
    let log = Log::new(config(true, 1)).unwrap();
    put(&log, 1, 9000);
    put(&log, 2, 9000); // opens fill 2 while the writes of fill 1 are out
    settle(&log, &mut device);
    put(&log, 3, 9000);
    put(&log, 4, 9000);
    settle(&log, &mut device);
    let settled: Vec<u64> = (0..4)
        .map(|block| header_of(&log, block, &device).settled)
        .collect();
    assert_eq!(settled, [1, 1, 2, 2], "fill 2 was open, 3 was under way");
    let mut testimony = recover::Testimony::default();
    (0..4).for_each(|block| testimony.hear(&header_of(&log, block, &device)));
    assert!(testimony.is_settled(1));
    assert!(!testimony.is_settled(2));
    let log = recovered(&device);
    put(&log, 5, 9000);
    settle(&log, &mut device);
    let later = header_of(&log, 4, &device);
    assert!(later.settled > 4 && later.since > 4);
    testimony.hear(&later);
    assert!(!testimony.is_settled(4), "a stop may have torn it");
}

#[test]
fn a_damaged_block_header_is_made_good_by_the_next_block_of_its_lane() {
    let mut device = blank_device();
    let log = Log::new(config(true, 1)).unwrap();
    for mark in 1..=3 {
        put(&log, mark, 9000);
    }
    settle(&log, &mut device);
    let mut testimony = recover::Testimony::default();
    (0..3).for_each(|block| testimony.hear(&header_of(&log, block, &device)));
    let at = 2 * BLOCK_BYTES as usize;
    device[at + 17] ^= 0xff;
    let log = Log::new(config(true, 1)).unwrap();
    let bytes = &device[at..at + BLOCK_BYTES as usize];
    assert!(log.recover_block(block_id(1), bytes, None).is_none());
    let fill = testimony.fill_of(1, 1);
    assert_eq!(fill, Some(2));
    let scanned = log.recover_block(block_id(1), bytes, fill).unwrap();
    assert_eq!(scanned.filter_map(recover::Scanned::record).count(), 1);
    // Opened once more since: what its front says is of another fill, so nothing of it comes back.
    assert!(log.recover_block(block_id(1), bytes, Some(1)).is_none());
}

#[test]
fn a_block_that_was_opened_again_counts_by_its_earlier_fill_until_that_is_durable() {
    let mut device = blank_device();
    let log = Log::new(config(true, 1)).unwrap();
    let first = put(&log, 1, 9000).place;
    put(&log, 2, 9000);
    settle(&log, &mut device);
    log.release(first);
    while log.block_seal(block_id(0)).fill == 1 {
        assert_eq!(log.oldest_fill(), 1);
        settle(&log, &mut device);
        log.release(put(&log, 3, 9000).place);
    }
    assert_eq!(log.oldest_fill(), 1, "a stop now would bring fill 1 back");
    settle(&log, &mut device);
    assert_eq!(log.oldest_fill(), 2);
}

#[test]
fn an_older_header_is_stale_where_a_later_fill_was_wholly_durable_once() {
    let told = |fill, settled| format::BlockHeader {
        device: 1,
        fill,
        block: 4,
        previous: Some(format::BlockFill {
            device: 1,
            block: 3,
            fill: 4,
        }),
        since: 1,
        settled,
    };
    let mut testimony = recover::Testimony::default();
    testimony.hear(&told(5, 4));
    assert!(!testimony.is_stale(1, 3, 2), "fill 4 may have been torn");
    testimony.hear(&told(6, 5));
    assert!(testimony.is_stale(1, 3, 2));
    assert!(!testimony.is_stale(1, 3, 4));
    assert!(!testimony.is_stale(1, 2, 2), "nothing is told of block 2");
}
