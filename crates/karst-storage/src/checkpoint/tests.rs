use karst_data::key::KeyBytes;

use super::*;
use crate::log::DeviceGeometry;
use crate::place::{DeviceId, Rblocks};

const BLOCK_BYTES: u32 = 64 << 10;

fn log() -> LogConfig {
    let device = |number| DeviceGeometry {
        number,
        blocks: 20,
        sector_bytes: 512,
    };
    LogConfig {
        on_devices: true,
        block_bytes: BLOCK_BYTES,
        devices: vec![device(11), device(12)],
        cores: 1,
        cache_bytes: 0,
        defrag_low_water_percent: 50,
    }
}

fn front() -> Front {
    Front::of(*b"0123456789abcdef", "test", &log(), 77)
}

fn entry(key: i64) -> NewEntry {
    NewEntry {
        digest: Digest::of(b"demo", KeyBytes::Integer(key)),
        place: Place {
            device: DeviceId((key % 2) as u8),
            start: Rblocks((1 + key as u64 % 20) * u64::from(BLOCK_BYTES) / RBLOCK_BYTES + 4),
            length: Rblocks(7),
        },
        version: Version {
            regime: 1,
            sequence: 1 + key as u64,
        },
        update_time_ms: (1 << 40) - 1 - key as u64,
        void_time_s: key as u32,
        generation: 1 + key as u16,
        set_id: 1,
        flags: Flags::NONE.when(Flags::TOMBSTONE, key % 3 == 0),
    }
}

fn sequences() -> Vec<u64> {
    (0..PARTITIONS as u64)
        .map(|partition| partition * 3)
        .collect()
}

/// A small checkpoint, its bytes taken piece by piece.
fn sample() -> Vec<u8> {
    let mut encoder = Encoder::new(&front());
    let mut file = encoder.take();
    for device in 0..2 {
        encoder.fills(device, &[5, 6 | SCAN, 0]);
    }
    for key in 0..40 {
        encoder.partition(entry(key).digest.partition(), &[entry(key)]);
        file.extend(encoder.take());
    }
    encoder.sets([&b"demo"[..], b"other"].into_iter());
    encoder.finish(&sequences());
    file.extend(encoder.take());
    file
}

/// Everything in a checkpoint.
type Read = (Vec<(u16, Vec<u64>)>, Vec<NewEntry>, Vec<Vec<u8>>, Vec<u64>);

fn read(file: &[u8]) -> Result<Read, Unusable> {
    let (found, checksum) = Front::parse(file)?;
    found.check(&front())?;
    let end = file
        .len()
        .checked_sub(FOOTER_BYTES)
        .ok_or(Unusable::Damaged("short"))?;
    let footer = Footer::parse(&file[end..], file.len() as u64, checksum)?;
    let table = Table::parse(&footer, &file[footer.table as usize..end])?;
    let mut read = Read::default();
    for at in &table.chunks {
        let bytes = file.get(at.offset as usize..at.offset as usize + at.bytes as usize);
        let payload = payload(at, bytes.unwrap_or_default())?;
        match at.kind {
            Kind::Fills => read.0.push((at.of, fills(at, payload)?)),
            Kind::Entries => read.1.extend(entries(at, payload, &log())?),
            Kind::Sets => read.2 = sets(at, payload)?,
            Kind::Table => return Err(Unusable::Damaged("a table in the table")),
        }
    }
    assert_eq!(footer.entries, read.1.len() as u64);
    read.3 = table.sequences;
    Ok(read)
}

#[test]
fn a_checkpoint_gives_back_what_was_put_in() {
    let (blocks, entries, sets, found) = read(&sample()).unwrap();
    let fills = vec![5, 6 | SCAN, 0];
    assert_eq!(blocks, [(0, fills.clone()), (1, fills)]);
    assert_eq!(entries, (0..40).map(entry).collect::<Vec<_>>());
    assert_eq!(sets, [b"demo".to_vec(), b"other".to_vec()]);
    assert_eq!(found, sequences());
}

#[test]
fn any_flipped_bit_and_any_cut_makes_a_checkpoint_unusable() {
    let sound = sample();
    for at in 0..sound.len() {
        let mut changed = sound.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(read(&changed).is_err(), "byte {at}");
    }
    for bytes in 0..sound.len() {
        assert!(read(&sound[..bytes]).is_err(), "cut to {bytes} bytes");
    }
}

#[test]
fn chunks_that_changed_places_are_noticed() {
    let mut file = sample();
    let (_, checksum) = Front::parse(&file).unwrap();
    let end = file.len() - FOOTER_BYTES;
    let footer = Footer::parse(&file[end..], file.len() as u64, checksum).unwrap();
    let table = Table::parse(&footer, &file[footer.table as usize..end]).unwrap();
    let same = |at: &&ChunkRef| at.kind == Kind::Entries;
    let [one, other] = [0, 1].map(|n| table.chunks.iter().filter(same).nth(n).unwrap());
    assert_eq!(one.bytes, other.bytes);
    for at in 0..one.bytes as usize {
        file.swap(one.offset as usize + at, other.offset as usize + at);
    }
    assert_eq!(read(&file), Err(Unusable::Damaged("one of its chunks")));
}

#[test]
fn a_checkpoint_of_other_devices_or_of_another_namespace_is_refused() {
    let (found, _) = Front::parse(&sample()).unwrap();
    assert_eq!(
        found.check(&Front {
            fills: 0,
            ..front()
        }),
        Ok(())
    );
    let mut devices = front().devices;
    devices.swap(0, 1);
    for other in [
        Front {
            cluster: [1; 16],
            ..front()
        },
        Front {
            namespace: "best".into(),
            ..front()
        },
        Front {
            block_bytes: 1 << 20,
            ..front()
        },
        Front { devices, ..front() },
    ] {
        assert!(
            matches!(found.check(&other), Err(Unusable::Foreign(_))),
            "{other:?}"
        );
    }
}

#[test]
fn an_entry_that_points_outside_of_blocks_is_refused() {
    let good = entry(3);
    let encoded = |entry: &NewEntry| {
        let mut out = Vec::new();
        encode_entry(entry, &mut out);
        let at = ChunkRef {
            offset: 0,
            bytes: 0,
            items: 1,
            kind: Kind::Entries,
            of: good.digest.partition().index() as u16,
        };
        entries(&at, &out, &log())
    };
    assert_eq!(encoded(&good), Ok(vec![good]));
    let block = Rblocks(u64::from(BLOCK_BYTES) / RBLOCK_BYTES);
    for (device, start, length) in [
        (2, good.place.start, good.place.length),   // no such device
        (0, Rblocks(4), good.place.length),         // before the first block
        (0, Rblocks(21 * block.0 + 4), Rblocks(7)), // behind the last
        (0, block, Rblocks(7)),                     // over the block's header
        (0, Rblocks(block.0 + 4), Rblocks(0)),      // nothing
        (0, Rblocks(block.0 + 4), block),           // across the end
    ] {
        let place = Place {
            device: DeviceId(device),
            start,
            length,
        };
        assert!(encoded(&NewEntry { place, ..good }).is_err(), "{place:?}");
    }
    let elsewhere = Digest::of(b"demo", KeyBytes::Integer(4));
    assert!(
        encoded(&NewEntry {
            digest: elsewhere,
            ..good
        })
        .is_err()
    );
}
