//! What a read from a device costs beside fio: index lookup, one device read, checksum.
//!
//! `cargo bench -p karst-storage --bench device_read -- --file PATH --gib 8 --depths 16,64,128`
//!
//! Fills a file with records by way of the log, as a node does (one namespace, nothing kept in
//! memory), then reads random records with a number of reads in flight, and runs fio on the same file
//! with the same size and depth before and after each. One thread, like one data core.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use karst_data::bin::BinRef;
use karst_data::flat::{Draft, Meta, Record};
use karst_data::key::{Digest, PartitionId};
use karst_data::value::ParticleType;
use karst_io::buffer::BufferPool;
use karst_io::device::{Device, OpenOptions};
use karst_io::op::{Completion, FileId, Op};
use karst_io::{Queue, QueueChoice};
use karst_storage::index::{Directory, EntryArena, Flags, HashKey, NewEntry};
use karst_storage::log::{
    DeviceGeometry, DeviceRead, DeviceWrite, Located, Log, LogConfig, Purpose,
};
use karst_storage::place::Version;
use parking_lot::Mutex;

const BLOCK_BYTES: u64 = 1 << 20;
const DEVICE_NUMBER: u64 = 0x4b52_5354;
const QUEUE_ENTRIES: u32 = 256;
/// Reads prepared before the kernel is entered. Few: with a shallow queue a device that waits for a
/// whole batch to be prepared stands idle.
const SUBMIT_EVERY: usize = 2;

struct Options {
    file: PathBuf,
    gib: u64,
    record_bytes: usize,
    depths: Vec<usize>,
    seconds: u64,
    queue: QueueChoice,
}

impl Options {
    fn from_arguments() -> Options {
        let mut options = Options {
            file: std::env::temp_dir().join("karst-device-read.dat"),
            gib: 8,
            record_bytes: 1500,
            depths: vec![16, 64, 128],
            seconds: 5,
            queue: QueueChoice::Auto,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().expect("every option has a value");
            match name.as_str() {
                "--file" => options.file = value().into(),
                "--gib" => options.gib = value().parse().expect("a number"),
                "--record-bytes" => options.record_bytes = value().parse().expect("a number"),
                "--seconds" => options.seconds = value().parse().expect("a number"),
                "--depths" => {
                    let depths = value();
                    options.depths = depths
                        .split(',')
                        .map(|depth| depth.parse().expect("numbers"))
                        .collect();
                }
                "--queue" if value() == "threads" => options.queue = QueueChoice::Threads,
                "--queue" | "--bench" => {}
                other => panic!("unknown option {other}"),
            }
        }
        options
    }
}

/// One namespace's index and log over one file.
struct Store {
    log: Log,
    partitions: Vec<Mutex<Directory>>,
    queue: Queue,
    buffers: BufferPool,
    records: u64,
}

fn digest(number: u64) -> Digest {
    let mut bytes = [0; 20];
    for (at, chunk) in bytes.chunks_mut(8).enumerate() {
        let word = mix(number.wrapping_mul(3) + at as u64).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    Digest(bytes)
}

/// The finaliser of splitmix64: every input bit changes every output bit.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

impl Store {
    fn open(options: &Options) -> Store {
        let size = options.gib << 30;
        let open = OpenOptions {
            size_bytes: Some(size),
            create: true,
            ..OpenOptions::default()
        };
        let device = Arc::new(Device::open(&options.file, &open).expect("the file opens"));
        let geometry = DeviceGeometry {
            number: DEVICE_NUMBER,
            blocks: (device.size_bytes() / BLOCK_BYTES) as u32 - 1,
            sector_bytes: device.sector_bytes(),
        };
        let config = LogConfig {
            on_devices: true,
            block_bytes: BLOCK_BYTES as u32,
            devices: vec![geometry],
            cores: 1,
            cache_bytes: 0,
            defrag_low_water_percent: 50,
        };
        let arena = Arc::new(EntryArena::new(64 << 20).expect("address space"));
        let _ = arena.advise_huge_pages();
        let directory = |id| Mutex::new(Directory::new(arena.clone(), HashKey([1, 2]), id));
        let (queue, refused) =
            Queue::probe(options.queue, QUEUE_ENTRIES, &[device]).expect("a queue");
        println!(
            "device queue: {} {}",
            queue.kind(),
            refused.map_or(String::new(), |why| why.to_string())
        );
        Store {
            log: Log::new(config).expect("enough blocks"),
            partitions: PartitionId::all().map(directory).collect(),
            queue,
            buffers: BufferPool::new(16 << 20),
            records: 0,
        }
    }

    /// Appends records until 90% of the file is full.
    fn fill(&mut self, options: &Options) {
        let lane = self.log.write_lane(0);
        let value = vec![0x5a; options.record_bytes - 80];
        let until = (options.gib << 30) * 9 / 10;
        let started = Instant::now();
        let mut bytes = 0;
        let mut writes = Writes::default();
        while bytes < until {
            let meta = Meta {
                digest: digest(self.records),
                generation: 1,
                void_time_s: 0,
                update_time_ms: 1,
                version: Version {
                    regime: 1,
                    sequence: self.records + 1,
                }
                .pack(),
                tombstone: false,
                over_tombstone: false,
                moves: 0,
            };
            let bin = BinRef {
                name: b"b",
                particle: ParticleType::Blob,
                value: &value,
            };
            let draft = Draft {
                meta,
                set: b"bench",
                key: None,
                bins: std::iter::once(bin),
            };
            let appended = self
                .log
                .append(
                    lane,
                    Purpose::Record,
                    draft.size_bytes(),
                    0,
                    |space, seal| {
                        draft.write(space, seal);
                    },
                )
                .expect("room");
            let entry = NewEntry {
                digest: meta.digest,
                place: appended.place,
                version: Version::unpack(meta.version),
                update_time_ms: 1,
                void_time_s: 0,
                generation: 1,
                set_id: 1,
                flags: Flags::NONE,
            };
            let partition = &self.partitions[meta.digest.partition().index()];
            partition.lock().insert(&entry).expect("room in the index");
            bytes += appended.place.length.bytes();
            self.records += 1;
            writes.pump(&self.log, &mut self.queue, 4);
        }
        self.log.flush(lane, u64::MAX);
        writes.pump(&self.log, &mut self.queue, 0);
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "filled {} records, {:.1} GiB in {seconds:.1} s ({:.0} MB/s)",
            self.records,
            bytes as f64 / (1u64 << 30) as f64,
            bytes as f64 / 1e6 / seconds
        );
    }

    /// Looks a record up and starts the one read that brings it.
    fn start(&mut self, ticket: u64) -> DeviceRead {
        let digest = digest(mix(ticket) % self.records);
        let partition = self.partitions[digest.partition().index()].lock();
        let entry = partition
            .get(&digest)
            .expect("every record is in the index");
        let Located::Device(read) = self.log.locate(entry.place()) else {
            panic!("nothing is kept in memory");
        };
        let buffer = self.buffers.take(read.bytes);
        let op = Op::Read {
            file: FileId(0),
            offset: read.offset,
            buffer,
        };
        assert!(
            self.queue.submit(ticket, op).is_ok(),
            "the queue is deeper than the benchmark"
        );
        read
    }

    /// Reads at one depth; returns reads per second and CPU seconds of this thread per read.
    fn read(&mut self, depth: usize, duration: Duration, seed: u64) -> (f64, f64) {
        let mut under_way: HashMap<u64, DeviceRead> = HashMap::with_capacity(depth * 2);
        let mut completions: Vec<Completion> = Vec::new();
        let (mut next, mut done, mut queued) = (seed << 40, 0u64, 0);
        let (started, cpu) = (Instant::now(), thread_cpu());
        while started.elapsed() < duration {
            while under_way.len() < depth {
                let read = self.start(next);
                under_way.insert(next, read);
                next += 1;
            }
            self.queue.flush().expect("the queue works");
            self.queue.reap(&mut completions);
            if completions.is_empty() {
                self.queue.wait(None).expect("the queue works");
                self.queue.reap(&mut completions);
            }
            for completion in completions.drain(..) {
                let read = under_way
                    .remove(&completion.ticket)
                    .expect("it was started");
                let read_again = self.start(next); // before the bytes are looked at
                under_way.insert(next, read_again);
                next += 1;
                queued += 1;
                if queued == SUBMIT_EVERY {
                    self.queue.flush().expect("the queue works");
                    queued = 0;
                }
                completion.outcome.expect("the read succeeds");
                let buffer = completion.buffer.expect("a read brings its buffer back");
                let seal = read.seal;
                let record = Record::parse(&buffer.as_slice()[read.skip..], &seal);
                let expected = digest(mix(completion.ticket) % self.records);
                assert_eq!(record.expect("a sound record").meta.digest, expected);
                self.buffers.give(buffer);
                done += 1;
            }
        }
        let (elapsed, cpu) = (started.elapsed().as_secs_f64(), thread_cpu() - cpu);
        while !under_way.is_empty() {
            self.queue.wait(None).expect("the queue works");
            self.queue.reap(&mut completions);
            for completion in completions.drain(..) {
                under_way.remove(&completion.ticket);
            }
        }
        (done as f64 / elapsed, cpu / done as f64)
    }
}

/// Writes that are out.
#[derive(Default)]
struct Writes {
    out: HashMap<u64, DeviceWrite>,
    ready: Vec<DeviceWrite>,
    next: u64,
}

impl Writes {
    /// Starts what the log has ready and waits until at most `out_max` are out.
    fn pump(&mut self, log: &Log, queue: &mut Queue, out_max: usize) {
        log.take_writes(log.write_lane(0), &mut self.ready);
        for write in self.ready.drain(..) {
            let op = Op::Write {
                file: FileId(0),
                offset: write.offset,
                source: write.source.clone(),
                range: write.range.clone(),
                durable: false,
            };
            assert!(queue.submit(self.next, op).is_ok(), "few writes are out");
            self.out.insert(self.next, write);
            self.next += 1;
        }
        let mut completions = Vec::new();
        while self.out.len() > out_max {
            queue.flush().expect("the queue works");
            queue.wait(None).expect("the queue works");
            queue.reap(&mut completions);
            for completion in completions.drain(..) {
                let write = self.out.remove(&completion.ticket).expect("it was started");
                log.written(&write, completion.outcome.is_ok());
            }
        }
    }
}

/// CPU seconds of this thread, user and system.
fn thread_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("procfs");
    let nanoseconds: u64 = stat
        .split(' ')
        .next()
        .and_then(|it| it.parse().ok())
        .expect("a number");
    nanoseconds as f64 / 1e9
}

/// Random reads by fio on the same file: IOPS and CPU seconds per read, or `None` without fio.
fn fio(options: &Options, depth: usize) -> Option<(f64, f64)> {
    let output = Command::new("fio")
        .arg("--name=read")
        .arg(format!("--filename={}", options.file.display()))
        .arg("--rw=randread")
        .arg("--direct=1")
        .arg("--ioengine=io_uring")
        .arg(format!(
            "--bs={}",
            options.record_bytes.next_multiple_of(512)
        ))
        .arg(format!("--iodepth={depth}"))
        .arg("--time_based")
        .arg(format!("--runtime={}", options.seconds))
        .arg("--norandommap")
        .arg("--randrepeat=0")
        .arg("--output-format=terse")
        .arg("--terse-version=3")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let fields: Vec<&str> = text
        .lines()
        .find(|line| line.starts_with("3;"))?
        .split(';')
        .collect();
    let iops: f64 = fields.get(7)?.parse().ok()?;
    let percent = |at: usize| -> Option<f64> { fields.get(at)?.trim_end_matches('%').parse().ok() };
    Some((iops, (percent(87)? + percent(88)?) / 100.0 / iops))
}

fn main() {
    let options = Options::from_arguments();
    let mut store = Store::open(&options);
    store.fill(&options);
    let duration = Duration::from_secs(options.seconds);
    println!("depth | fio before | karst reads/s | fio after | ratio | karst CPU us | fio CPU us");
    for depth in &options.depths {
        let before = fio(&options, *depth);
        let (reads, cpu) = store.read(*depth, duration, *depth as u64);
        let after = fio(&options, *depth);
        match (before, after) {
            (Some((before, _)), Some((after, fio_cpu))) => println!(
                "{depth:5} | {before:10.0} | {reads:13.0} | {after:9.0} | {:5.2} | {:12.2} | {:.2}",
                reads / ((before + after) / 2.0),
                cpu * 1e6,
                fio_cpu * 1e6
            ),
            _ => println!(
                "{depth:5} | no fio     | {reads:13.0} | | | {:.2}",
                cpu * 1e6
            ),
        }
    }
}
