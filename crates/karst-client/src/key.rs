//! What names a record: namespace, set and the user's key, hashed once when the key is made.
//!
//! The digest decides the partition, and with it the node; the user's key itself travels only when a
//! policy asks for it.

use std::fmt;
use std::sync::Arc;

use karst_data::key::{Digest, KeyBytes, NAMESPACE_BYTES_MAX, PartitionId, SET_BYTES_MAX};
use karst_wire::particle;

use crate::error::{Error, Result};

/// The part of a key that the application chooses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UserKey {
    /// A number.
    Int(i64),
    /// Text.
    String(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl UserKey {
    /// The key as the digest sees it.
    fn bytes(&self) -> KeyBytes<'_> {
        match self {
            UserKey::Int(value) => KeyBytes::Integer(*value),
            UserKey::String(text) => KeyBytes::String(text.as_bytes()),
            UserKey::Blob(bytes) => KeyBytes::Blob(bytes),
        }
    }

    /// Hands `write` the particle type and the bytes the key travels as.
    pub(crate) fn write(&self, write: impl FnOnce(u8, &[u8])) {
        match self {
            UserKey::Int(value) => write(particle::INTEGER, &value.to_be_bytes()),
            UserKey::String(text) => write(particle::STRING, text.as_bytes()),
            UserKey::Blob(bytes) => write(particle::BLOB, bytes),
        }
    }

    /// Reads the key a server stored with a record. `None` for types this client does not use.
    pub(crate) fn read(field: &[u8]) -> Option<UserKey> {
        let (particle, bytes) = field.split_first()?;
        match *particle {
            particle::INTEGER => Some(UserKey::Int(i64::from_be_bytes(bytes.try_into().ok()?))),
            particle::STRING => Some(UserKey::String(str::from_utf8(bytes).ok()?.to_owned())),
            particle::BLOB => Some(UserKey::Blob(bytes.to_vec())),
            _ => None,
        }
    }
}

impl From<i64> for UserKey {
    fn from(value: i64) -> UserKey {
        UserKey::Int(value)
    }
}

impl From<i32> for UserKey {
    fn from(value: i32) -> UserKey {
        UserKey::Int(value.into())
    }
}

impl From<u32> for UserKey {
    fn from(value: u32) -> UserKey {
        UserKey::Int(value.into())
    }
}

impl From<&str> for UserKey {
    fn from(text: &str) -> UserKey {
        UserKey::String(text.to_owned())
    }
}

impl From<String> for UserKey {
    fn from(text: String) -> UserKey {
        UserKey::String(text)
    }
}

impl From<&[u8]> for UserKey {
    fn from(bytes: &[u8]) -> UserKey {
        UserKey::Blob(bytes.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for UserKey {
    fn from(bytes: &[u8; N]) -> UserKey {
        UserKey::Blob(bytes.to_vec())
    }
}

impl From<Vec<u8>> for UserKey {
    fn from(bytes: Vec<u8>) -> UserKey {
        UserKey::Blob(bytes)
    }
}

impl fmt::Display for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UserKey::Int(value) => write!(f, "{value}"),
            UserKey::String(text) => f.write_str(text),
            UserKey::Blob(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

/// Names one record. Two keys are equal if they name the same record.
#[derive(Clone, Debug)]
pub struct Key {
    namespace: Arc<str>,
    set: Arc<str>,
    user_key: Option<UserKey>,
    digest: Digest,
}

impl Key {
    /// The key `user_key` in a set of a namespace; an empty set name stands for "no set".
    ///
    /// # Errors
    /// [`Error::Invalid`] if the namespace has no or more than 31 bytes, or the set more than 63.
    ///
    /// ```
    /// use karst_client::Key;
    ///
    /// let key = Key::new("test", "demo", "key1")?;
    /// assert_eq!(key.partition().0, 492);
    /// # Ok::<(), karst_client::Error>(())
    /// ```
    pub fn new(
        namespace: impl Into<Arc<str>>,
        set: impl Into<Arc<str>>,
        user_key: impl Into<UserKey>,
    ) -> Result<Key> {
        let (set, user_key) = (set.into(), user_key.into());
        let digest = Digest::of(set.as_bytes(), user_key.bytes());
        let mut key = Key::from_digest(namespace, set, digest)?;
        key.user_key = Some(user_key);
        Ok(key)
    }

    /// The key of a record of which only the digest is known, as after a scan.
    ///
    /// # Errors
    /// As [`Key::new`].
    pub fn from_digest(
        namespace: impl Into<Arc<str>>,
        set: impl Into<Arc<str>>,
        digest: Digest,
    ) -> Result<Key> {
        let (namespace, set) = (namespace.into(), set.into());
        check_names(&namespace, &set)?;
        Ok(Key {
            namespace,
            set,
            user_key: None,
            digest,
        })
    }

    /// Namespace name.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Set name; empty for "no set".
    pub fn set(&self) -> &str {
        &self.set
    }

    /// The application's part of the key, if it is known.
    pub fn user_key(&self) -> Option<&UserKey> {
        self.user_key.as_ref()
    }

    /// The digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The partition the record belongs to.
    pub fn partition(&self) -> PartitionId {
        self.digest.partition()
    }

    pub(crate) fn with_user_key(mut self, user_key: Option<UserKey>) -> Key {
        self.user_key = user_key;
        self
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.digest == other.digest && self.namespace == other.namespace && self.set == other.set
    }
}

impl Eq for Key {}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.namespace, self.set)?;
        match &self.user_key {
            Some(user_key) => user_key.fmt(f),
            None => self.digest.fmt(f),
        }
    }
}

/// Refuses names the protocol cannot carry, before anything is sent.
pub(crate) fn check_names(namespace: &str, set: &str) -> Result<()> {
    let refuse = |reason: String| Err(Error::Invalid { reason });
    match (namespace.len(), set.len()) {
        (bytes, _) if bytes == 0 || bytes > NAMESPACE_BYTES_MAX => refuse(format!(
            "namespace name of {bytes} bytes, expected 1 to {NAMESPACE_BYTES_MAX}"
        )),
        (_, bytes) if bytes > SET_BYTES_MAX => {
            refuse(format!("set name of {bytes} bytes exceeds {SET_BYTES_MAX}"))
        }
        _ => Ok(()),
    }
}

/// Refuses names that an info command cannot carry.
pub(crate) fn check_text(names: &[&str]) -> Result<()> {
    let unsound = |name: &&&str| name.contains([';', ':', '=', '\n', '\t']);
    match names.iter().find(unsound) {
        None => Ok(()),
        Some(name) => Err(Error::Invalid {
            reason: format!("name {name:?} holds ; : = a tab or a line break"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_key_is_read_as_it_was_written() {
        for key in [UserKey::from(-7), "text".into(), UserKey::Blob(vec![1, 2])] {
            let mut field = vec![];
            key.write(|particle, bytes| {
                field.push(particle);
                field.extend_from_slice(bytes);
            });
            assert_eq!(UserKey::read(&field), Some(key));
        }
        assert_eq!(UserKey::read(&[]), None);
        assert_eq!(UserKey::read(&[1, 0]), None);
    }

    #[test]
    fn names_the_protocol_cannot_carry_are_refused() {
        assert!(Key::new("", "set", 1).is_err());
        assert!(Key::new("n".repeat(32), "set", 1).is_err());
        assert!(Key::new("test", "s".repeat(64), 1).is_err());
        assert!(Key::new("n".repeat(31), "s".repeat(63), 1).is_ok());
    }
}
