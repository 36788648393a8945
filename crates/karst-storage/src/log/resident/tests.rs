use super::*;
use crate::log::tests::*;
use crate::log::{Located, Purpose};

/// A log of an earlier run: three full blocks on the device.
fn recovered_resident(device: &[u8]) -> Log {
    let mut log = Log::new(config(true, 1)).unwrap();
    log.set_resident(true);
    for block in 0..12 {
        let id = block_id(block);
        let (offset, size) = log.block_extent(id);
        let bytes = &device[offset as usize..offset as usize + size];
        let scanned = log.recover_block(id, bytes, None).into_iter().flatten();
        for record in scanned.filter_map(Scanned::record) {
            log.claim(record.place);
        }
    }
    log.finish_recovery();
    log
}

fn filled() -> Vec<u8> {
    let mut device = blank_device();
    let log = Log::new(config(true, 1)).unwrap();
    for mark in 1..=4 {
        put(&log, mark, 9000);
    }
    settle(&log, &mut device);
    device
}

fn load(log: &Log, block: u32, device: &[u8]) -> Loaded {
    let id = block_id(block);
    let Some(fill) = log.wants_loading(id) else {
        return Loaded::Superseded;
    };
    let (offset, size) = log.block_extent(id);
    log.load_block(id, fill, &device[offset as usize..offset as usize + size])
}

#[test]
fn what_is_written_stays_in_memory_and_what_lies_on_the_device_comes_there() {
    let device = filled();
    let log = recovered_resident(&device);
    for block in 0..3 {
        assert_eq!(load(&log, block, &device), Loaded::Yes);
        assert_eq!(log.wants_loading(block_id(block)), None);
    }
    let mut device = device;
    for mark in 10..14 {
        let place = put(&log, mark, 9000).place;
        settle(&log, &mut device);
        assert!(matches!(log.locate(place), Located::Memory(_)));
    }
    assert_eq!(load(&log, 9, &device), Loaded::Superseded, "it is free");
}

#[test]
fn a_damaged_block_stays_on_its_device_where_its_records_are_checked() {
    let mut device = filled();
    device[BLOCK_BYTES as usize + 3000] ^= 1;
    let log = recovered_resident(&device);
    assert_eq!(
        load(&log, 0, &device),
        Loaded::Superseded,
        "nothing is live in it"
    );
    let mut device = filled();
    let log = recovered_resident(&device);
    device[BLOCK_BYTES as usize + 3000] ^= 1;
    assert_eq!(load(&log, 0, &device), Loaded::Damaged);
}

#[test]
fn a_block_that_was_emptied_while_it_was_read_does_not_come_into_memory() {
    let device = filled();
    let log = recovered_resident(&device);
    let id = block_id(0);
    let fill = log.wants_loading(id).unwrap();
    let (offset, size) = log.block_extent(id);
    let bytes = &device[offset as usize..offset as usize + size];
    let place = log
        .scan_block(id, bytes)
        .find_map(Scanned::record)
        .unwrap()
        .place;
    log.release(place);
    assert_eq!(log.load_block(id, fill, bytes), Loaded::Superseded);
}

#[test]
fn memory_of_an_emptied_block_is_used_for_another() {
    let mut log = Log::new(config(true, 1)).unwrap();
    log.set_resident(true);
    let mut device = blank_device();
    for round in 0..60 {
        let appended = log.append(LANE, Purpose::Record, 9000, round, |space, _| space.fill(1));
        settle(&log, &mut device);
        log.release(appended.unwrap().place);
    }
    let resident = (0..12).filter(|block| log.block_in_memory(block_id(*block)).is_some());
    assert!(resident.count() <= 2);
}
