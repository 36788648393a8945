//! What karst-io promises, kept against a real kernel and real files.

mod device;
mod queue;
mod refused;
#[cfg(feature = "tokio")]
mod wait;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use karst_io::Queue;
use karst_io::buffer::{AlignedBuffer, AppendBuffer};
use karst_io::device::{Device, OpenOptions};
use karst_io::op::{Completion, FileId, Op};

/// The one device most tests have.
const FILE: FileId = FileId(0);

/// Unit of transfers in the tests: right for every sector they meet.
const BLOCK: usize = 4096;

/// A loop device over a file, where this machine lets us have one; detached on drop.
struct Loop(PathBuf);

impl Loop {
    fn over(file: &Path) -> Option<Loop> {
        let attached = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(file)
            .output()
            .ok()?;
        let name = String::from_utf8(attached.stdout).ok()?;
        attached
            .status
            .success()
            .then(|| Loop(PathBuf::from(name.trim())))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let detached = Command::new("losetup")
            .arg("--detach")
            .arg(&self.0)
            .status();
        assert!(detached.is_ok_and(|status| status.success()) || thread::panicking());
    }
}

/// A device in `folder`, of `blocks` blocks.
fn device(folder: &Path, blocks: usize) -> Arc<Device> {
    let size_bytes = Some((blocks * BLOCK) as u64);
    let options = OpenOptions {
        size_bytes,
        create: true,
        ..OpenOptions::default()
    };
    Arc::new(Device::open(folder.join("device"), &options).expect("a file can be made"))
}

/// Blocks of which the one at position `n` is filled with the byte `n + 1`.
fn marked(blocks: usize) -> Arc<AppendBuffer> {
    let buffer = AppendBuffer::new(blocks * BLOCK).expect("memory");
    for number in 0..blocks {
        buffer
            .append(BLOCK, |room| room.fill(number as u8 + 1))
            .expect("room for each");
    }
    Arc::new(buffer)
}

fn read(block: usize, blocks: usize) -> Op {
    let buffer = AlignedBuffer::with_capacity(blocks * BLOCK);
    Op::Read {
        file: FILE,
        offset: (block * BLOCK) as u64,
        buffer,
    }
}

/// Writes the marked block `block` to its place.
fn write(source: &Arc<AppendBuffer>, block: usize, durable: bool) -> Op {
    let range = block * BLOCK..(block + 1) * BLOCK;
    let source = Arc::clone(source);
    Op::Write {
        file: FILE,
        offset: range.start as u64,
        source,
        range,
        durable,
    }
}

/// Flushes and waits until nothing is in flight. Completions come back in order of their tickets.
fn finish(queue: &mut Queue) -> Vec<Completion> {
    let mut completions = Vec::new();
    queue.flush().expect("a usable queue");
    queue.reap(&mut completions);
    while queue.in_flight() > 0 {
        let signalled = queue
            .wait(Some(Duration::from_secs(20)))
            .expect("waiting works");
        assert!(
            signalled,
            "{} operations were never signalled",
            queue.in_flight()
        );
        queue.reap(&mut completions);
        queue.flush().expect("a usable queue");
    }
    completions.sort_by_key(|completion| completion.ticket);
    completions
}

/// Submits one operation alone and returns its completion.
fn run(queue: &mut Queue, op: Op) -> Completion {
    assert!(queue.submit(77, op).is_ok());
    let mut completions = finish(queue);
    assert_eq!(completions.len(), 1, "one completion per operation");
    let completion = completions.remove(0);
    assert_eq!(completion.ticket, 77);
    completion
}
