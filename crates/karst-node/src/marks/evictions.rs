//! Eviction marks, kept as truncation marks are, in a file of their own.
//!
//! A mark says: records that expire up to then and were last updated before then are gone. It is on
//! disk before it takes effect, so what was evicted is gone after every restart. Changes of one node
//! are made one after the other, from file to engine, so that the two always agree.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use karst_engine::EvictionMark;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

const FILE_NAME: &str = "evictions.json";

/// Marks by namespace.
type Table = BTreeMap<String, Vec<EvictionMark>>;

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    evictions: BTreeMap<String, Vec<Entry>>,
}

/// A mark as it is written. A set's name is bytes, and need not be text.
#[derive(Serialize, Deserialize)]
struct Entry {
    /// Seconds since 2010.
    void_until_s: u32,
    /// Ms since 2010.
    updated_before_ms: u64,
    spared_sets: Vec<String>,
}

/// See [the module](self).
#[derive(Debug)]
pub struct Evictions {
    path: PathBuf,
    table: Mutex<Table>,
}

impl Evictions {
    /// Reads the marks of a data folder; none when there is no file yet.
    ///
    /// # Errors
    /// When the file is there and cannot be understood: starting without it would bring records back.
    pub fn load(data_dir: &Path) -> io::Result<Evictions> {
        let path = data_dir.join(FILE_NAME);
        let table = match std::fs::read(&path) {
            Ok(bytes) => {
                let wrong = |what: String| io::Error::other(format!("{}: {what}", path.display()));
                let file: File =
                    serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
                if file.version != 1 {
                    return Err(wrong(format!("version {} is unknown", file.version)));
                }
                let marks = |entries: Vec<Entry>| entries.into_iter().map(Entry::mark).collect();
                file.evictions
                    .into_iter()
                    .map(|(name, entries)| (name, marks(entries)))
                    .collect()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Table::new(),
            Err(error) => return Err(error),
        };
        let table = Mutex::new(table);
        Ok(Evictions { path, table })
    }

    /// Every mark of a namespace.
    pub fn of(&self, namespace: &str) -> Vec<EvictionMark> {
        self.table
            .lock()
            .get(namespace)
            .cloned()
            .unwrap_or_default()
    }

    /// Changes the marks of a namespace: makes new ones of the old, puts them on disk, and then lets
    /// them take effect.
    ///
    /// # Errors
    /// When the file cannot be written; nothing has changed then.
    pub fn change(
        &self,
        namespace: &str,
        make: impl FnOnce(&[EvictionMark]) -> Vec<EvictionMark>,
        take_effect: impl FnOnce(&[EvictionMark]),
    ) -> io::Result<()> {
        let mut table = self.table.lock();
        let mut changed = table.clone();
        let marks = changed.entry(namespace.into()).or_default();
        *marks = make(marks);
        let written = changed.iter().map(|(name, marks)| {
            let entries = marks.iter().map(Entry::of).collect();
            (name.clone(), entries)
        });
        let file = File {
            version: 1,
            evictions: written.collect(),
        };
        let bytes = serde_json::to_vec_pretty(&file).map_err(io::Error::other)?;
        crate::data_dir::replace(&self.path, &bytes)?;
        *table = changed;
        take_effect(&table[namespace]);
        Ok(())
    }
}

impl Entry {
    fn of(mark: &EvictionMark) -> Entry {
        let spared = mark.spared.iter();
        let spared = spared.map(|set| String::from_utf8_lossy(set).into_owned());
        Entry {
            void_until_s: mark.void_until_s,
            updated_before_ms: mark.before_ms,
            spared_sets: spared.collect(),
        }
    }

    fn mark(self) -> EvictionMark {
        let sets = self.spared_sets.into_iter();
        EvictionMark {
            void_until_s: self.void_until_s,
            before_ms: self.updated_before_ms,
            spared: sets.map(|set| set.into_bytes().into()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(void_until_s: u32) -> EvictionMark {
        EvictionMark {
            void_until_s,
            before_ms: 12_345,
            spared: vec![b"kept".as_slice().into()],
        }
    }

    #[test]
    fn marks_are_on_disk_before_they_take_effect_and_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let evictions = Evictions::load(dir.path()).unwrap();
        let mut effect = Vec::new();
        let take_effect = |marks: &[EvictionMark]| {
            let on_disk = Evictions::load(dir.path()).unwrap().of("test");
            assert_eq!(on_disk, marks);
            effect.extend_from_slice(marks);
        };
        evictions
            .change("test", |_| vec![mark(7)], take_effect)
            .unwrap();
        assert_eq!(effect, [mark(7)]);
        let both = |old: &[EvictionMark]| [old, &[mark(8)]].concat();
        evictions.change("test", both, |_| ()).unwrap();
        let again = Evictions::load(dir.path()).unwrap();
        assert_eq!(again.of("test"), [mark(7), mark(8)]);
        assert_eq!(again.of("other"), []);
    }

    #[test]
    fn what_cannot_be_written_does_not_take_effect() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        std::fs::create_dir(&gone).unwrap();
        let evictions = Evictions::load(&gone).unwrap();
        std::fs::remove_dir(&gone).unwrap();
        let changed = evictions.change("test", |_| vec![mark(7)], |_| panic!("it took effect"));
        assert!(changed.is_err());
        assert_eq!(evictions.of("test"), []);
    }

    #[test]
    fn a_damaged_file_is_an_error_not_an_empty_table() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{", "{\"version\":2,\"evictions\":{}}", "[]"] {
            std::fs::write(dir.path().join(FILE_NAME), text).unwrap();
            assert!(Evictions::load(dir.path()).is_err(), "{text}");
        }
    }
}
