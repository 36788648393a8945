//! What `--json` prints of secondary indexes and modules of functions.

use karst_client::IndexInfo;
use serde::Serialize;

/// A secondary index, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct SecondaryIndex {
    pub(crate) namespace: String,
    /// Null for the whole namespace.
    pub(crate) set: Option<String>,
    pub(crate) name: String,
    /// Whether it is of which records there are in the set: then it holds no values.
    pub(crate) of_set: bool,
    /// Null if it is of an expression or of a set.
    pub(crate) bin: Option<String>,
    pub(crate) r#type: &'static str,
    pub(crate) elements: &'static str,
    pub(crate) context: Option<String>,
    pub(crate) expression: Option<String>,
    /// Whether the node that was asked has built it.
    pub(crate) readable: bool,
}

impl From<IndexInfo> for SecondaryIndex {
    fn from(info: IndexInfo) -> SecondaryIndex {
        let unnamed = if info.of_set { "none" } else { "unknown" };
        SecondaryIndex {
            of_set: info.of_set,
            namespace: info.namespace,
            set: Some(info.set).filter(|set| !set.is_empty()),
            name: info.name,
            bin: info.bin,
            r#type: info.kind.map_or(unnamed, |kind| kind.name()),
            elements: info.elements.map_or(unnamed, |elements| elements.name()),
            context: info.context,
            expression: info.expression,
            readable: info.readable,
        }
    }
}

/// A module, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) hash: String,
}
