//! What it costs to bring a record into its stored form and back, by option.
//!
//! `cargo bench -p karst-storage --bench codec -- --value-bytes 1000`
//!
//! A record with one bin, half of whose value is text that packs and half noise that does not, is appended
//! to a log in memory (seal: layout, packing, encryption, checksums and the copy into the block) and read
//! back as it is from a device, checksums included (open). Single-threaded, everything in the cache.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::time::Instant;

use karst_data::bin::BinRef;
use karst_data::flat::{Draft, Meta, Seal};
use karst_data::key::Digest;
use karst_data::value::ParticleType;
use karst_storage::log::codec::{Codec, Compression, MasterKey, Opened};
use karst_storage::log::{DeviceGeometry, Located, Log, LogConfig, Purpose};

const ROUNDS: usize = 200_000;
const DEVICE: u64 = 7;
const BLOCK_BYTES: u32 = 1 << 20;

fn main() {
    let value_bytes = value_bytes_from(std::env::args().skip(1));
    let key = MasterKey([7; 32]);
    println!("{value_bytes}-byte value, ns per record, single-threaded");
    println!(
        "{:<20} {:>8} {:>8} {:>14}",
        "", "seal", "open", "stored bytes"
    );
    let forms = [
        ("none", Compression::None, None),
        ("lz4", Compression::Lz4, None),
        ("zstd 1", Compression::Zstd(1), None),
        ("zstd 3", Compression::Zstd(3), None),
        ("zstd 9", Compression::Zstd(9), None),
        ("encrypted", Compression::None, Some(&key)),
        ("lz4, encrypted", Compression::Lz4, Some(&key)),
        ("zstd 3, encrypted", Compression::Zstd(3), Some(&key)),
    ];
    for (name, compression, key) in forms {
        let codec = || Codec::new(compression, key, &[DEVICE], BLOCK_BYTES as usize);
        let (seal_ns, open_ns, stored) = measure(codec, value_bytes);
        println!("{name:<20} {seal_ns:>8.0} {open_ns:>8.0} {stored:>14}");
    }
}

fn value_bytes_from(mut arguments: impl Iterator<Item = String>) -> usize {
    while let Some(argument) = arguments.next() {
        if argument == "--value-bytes" {
            return arguments
                .next()
                .and_then(|bytes| bytes.parse().ok())
                .expect("a number of bytes");
        }
    }
    1000
}

/// Half text, half noise.
fn value(bytes: usize) -> Vec<u8> {
    let text = b"{\"name\":\"Reykjavik\",\"country\":\"IS\",\"population\":118918} ";
    let mut state = 1u64;
    let mut noise = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 33) as u8
    };
    let byte = |at: usize| {
        if (at / 64).is_multiple_of(2) {
            text[at % text.len()]
        } else {
            noise()
        }
    };
    (0..bytes).map(byte).collect()
}

fn log() -> Log {
    let log = Log::new(LogConfig {
        on_devices: false,
        block_bytes: BLOCK_BYTES,
        devices: vec![DeviceGeometry {
            number: DEVICE,
            blocks: 32,
            sector_bytes: 512,
        }],
        cores: 1,
        cache_bytes: 0,
        defrag_low_water_percent: 50,
    });
    log.expect("a log of 32 blocks")
}

fn measure(codec: impl Fn() -> Codec, value_bytes: usize) -> (f64, f64, u64) {
    let mut log = log();
    log.set_codec(codec());
    let value = value(value_bytes);
    let draft = Draft {
        meta: Meta {
            digest: Digest([5; 20]),
            generation: 1,
            void_time_s: 0,
            update_time_ms: 1,
            version: [1; 10],
            tombstone: false,
            over_tombstone: false,
            moves: 0,
        },
        set: b"bench",
        key: None,
        bins: std::iter::once(BinRef {
            name: b"b",
            particle: ParticleType::Blob,
            value: &value,
        }),
    };
    let lane = log.write_lane(0);
    let append = || {
        let appended = log.append_record(lane, Purpose::Record, 0, &draft, 0);
        appended.expect("room").place
    };
    let started = Instant::now();
    for _ in 0..ROUNDS {
        log.release(append());
    }
    let seal_ns = started.elapsed().as_nanos() as f64 / ROUNDS as f64;
    let place = append();
    let seal: Seal = log.seal(place);
    let Located::Memory(resident) = log.locate(place) else {
        panic!("the log is in memory");
    };
    let started = Instant::now();
    for _ in 0..ROUNDS {
        let opened = Opened::default();
        let record = log.codec().open(resident.bytes(), &seal, &opened);
        black_box(record.expect("it is sound").bin(b"b"));
    }
    let open_ns = started.elapsed().as_nanos() as f64 / ROUNDS as f64;
    (seal_ns, open_ns, place.length.bytes())
}
