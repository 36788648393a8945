//! Opening a namespace's devices and making sure that they are its own.
//!
//! A device that was never used is taken: it gets a number and two superblocks. One that this cluster
//! used for this namespace goes on as it is. Anything else is refused, since taking it would destroy
//! what it holds; `adopt = true` in the configuration says that this is wanted.

use std::path::PathBuf;
use std::sync::Arc;

use karst_io::buffer::AlignedBuffer;
use karst_io::device::{Device, OpenError, OpenOptions};
use karst_io::op::IoFailure;
use karst_storage::log::DeviceGeometry;
use karst_storage::log::format::{Front, SUPERBLOCK_BYTES, Superblock, read_front};

use crate::config::{self, Engine};
use crate::data_dir;
use crate::node::ClusterId;

/// A device that is this namespace's own.
pub struct Claimed {
    /// The open device.
    pub device: Arc<Device>,
    /// How it is divided.
    pub geometry: DeviceGeometry,
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
    #[error(
        "{path} holds {found} and was left untouched; to overwrite it, set adopt = true in \
         [namespace.storage]"
    )]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What is on it.
        found: String,
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
) -> Result<Vec<Claimed>, ClaimError> {
    let Engine::Device { devices, adopt } = &namespace.storage.engine else {
        return Ok(Vec::new());
    };
    let claim = |(position, device): (usize, &config::Device)| {
        let options = OpenOptions {
            size_bytes: device.size,
            create: device.size.is_some(),
            ..OpenOptions::default()
        };
        let open = Device::open(&device.path, &options)?;
        let wanted = Wanted {
            namespace,
            cluster,
            position: position as u8,
            count: devices.len() as u8, // at most 128
            adopt: *adopt,
        };
        wanted.claim(open, device.size)
    };
    devices.iter().enumerate().map(claim).collect()
}

/// What a device should be.
struct Wanted<'a> {
    namespace: &'a config::Namespace,
    cluster: ClusterId,
    position: u8,
    count: u8,
    adopt: bool,
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
        })
    }

    /// The superblock of a device that is ours, or `None` for one that may be taken.
    fn judge(
        &self,
        front: &Front,
        path: &dyn Fn() -> PathBuf,
        blocks: u32,
    ) -> Result<Option<Superblock>, ClaimError> {
        let foreign = |found: String| match self.adopt {
            true => Ok(None),
            false => Err(ClaimError::Foreign {
                path: path(),
                found,
            }),
        };
        let superblock = match front {
            Front::Blank => return Ok(None),
            Front::Foreign => return foreign("data that is not Karst's, or damaged".into()),
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

    /// Writes down that a device has grown or that its namespace has more devices now. The older of
    /// its two superblocks is overwritten, so that one of them is sound at any time.
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
        let mut buffer = AlignedBuffer::with_capacity(SUPERBLOCK_BYTES);
        buffer.as_mut_slice().copy_from_slice(&updated.encode());
        let odd_first = (updated.generation + 1) % 2 * SUPERBLOCK_BYTES as u64;
        device
            .write_at_durable(odd_first, &buffer)
            .map_err(|error| ClaimError::Io {
                path: device.path().to_path_buf(),
                error,
            })?;
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
        let superblock = Superblock {
            generation: 1,
            device: u64::from_le_bytes(number),
            cluster: self.cluster.0,
            namespace: self.namespace.name.clone(),
            position: self.position,
            devices: self.count,
            block_bytes: self.namespace.storage.write_block as u32, // at most 8 MiB
            blocks,
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
    use std::path::Path;

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
        let claimed = claim_all(&namespace(folder, devices), CLUSTER)?;
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
