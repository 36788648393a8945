//! Named memory that outlives the process: a file of a memory file system, mapped by one process.
//!
//! Owns the file, its lock and its length. Does not own what the bytes mean, nor who may touch them:
//! a [`Region`](crate::buffer::Region) maps the file, and its user rules.
//!
//! What holds while a file is open
//!   no other process has it open through here: it is locked, and a dead process's lock ends with it
//!   it is a regular file of this user that no other user may open, and not reached by a link
//!   every byte below its length has memory behind it, so touching one never fails
//!
//! The last is why memory is allocated and never left to grow when it is touched: the first touch of
//! a page that a full memory file system cannot provide kills the process (SIGBUS), and an allocation
//! that fails is an error like any other.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

/// How long to wait for a file in use. A process that was killed keeps its lock until all its memory
/// is given back, which takes a tenth of a second per few gigabytes; its successor may start sooner.
pub const LOCK_WAIT_MAX: Duration = Duration::from_secs(3);

const LOCK_POLL: Duration = Duration::from_millis(5);

/// Read and write for this user, nothing for anybody else: the file holds everybody's keys.
const MODE: u32 = 0o600;

/// Allocated in one call, in bytes. The kernel undoes the whole of a call that a signal interrupts,
/// so a call must be short enough to come to its end.
const ALLOCATION_BYTES: u64 = 32 << 20;

/// Why a file of shared memory could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// Another process has it.
    #[error("{path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is not a file that was made here, so nothing in it is believed and nothing is written.
    #[error("{path} {what}; it is left alone")]
    Foreign {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The system refused a step.
    #[error("{path}: {step}: {cause}")]
    System {
        /// The file.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// What the system said.
        cause: io::Error,
    },
}

/// A file of shared memory, open and locked; unlocked when dropped, and left where it is.
#[derive(Debug)]
pub struct SharedFile {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl SharedFile {
    /// Opens a file, or creates an empty one. Blocks; a file in use is tried again for
    /// [`LOCK_WAIT_MAX`].
    ///
    /// # Errors
    ///
    /// See [`SharedError`]; each names the path.
    pub fn open(path: impl AsRef<Path>) -> Result<SharedFile, SharedError> {
        SharedFile::open_within(path.as_ref(), LOCK_WAIT_MAX)
    }

    /// As [`SharedFile::open`], for who will not wait that long.
    ///
    /// # Errors
    ///
    /// As `open`.
    #[expect(
        clippy::disallowed_methods,
        reason = "opening waits for the lock of a process that is ending"
    )]
    pub fn open_within(path: &Path, wait_max: Duration) -> Result<SharedFile, SharedError> {
        let opening = Opening { path };
        let mut waited = Duration::ZERO;
        loop {
            match opening.open() {
                Err(SharedError::InUse { .. }) if waited < wait_max => {
                    thread::sleep(LOCK_POLL);
                    waited += LOCK_POLL;
                }
                opened => return opened,
            }
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes, all of which have memory behind them; 0 if it was just made.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives all its memory back: it is empty then, as if it had just been made.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.bytes = 0;
        Ok(())
    }

    /// Makes it at least `bytes` long, all of them with memory behind them; what is new is zero. It
    /// never gets shorter.
    ///
    /// # Errors
    ///
    /// `StorageFull` when the memory file system is full; whatever else the system says. What was
    /// added until then stays and counts.
    pub fn extend(&mut self, bytes: u64) -> io::Result<()> {
        while self.bytes < bytes {
            let step = (bytes - self.bytes).min(ALLOCATION_BYTES);
            self.allocate(self.bytes, step)?;
            self.bytes += step;
        }
        Ok(())
    }

    fn allocate(&self, from: u64, bytes: u64) -> io::Result<()> {
        let none = FallocateFlags::empty();
        rustix::io::retry_on_intr(|| rustix::fs::fallocate(&self.file, none, from, bytes))?;
        Ok(())
    }

    /// Fills holes that something else has made in it.
    fn fill_holes(&self, blocks_of_512: u64) -> io::Result<()> {
        if blocks_of_512.saturating_mul(512) >= self.bytes {
            return Ok(());
        }
        let mut from = 0;
        while from < self.bytes {
            let step = (self.bytes - from).min(ALLOCATION_BYTES);
            self.allocate(from, step)?;
            from += step;
        }
        Ok(())
    }
}

impl AsFd for SharedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// One attempt to open a path.
struct Opening<'a> {
    path: &'a Path,
}

impl Opening<'_> {
    fn open(&self) -> Result<SharedFile, SharedError> {
        let found = fs::symlink_metadata(self.path);
        if found.is_ok_and(|found| !found.file_type().is_file()) {
            return Err(self.foreign("is not a regular file")); // before opening: a pipe would wait
        }
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .custom_flags(libc::O_NOFOLLOW)
            .open(self.path)
            .map_err(|cause| self.failed("opening", cause))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => self.check(file),
            Err(Errno::WOULDBLOCK) => Err(SharedError::InUse {
                path: self.path.to_owned(),
            }),
            Err(errno) => Err(self.failed("locking", errno.into())),
        }
    }

    /// Believes the locked file only if this user made it and no other could have written to it.
    fn check(&self, file: File) -> Result<SharedFile, SharedError> {
        let found = file
            .metadata()
            .map_err(|cause| self.failed("inspecting", cause))?;
        if !found.file_type().is_file() {
            return Err(self.foreign("is not a regular file"));
        }
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(self.foreign("belongs to another user"));
        }
        if found.permissions().mode() & 0o077 != 0 {
            return Err(self.foreign("is open to other users"));
        }
        if found.nlink() != 1 {
            return Err(self.foreign("has been removed, or has a second name"));
        }
        let (path, bytes) = (self.path.to_owned(), found.len());
        let shared = SharedFile { file, path, bytes };
        let filled = shared.fill_holes(found.blocks());
        filled.map_err(|cause| self.failed("filling holes", cause))?;
        Ok(shared)
    }

    fn foreign(&self, what: &'static str) -> SharedError {
        let path = self.path.to_owned();
        SharedError::Foreign { path, what }
    }

    fn failed(&self, step: &'static str, cause: io::Error) -> SharedError {
        let path = self.path.to_owned();
        SharedError::System { path, step, cause }
    }
}

/// What the kernel calls this boot of the machine: memory that outlives the process does not outlive
/// the boot, and a file that says another boot made it was copied here.
///
/// # Errors
///
/// What the system says, or `InvalidData` if that is not 128 bits in hexadecimal digits.
pub fn boot_id() -> io::Result<[u8; 16]> {
    parse_boot_id(&fs::read_to_string("/proc/sys/kernel/random/boot_id")?)
}

fn parse_boot_id(text: &str) -> io::Result<[u8; 16]> {
    let digits: String = text.trim().chars().filter(|at| *at != '-').collect();
    let id = u128::from_str_radix(&digits, 16).ok();
    let id = id.filter(|_| digits.len() == 32 && !digits.starts_with('+'));
    id.map(u128::to_be_bytes).ok_or_else(|| {
        let message = format!("{text:?} is not the id of a boot");
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn open(path: &Path) -> Result<SharedFile, SharedError> {
        SharedFile::open_within(path, Duration::ZERO)
    }

    #[test]
    fn what_was_written_is_there_after_the_file_is_opened_again() {
        let folder = folder();
        let path = folder.path().join("a");
        let mut file = open(&path).unwrap();
        assert_eq!(file.bytes(), 0);
        file.extend(8192).unwrap();
        file.extend(4096).unwrap(); // never shorter
        rustix::io::pwrite(&file, b"kept", 8000).unwrap();
        drop(file);
        let mut file = open(&path).unwrap();
        assert_eq!(file.bytes(), 8192);
        let mut found = [0; 4];
        rustix::io::pread(&file, &mut found, 8000).unwrap();
        assert_eq!(&found, b"kept");
        file.clear().unwrap();
        file.extend(8192).unwrap();
        rustix::io::pread(&file, &mut found, 8000).unwrap();
        assert_eq!(found, [0; 4]);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            MODE
        );
    }

    #[test]
    fn a_second_opener_is_told_that_the_file_is_in_use() {
        let folder = folder();
        let path = folder.path().join("a");
        let first = open(&path).unwrap();
        let refused = open(&path).unwrap_err();
        assert!(matches!(refused, SharedError::InUse { .. }), "{refused}");
        assert!(refused.to_string().contains("in use"), "{refused}");
        drop(first);
        open(&path).unwrap();
    }

    #[test]
    fn a_file_that_others_may_write_or_that_is_no_file_is_left_alone() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("open"), b"theirs").unwrap();
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o660)).unwrap();
        fs::write(at("twice"), b"theirs").unwrap();
        fs::set_permissions(at("twice"), fs::Permissions::from_mode(MODE)).unwrap();
        fs::hard_link(at("twice"), at("second name")).unwrap();
        symlink(at("elsewhere"), at("link")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        for name in ["open", "twice", "link", "folder"] {
            let refused = open(&at(name)).unwrap_err();
            assert!(matches!(refused, SharedError::Foreign { .. }), "{refused}");
        }
        assert!(!at("elsewhere").exists());
        assert_eq!(fs::read(at("open")).unwrap(), b"theirs");
    }

    #[test]
    fn a_hole_is_filled_before_anybody_can_touch_it() {
        let folder = folder();
        let path = folder.path().join("a");
        let sparse = File::options()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&path);
        sparse.unwrap().set_len(1 << 20).unwrap();
        let file = open(&path).unwrap();
        assert_eq!(file.bytes(), 1 << 20);
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= 1 << 20);
    }

    #[test]
    fn a_boot_id_is_128_bits_or_an_error() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
        let id = parse_boot_id("00112233-4455-6677-8899-aabbccddeeff\n").unwrap();
        assert_eq!(id, std::array::from_fn(|at| at as u8 * 0x11));
        for text in ["", "0011", "+0112233-4455-6677-8899-aabbccddeeff", "x"] {
            assert!(parse_boot_id(text).is_err(), "{text}");
        }
    }
}
