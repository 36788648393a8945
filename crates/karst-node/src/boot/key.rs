//! The key file of an encrypted namespace.
//!
//! Holds 32 bytes as they are, or as 64 hexadecimal digits with or without a line's end. It should be
//! readable by its owner alone; that it is not is said and not refused, since many systems hand secrets to
//! a process in files that it does not own.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use karst_storage::log::codec::{MASTER_KEY_BYTES, MasterKey};

/// Larger files hold no key and are not read.
const FILE_BYTES_MAX: u64 = 4096;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("key file {path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It holds something else than a key.
    #[error("key file {path} holds neither 32 bytes nor 64 hexadecimal digits")]
    Content {
        /// Which.
        path: PathBuf,
    },
}

/// Reads a key file.
///
/// # Errors
/// When it cannot be read or holds no key.
pub fn load(path: &Path) -> Result<MasterKey, KeyError> {
    let file = |error| KeyError::File {
        path: path.to_owned(),
        error,
    };
    let found = fs::metadata(path).map_err(file)?;
    let content = || KeyError::Content {
        path: path.to_owned(),
    };
    if found.len() > FILE_BYTES_MAX {
        return Err(content());
    }
    if found.mode() & 0o077 != 0 {
        tracing::warn!(
            path = %path.display(),
            "the key file can be read by others than its owner: chmod 600"
        );
    }
    let bytes = fs::read(path).map_err(file)?;
    parse(&bytes).ok_or_else(content)
}

fn parse(bytes: &[u8]) -> Option<MasterKey> {
    if let Ok(key) = bytes.try_into() {
        return Some(MasterKey(key));
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let digits = text.strip_suffix('\n').unwrap_or(text);
    let digits = digits.strip_suffix('\r').unwrap_or(digits);
    let is_hex = digits.len() == 2 * MASTER_KEY_BYTES
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !is_hex {
        return None;
    }
    let mut key = [0; MASTER_KEY_BYTES];
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(MasterKey(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_or_64_digits_and_nothing_else() {
        let raw: Vec<u8> = (0..32).collect();
        let digits: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = parse(&raw);
        assert!(key.is_some());
        assert_eq!(parse(digits.as_bytes()), key);
        assert_eq!(parse(digits.to_uppercase().as_bytes()), key);
        assert_eq!(parse(format!("{digits}\n").as_bytes()), key);
        assert_eq!(parse(format!("{digits}\r\n").as_bytes()), key);
        for wrong in [
            &raw[..31],
            &digits.as_bytes()[..63],
            format!("{digits}\n\n").as_bytes(),
            format!("+{}", &digits[1..]).as_bytes(),
            b"",
        ] {
            assert_eq!(parse(wrong), None);
        }
    }

    #[test]
    fn a_missing_or_huge_key_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("the.key");
        let message = || load(&path).unwrap_err().to_string();
        assert!(message().contains("the.key"));
        fs::write(&path, vec![0; 5000]).unwrap();
        assert!(message().contains("neither 32 bytes nor 64"));
        fs::write(&path, [7; 32]).unwrap();
        assert_eq!(load(&path).unwrap(), MasterKey([7; 32]));
    }
}
