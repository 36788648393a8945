//! A file read front to back past the page cache, four reads of 1 MiB in flight: what its device can do.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const READ_BYTES: usize = 1 << 20;
const IN_FLIGHT: usize = 4;

/// Buffers of direct reads begin on a page.
const PAGE_BYTES: usize = 4096;

/// Bytes each second over the first `bytes` of the file, or all of it if it is shorter.
pub(crate) fn bytes_per_second(path: &Path, bytes: u64) -> io::Result<f64> {
    let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let bytes = bytes.min(file.metadata()?.len()) / READ_BYTES as u64 * READ_BYTES as u64;
    let next = AtomicU64::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..IN_FLIGHT)
            .map(|_| scope.spawn(|| read(&file, &next, bytes)))
            .collect();
        readers.into_iter().try_for_each(|reader| {
            let panicked = |_| Err(io::Error::other("a reader panicked"));
            reader.join().unwrap_or_else(panicked)
        })
    })?;
    Ok(bytes as f64 / started.elapsed().as_secs_f64())
}

fn read(file: &File, next: &AtomicU64, bytes: u64) -> io::Result<()> {
    let mut memory = vec![0; READ_BYTES + PAGE_BYTES];
    let start = memory.as_ptr().align_offset(PAGE_BYTES);
    let buffer = &mut memory[start..start + READ_BYTES];
    loop {
        let at = next.fetch_add(READ_BYTES as u64, Ordering::Relaxed);
        if at >= bytes {
            return Ok(());
        }
        file.read_exact_at(buffer, at)?;
    }
}
