//! What can be typed about queries, secondary indexes and functions.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use karst_client::{Elements, IndexType};

use super::{Place, RecordKey, Scan};

/// `karst query`
#[derive(Debug, Args)]
pub(crate) struct Query {
    /// What must hold of a record, such as `age>=18` or `name=Ada`: BIN, one of = != < <= > >=, and a value in
    /// JSON, or text if it is not; `=null` for no such bin
    #[arg(value_name = "CONDITION")]
    pub(crate) conditions: Vec<String>,
    /// Ask this secondary index for what must hold of its bin, or of its own name if it is of an expression; what
    /// else must hold is looked at in the records it finds
    #[arg(long, value_name = "NAME", requires = "conditions")]
    pub(crate) index: Option<String>,
    #[command(flatten)]
    pub(crate) scan: Scan,
}

/// `karst index`
#[derive(Debug, Subcommand)]
pub(crate) enum Index {
    /// Make a secondary index and wait until every node has built it
    Create(IndexCreate),
    /// Drop a secondary index
    Drop {
        /// Name of the index
        name: String,
        /// Namespace
        #[arg(long, default_value = "test")]
        namespace: String,
    },
    /// Table of secondary indexes
    List {
        /// Only those of this namespace
        #[arg(long)]
        namespace: Option<String>,
    },
    /// One secondary index: what it is of, and how far each node is
    Show {
        /// Name of the index
        name: String,
        /// Namespace
        #[arg(long, default_value = "test")]
        namespace: String,
    },
}

/// `karst index create`
#[derive(Debug, Args)]
pub(crate) struct IndexCreate {
    /// Name of the index
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Bin it is of
    #[arg(long, required_unless_present_any = ["expression", "set_index"])]
    pub(crate) bin: Option<String>,
    /// Of what is inside the bin: a map's key, or a list's index in brackets (`[0]`); again for deeper
    #[arg(long, value_name = "STEP", requires = "bin")]
    pub(crate) inside: Vec<String>,
    /// Expression it is of instead, in base64 as clients write them down
    #[arg(long, value_name = "BASE64", conflicts_with = "bin")]
    pub(crate) expression: Option<String>,
    /// Of which records there are in the set instead, for scans of it; no query names such an index
    #[arg(long, conflicts_with_all = ["bin", "expression", "kind", "elements"])]
    pub(crate) set_index: bool,
    /// Values it holds
    #[arg(long = "type", value_enum, default_value_t = IndexOf::Numeric)]
    pub(crate) kind: IndexOf,
    /// What of the bin it holds
    #[arg(long, value_enum, default_value_t = IndexElements::Whole)]
    pub(crate) elements: IndexElements,
    /// Longest wait until every node has built it, such as 10m; it is built on afterwards. 0s does not wait
    #[arg(long, default_value = "1m", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
}

/// Values that an index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IndexOf {
    /// Integers
    Numeric,
    /// Text
    String,
    /// Bytes
    Blob,
    /// Points and regions
    Geo,
}

impl From<IndexOf> for IndexType {
    fn from(of: IndexOf) -> IndexType {
        match of {
            IndexOf::Numeric => IndexType::Numeric,
            IndexOf::String => IndexType::String,
            IndexOf::Blob => IndexType::Blob,
            IndexOf::Geo => IndexType::Geo,
        }
    }
}

/// What of a bin an index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IndexElements {
    /// Its value
    Whole,
    /// Elements of a list
    List,
    /// Keys of a map
    MapKeys,
    /// Values of a map
    MapValues,
}

impl From<IndexElements> for Elements {
    fn from(elements: IndexElements) -> Elements {
        match elements {
            IndexElements::Whole => Elements::Whole,
            IndexElements::List => Elements::List,
            IndexElements::MapKeys => Elements::MapKeys,
            IndexElements::MapValues => Elements::MapValues,
        }
    }
}

/// `karst udf`
#[derive(Debug, Subcommand)]
pub(crate) enum Udf {
    /// Register a module of Lua functions, replacing what has its name
    Put {
        /// File to read
        #[arg(value_name = "FILE.lua")]
        file: PathBuf,
        /// Name to register it under, if not the file's own
        #[arg(long, value_name = "NAME.lua")]
        name: Option<String>,
    },
    /// Table of modules
    List,
    /// Print the source of a module
    Show {
        /// Name of the module, such as counters.lua
        name: String,
    },
    /// Remove a module
    Remove {
        /// Name of the module, such as counters.lua
        name: String,
    },
    /// Run a function on one record and print what it returns
    Apply(UdfApply),
}

/// `karst udf apply`
#[derive(Debug, Args)]
pub(crate) struct UdfApply {
    #[command(flatten)]
    pub(crate) key: RecordKey,
    /// Module, without .lua
    pub(crate) module: String,
    /// Function
    pub(crate) function: String,
    /// Arguments behind the record; each is JSON, or text if it is not
    #[arg(allow_negative_numbers = true)]
    pub(crate) arguments: Vec<String>,
}
