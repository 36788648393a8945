//! Truncation marks, which have to outlive the process; and beside them those of evictions, and the floors of
//! partitions that were let go of.
//!
//! A mark says: records of this namespace (and set) last updated before then are gone. Records on
//! devices stay where they are until defrag comes by, so the marks are what keeps them gone after a
//! restart. They are few; the file is rewritten as a whole and replaced in one step.

pub mod evictions;
pub mod floors;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use self::evictions::Evictions;
use self::floors::Floors;

const FILE_NAME: &str = "truncations.json";

/// Marks by namespace, then by set, the empty name standing for the whole namespace; ms since 2010.
type Table = BTreeMap<String, BTreeMap<String, u64>>;

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    truncated_before_ms: Table,
}

/// See [the module](self).
#[derive(Debug)]
pub struct Marks {
    path: PathBuf,
    table: Mutex<Table>,
    /// Marks of evictions.
    pub evictions: Evictions,
    /// Floors of partitions.
    pub floors: Floors,
}

impl Marks {
    /// Reads the marks of a data folder; none when there is no file yet.
    ///
    /// # Errors
    /// When the file is there and cannot be understood: starting without it would bring records back.
    pub fn load(data_dir: &Path) -> io::Result<Marks> {
        let path = data_dir.join(FILE_NAME);
        let table = match std::fs::read(&path) {
            Ok(bytes) => {
                let file: File = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
                if file.version != 1 {
                    let text = format!("{}: version {} is unknown", path.display(), file.version);
                    return Err(io::Error::other(text));
                }
                file.truncated_before_ms
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Table::new(),
            Err(error) => return Err(error),
        };
        Ok(Marks {
            path,
            table: Mutex::new(table),
            evictions: Evictions::load(data_dir)?,
            floors: Floors::load(data_dir)?,
        })
    }

    /// Every mark of a namespace as (set, ms since 2010); the empty set is the whole namespace.
    pub fn of(&self, namespace: &str) -> Vec<(String, u64)> {
        let table = self.table.lock();
        table
            .get(namespace)
            .into_iter()
            .flatten()
            .map(|(set, ms)| (set.clone(), *ms))
            .collect()
    }

    /// Sets a mark, durably, before it takes effect anywhere. Never lowers one.
    ///
    /// # Errors
    /// When the file cannot be written; the mark is then not set.
    pub fn set(&self, namespace: &str, set: &str, before_ms: u64) -> io::Result<()> {
        self.change(|table| {
            let mark = table
                .entry(namespace.into())
                .or_default()
                .entry(set.into())
                .or_default();
            *mark = before_ms.max(*mark);
        })
    }

    /// Takes a mark away, durably.
    ///
    /// # Errors
    /// When the file cannot be written; the mark then stays.
    pub fn clear(&self, namespace: &str, set: &str) -> io::Result<()> {
        self.change(|table| {
            if let Some(sets) = table.get_mut(namespace) {
                sets.remove(set);
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut Table)) -> io::Result<()> {
        let mut table = self.table.lock();
        let mut changed = table.clone();
        change(&mut changed);
        if changed == *table {
            return Ok(());
        }
        let file = File {
            version: 1,
            truncated_before_ms: changed,
        };
        let bytes = serde_json::to_vec_pretty(&file).map_err(io::Error::other)?;
        crate::data_dir::replace(&self.path, &bytes)?;
        *table = file.truncated_before_ms;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_a_restart_and_never_go_down() {
        let dir = tempfile::tempdir().unwrap();
        let marks = Marks::load(dir.path()).unwrap();
        marks.set("test", "demo", 500).unwrap();
        marks.set("test", "demo", 400).unwrap();
        marks.set("test", "", 7).unwrap();
        let again = Marks::load(dir.path()).unwrap();
        assert_eq!(again.of("test"), [(String::new(), 7), ("demo".into(), 500)]);
        again.clear("test", "demo").unwrap();
        assert_eq!(
            Marks::load(dir.path()).unwrap().of("test"),
            [(String::new(), 7)]
        );
    }

    #[test]
    fn a_damaged_file_is_an_error_not_an_empty_table() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), b"{").unwrap();
        assert!(Marks::load(dir.path()).is_err());
    }
}
