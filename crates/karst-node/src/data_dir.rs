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
    cluster_id: String,
    index_key: String,
}

/// What a node is, drawn at its first start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// The secret of the cluster's index hash: clients choose digests, and must not be able to choose
    /// ones that crowd together.
    pub index_key: [u64; 2],
}

/// Reads the identity of a data folder, which is created, and an identity drawn, if there is none.
///
/// # Errors
/// When the folder or the file cannot be made, read or understood.
pub fn identity(data_dir: &Path) -> io::Result<Identity> {
    fs::create_dir_all(data_dir)?;
    let path = data_dir.join(IDENTITY_FILE);
    match fs::read(&path) {
        Ok(bytes) => parse(&bytes)
            .ok_or_else(|| io::Error::other(format!("{} cannot be understood", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let identity = draw()?;
            replace(&path, &print(&identity)?)?;
            Ok(identity)
        }
        Err(error) => Err(error),
    }
}

fn draw() -> io::Result<Identity> {
    let mut bytes = [0; 40];
    random(&mut bytes)?;
    let (words, cluster) = bytes.split_at(24);
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&words[at * 8..at * 8 + 8]);
        u64::from_le_bytes(word)
    };
    let mut cluster_id = [0; 16];
    cluster_id.copy_from_slice(cluster);
    Ok(Identity {
        node: NodeId(word(0) | 1), // zero would mean "no node"
        cluster: ClusterId(cluster_id),
        index_key: [word(1), word(2)],
    })
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
        cluster_id: identity.cluster.to_string(),
        index_key: format!("{a:016x}{b:016x}"),
    };
    serde_json::to_vec_pretty(&file).map_err(io::Error::other)
}

fn parse(bytes: &[u8]) -> Option<Identity> {
    let file: IdentityFile = serde_json::from_slice(bytes).ok()?;
    let wide = |text: &str| u128::from_str_radix(text, 16).ok();
    let index_key = wide(&file.index_key)?;
    (file.version == 1).then_some(())?;
    Some(Identity {
        node: NodeId(u64::from_str_radix(&file.node_id, 16).ok()?),
        cluster: ClusterId(wide(&file.cluster_id)?.to_be_bytes()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let first = identity(&dir.path().join("deeper")).unwrap();
        assert_eq!(identity(&dir.path().join("deeper")).unwrap(), first);
        assert_ne!(identity(&dir.path().join("another")).unwrap(), first);
    }

    #[test]
    fn a_damaged_identity_is_an_error_not_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(IDENTITY_FILE), "{}").unwrap();
        assert!(identity(dir.path()).is_err());
    }
}
