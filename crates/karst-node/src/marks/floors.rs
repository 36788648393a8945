//! Floors of partitions that were let go of, kept as truncation marks are, in a file of their own.
//!
//! What they mean, and in which order they are kept, is said in [`karst_engine::floor`]. A floor is never
//! taken away: it only rises when the partition is let go of again. The file is small, at most a number
//! for each partition, and has a checksum, since a wrong floor would make a node forget what it holds.
//!
//! When a change cannot be written it is not known which of the two files a crash would leave. The caller
//! tries until it succeeds: either way it has not relied on anything yet.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use karst_data::key::{PARTITIONS, PartitionId};
use karst_engine::floor::Floor;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

const FILE_NAME: &str = "floors.json";

/// Stands for a partition that is being let go of: no fill is that high.
const LEAVING: u64 = u64::MAX;

/// Floors by namespace, then by partition.
type Table = BTreeMap<String, BTreeMap<u16, u64>>;

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    /// Of the floors, as JSON without blanks.
    crc32c: u32,
    floors: Table,
}

/// See [the module](self).
#[derive(Debug)]
pub struct Floors {
    path: PathBuf,
    table: Mutex<Table>,
}

impl Floors {
    /// Reads the floors of a data folder; none when there is no file yet.
    ///
    /// # Errors
    /// When the file is there and cannot be understood: starting without it would bring records back.
    pub fn load(data_dir: &Path) -> io::Result<Floors> {
        let path = data_dir.join(FILE_NAME);
        let table = match std::fs::read(&path) {
            Ok(bytes) => {
                let wrong = |what: String| io::Error::other(format!("{}: {what}", path.display()));
                parse(&bytes).map_err(wrong)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Table::new(),
            Err(error) => return Err(error),
        };
        let table = Mutex::new(table);
        Ok(Floors { path, table })
    }

    /// Every floor of a namespace.
    pub fn of(&self, namespace: &str) -> Vec<(PartitionId, Floor)> {
        let floor = |(id, fill): (&u16, &u64)| {
            let floor = match *fill {
                LEAVING => Floor::Leaving,
                fill => Floor::Fill(fill),
            };
            (PartitionId(*id), floor)
        };
        let table = self.table.lock();
        let floors = table.get(namespace);
        floors.into_iter().flatten().map(floor).collect()
    }

    /// Keeps floors of some partitions, given by namespace, durably.
    ///
    /// # Errors
    /// When the file cannot be written: to be tried again.
    pub fn keep(&self, floors: &[(&str, PartitionId, Floor)]) -> io::Result<()> {
        let mut table = self.table.lock();
        let mut changed = table.clone();
        for (namespace, id, floor) in floors {
            let fill = match floor {
                Floor::Fill(fill) => *fill,
                Floor::Leaving => LEAVING,
            };
            let of = changed.entry((*namespace).into()).or_default();
            of.insert(id.0, fill);
        }
        crate::data_dir::replace(&self.path, &print(&changed)?)?;
        *table = changed;
        Ok(())
    }
}

fn print(floors: &Table) -> io::Result<Vec<u8>> {
    let file = File {
        version: 1,
        crc32c: checksum(floors)?,
        floors: floors.clone(),
    };
    serde_json::to_vec(&file).map_err(io::Error::other)
}

fn checksum(floors: &Table) -> io::Result<u32> {
    let bytes = serde_json::to_vec(floors).map_err(io::Error::other)?;
    Ok(crc32c::crc32c(&bytes))
}

fn parse(bytes: &[u8]) -> Result<Table, String> {
    let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.version != 1 {
        return Err(format!("version {} is unknown", file.version));
    }
    if checksum(&file.floors).map_err(|error| error.to_string())? != file.crc32c {
        return Err("its checksum is wrong".into());
    }
    let ids = file.floors.values().flat_map(BTreeMap::keys);
    match ids.copied().find(|id| usize::from(*id) >= PARTITIONS) {
        Some(id) => Err(format!("there is no partition {id}")),
        None => Ok(file.floors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_survive_a_restart_and_a_partition_that_was_being_let_go_of_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let floors = Floors::load(dir.path()).unwrap();
        assert_eq!(floors.of("test"), []);
        let [a, b] = [PartitionId(7), PartitionId(4095)];
        floors
            .keep(&[("test", b, Floor::Leaving), ("other", a, Floor::Fill(3))])
            .unwrap();
        floors.keep(&[("test", a, Floor::Fill(12))]).unwrap();
        let again = Floors::load(dir.path()).unwrap();
        let kept = [(a, Floor::Fill(12)), (b, Floor::Leaving)];
        assert_eq!(again.of("test"), kept);
        again.keep(&[("test", b, Floor::Fill(40))]).unwrap();
        let kept = [(a, Floor::Fill(12)), (b, Floor::Fill(40))];
        assert_eq!(Floors::load(dir.path()).unwrap().of("test"), kept);
    }

    #[test]
    fn a_file_with_any_changed_byte_is_an_error_not_another_table() {
        let dir = tempfile::tempdir().unwrap();
        let floors = Floors::load(dir.path()).unwrap();
        let (id, floor) = (PartitionId(7), Floor::Fill(12));
        floors.keep(&[("test", id, floor)]).unwrap();
        let path = dir.path().join(FILE_NAME);
        let sound = std::fs::read(&path).unwrap();
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(Floors::load(dir.path()).is_err(), "byte {at}");
        }
        std::fs::write(&path, &sound[..sound.len() - 1]).unwrap();
        assert!(Floors::load(dir.path()).is_err());
    }
}
