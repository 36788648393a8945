//! Opening a namespace's devices and making sure that they are its own.
//!
//! A device that was never used is taken: it gets a number and two superblocks. One that this cluster
//! used for this namespace goes on as it is. Anything else is refused, since taking it would destroy
//! what it holds; `karst wipe` does that for whoever wants it.
//!
//! A device is encrypted from its first day, or never. Its superblock holds a check value by which the
//! right key is known.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use karst_io::buffer::AlignedBuffer;
use karst_io::device::{Device, OpenError, OpenOptions};
use karst_io::op::IoFailure;
use karst_storage::log::DeviceGeometry;
use karst_storage::log::codec::MasterKey;
use karst_storage::log::format::{FORMAT, Front, SUPERBLOCK_BYTES, Superblock, read_front};

use crate::config::{self, Engine};
use crate::data_dir;
use crate::failures::Failures;
use crate::node::ClusterId;

/// A device that is this namespace's own.
pub struct Claimed {
    /// The open device.
    pub device: Arc<Device>,
    /// How it is divided.
    pub geometry: DeviceGeometry,
    /// A write to it failed once: it is open for reading only.
    pub failed: bool,
    /// What its superblock says now.
    pub superblock: Superblock,
}

impl Claimed {
    /// Writes down that a node begins to serve from the device, as this session, and how many fills the
    /// namespace's log has numbered ([`karst_storage::log::Log::fills`], recovery being over). What was kept elsewhere
    /// about the device (memory that outlived its process) bears the number of the session before and
    /// is known to be stale from here on. When it returns, what recovery read is durable too, be it that
    /// the process before was killed while its last writes were under way.
    ///
    /// # Errors
    /// When the device cannot be written: then nothing may be served from it.
    pub fn begin_session(&mut self, session: u64, fills: u64) -> Result<(), ClaimError> {
        let failed = |error| ClaimError::Io {
            path: self.device.path().to_path_buf(),
            error,
        };
        if self.failed {
            return Ok(()); // it is never written to again
        }
        self.device.sync().map_err(failed)?;
        let superblock = Superblock {
            generation: self.superblock.generation + 1,
            session,
            fills,
            ..self.superblock.clone()
        };
        rewrite(&self.device, &superblock)?;
        self.superblock = superblock;
        Ok(())
    }
}

/// The number of the session that begins next on these devices of a namespace.
pub fn next_session(devices: &[Claimed]) -> u64 {
    let sessions = devices.iter().map(|claimed| claimed.superblock.session);
    sessions.max().unwrap_or(0) + 1
}

/// Fills that were numbered before the last session of these devices, for
/// [`karst_storage::log::Log::raise_fills`].
pub fn fills(devices: &[Claimed]) -> u64 {
    let fills = devices.iter().map(|claimed| claimed.superblock.fills);
    fills.max().unwrap_or(0)
}

/// Writes a superblock over the older of a device's two, so that one of them is sound at any time.
fn rewrite(device: &Device, superblock: &Superblock) -> Result<(), ClaimError> {
    let mut buffer = AlignedBuffer::with_capacity(SUPERBLOCK_BYTES);
    buffer.as_mut_slice().copy_from_slice(&superblock.encode());
    device
        .write_at_durable(superblock.copy_offset(), &buffer)
        .map_err(|error| ClaimError::Io {
            path: device.path().to_path_buf(),
            error,
        })
}

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its front cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        error: IoFailure,
    },
    /// It holds data of something else.
    #[error("{path} holds {found} and was left untouched; `karst wipe {path}` empties it")]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What is on it.
        found: String,
    },
    /// It was written in a format that this version does not read.
    #[error(
        "{path} was written by {age} version of Karst (format {found}) and was left untouched; \
         `karst wipe {path}` empties it"
    )]
    OtherFormat {
        /// Which.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Whether that version is older or newer.
        age: &'static str,
    },
    /// It is encrypted, and the configuration names no key.
    #[error("{path} is encrypted: name its key with encryption_key_file in [namespace.storage]")]
    NoKey {
        /// Which.
        path: PathBuf,
    },
    /// It is encrypted with another key.
    #[error("{path} is encrypted with another key than that of encryption_key_file")]
    WrongKey {
        /// Which.
        path: PathBuf,
    },
    /// It was taken into use without encryption.
    #[error(
        "{path} is not encrypted: take encryption_key_file out of [namespace.storage], or begin with \
         an empty device (`karst wipe {path}`)"
    )]
    NotEncrypted {
        /// Which.
        path: PathBuf,
    },
    /// It was divided differently when it was first used.
    #[error("{path} was formatted with {found}, the configuration says {expected}")]
    Geometry {
        /// Which.
        path: PathBuf,
        /// As it is.
        found: String,
        /// As it should be.
        expected: String,
    },
    /// The namespace had more devices than the configuration names.
    #[error(
        "{path} says that its namespace has {found} devices, the configuration names {configured}: \
         without all of them older copies of records would come back"
    )]
    Missing {
        /// Which.
        path: PathBuf,
        /// Devices as the superblock says.
        found: u8,
        /// Devices in the configuration.
        configured: u8,
    },
    /// It is too small for even one block.
    #[error("{path} is too small: {bytes} bytes")]
    Small {
        /// Which.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// No random number for a new device.
    #[error("no random numbers: {0}")]
    Random(std::io::Error),
}

/// Opens and claims every device of a namespace.
///
/// # Errors
/// The first device that cannot be used; those before it were claimed and hold nothing yet.
pub fn claim_all(
    namespace: &config::Namespace,
    cluster: ClusterId,
    failures: &Failures,
    key: Option<&MasterKey>,
) -> Result<Vec<Claimed>, ClaimError> {
    let Engine::Device { devices, .. } = &namespace.storage.engine else {
        return Ok(Vec::new());
    };
    let claim = |(position, device): (usize, &config::Device)| {
        let options = OpenOptions {
            size_bytes: device.size,
            create: device.size.is_some(),
            sector_bytes: device.sector_size,
            ..OpenOptions::default()
        };
        if let Some(failed) = open_failed(&device.path, failures) {
            return Ok(failed);
        }
        let open = Device::open(&device.path, &options)?;
        let wanted = Wanted {
            namespace,
            cluster,
            position: position as u8,
            count: devices.len() as u8, // at most 128
            key,
        };
        let claimed = wanted.claim(open, device.size)?;
        if namespace.storage.commit_to_device {
            fill_holes(&claimed.device)?;
        }
        Ok(claimed)
    };
    devices.iter().enumerate().map(claim).collect()
}

/// Whether a device of a namespace holds nothing, in whose stead another one held something: all are new, or fewer are
/// there that know the namespace than they say it has. To be asked before they are claimed.
pub fn are_emptied(namespace: &config::Namespace) -> bool {
    let Engine::Device { devices, .. } = &namespace.storage.engine else {
        return false;
    };
    let fronts = devices.iter().filter_map(|device| front(&device.path));
    let known: Vec<u8> = fronts
        .filter_map(|(_, front)| match front {
            Front::Karst(superblock) if superblock.namespace == namespace.name => {
                Some(superblock.devices)
            }
            Front::Karst(_) | Front::Blank | Front::Foreign | Front::OtherFormat(_) => None,
        })
        .collect();
    known.is_empty()
        || known
            .iter()
            .any(|devices| usize::from(*devices) > known.len())
}

/// What a device's front says, and the device, open for reading only. `None` if it cannot be read.
fn front(path: &Path) -> Option<(Device, Front)> {
    let options = OpenOptions {
        read_only: true,
        ..OpenOptions::default()
    };
    let device = Device::open(path, &options).ok()?;
    let mut buffer = AlignedBuffer::with_capacity(2 * SUPERBLOCK_BYTES);
    buffer.set_len(2 * SUPERBLOCK_BYTES);
    device.read_at(0, &mut buffer).ok()?;
    let front = read_front(buffer.as_slice());
    Some((device, front))
}

/// Makes durable writes to a file as quick as they can be: see [`Device::fill_holes`].
fn fill_holes(device: &Device) -> Result<(), ClaimError> {
    let bytes = device.hole_bytes();
    if bytes == 0 {
        return Ok(());
    }
    tracing::info!(
        device = %device.path().display(), bytes,
        "writing zeros to what of the file was never written, as commit_to_device asks for"
    );
    device.fill_holes().map_err(|error| ClaimError::Io {
        path: device.path().to_path_buf(),
        error,
    })
}

/// Opens a device that failed in an earlier life of the node, for reading only: nothing is ever written
/// to it again, its superblocks included. `None` for any other.
fn open_failed(path: &Path, failures: &Failures) -> Option<Claimed> {
    if failures.is_empty() {
        return None;
    }
    let (device, Front::Karst(superblock)) = front(path)? else {
        return None;
    };
    let failure = failures.of(superblock.device)?;
    tracing::error!(
        device = %path.display(), failed_unix_ms = failure.unix_ms, cause = failure.cause,
        "a write to this device failed earlier: it is only read from until it is wiped or replaced"
    );
    Some(Claimed {
        geometry: DeviceGeometry {
            number: superblock.device,
            blocks: superblock.blocks,
            sector_bytes: device.sector_bytes(),
        },
        superblock,
        device: Arc::new(device),
        failed: true,
    })
}

/// What a device should be.
struct Wanted<'a> {
    namespace: &'a config::Namespace,
    cluster: ClusterId,
    position: u8,
    count: u8,
    key: Option<&'a MasterKey>,
}

impl Wanted<'_> {
    fn claim(&self, device: Device, size: Option<u64>) -> Result<Claimed, ClaimError> {
        let path = || device.path().to_path_buf();
        let block_bytes = self.namespace.storage.write_block;
        let usable = size.unwrap_or(u64::MAX).min(device.size_bytes());
        let blocks = (usable / block_bytes).saturating_sub(1); // superblocks take the room of one
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        if blocks == 0 {
            return Err(ClaimError::Small {
                path: path(),
                bytes: device.size_bytes(),
            });
        }
        let mut buffer = AlignedBuffer::with_capacity(2 * SUPERBLOCK_BYTES);
        buffer.set_len(2 * SUPERBLOCK_BYTES);
        device
            .read_at(0, &mut buffer)
            .map_err(|error| ClaimError::Io {
                path: path(),
                error,
            })?;
        let found = read_front(buffer.as_slice());
        let superblock = match self.judge(&found, &path, blocks)? {
            Some(superblock) => self.update(&device, superblock, blocks)?,
            None => self.format(&device, &mut buffer, blocks)?,
        };
        let sector_bytes = device.sector_bytes();
        let geometry = DeviceGeometry {
            number: superblock.device,
            blocks,
            sector_bytes,
        };
        Ok(Claimed {
            device: Arc::new(device),
            geometry,
            superblock,
            failed: false,
        })
    }

    /// The superblock of a device that is ours, or `None` for one that may be taken.
    fn judge(
        &self,
        front: &Front,
        path: &dyn Fn() -> PathBuf,
        blocks: u32,
    ) -> Result<Option<Superblock>, ClaimError> {
        let foreign = |found: String| {
            Err(ClaimError::Foreign {
                path: path(),
                found,
            })
        };
        let superblock = match front {
            Front::Blank => return Ok(None),
            Front::Foreign => return foreign("data that is not Karst's, or damaged".into()),
            Front::OtherFormat(format) => {
                let (path, found) = (path(), *format);
                let age = if found < FORMAT {
                    "an older development"
                } else {
                    "a later"
                };
                return Err(ClaimError::OtherFormat { path, found, age });
            }
            Front::Karst(superblock) => superblock,
        };
        if superblock.cluster != self.cluster.0 {
            let other = ClusterId(superblock.cluster);
            return foreign(format!(
                "namespace {} of cluster {other}",
                superblock.namespace
            ));
        }
        if superblock.namespace != self.namespace.name {
            return foreign(format!(
                "namespace {} of this cluster",
                superblock.namespace
            ));
        }
        self.judge_key(superblock, path)?;
        let block_bytes = self.namespace.storage.write_block;
        if u64::from(superblock.block_bytes) != block_bytes {
            return Err(ClaimError::Geometry {
                path: path(),
                found: format!("write_block = {}", superblock.block_bytes),
                expected: format!("{block_bytes}"),
            });
        }
        if superblock.blocks > blocks {
            return Err(ClaimError::Geometry {
                path: path(),
                found: format!("{} blocks", superblock.blocks),
                expected: format!("{blocks}: a device cannot shrink"),
            });
        }
        if superblock.devices > self.count {
            return Err(ClaimError::Missing {
                path: path(),
                found: superblock.devices,
                configured: self.count,
            });
        }
        Ok(Some(superblock.clone()))
    }

    fn judge_key(
        &self,
        superblock: &Superblock,
        path: &dyn Fn() -> PathBuf,
    ) -> Result<(), ClaimError> {
        let is_encrypted = superblock.key_check != [0; 16];
        match self.key {
            None if is_encrypted => Err(ClaimError::NoKey { path: path() }),
            Some(_) if !is_encrypted => Err(ClaimError::NotEncrypted { path: path() }),
            Some(key) if key.check(superblock.device) != superblock.key_check => {
                Err(ClaimError::WrongKey { path: path() })
            }
            None | Some(_) => Ok(()),
        }
    }

    /// Writes down that a device has grown or that its namespace has more devices now.
    fn update(
        &self,
        device: &Device,
        found: Superblock,
        blocks: u32,
    ) -> Result<Superblock, ClaimError> {
        if found.blocks == blocks && found.devices == self.count {
            return Ok(found);
        }
        let updated = Superblock {
            generation: found.generation + 1,
            devices: self.count,
            blocks,
            ..found
        };
        rewrite(device, &updated)?;
        Ok(updated)
    }

    /// Gives a device a number and superblocks. Blocks keep their old bytes: no seal can match them.
    fn format(
        &self,
        device: &Device,
        buffer: &mut AlignedBuffer,
        blocks: u32,
    ) -> Result<Superblock, ClaimError> {
        let mut number = [0; 8];
        data_dir::random(&mut number).map_err(ClaimError::Random)?;
        let number = u64::from_le_bytes(number);
        let superblock = Superblock {
            generation: 1,
            device: number,
            cluster: self.cluster.0,
            namespace: self.namespace.name.clone(),
            position: self.position,
            devices: self.count,
            block_bytes: self.namespace.storage.write_block as u32, // at most 8 MiB
            blocks,
            session: 0,
            key_check: self.key.map_or([0; 16], |key| key.check(number)),
            fills: 0,
        };
        let second = Superblock {
            generation: 2,
            ..superblock.clone()
        };
        buffer.as_mut_slice()[..SUPERBLOCK_BYTES].copy_from_slice(&superblock.encode());
        buffer.as_mut_slice()[SUPERBLOCK_BYTES..].copy_from_slice(&second.encode());
        device
            .write_at_durable(0, buffer)
            .map_err(|error| ClaimError::Io {
                path: device.path().to_path_buf(),
                error,
            })?;
        Ok(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inputs, from_inputs};

    const CLUSTER: ClusterId = ClusterId([7; 16]);

    /// The namespace of a configuration with these device files and sizes in MiB.
    fn namespace(folder: &Path, devices: &[(&str, u64)]) -> config::Namespace {
        let device = |(name, mib): &(&str, u64)| {
            let path = folder.join(name);
            format!("{{ path = \"{}\", size = \"{mib}MiB\" }}", path.display())
        };
        let devices: Vec<String> = devices.iter().map(device).collect();
        let text = format!(
            "[[namespace]]\nname = \"test\"\n[namespace.storage]\ndevices = [{}]\n",
            devices.join(", ")
        );
        let inputs = Inputs {
            file: Some(("test.toml".into(), text)),
            host_name: "host".into(),
            ..Inputs::default()
        };
        let mut config = from_inputs(&inputs).unwrap_or_else(|errors| panic!("{errors}"));
        config.namespaces.remove(0)
    }

    fn claim(folder: &Path, devices: &[(&str, u64)]) -> Result<Vec<u32>, ClaimError> {
        let failures = Failures::load(folder).unwrap();
        let claimed = claim_all(&namespace(folder, devices), CLUSTER, &failures, None)?;
        Ok(claimed
            .iter()
            .map(|claimed| claimed.geometry.blocks)
            .collect())
    }

    #[test]
    fn a_device_that_grew_is_used_whole_and_cannot_shrink_again() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(claim(folder.path(), &[("a", 64)]).unwrap(), [63]);
        assert_eq!(claim(folder.path(), &[("a", 80)]).unwrap(), [79]);
        assert_eq!(claim(folder.path(), &[("a", 80)]).unwrap(), [79]);
        let shrunk = claim(folder.path(), &[("a", 64)]);
        assert!(matches!(shrunk, Err(ClaimError::Geometry { .. })));
    }

    #[test]
    fn a_device_that_another_one_stands_in_for_is_missed_and_one_more_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = ([("a", 64)], [("a", 64), ("b", 64)]);
        let are_emptied = |devices: &[(&str, u64)]| are_emptied(&namespace(folder.path(), devices));
        assert!(are_emptied(&one), "nothing is there");
        claim(folder.path(), &one).unwrap();
        assert!(!are_emptied(&one) && !are_emptied(&two));
        claim(folder.path(), &two).unwrap();
        assert!(!are_emptied(&two));
        let b = &namespace(folder.path(), &two);
        let Engine::Device { devices, .. } = &b.storage.engine else {
            panic!("{b:?}");
        };
        std::fs::remove_file(&devices[1].path).unwrap();
        assert!(are_emptied(&two));
        claim(folder.path(), &two).unwrap();
        assert!(!are_emptied(&two), "which is why it is asked before");
    }

    #[test]
    fn a_session_is_written_down_and_the_next_one_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let namespace = namespace(folder.path(), &[("a", 64), ("b", 64)]);
        for expected in 1..=3 {
            let mut devices = claim_all(&namespace, CLUSTER, &Failures::default(), None).unwrap();
            let session = next_session(&devices);
            assert_eq!(session, expected);
            for device in &mut devices {
                device.begin_session(session, 10 * session).unwrap();
            }
        }
        // One device missed the last session: the next is later than that of either.
        let mut devices = claim_all(&namespace, CLUSTER, &Failures::default(), None).unwrap();
        devices[1].begin_session(9, 90).unwrap();
        drop(devices);
        let devices = claim_all(&namespace, CLUSTER, &Failures::default(), None).unwrap();
        let sessions: Vec<u64> = devices
            .iter()
            .map(|claimed| claimed.superblock.session)
            .collect();
        assert_eq!(sessions, [3, 9]);
        assert_eq!((next_session(&devices), fills(&devices)), (10, 90));
    }

    #[test]
    fn a_device_is_encrypted_with_its_own_key_from_its_first_day_or_never() {
        let folder = tempfile::tempdir().unwrap();
        let (encrypted, plain) = ([("a", 64)], [("b", 64)]);
        let (right, wrong) = (MasterKey([1; 32]), MasterKey([2; 32]));
        let claim = |devices: &[(&str, u64)], key| {
            let failures = Failures::default();
            claim_all(&namespace(folder.path(), devices), CLUSTER, &failures, key).map(|_| ())
        };
        claim(&encrypted, Some(&right)).unwrap();
        claim(&plain, None).unwrap();
        claim(&encrypted, Some(&right)).unwrap();
        let refused = |devices, key| claim(devices, key).unwrap_err();
        let wrong_key = refused(&encrypted, Some(&wrong));
        assert!(matches!(wrong_key, ClaimError::WrongKey { .. }));
        let no_key = refused(&encrypted, None);
        assert!(matches!(no_key, ClaimError::NoKey { .. }));
        let not_encrypted = refused(&plain, Some(&right));
        assert!(matches!(not_encrypted, ClaimError::NotEncrypted { .. }));
    }

    #[test]
    fn a_device_of_another_format_is_refused_and_the_message_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let devices = &[("a", 64)];
        claim(folder.path(), devices).unwrap();
        let path = folder.path().join("a");
        let mut bytes = std::fs::read(&path).unwrap();
        for (format, age) in [
            (1, "an older development"),
            (2, "an older development"),
            (4, "a later"),
        ] {
            for copy in bytes[..2 * SUPERBLOCK_BYTES].chunks_mut(SUPERBLOCK_BYTES) {
                copy[12] = format;
                let checksum = crc32c::crc32c(&copy[12..]);
                copy[8..12].copy_from_slice(&checksum.to_le_bytes());
            }
            std::fs::write(&path, &bytes).unwrap();
            let refused = claim(folder.path(), devices).unwrap_err().to_string();
            let told = format!("{age} version of Karst (format {format})");
            assert!(refused.contains(&told), "{refused}");
            assert!(refused.contains("karst wipe"), "{refused}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "it is left as it is");
        }
    }

    #[test]
    fn a_device_that_is_left_out_is_noticed_and_one_that_is_added_is_not_held_against_it() {
        let folder = tempfile::tempdir().unwrap();
        claim(folder.path(), &[("a", 64)]).unwrap();
        claim(folder.path(), &[("a", 64), ("b", 64)]).unwrap();
        claim(folder.path(), &[("b", 64), ("a", 64)]).unwrap();
        let left_out = claim(folder.path(), &[("a", 64)]);
        assert!(matches!(
            left_out,
            Err(ClaimError::Missing {
                found: 2,
                configured: 1,
                ..
            })
        ));
    }
}
