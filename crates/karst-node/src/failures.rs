//! Which devices have failed, kept in `data_dir` across restarts.
//!
//! A failed write or flush fails its device for good: nobody knows what of it arrived, and a later one that
//! seems to succeed proves nothing. The device's number goes to `failed_devices.json`; from then on it
//! is opened for reading only, until it is wiped or replaced, which gives it another number.
//!
//! Beside that, in memory only, what a failure costs: counted again and again while the node runs.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Name of the file.
const FILE_NAME: &str = "failed_devices.json";

/// A failed device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where it was when it failed.
    pub path: String,
    /// Whose it was.
    pub namespace: String,
    /// When, in ms since 1970.
    pub unix_ms: u64,
    /// What the system said.
    pub cause: String,
}

/// What lies on a failed device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stake {
    /// Live records that are on it and can still be read.
    pub readable: u64,
    /// Live records whose write was lost: they are in memory, and gone when the node stops.
    pub only_in_memory: u64,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    /// By device number, in hexadecimal.
    failed: BTreeMap<String, Failure>,
}

/// See [the module](self).
#[derive(Debug, Default)]
pub struct Failures {
    path: PathBuf,
    failed: Mutex<BTreeMap<u64, Failure>>,
    stakes: Mutex<BTreeMap<u64, Stake>>,
}

fn name(number: u64) -> String {
    format!("{number:016x}")
}

impl Failures {
    /// Reads the file; there are no failures if there is none.
    ///
    /// # Errors
    /// When it cannot be read or understood: a failed device must not be taken for a sound one.
    pub fn load(data_dir: &Path) -> io::Result<Failures> {
        let path = data_dir.join(FILE_NAME);
        let odd = |what: String| io::Error::other(format!("{}: {what}", path.display()));
        let file: File = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| odd(error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => File {
                version: 1,
                failed: BTreeMap::new(),
            },
            Err(error) => return Err(odd(error.to_string())),
        };
        if file.version != 1 {
            return Err(odd(format!("version {} is not known", file.version)));
        }
        let number = |(number, failure): (String, Failure)| {
            let parsed = u64::from_str_radix(&number, 16);
            let parsed = parsed.map_err(|_| odd(format!("{number} is not a device number")))?;
            Ok((parsed, failure))
        };
        let failed = file
            .failed
            .into_iter()
            .map(number)
            .collect::<io::Result<_>>()?;
        Ok(Failures {
            failed: Mutex::new(failed),
            stakes: Mutex::default(),
            path,
        })
    }

    /// Whether any device has failed.
    pub fn is_empty(&self) -> bool {
        self.failed.lock().is_empty()
    }

    /// What is known of a device's failure.
    pub fn of(&self, number: u64) -> Option<Failure> {
        self.failed.lock().get(&number).cloned()
    }

    /// Remembers a failure, durably; the first of a device counts. Blocks.
    ///
    /// # Errors
    /// When the file cannot be written; the failure is remembered as long as the node runs.
    pub fn remember(&self, number: u64, failure: Failure) -> io::Result<()> {
        let mut failed = self.failed.lock();
        if failed.contains_key(&number) {
            return Ok(());
        }
        failed.insert(number, failure);
        let file = File {
            version: 1,
            failed: failed
                .iter()
                .map(|(number, failure)| (name(*number), failure.clone()))
                .collect(),
        };
        let bytes = serde_json::to_vec_pretty(&file).map_err(io::Error::other)?;
        crate::data_dir::replace(&self.path, &bytes)
    }

    /// Notes what lies on a failed device.
    pub fn set_stake(&self, number: u64, stake: Stake) {
        self.stakes.lock().insert(number, stake);
    }

    /// What lies on a failed device, as of the last count.
    pub fn stake(&self, number: u64) -> Option<Stake> {
        self.stakes.lock().get(&number).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(cause: &str) -> Failure {
        Failure {
            path: "/dev/x".into(),
            namespace: "test".into(),
            unix_ms: 5,
            cause: cause.into(),
        }
    }

    #[test]
    fn a_failure_is_known_after_a_restart_and_the_first_of_a_device_counts() {
        let dir = tempfile::tempdir().unwrap();
        let failures = Failures::load(dir.path()).unwrap();
        assert!(failures.is_empty());
        failures.remember(7, failure("first")).unwrap();
        failures.remember(7, failure("second")).unwrap();
        let again = Failures::load(dir.path()).unwrap();
        assert_eq!(again.of(7), Some(failure("first")));
        assert_eq!(again.of(8), None);
    }

    #[test]
    fn a_damaged_file_is_an_error_not_an_empty_table() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [
            "{",
            "{\"version\":2,\"failed\":{}}",
            "{\"version\":1,\"failed\":{\"x\":1}}",
        ] {
            std::fs::write(dir.path().join(FILE_NAME), bytes).unwrap();
            assert!(Failures::load(dir.path()).is_err(), "{bytes}");
        }
    }
}
