//! A record as a device returns it.
//!
//! Random bytes never have the right checksum, so each input is tried twice: as it is, and with its
//! checksum made right. The second way stands for a record that some other version wrote.

use karst_data::bin::{BinRef, NAME_BYTES_MAX};
use karst_data::flat::{BINS_MAX, Draft, Form, Record, Seal, reseal, size_of_record_at};
use karst_data::time::UPDATE_TIME_MS_MAX;
use karst_storage::log::codec::{Codec, Compression, MasterKey, Opened};

/// The largest record that the target's namespace would have.
const UNPACKED_BYTES_MAX: usize = 1 << 16;

/// Where the records of this target lie.
pub const SEAL: Seal = Seal {
    device: 7,
    fill: 3,
    start: 4096,
};

/// Takes `bytes` for what was read from a device at the place of [`SEAL`].
pub fn check(bytes: &[u8]) {
    if let Ok(record) = Record::parse(bytes, &SEAL) {
        look(&record, bytes.len());
    }
    if let Ok(record) = Record::parse_unsealed(bytes) {
        look(&record, bytes.len());
    }
    let mut sealed = bytes.to_vec();
    if reseal(&mut sealed, &SEAL).is_err() {
        assert!(Record::parse(bytes, &SEAL).is_err());
        return;
    }
    let elsewhere = Seal {
        start: SEAL.start + 16,
        ..SEAL
    };
    assert!(
        Record::parse(&sealed, &elsewhere).is_err(),
        "a record is valid only at its place"
    );
    open(&sealed);
    let Ok(record) = Record::parse(&sealed, &SEAL) else {
        return;
    };
    look(&record, sealed.len());
    if record.validate().is_ok() && within_limits(&record) {
        rewrite(&record);
    }
}

/// Takes the bytes for a record in any form: what unpacks to more than it may is refused before there is
/// memory for it, and what is opened is a record like any other.
fn open(sealed: &[u8]) {
    let key = MasterKey([7; 32]);
    let codec = Codec::new(
        Compression::None,
        Some(&key),
        &[SEAL.device],
        UNPACKED_BYTES_MAX,
    );
    let opened = Opened::default();
    let _ = codec.header(sealed, &SEAL);
    if let Ok(record) = codec.open(sealed, &SEAL, &opened) {
        look(&record, UNPACKED_BYTES_MAX.max(sealed.len()));
        if let Ok(form) = Form::check(sealed, &SEAL) {
            let facts = codec.facts(&form, sealed, &SEAL);
            assert_eq!(facts.expect("it was opened"), record.facts());
        }
    }
}

/// Asks a record everything that the engine asks.
fn look(record: &Record<'_>, bytes: usize) {
    let bins: Vec<BinRef<'_>> = record
        .bins()
        .take(usize::from(record.bin_count()) + 1)
        .collect();
    assert!(
        bins.len() <= usize::from(record.bin_count()),
        "bins do not end"
    );
    let handed_out: usize = bins
        .iter()
        .map(|bin| bin.name.len() + bin.value.len() + 3)
        .sum();
    let key = record.key.map_or(0, <[u8]>::len);
    assert!(handed_out + key + record.set.len() <= bytes);
    for bin in &bins {
        let first = record
            .bin(bin.name)
            .expect("a bin that is there has a name");
        assert_eq!(first.name, bin.name);
    }
    if record.validate().is_ok() {
        assert_eq!(bins.len(), usize::from(record.bin_count()));
    }
}

/// Whether the record is one that [`Draft::write`] accepts; the reader is more generous.
fn within_limits(record: &Record<'_>) -> bool {
    record.meta.update_time_ms <= UPDATE_TIME_MS_MAX
        && usize::from(record.bin_count()) <= BINS_MAX
        && record.bins().all(|bin| bin.name.len() <= NAME_BYTES_MAX)
}

/// Writes a record again, as an update that changes nothing would, and reads it back.
fn rewrite(record: &Record<'_>) {
    let draft = Draft {
        meta: record.meta,
        set: record.set,
        key: record.key,
        bins: record.bins(),
    };
    let mut bytes = vec![0; draft.size_bytes()];
    assert_eq!(draft.write(&mut bytes, &SEAL), bytes.len());
    assert_eq!(size_of_record_at(&bytes), Ok(bytes.len()));
    let again = Record::parse(&bytes, &SEAL).expect("it was just written");
    again.validate().expect("it was just written");
    assert_eq!(
        (again.meta, again.set, again.key),
        (record.meta, record.set, record.key)
    );
    assert!(again.bins().eq(record.bins()));
}
