//! Opening devices: what is made, what is kept, what is refused.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use karst_io::buffer::AlignedBuffer;
use karst_io::device::{Device, OpenError, OpenOptions};
use karst_io::{Queue, QueueChoice};
use rustix::fs::SeekFrom;

use crate::{BLOCK, Loop, read};

const MIB: u64 = 1 << 20;

fn create(size_bytes: u64) -> OpenOptions {
    OpenOptions {
        size_bytes: Some(size_bytes),
        create: true,
        ..OpenOptions::default()
    }
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device");
    let first = Device::open(&path, &create(MIB)).unwrap();
    let read_only = OpenOptions {
        read_only: true,
        ..OpenOptions::default()
    };
    for options in [create(MIB), OpenOptions::default(), read_only] {
        let refused = Device::open(&path, &options).unwrap_err();
        assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
        assert!(refused.to_string().contains("in use"), "{refused}");
        assert!(refused.to_string().contains("device"), "{refused}");
    }
    Device::open(
        &path,
        &OpenOptions {
            lock: false,
            ..read_only
        },
    )
    .unwrap();
    drop(first);
    let lookers = [(); 2].map(|()| Device::open(&path, &read_only).unwrap());
    assert!(matches!(
        Device::open(&path, &create(MIB)),
        Err(OpenError::InUse { .. })
    ));
    drop(lookers);
    Device::open(&path, &create(MIB)).unwrap();
}

#[test]
fn a_created_file_has_all_its_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open(folder.path().join("device"), &create(8 * MIB)).unwrap();
    let found = fs::metadata(device.path()).unwrap();
    assert_eq!((device.size_bytes(), found.len()), (8 * MIB, 8 * MIB));
    assert!(
        found.blocks() * 512 >= 8 * MIB,
        "{} blocks of 512 bytes",
        found.blocks()
    );
    assert!(!device.is_block_device());
}

#[test]
fn a_file_is_extended_but_never_cut_and_keeps_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device");
    let mut buffer = AlignedBuffer::with_capacity(BLOCK);
    buffer.as_mut_slice().fill(9);
    let last_block = MIB - BLOCK as u64;
    for (asked, expected) in [(MIB, MIB), (2 * MIB, 2 * MIB), (MIB, 2 * MIB)] {
        let device = Device::open(&path, &create(asked)).unwrap();
        assert_eq!(device.size_bytes(), expected);
        if asked == expected && asked == MIB {
            device.write_at_durable(last_block, &buffer).unwrap();
        }
        buffer.as_mut_slice().fill(0);
        device.read_at(last_block, &mut buffer).unwrap();
        assert_eq!(buffer.as_slice(), [9; BLOCK], "asked for {asked}");
    }
    let as_it_is = Device::open(&path, &OpenOptions::default()).unwrap();
    assert_eq!(as_it_is.size_bytes(), 2 * MIB);
}

#[test]
fn nothing_is_created_unless_asked_for_with_a_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device");
    let whole = create(MIB);
    for options in [
        OpenOptions {
            create: false,
            ..whole
        },
        OpenOptions {
            size_bytes: None,
            ..whole
        },
        OpenOptions {
            read_only: true,
            ..whole
        },
    ] {
        let refused = Device::open(&path, &options).unwrap_err();
        assert!(matches!(refused, OpenError::System { .. }), "{refused}");
        assert!(!path.exists());
    }
}

#[test]
fn a_read_only_opener_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device");
    fs::write(&path, vec![7; 2 * BLOCK]).unwrap();
    let options = OpenOptions {
        read_only: true,
        ..create(MIB)
    };
    let device = Device::open(&path, &options).unwrap();
    assert_eq!(device.size_bytes(), 2 * BLOCK as u64);
    let failure = device
        .write_at_durable(0, &AlignedBuffer::with_capacity(BLOCK))
        .unwrap_err();
    assert_eq!(failure.errno(), Some(libc::EBADF));
    assert_eq!(fs::read(&path).unwrap(), vec![7; 2 * BLOCK]);
}

#[test]
fn what_cannot_hold_records_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    fs::write(&small, b"too little").unwrap();
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let cases = [
        (small.as_path(), "holds 10 bytes"),
        (folder.path(), "neither a file nor a block device"),
        (pipe.as_path(), "neither a file nor a block device"),
        (Path::new("/dev/null"), "neither a file nor a block device"),
    ];
    for (path, expected) in cases {
        let refused = Device::open(path, &OpenOptions::default())
            .unwrap_err()
            .to_string();
        assert!(refused.contains(expected), "{refused}");
        assert!(refused.contains(&path.display().to_string()), "{refused}");
    }
}

#[test]
fn a_file_no_disk_can_hold_is_an_error_and_takes_no_space() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device");
    let refused = Device::open(&path, &create(1 << 50)).unwrap_err();
    assert!(
        matches!(
            refused,
            OpenError::System {
                step: "allocating",
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(fs::metadata(&path).unwrap().blocks(), 0);
}

#[test]
fn every_sector_can_be_written_alone_without_changing_its_neighbours() {
    for (folder, direct) in [("/tmp", true), ("/tmp", false), ("/dev/shm", true)] {
        let Ok(folder) = tempfile::tempdir_in(folder) else {
            continue;
        };
        let options = OpenOptions {
            direct,
            ..create(MIB)
        };
        let device = Device::open(folder.path().join("device"), &options).unwrap();
        let sector = device.sector_bytes() as usize;
        println!(
            "{}: sector {sector}, direct {}",
            folder.path().display(),
            device.is_direct()
        );
        assert!(sector.is_power_of_two() && sector >= 512);
        assert!(direct || !device.is_direct());
        let mut buffer = AlignedBuffer::with_capacity(sector);
        for number in [1u8, 3, 2] {
            buffer.as_mut_slice().fill(number);
            device
                .write_at_durable(u64::from(number) * sector as u64, &buffer)
                .unwrap();
        }
        for number in [0u8, 1, 2, 3, 4] {
            let expected = if number == 4 { 0 } else { number };
            device
                .read_at(u64::from(number) * sector as u64, &mut buffer)
                .unwrap();
            assert!(
                buffer.as_slice().iter().all(|byte| *byte == expected),
                "sector {number}"
            );
        }
        assert!(device.read_at(MIB, &mut buffer).is_err());
    }
}

#[test]
fn a_raw_block_device_has_its_own_size_and_one_opener() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("disk");
    fs::write(&file, vec![7; 3 * MIB as usize]).unwrap();
    let Some(disk) = Loop::over(&file) else {
        println!("skipped: loop devices are not to be had here");
        return;
    };
    let device = Device::open(&disk.0, &create(MIB)).unwrap();
    assert!(device.is_block_device());
    assert_eq!((device.size_bytes(), device.sector_bytes()), (3 * MIB, 512));
    let refused = Device::open(&disk.0, &OpenOptions::default()).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    let mut buffer = AlignedBuffer::with_capacity(512);
    device.read_at(3 * MIB - 512, &mut buffer).unwrap();
    assert_eq!(buffer.as_slice(), [7; 512]);
    buffer.as_mut_slice().fill(9);
    device.write_at_durable(3 * MIB - 512, &buffer).unwrap();
    assert!(device.read_at(3 * MIB, &mut buffer).is_err());
    drop(device);
    assert_eq!(
        fs::read(&file).unwrap()[3 * MIB as usize - 513..][..2],
        [7, 9]
    );
    // A mounted file system claims its disk the same way.
    let claim = fs::File::options()
        .read(true)
        .custom_flags(libc::O_EXCL)
        .open(&disk.0)
        .unwrap();
    let refused = Device::open(&disk.0, &OpenOptions::default()).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    drop(claim);
    Device::open(&disk.0, &OpenOptions::default()).unwrap();
}

/// Set for a child process: the device to hold until it is killed.
const HOLD: &str = "KARST_IO_TEST_HOLD";

#[test]
fn a_killed_process_leaves_its_device_to_the_next() {
    if let Some(path) = std::env::var_os(HOLD) {
        hold(Path::new(&path));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device");
    drop(Device::open(&path, &create(64 * MIB)).unwrap());
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "device::a_killed_process_leaves_its_device_to_the_next",
                "--nocapture",
            ])
            .env(HOLD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let holding = lines
            .map_while(Result::ok)
            .any(|line| line.ends_with("holding"));
        assert!(holding, "the child never had the device");
        child.kill().unwrap();
        child.wait().unwrap();
        let opened = Device::open(&path, &OpenOptions::default());
        assert!(opened.is_ok(), "round {round}: {}", opened.unwrap_err());
    }
}

/// Keeps a queue busy on the device; never returns.
fn hold(path: &Path) {
    let device = Arc::new(Device::open(path, &OpenOptions::default()).unwrap());
    let (mut queue, _) = Queue::probe(QueueChoice::Auto, 64, &[device]).unwrap();
    let mut completions = Vec::new();
    println!("holding");
    loop {
        while queue.submit(0, read(0, 64)).is_ok() {}
        queue.flush().unwrap();
        queue.wait(None).unwrap();
        queue.reap(&mut completions);
        completions.clear();
    }
}

#[test]
#[should_panic(expected = "a write ends in its device")]
fn a_blocking_write_never_grows_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open(folder.path().join("device"), &create(MIB)).unwrap();
    let _ = device.write_at_durable(MIB, &AlignedBuffer::with_capacity(BLOCK));
}

#[test]
fn filling_holes_leaves_no_part_of_a_file_unwritten_and_changes_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device");
    drop(Device::open(&path, &create(4 * MIB)).unwrap());
    let file = fs::File::options().write(true).open(&path).unwrap();
    let written = vec![7; BLOCK];
    file.write_all_at(&written, MIB + BLOCK as u64).unwrap();
    file.sync_all().unwrap();
    drop(file);
    let device = Device::open(&path, &create(16 * MIB)).unwrap();
    device.fill_holes().unwrap();
    assert_eq!(device.hole_bytes(), 0);
    drop(device);

    let bytes = fs::read(&path).unwrap();
    let mut expected = vec![0; 16 << 20];
    expected[(1 << 20) + BLOCK..][..BLOCK].fill(7);
    assert!(
        bytes == expected,
        "only zeros were written, and only to holes"
    );
    let file = fs::File::open(&path).unwrap();
    let hole = rustix::fs::seek(&file, SeekFrom::Hole(0)).unwrap();
    assert_eq!(hole, 16 * MIB, "the first hole is the end");
}
