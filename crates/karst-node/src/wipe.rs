//! `wipe`: empties a device, so that a node can take it into use.
//!
//! Destroys the header of every block and then both superblocks: what lies in between is no record of
//! anything any more, and cannot become one. It is not overwritten, so who reads the raw device can still
//! see it unless it was encrypted. A block device is told that nothing on it is needed.
//!
//! An interrupted wipe leaves superblocks that are whole, and is begun anew.

use std::fmt;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use karst_io::buffer::AlignedBuffer;
use karst_io::device::{Device, OpenError, OpenOptions};
use karst_io::op::IoFailure;
use karst_storage::log::format::{Front, SUPERBLOCK_BYTES, read_front};

/// The smallest block that any superblock may have named.
const BLOCK_BYTES_MIN: u64 = 64 << 10;

/// Command line of `wipe`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Block device or file; no node may have it open.
    pub device: PathBuf,
    /// Does not ask.
    #[arg(long)]
    pub yes: bool,
}

/// Why a device was not wiped, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum WipeError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be read or written.
    #[error("{path}: {failure}")]
    Io {
        /// The device.
        path: PathBuf,
        /// What the system said.
        failure: IoFailure,
    },
}

/// What is on a device before it is wiped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    front: Front,
    size_bytes: u64,
}

/// Runs the command.
pub fn main(arguments: &Arguments) -> ExitCode {
    match run(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("nothing was changed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            if matches!(error, WipeError::Open(OpenError::InUse { .. })) {
                eprintln!("stop its node first");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, WipeError> {
    let device = open(&arguments.device)?;
    let found = look(&device)?;
    println!("{}: {found}", arguments.device.display());
    if !arguments.yes && !confirmed() {
        return Ok(false);
    }
    let discarded = wipe(&device, &found)?;
    let told = if discarded {
        "wiped and discarded"
    } else {
        "wiped"
    };
    println!("{}: {told}", arguments.device.display());
    Ok(true)
}

/// Asks on a terminal; without one there is nobody to ask.
fn confirmed() -> bool {
    if !io::stdin().is_terminal() {
        eprintln!("to wipe it without being asked, give --yes");
        return false;
    }
    print!("Destroy all of this? Type the word wipe: ");
    let _ = io::stdout().flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && answer.trim() == "wipe"
}

/// Opens a device that nobody else has open.
///
/// # Errors
/// When somebody has, or it is not there.
pub fn open(path: &Path) -> Result<Device, WipeError> {
    Ok(Device::open(path, &OpenOptions::default())?)
}

/// Looks at what is on a device.
///
/// # Errors
/// When it cannot be read.
pub fn look(device: &Device) -> Result<Found, WipeError> {
    let front_bytes = (2 * SUPERBLOCK_BYTES).max(device.sector_bytes() as usize);
    let front_bytes = front_bytes.min(device.size_bytes() as usize);
    let mut buffer = AlignedBuffer::with_capacity(front_bytes);
    buffer.set_len(front_bytes);
    let read = device.read_at(0, &mut buffer);
    read.map_err(|failure| failed(device, failure))?;
    Ok(Found {
        front: read_front(&buffer.as_slice()[..front_bytes.min(2 * SUPERBLOCK_BYTES)]),
        size_bytes: device.size_bytes(),
    })
}

/// Wipes a device. `true` if it was also told that nothing on it is needed.
///
/// # Errors
/// When it cannot be written; some of it is destroyed then.
pub fn wipe(device: &Device, found: &Found) -> Result<bool, WipeError> {
    let sector_bytes = device.sector_bytes();
    let mut zeros = AlignedBuffer::with_capacity(sector_bytes as usize);
    zeros.set_len(sector_bytes as usize);
    zeros.as_mut_slice().fill(0);
    let failed = |failure| failed(device, failure);
    let step = found.block_bytes();
    let mut at = step;
    while at + u64::from(sector_bytes) <= device.size_bytes() {
        device.write_at(at, &zeros).map_err(failed)?;
        at += step;
    }
    device.sync().map_err(failed)?; // the superblocks go last
    let discarded = device.discard();
    let front_bytes = (2 * SUPERBLOCK_BYTES).max(sector_bytes as usize);
    let mut front = AlignedBuffer::with_capacity(front_bytes);
    front.set_len(front_bytes);
    front.as_mut_slice().fill(0);
    if front.len() as u64 <= device.size_bytes() {
        device.write_at_durable(0, &front).map_err(failed)?;
    } else {
        device.write_at_durable(0, &zeros).map_err(failed)?;
    }
    Ok(discarded)
}

fn failed(device: &Device, failure: IoFailure) -> WipeError {
    let path = device.path().to_owned();
    WipeError::Io { path, failure }
}

impl Found {
    /// Where headers of blocks may lie: at multiples of this.
    fn block_bytes(&self) -> u64 {
        match &self.front {
            Front::Karst(superblock) => u64::from(superblock.block_bytes).max(BLOCK_BYTES_MIN),
            Front::Blank | Front::Foreign | Front::OtherFormat(_) => BLOCK_BYTES_MIN,
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, ", self.size_bytes)?;
        match &self.front {
            Front::Blank => write!(f, "starts with zeros: it was never used, or is wiped"),
            Front::Foreign => write!(f, "data that is not Karst's, or damaged superblocks"),
            Front::OtherFormat(format) => {
                write!(f, "data of another version of Karst (format {format})")
            }
            Front::Karst(superblock) => {
                write!(
                    f,
                    "device {} of namespace {}, cluster ",
                    superblock.position, superblock.namespace
                )?;
                superblock
                    .cluster
                    .iter()
                    .try_for_each(|byte| write!(f, "{byte:02x}"))?;
                write!(
                    f,
                    ", {} blocks of {} bytes, session {}",
                    superblock.blocks, superblock.block_bytes, superblock.session
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use karst_storage::log::format::{BlockHeader, Superblock};

    use super::*;

    const BLOCK_BYTES: u32 = 128 << 10;

    /// A file with superblocks and a header in each of its five blocks.
    fn filled(path: &Path) {
        let file = std::fs::File::create(path).unwrap();
        file.set_len(6 * u64::from(BLOCK_BYTES)).unwrap();
        for generation in 1..=2 {
            let superblock = Superblock {
                generation,
                device: 7,
                cluster: [1; 16],
                namespace: "test".into(),
                position: 0,
                devices: 1,
                block_bytes: BLOCK_BYTES,
                blocks: 5,
                session: 3,
                key_check: [0; 16],
                fills: 0,
            };
            let at = superblock.copy_offset();
            file.write_all_at(&superblock.encode(), at).unwrap();
        }
        for block in 0..5 {
            let header = BlockHeader {
                device: 7,
                fill: 9,
                block,
                previous: None,
                since: 1,
                settled: 1,
            };
            let at = u64::from(block + 1) * u64::from(BLOCK_BYTES);
            file.write_all_at(&header.encode(), at).unwrap();
        }
    }

    #[test]
    fn a_wiped_device_is_blank_and_has_no_header_of_any_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.dat");
        for damaged in [false, true] {
            filled(&path);
            if damaged {
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                file.write_all_at(&[0xee; 8192], 0).unwrap();
            }
            let device = open(&path).unwrap();
            let found = look(&device).unwrap();
            let text = found.to_string();
            assert_eq!(text.contains("namespace test"), !damaged, "{text}");
            wipe(&device, &found).unwrap();
            assert_eq!(look(&device).unwrap().front, Front::Blank);
            let bytes = std::fs::read(&path).unwrap();
            for block in bytes.chunks(BLOCK_BYTES as usize) {
                assert_eq!(BlockHeader::parse(block), None);
                assert!(!BlockHeader::is_damaged(block));
            }
            assert_eq!(bytes.len(), 6 * BLOCK_BYTES as usize, "it keeps its size");
        }
    }

    #[test]
    fn a_device_in_use_is_not_wiped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.dat");
        filled(&path);
        let _node = Device::open(&path, &OpenOptions::default()).unwrap();
        assert!(matches!(
            open(&path),
            Err(WipeError::Open(OpenError::InUse { .. }))
        ));
    }

    #[test]
    fn without_a_terminal_and_without_yes_nothing_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.dat");
        filled(&path);
        let before = std::fs::read(&path).unwrap();
        let arguments = |yes| Arguments {
            device: path.clone(),
            yes,
        };
        if !io::stdin().is_terminal() {
            assert!(!run(&arguments(false)).unwrap());
            assert_eq!(std::fs::read(&path).unwrap(), before);
        }
        assert!(run(&arguments(true)).unwrap());
        assert_ne!(std::fs::read(&path).unwrap(), before);
    }
}
