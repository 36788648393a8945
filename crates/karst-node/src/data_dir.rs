//! The node's data folder: its identity, and files that are replaced in one step.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::node::{ClusterId, NodeId};

const IDENTITY_FILE: &str = "identity.json";

#[derive(Serialize, Deserialize)]
struct IdentityFile {
    version: u32,
    node_id: String,
    /// Missing until the node is in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
    index_key: String,
}

/// What a node is, drawn at its first start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// Its cluster, once it is in one.
    pub cluster: Option<ClusterId>,
    /// The secret of the cluster's index hash: clients choose digests, and must not be able to choose
    /// ones that crowd together.
    pub index_key: [u64; 2],
}

/// Reads the identity of a data folder, which is created, and an identity drawn, if there is none: for a node
/// that is `alone`, the id of its cluster too.
///
/// # Errors
/// When the folder or the file cannot be made, read or understood.
pub fn identity(data_dir: &Path, alone: bool) -> io::Result<Identity> {
    fs::create_dir_all(data_dir)?;
    let path = data_dir.join(IDENTITY_FILE);
    match fs::read(&path) {
        Ok(bytes) => parse(&bytes)
            .ok_or_else(|| io::Error::other(format!("{} cannot be understood", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let cluster = alone.then(draw_cluster).transpose()?;
            let identity = Identity { cluster, ..draw()? };
            keep(data_dir, &identity)?;
            Ok(identity)
        }
        Err(error) => Err(error),
    }
}

/// Writes an identity, in place of the one before.
///
/// # Errors
/// When the file cannot be written.
pub fn keep(data_dir: &Path, identity: &Identity) -> io::Result<()> {
    replace(&data_dir.join(IDENTITY_FILE), &print(identity)?)
}

fn draw() -> io::Result<Identity> {
    let mut words = [0; 24];
    random(&mut words)?;
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&words[at * 8..at * 8 + 8]);
        u64::from_le_bytes(word)
    };
    Ok(Identity {
        node: NodeId(word(0) | 1), // zero would mean "no node"
        cluster: None,
        index_key: [word(1), word(2)],
    })
}

/// An id for a new cluster.
///
/// # Errors
/// When the system has no random bytes.
pub fn draw_cluster() -> io::Result<ClusterId> {
    let mut id = [0; 16];
    random(&mut id)?;
    Ok(ClusterId(id))
}

/// Fills a slice with random bytes of the operating system.
///
/// # Errors
/// When the system has no source of them.
pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    fs::File::open("/dev/urandom")?.read_exact(bytes)
}

fn print(identity: &Identity) -> io::Result<Vec<u8>> {
    let [a, b] = identity.index_key;
    let file = IdentityFile {
        version: 1,
        node_id: identity.node.to_string(),
        cluster_id: identity.cluster.map(|cluster| cluster.to_string()),
        index_key: format!("{a:016x}{b:016x}"),
    };
    serde_json::to_vec_pretty(&file).map_err(io::Error::other)
}

fn parse(bytes: &[u8]) -> Option<Identity> {
    let file: IdentityFile = serde_json::from_slice(bytes).ok()?;
    let wide = |text: &str| u128::from_str_radix(text, 16).ok();
    let index_key = wide(&file.index_key)?;
    let cluster = match &file.cluster_id {
        Some(text) => Some(ClusterId(wide(text)?.to_be_bytes())),
        None => None,
    };
    (file.version == 1).then_some(())?;
    Some(Identity {
        node: NodeId(u64::from_str_radix(&file.node_id, 16).ok()?),
        cluster,
        index_key: [(index_key >> 64) as u64, index_key as u64],
    })
}

/// Writes a file so that after a crash there is either the old one or the new one.
///
/// # Errors
/// When any step fails; the old file is then still there.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    let mut file = fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Removes a file so that it does not come back after a crash.
///
/// # Errors
/// When that fails; it may be there or not.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let first = identity(&dir.path().join("deeper"), true).unwrap();
        assert_eq!(identity(&dir.path().join("deeper"), true).unwrap(), first);
        assert_ne!(identity(&dir.path().join("another"), true).unwrap(), first);
    }

    #[test]
    fn a_node_with_others_has_no_cluster_until_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let fresh = identity(dir.path(), false).unwrap();
        assert_eq!(fresh.cluster, None);
        let joined = Identity {
            cluster: Some(ClusterId([7; 16])),
            ..fresh
        };
        keep(dir.path(), &joined).unwrap();
        assert_eq!(identity(dir.path(), false).unwrap(), joined);
    }

    #[test]
    fn an_identity_written_by_an_older_version_is_read() {
        let text = r#"{"version":1,"node_id":"BB902","cluster_id":"000102030405060708090a0b0c0d0e0f",
            "index_key":"00000000000000010000000000000002"}"#;
        let identity = parse(text.as_bytes()).unwrap();
        assert_eq!(identity.cluster.unwrap().0[15], 15);
        assert_eq!(identity.index_key, [1, 2]);
    }

    #[test]
    fn a_damaged_identity_is_an_error_not_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(IDENTITY_FILE), "{}").unwrap();
        assert!(identity(dir.path(), true).is_err());
    }
}
