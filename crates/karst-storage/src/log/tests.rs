use super::*;

const BLOCK_BYTES: u32 = 16 << 10;
const LANE: LaneId = LaneId(0);

fn config(on_devices: bool, devices: u64) -> LogConfig {
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

#[test]
fn too_few_blocks_for_the_cores_is_an_error_at_start() {
    let mut small = config(true, 1);
    small.devices[0].blocks = 5;
    assert!(matches!(
        Log::new(small),
        Err(LayoutError::Blocks { found: 5, .. })
    ));
}

mod devices;
