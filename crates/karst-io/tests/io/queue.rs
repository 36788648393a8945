//! Both kinds of queue run this table: what is true of one is true of the other.

use std::path::Path;
use std::sync::Arc;

use karst_io::buffer::{AlignedBuffer, AppendBuffer};
use karst_io::device::{Device, OpenOptions};
use karst_io::op::{AttemptKind, FileId, IoCause, Op};
use karst_io::{Queue, QueueChoice, QueueKind};

use crate::{BLOCK, FILE, Loop, device, finish, marked, read, run, write};

/// Runs `promise` with a fresh device of `blocks` blocks, once per kind of queue this machine has.
fn on_both(blocks: usize, entries: u32, promise: impl Fn(&mut Queue, &Arc<Device>)) {
    for choice in [QueueChoice::Auto, QueueChoice::Threads] {
        let folder = tempfile::tempdir().unwrap();
        let device = device(folder.path(), blocks);
        let (mut queue, refused) = queue(choice, entries, &[Arc::clone(&device)]);
        println!("queue: {}, direct: {}", queue.kind(), device.is_direct());
        assert_eq!(
            refused,
            queue.kind() == QueueKind::Threads && choice == QueueChoice::Auto
        );
        promise(&mut queue, &device);
    }
}

fn queue(choice: QueueChoice, entries: u32, devices: &[Arc<Device>]) -> (Queue, bool) {
    let (queue, refused) = Queue::probe(choice, entries, devices).unwrap();
    (queue, refused.is_some())
}

#[test]
fn what_was_written_is_read_back() {
    on_both(8, 4, |queue, _| {
        let source = marked(8);
        assert_eq!(run(queue, write(&source, 5, false)).outcome, Ok(()));
        assert_eq!(run(queue, Op::Sync { file: FILE }).outcome, Ok(()));
        let completion = run(queue, read(4, 2));
        assert_eq!(completion.outcome, Ok(()));
        let buffer = completion.buffer.expect("a read returns its buffer");
        let (before, written) = buffer.as_slice().split_at(BLOCK);
        assert_eq!(before, [0; BLOCK], "a new file reads as zeros");
        assert_eq!(written, [6; BLOCK]);
    });
}

#[test]
fn each_of_many_in_flight_completes_once_with_its_own_bytes() {
    const BLOCKS: usize = 64;
    on_both(BLOCKS, BLOCKS as u32, |queue, _| {
        let source = marked(BLOCKS);
        for block in 0..BLOCKS {
            queue
                .submit(block as u64, write(&source, block, block % 2 == 0))
                .unwrap();
        }
        assert_eq!(queue.in_flight(), BLOCKS);
        assert!(
            finish(queue)
                .iter()
                .all(|completion| completion.outcome == Ok(()))
        );
        for round in 0..8 {
            for block in 0..BLOCKS {
                queue
                    .submit(block as u64, read((block + round) % BLOCKS, 1))
                    .unwrap();
            }
            let completions = finish(queue);
            assert_eq!(completions.len(), BLOCKS);
            for (block, completion) in completions.into_iter().enumerate() {
                assert_eq!(
                    (completion.ticket, completion.outcome),
                    (block as u64, Ok(()))
                );
                let mark = ((block + round) % BLOCKS) as u8 + 1;
                assert_eq!(completion.buffer.unwrap().as_slice(), [mark; BLOCK]);
            }
        }
    });
}

#[test]
fn a_durable_write_is_on_the_device_when_it_completes() {
    on_both(4, 4, |queue, device| {
        assert_eq!(run(queue, write(&marked(4), 2, true)).outcome, Ok(()));
        let mut buffer = AlignedBuffer::with_capacity(BLOCK);
        device.read_at(2 * BLOCK as u64, &mut buffer).unwrap();
        assert_eq!(buffer.as_slice(), [3; BLOCK]);
    });
}

#[test]
fn durable_writes_and_syncs_and_only_those_flush_the_device() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("disk");
    std::fs::write(&file, vec![0; 4 * BLOCK]).unwrap();
    let Some(disk) = Loop::over(&file) else {
        println!("skipped: loop devices are not to be had here");
        return;
    };
    let name = disk.0.file_name().unwrap().to_str().unwrap();
    let statistics = format!("/sys/block/{name}/stat");
    let flushes = || -> u64 {
        let numbers = std::fs::read_to_string(&statistics).unwrap();
        numbers.split_whitespace().nth(15).unwrap().parse().unwrap()
    };
    for choice in [QueueChoice::Auto, QueueChoice::Threads] {
        let device = Arc::new(Device::open(&disk.0, &OpenOptions::default()).unwrap());
        let (mut queue, _) = queue(choice, 4, &[device]);
        let source = marked(4);
        let mut flushed = |op| {
            let before = flushes();
            assert_eq!(run(&mut queue, op).outcome, Ok(()));
            flushes() > before
        };
        assert!(
            !flushed(write(&source, 0, false)),
            "{choice:?}: a plain write"
        );
        assert!(!flushed(read(0, 1)), "{choice:?}: a read");
        assert!(
            flushed(write(&source, 1, true)),
            "{choice:?}: a durable write"
        );
        assert!(flushed(Op::Sync { file: FILE }), "{choice:?}: a sync");
    }
}

#[test]
fn a_read_that_meets_the_end_fails_and_returns_its_buffer() {
    on_both(4, 4, |queue, _| {
        let partly = run(queue, read(3, 2));
        let failure = partly.outcome.unwrap_err();
        assert_eq!((failure.cause, failure.done), (IoCause::EndOfDevice, BLOCK));
        assert_eq!(
            (failure.attempt.kind, failure.attempt.bytes),
            (AttemptKind::Read, 2 * BLOCK)
        );
        assert_eq!(partly.buffer.unwrap().len(), 2 * BLOCK);
        let beyond = run(queue, read(100, 1)).outcome.unwrap_err();
        assert_eq!((beyond.cause, beyond.done), (IoCause::EndOfDevice, 0));
        for offset in [u64::MAX, i64::MAX as u64, 1 << 63] {
            let buffer = AlignedBuffer::with_capacity(BLOCK);
            let op = Op::Read {
                file: FILE,
                offset,
                buffer,
            };
            let refused = run(queue, op).outcome.unwrap_err();
            assert_eq!(refused.errno(), Some(libc::EINVAL), "{refused}");
        }
    });
}

#[test]
fn a_read_of_nothing_succeeds() {
    on_both(1, 1, |queue, _| {
        let completion = run(queue, read(0, 0));
        assert_eq!(completion.outcome, Ok(()));
        assert_eq!(completion.buffer.unwrap().len(), 0);
    });
}

#[test]
fn a_full_queue_hands_the_operation_back_and_takes_it_after_a_reap() {
    on_both(8, 2, |queue, _| {
        assert_eq!(queue.depth(), 2);
        queue.submit(1, read(1, 1)).unwrap();
        queue.submit(2, read(2, 1)).unwrap();
        let refused = queue.submit(3, read(3, 1)).unwrap_err();
        let Op::Read { offset, buffer, .. } = &refused else {
            panic!("another operation came back")
        };
        assert_eq!((*offset, buffer.len()), (3 * BLOCK as u64, BLOCK));
        assert_eq!(finish(queue).len(), 2);
        assert_eq!(run(queue, refused).outcome, Ok(()));
    });
}

#[test]
fn dropping_a_queue_finishes_what_was_submitted_and_frees_all_it_held() {
    const BLOCKS: usize = 32;
    for choice in [QueueChoice::Auto, QueueChoice::Threads] {
        for flushed in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let device = device(folder.path(), BLOCKS);
            let source = marked(BLOCKS);
            let (mut queue, _) = queue(choice, BLOCKS as u32 * 2, &[Arc::clone(&device)]);
            for block in 0..BLOCKS {
                queue.submit(0, write(&source, block, true)).unwrap();
                queue.submit(1, read(block, 1)).unwrap();
            }
            if flushed {
                queue.flush().unwrap();
            }
            drop(queue);
            assert_eq!(Arc::strong_count(&source), 1, "{choice:?}");
            assert_eq!(Arc::strong_count(&device), 1, "{choice:?}");
            let mut buffer = AlignedBuffer::with_capacity(BLOCKS * BLOCK);
            device.read_at(0, &mut buffer).unwrap();
            assert_eq!(
                buffer.as_slice(),
                source.bytes(0..BLOCKS * BLOCK).unwrap(),
                "{choice:?}"
            );
            let path = device.path().to_owned();
            drop(device);
            let lock = std::fs::File::open(path).unwrap().try_lock();
            assert!(
                lock.is_ok(),
                "{choice:?}: the queue still holds the device's lock"
            );
        }
    }
}

#[test]
fn operations_reach_the_device_they_name() {
    for choice in [QueueChoice::Auto, QueueChoice::Threads] {
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let devices = folders.each_ref().map(|folder| device(folder.path(), 4));
        let (mut queue, _) = queue(choice, 8, &devices);
        for number in 0..3u16 {
            let range = usize::from(number) * BLOCK..(usize::from(number) + 1) * BLOCK;
            let (file, source) = (FileId(number), marked(4));
            let op = Op::Write {
                file,
                offset: 0,
                source,
                range,
                durable: true,
            };
            queue.submit(number.into(), op).unwrap();
        }
        assert!(
            finish(&mut queue)
                .iter()
                .all(|completion| completion.outcome == Ok(()))
        );
        for (number, device) in devices.iter().enumerate() {
            let mut buffer = AlignedBuffer::with_capacity(BLOCK);
            device.read_at(0, &mut buffer).unwrap();
            assert_eq!(buffer.as_slice(), [number as u8 + 1; BLOCK], "{choice:?}");
        }
    }
}

#[test]
fn a_refused_write_reports_the_errno_and_is_not_repeated() {
    for choice in [QueueChoice::Auto, QueueChoice::Threads] {
        let folder = tempfile::tempdir().unwrap();
        drop(device(folder.path(), 4));
        let device = read_only(folder.path());
        let (mut queue, _) = queue(choice, 4, &[device]);
        for durable in [false, true] {
            let failure = run(&mut queue, write(&marked(4), 0, durable))
                .outcome
                .unwrap_err();
            assert_eq!(failure.errno(), Some(libc::EBADF), "{choice:?}: {failure}");
            assert_eq!(failure.attempt.offset, 0);
        }
    }
}

fn read_only(folder: &Path) -> Arc<Device> {
    let options = OpenOptions {
        read_only: true,
        ..OpenOptions::default()
    };
    Arc::new(Device::open(folder.join("device"), &options).unwrap())
}

#[test]
fn a_queue_without_devices_works() {
    for choice in [QueueChoice::Auto, QueueChoice::Threads] {
        let (mut queue, _) = queue(choice, 4, &[]);
        queue.flush().unwrap();
        assert!(finish(&mut queue).is_empty(), "{choice:?}");
    }
}

#[test]
fn only_our_own_mistakes_are_asserted_and_before_they_reach_a_device() {
    let folder = tempfile::tempdir().unwrap();
    let device = device(folder.path(), 4);
    let source = Arc::new(AppendBuffer::new(8 * BLOCK).unwrap());
    source.append(5 * BLOCK, |room| room.fill(1)).unwrap();
    let op = |file, offset, blocks| {
        let (source, range) = (Arc::clone(&source), 0..blocks * BLOCK);
        Op::Write {
            file,
            offset,
            source,
            range,
            durable: false,
        }
    };
    let mistakes: [(&str, &dyn Fn() -> Op); 4] = [
        ("an unknown device", &|| op(FileId(1), 0, 1)),
        ("bytes that were not appended", &|| op(FILE, 0, 6)),
        ("past the end", &|| op(FILE, 0, 5)),
        ("past every end", &|| op(FILE, u64::MAX, 1)),
    ];
    for choice in [QueueChoice::Auto, QueueChoice::Threads] {
        for (mistake, op) in mistakes {
            let (mut queue, _) = queue(choice, 4, &[Arc::clone(&device)]);
            let accepted = std::panic::AssertUnwindSafe(|| queue.submit(0, op()).is_ok());
            assert!(
                std::panic::catch_unwind(accepted).is_err(),
                "{choice:?}: {mistake}"
            );
        }
    }
    assert_eq!(
        std::fs::metadata(device.path()).unwrap().len(),
        4 * BLOCK as u64
    );
}

#[test]
fn a_queue_may_be_made_on_one_thread_and_used_on_another() {
    on_both(4, 4, |queue, _| {
        std::thread::scope(|scope| {
            let used = scope.spawn(|| {
                assert_eq!(run(queue, write(&marked(4), 1, true)).outcome, Ok(()));
                run(queue, read(1, 1)).buffer.unwrap().as_slice()[0]
            });
            assert_eq!(used.join().unwrap(), 2);
        });
    });
}
