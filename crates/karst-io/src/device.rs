//! A device: a raw block device or a preallocated file, opened for one process.
//!
//! Owns the descriptor and the lock. Does not own the layout of the bytes.
//!
//! What holds once a device is open
//!   its size and sector are known, and fixed for as long as it is open
//!   no other process has it open for writing through here (unless the lock was declined)
//!   a file has its blocks allocated, so a write inside it does not run out of space
//!   nothing that was on it has been changed: files are created and extended, never cut
//!
//! Failure: opening either succeeds with all of the above or reports why not; an empty file that
//! could not be allocated in full gives its blocks back.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, FallocateFlags, FlockOperation, OFlags, SeekFrom, StatxFlags};
use rustix::io::Errno;

use crate::buffer::{AlignedBuffer, BUFFER_ALIGN};
use crate::flight::{Progress, Step};
use crate::op::{Attempt, AttemptKind, IoCause, IoFailure};

/// The smallest sector a device is driven with, in bytes.
pub const SECTOR_BYTES_MIN: u32 = 512;

/// The largest sector a device is driven with, in bytes.
pub const SECTOR_BYTES_MAX: u32 = 64 << 10;

/// The sector where the device does not name one: valid wherever a smaller one is, and the unit in
/// which the page cache writes back when I/O is not direct.
const SECTOR_BYTES_UNKNOWN: u32 = 4096;

/// How long to wait for a device in use. The ring of a process that was killed keeps its files, and
/// their locks, until its last operations are over, which is some milliseconds after the process is
/// gone; its successor may start sooner. So the lock also keeps a dead process's writes away from a
/// living one.
pub const LOCK_WAIT_MAX: Duration = Duration::from_secs(1);

const LOCK_POLL: Duration = Duration::from_millis(5);

/// How to open a device.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// For a file: at least this many bytes, allocated on opening. `None` takes it as it is.
    /// Ignored for block devices, which are as big as they are.
    pub size_bytes: Option<u64>,
    /// Create the file when it is missing, which needs `size_bytes`.
    pub create: bool,
    /// Bypass the page cache where the file system lets us (see [`Device::is_direct`]).
    pub direct: bool,
    /// Refuse when another process has it open, and keep others out meanwhile. A read-only opener
    /// only keeps writers out.
    pub lock: bool,
    /// Only look: nothing is created, extended or written.
    pub read_only: bool,
    /// Drive it with sectors of this size, a power of two that is not less than the device's own.
    pub sector_bytes: Option<u32>,
}

impl Default for OpenOptions {
    /// An existing device, direct and locked, for reading and writing.
    fn default() -> OpenOptions {
        OpenOptions {
            size_bytes: None,
            create: false,
            direct: true,
            lock: true,
            read_only: false,
            sector_bytes: None,
        }
    }
}

/// Why a device could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another opener holds the lock, or the system itself uses the block device.
    #[error("{path} is in use: by another process, or mounted")]
    InUse {
        /// The device.
        path: PathBuf,
    },
    /// Neither a regular file nor a block device.
    #[error("{path} is neither a file nor a block device")]
    WrongKind {
        /// The path.
        path: PathBuf,
    },
    /// Too small to be of use; a file is created only with a size.
    #[error("{path} holds {size_bytes} bytes, which is less than {bytes_min}")]
    TooSmall {
        /// The device.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
        /// The smallest useful size.
        bytes_min: u64,
    },
    /// A sector that is not a power of two from 512 to 65536.
    #[error("{path} has sectors of {sector_bytes} bytes")]
    OddSector {
        /// The device.
        path: PathBuf,
        /// What it reports.
        sector_bytes: u32,
    },
    /// Asked to be driven with smaller sectors than it has.
    #[error("{path} has sectors of {sector_bytes} bytes and cannot be driven with {wanted_bytes}")]
    SmallSector {
        /// The device.
        path: PathBuf,
        /// Its own.
        sector_bytes: u32,
        /// What was asked for.
        wanted_bytes: u32,
    },
    /// The system refused a step.
    #[error("{path}: {step}: {cause}")]
    System {
        /// The device.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// What the system said.
        cause: io::Error,
    },
}

/// An open device.
#[derive(Debug)]
pub struct Device {
    file: File,
    path: PathBuf,
    size_bytes: u64,
    sector_bytes: u32,
    direct: bool,
    block: bool,
}

impl Device {
    /// Opens a device, creating and allocating a file as `options` ask. Blocks; a device in use
    /// is tried again for [`LOCK_WAIT_MAX`].
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; each names the path.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Device, OpenError> {
        let opening = Opening {
            path: path.as_ref(),
            options,
        };
        let mut waited = Duration::ZERO;
        loop {
            match opening
                .open_or_create()
                .and_then(|file| opening.prepare(file))
            {
                Err(OpenError::InUse { .. }) if waited < LOCK_WAIT_MAX => {
                    thread::sleep(LOCK_POLL);
                    waited += LOCK_POLL;
                }
                opened => return opened,
            }
        }
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size when opened, in bytes; may be larger than was asked for.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The unit of transfers, in bytes: a power of two from 512. A write of whole sectors changes
    /// no byte outside them, even when it is torn.
    pub fn sector_bytes(&self) -> u32 {
        self.sector_bytes
    }

    /// Whether transfers bypass the page cache.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// Whether it is a raw block device, not a file.
    pub fn is_block_device(&self) -> bool {
        self.block
    }

    /// Fills `buffer` from `offset`, blocking: for start-up, never on a data core.
    ///
    /// # Errors
    ///
    /// As a queued read: the end of the device is one.
    pub fn read_at(&self, offset: u64, buffer: &mut AlignedBuffer) -> Result<(), IoFailure> {
        let attempt = Attempt {
            kind: AttemptKind::Read,
            offset,
            bytes: buffer.len(),
        };
        let mut progress = Progress::new(attempt);
        loop {
            let into = &mut buffer.as_mut_slice()[progress.done()..];
            let step = Step::Read {
                into,
                offset: offset + progress.done() as u64,
            };
            if let Some(outcome) = progress.advance(step.perform(self.as_fd())) {
                return outcome;
            }
        }
    }

    /// Waits until everything that was written before would survive a loss of power, by whomever it was
    /// written; blocking.
    ///
    /// # Errors
    ///
    /// When the system says that something may be lost.
    pub fn sync(&self) -> Result<(), IoFailure> {
        rustix::fs::fdatasync(&self.file).map_err(|errno| IoFailure {
            attempt: Attempt {
                kind: AttemptKind::Sync,
                offset: 0,
                bytes: 0,
            },
            done: 0,
            cause: IoCause::System(errno.raw_os_error()),
        })
    }

    /// Writes `buffer` at `offset` and waits until it would survive a loss of power, blocking: for
    /// superblocks, never on a data core.
    ///
    /// # Errors
    ///
    /// As a queued durable write. Nothing is known then about what reached the device.
    ///
    /// # Panics
    ///
    /// If the write would end past the device.
    pub fn write_at_durable(&self, offset: u64, buffer: &AlignedBuffer) -> Result<(), IoFailure> {
        self.write(offset, buffer, true)
    }

    /// As [`Device::write_at_durable`], and leaves durability to [`Device::sync`].
    ///
    /// # Errors
    ///
    /// As a queued write.
    ///
    /// # Panics
    ///
    /// If the write would end past the device.
    pub fn write_at(&self, offset: u64, buffer: &AlignedBuffer) -> Result<(), IoFailure> {
        self.write(offset, buffer, false)
    }

    /// Tells a block device that nothing on it is needed any more. A file stays as it is. `false` where
    /// the device cannot be told.
    pub fn discard(&self) -> bool {
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.block && rustix::fs::fallocate(&self.file, how, 0, self.size_bytes).is_ok()
    }

    /// Bytes of a file that were never written; none of a block device, or where the file system cannot
    /// tell.
    pub fn hole_bytes(&self) -> u64 {
        let holes = std::iter::successors(self.next_hole(0), |hole| self.next_hole(hole.end));
        holes.map(|hole| hole.end - hole.start).sum()
    }

    /// Writes zeros to all of a file that was never written, durably; that reads as zeros before and after,
    /// so what is cut off here can be begun again. A durable write to blocks that are only allocated
    /// waits for the file system's journal as well, and one at a time (measured: docs/operating.md, Devices
    /// that are files). Blocks for as long as writing [`Device::hole_bytes`] takes.
    ///
    /// # Errors
    ///
    /// As a write.
    pub fn fill_holes(&self) -> Result<(), IoFailure> {
        let mut at = 0;
        while let Some(hole) = self.next_hole(at) {
            at = hole.end;
            if !self.has_zeroed(&hole) {
                self.write_zeros(&hole)?;
            }
        }
        self.sync()
    }

    /// The first stretch at or behind an offset that was never written, cut to whole [`BUFFER_ALIGN`]s.
    fn next_hole(&self, mut at: u64) -> Option<Range<u64>> {
        let align = BUFFER_ALIGN as u64;
        while !self.block && at < self.size_bytes {
            let start = rustix::fs::seek(&self.file, SeekFrom::Hole(at)).ok()?;
            let end = match rustix::fs::seek(&self.file, SeekFrom::Data(start)) {
                Err(Errno::NXIO) => self.size_bytes, // nothing but the hole up to the end
                found => found.ok()?.min(self.size_bytes),
            };
            let hole = start.next_multiple_of(align)..end / align * align;
            if !hole.is_empty() {
                return Some(hole);
            }
            at = end;
        }
        None
    }

    /// Lets file system and device do it, from Linux 6.17 on and where the device can. `false` if not.
    fn has_zeroed(&self, range: &Range<u64>) -> bool {
        const WRITE_ZEROES: u32 = 0x80; // FALLOC_FL_WRITE_ZEROES, fallocate(2)
        let how = FallocateFlags::from_bits_retain(WRITE_ZEROES);
        rustix::fs::fallocate(&self.file, how, range.start, range.end - range.start).is_ok()
    }

    fn write_zeros(&self, range: &Range<u64>) -> Result<(), IoFailure> {
        const STEP_BYTES: u64 = 8 << 20;
        let mut zeros = AlignedBuffer::with_capacity(STEP_BYTES as usize);
        let mut at = range.start;
        while at < range.end {
            let bytes = STEP_BYTES.min(range.end - at);
            zeros.set_len(bytes as usize);
            self.write_at(at, &zeros)?;
            at += bytes;
        }
        Ok(())
    }

    fn write(&self, offset: u64, buffer: &AlignedBuffer, durable: bool) -> Result<(), IoFailure> {
        let end = offset.checked_add(buffer.len() as u64);
        assert!(
            end.is_some_and(|end| end <= self.size_bytes),
            "a write ends in its device"
        );
        let kind = match durable {
            true => AttemptKind::DurableWrite,
            false => AttemptKind::Write,
        };
        let attempt = Attempt {
            kind,
            offset,
            bytes: buffer.len(),
        };
        let mut progress = Progress::new(attempt);
        loop {
            let from = &buffer.as_slice()[progress.done()..];
            let offset = offset + progress.done() as u64;
            let step = Step::Write {
                from,
                offset,
                durable,
            };
            if let Some(outcome) = progress.advance(step.perform(self.as_fd())) {
                return outcome;
            }
        }
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// One attempt to open a path: the steps, in order, and the errors they give.
struct Opening<'a> {
    path: &'a Path,
    options: &'a OpenOptions,
}

impl Opening<'_> {
    /// Opens what is there, or creates a file.
    fn open_or_create(&self) -> Result<File, OpenError> {
        let found = fs::metadata(self.path).map(|found| found.file_type());
        if found
            .as_ref()
            .is_ok_and(|kind| !kind.is_file() && !kind.is_block_device())
        {
            return Err(self.wrong_kind()); // before opening it: a pipe would wait for its other end
        }
        let mut how = File::options();
        how.read(true).write(!self.options.read_only);
        let exclusive = self.options.lock && !self.options.read_only;
        if exclusive && found.is_ok_and(|kind| kind.is_block_device()) {
            how.custom_flags(libc::O_EXCL); // fails on a mounted disk, so it is not overwritten
        }
        match how.open(self.path) {
            Ok(file) => Ok(file),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && self.may_create() => how
                .create_new(true)
                .open(self.path)
                .map_err(|cause| self.failed("creating", cause)),
            Err(cause) if cause.kind() == io::ErrorKind::ResourceBusy => Err(self.in_use()),
            Err(cause) => Err(self.failed("opening", cause)),
        }
    }

    fn may_create(&self) -> bool {
        self.options.create && !self.options.read_only && self.options.size_bytes.is_some()
    }

    /// Locks, allocates and measures an open file.
    fn prepare(&self, file: File) -> Result<Device, OpenError> {
        if self.options.lock {
            self.lock(&file)?;
        }
        let found = file
            .metadata()
            .map_err(|cause| self.failed("inspecting", cause))?;
        let block = found.file_type().is_block_device();
        if !block && !found.is_file() {
            return Err(self.wrong_kind());
        }
        if !block && !self.options.read_only {
            self.allocate(&file, found.len())?;
        }
        let size_bytes = self.size_of(&file)?;
        let (found_bytes, direct) = self.sector_of(&file, block)?;
        let sector_bytes = self.driven_with(found_bytes)?;
        let path = self.path.to_owned();
        Ok(Device {
            file,
            path,
            size_bytes,
            sector_bytes,
            direct,
            block,
        })
    }

    fn lock(&self, file: &File) -> Result<(), OpenError> {
        let operation = if self.options.read_only {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        match rustix::fs::flock(file, operation) {
            Ok(()) => Ok(()),
            Err(Errno::WOULDBLOCK) => Err(self.in_use()),
            Err(errno) => Err(self.failed("locking", errno.into())),
        }
    }

    /// Gives a file, now of `len_before` bytes, blocks for the size asked for, and makes that
    /// survive a loss of power. Holes are filled; bytes already written and a greater size stay.
    fn allocate(&self, file: &File, len_before: u64) -> Result<(), OpenError> {
        let Some(bytes) = self.options.size_bytes.filter(|bytes| *bytes > 0) else {
            return Ok(());
        };
        let allocated = rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes)
        });
        match allocated {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                // The file system cannot allocate ahead. Extend, never cut.
                let extended = file.set_len(bytes.max(len_before));
                extended.map_err(|cause| self.failed("extending", cause))?;
            }
            Err(errno) => {
                if len_before == 0 && self.options.lock {
                    let _ = file.set_len(0); // ours and empty: do not leave a full disk behind
                }
                return Err(self.failed("allocating", errno.into()));
            }
        }
        file.sync_all()
            .map_err(|cause| self.failed("syncing", cause))?;
        self.sync_parent()
            .map_err(|cause| self.failed("syncing the folder of", cause))
    }

    /// Makes the file's name survive a loss of power. Done on every open that allocates: an earlier
    /// one may have been cut off in between.
    fn sync_parent(&self) -> io::Result<()> {
        let parent = self
            .path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn size_of(&self, file: &File) -> Result<u64, OpenError> {
        // The end of a block device is its size, and metadata does not tell.
        let size_bytes = rustix::fs::seek(file, SeekFrom::End(0));
        let size_bytes = size_bytes.map_err(|errno| self.failed("measuring", errno.into()))?;
        let bytes_min = BUFFER_ALIGN as u64;
        if size_bytes < bytes_min {
            let path = self.path.to_owned();
            return Err(OpenError::TooSmall {
                path,
                size_bytes,
                bytes_min,
            });
        }
        Ok(size_bytes)
    }

    /// Turns direct I/O on if it is wanted and works. Returns the sector, and whether I/O is
    /// direct.
    fn sector_of(&self, file: &File, block: bool) -> Result<(u32, bool), OpenError> {
        let reported = if block {
            self.block_sector(file)?
        } else {
            file_sector(file)
        };
        let sector_bytes = match reported {
            Some(bytes) => bytes.max(SECTOR_BYTES_MIN),
            None => SECTOR_BYTES_UNKNOWN,
        };
        if !sector_bytes.is_power_of_two() || sector_bytes > SECTOR_BYTES_MAX {
            let path = self.path.to_owned();
            return Err(OpenError::OddSector { path, sector_bytes });
        }
        let safe_bytes = sector_bytes.max(SECTOR_BYTES_UNKNOWN);
        if self.options.direct {
            for bytes in [sector_bytes, safe_bytes] {
                if self.try_direct(file, bytes)? {
                    return Ok((bytes, true));
                }
            }
        }
        Ok((safe_bytes, false))
    }

    /// The sector to drive a device with whose own is this.
    fn driven_with(&self, sector_bytes: u32) -> Result<u32, OpenError> {
        match self.options.sector_bytes {
            Some(wanted_bytes) if wanted_bytes < sector_bytes => Err(OpenError::SmallSector {
                path: self.path.to_owned(),
                sector_bytes,
                wanted_bytes,
            }),
            wanted => Ok(wanted.unwrap_or(sector_bytes)),
        }
    }

    fn block_sector(&self, file: &File) -> Result<Option<u32>, OpenError> {
        let sector_bytes = rustix::fs::ioctl_blksszget(file);
        sector_bytes
            .map(Some)
            .map_err(|errno| self.failed("asking for the sector of", errno.into()))
    }

    /// Bypasses the page cache if the file system takes the flag and then really reads.
    fn try_direct(&self, file: &File, sector_bytes: u32) -> Result<bool, OpenError> {
        let failed = |errno: Errno| self.failed("setting direct I/O on", errno.into());
        let flags = rustix::fs::fcntl_getfl(file).map_err(failed)?;
        match rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT) {
            Ok(()) => {}
            Err(Errno::INVAL) => return Ok(false), // the file system has no direct I/O
            Err(errno) => return Err(failed(errno)),
        }
        let mut trial = AlignedBuffer::with_capacity(sector_bytes as usize);
        let read = rustix::io::retry_on_intr(|| rustix::io::pread(file, trial.as_mut_slice(), 0));
        match read {
            Ok(_) => Ok(true),
            Err(Errno::INVAL) => {
                rustix::fs::fcntl_setfl(file, flags).map_err(failed)?;
                Ok(false)
            }
            Err(errno) => Err(self.failed("reading the first sector of", errno.into())),
        }
    }

    fn wrong_kind(&self) -> OpenError {
        OpenError::WrongKind {
            path: self.path.to_owned(),
        }
    }

    fn in_use(&self) -> OpenError {
        OpenError::InUse {
            path: self.path.to_owned(),
        }
    }

    fn failed(&self, step: &'static str, cause: io::Error) -> OpenError {
        OpenError::System {
            path: self.path.to_owned(),
            step,
            cause,
        }
    }
}

/// The alignment direct I/O on a file needs, where kernel (Linux 6.1) and file system tell. It is
/// not found by trial: a file without data answers misaligned reads, and refuses them once written.
fn file_sector(file: &File) -> Option<u32> {
    let found = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    let told = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::DIOALIGN);
    (told && found.stx_dio_offset_align > 0).then_some(found.stx_dio_offset_align)
}
