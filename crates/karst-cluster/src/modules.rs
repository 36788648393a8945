//! Modules of user-defined functions, kept by Raft, so that every node has all of them and after a restart too.
//!
//! Nothing here knows the language: a module is a file's name and its text, in the base64 in which clients send
//! it and get it back. Nodes check a text before they propose it.
//!
//! Bounds: [`MODULES_MAX`] modules of together [`TEXT_BYTES_MAX`] bytes.
//!
//! A set is copied by reference: states of the cluster are copied for each change of anything. Two copies that are
//! [the same](Modules::is) hold the same, so that who keeps something made from one knows when to make it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most modules of a cluster.
pub const MODULES_MAX: usize = 1024;

/// Most bytes of all texts together, as base64.
pub const TEXT_BYTES_MAX: usize = 32 << 20;

/// Most bytes of a file's name.
pub const FILE_BYTES_MAX: usize = 127;

/// One module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// The name of its file.
    pub file: String,
    /// Its text as base64.
    pub text: Text,
    /// What tells it from another text, 40 digits.
    pub hash: String,
}

/// A text that is copied by reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Text(Arc<str>);

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text(text.into())
    }
}

impl From<Text> for String {
    fn from(text: Text) -> String {
        (*text.0).to_owned()
    }
}

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// See [the module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modules(Arc<BTreeMap<String, Module>>);

impl Serialize for Modules {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Modules {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Modules, D::Error> {
        BTreeMap::deserialize(from).map(|modules| Modules(Arc::new(modules)))
    }
}

impl Modules {
    /// Every module, by the names of their files.
    pub fn iter(&self) -> impl Iterator<Item = &Module> {
        self.0.values()
    }

    /// The module of a file.
    pub fn get(&self, file: &str) -> Option<&Module> {
        self.0.get(file)
    }

    /// Whether this is a copy of that: it need not be looked at again.
    pub fn is(&self, that: &Modules) -> bool {
        Arc::ptr_eq(&self.0, &that.0)
    }

    /// Puts a module in, in the stead of one of the same file.
    ///
    /// # Errors
    /// When a bound would be exceeded; nothing has changed then.
    pub(crate) fn put(&mut self, module: Module) -> Result<(), String> {
        let others = || self.0.values().filter(|it| it.file != module.file);
        if others().count() >= MODULES_MAX {
            return Err(format!("there are {MODULES_MAX} modules already"));
        }
        let bytes: usize = others().map(|it| it.text.len()).sum();
        if bytes + module.text.len() > TEXT_BYTES_MAX {
            return Err(format!("all modules would exceed {TEXT_BYTES_MAX} bytes"));
        }
        if module.file.is_empty() || module.file.len() > FILE_BYTES_MAX {
            return Err(format!("a file's name has 1 to {FILE_BYTES_MAX} bytes"));
        }
        Arc::make_mut(&mut self.0).insert(module.file.clone(), module);
        Ok(())
    }

    /// Takes a module out, if it is there.
    pub(crate) fn remove(&mut self, file: &str) {
        if self.0.contains_key(file) {
            Arc::make_mut(&mut self.0).remove(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(file: &str, bytes: usize) -> Module {
        Module {
            file: file.to_owned(),
            text: "x".repeat(bytes).into(),
            hash: "0".repeat(40),
        }
    }

    #[test]
    fn modules_stay_within_their_number_and_size() {
        let mut modules = Modules::default();
        for at in 0..MODULES_MAX {
            modules.put(module(&format!("{at}.lua"), 4)).unwrap();
        }
        let full = modules.clone();
        assert!(modules.put(module("one-more.lua", 4)).is_err());
        assert!(modules.is(&full), "a refused module changes nothing");
        modules.put(module("7.lua", 8)).unwrap();
        modules.remove("8.lua");
        let left = TEXT_BYTES_MAX - modules.iter().map(|it| it.text.len()).sum::<usize>();
        assert!(modules.put(module("big.lua", left + 1)).is_err());
        modules.put(module("big.lua", left)).unwrap();
        assert!(
            modules
                .put(module(&"a".repeat(FILE_BYTES_MAX + 1), 0))
                .is_err()
        );
    }

    #[test]
    fn a_copy_is_the_same_until_something_changes() {
        let mut modules = Modules::default();
        modules.put(module("a.lua", 4)).unwrap();
        let copy = modules.clone();
        modules.remove("b.lua");
        assert!(modules.is(&copy), "nothing was there to remove");
        modules.remove("a.lua");
        assert!(!modules.is(&copy));
        assert!(copy.get("a.lua").is_some() && modules.get("a.lua").is_none());
    }

    #[test]
    fn modules_are_written_and_read_again() {
        let mut modules = Modules::default();
        modules.put(module("a.lua", 4)).unwrap();
        let written = serde_json::to_string(&modules).unwrap();
        assert_eq!(serde_json::from_str::<Modules>(&written).unwrap(), modules);
    }
}
