//! User-defined functions: Lua that clients register, and that runs beside the records.
//!
//! A call never runs on a data core: it is handed to one of a few threads ([`pool`]), and the core goes on with
//! other requests until the answer comes back. What a call costs more for that, a wake-up each way, is small
//! beside what it does; what it buys is that no script, not even one that is busy inside of Lua's own C functions,
//! where nothing interrupts it, can hold a core. A coroutine on the core that yields every few thousand
//! instructions could not promise that, nor could it yield while a sort or a pattern calls back.
//!
//! - [`pool`]: the threads, their queue, and what becomes of a call that does not end.
//! - [`state`]: one Lua state: what is taken away from scripts, limits, a call from beginning to end.
//! - [`turns`]: one call at a time on a record.
//! - [`values`]: values of bins, arguments and answers as scripts see them.
//! - `lua/`: the objects that scripts use, in Lua itself, so that all their memory is the state's own and counted,
//!   and every loop in them is one that can be ended.
//!
//! Invariants
//!   a call sees the record as it was when it was read, and what it did is written only if it is still the same
//!   no file, process, socket or bytecode is within a script's reach
//!   a call ends, with an error if need be, when its time is over or its state has [`state::MEMORY_BYTES_MAX`]
//!
//! Modules come from the cluster's state. A thread keeps a state for each module that it ran lately; with a new
//! set of modules it begins anew.

pub mod pool;
pub mod state;
pub mod turns;
pub mod values;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use karst_cluster::modules::Modules;
use karst_data::value::ParticleType;

pub use pool::{Functions, NotRun};
pub use turns::Turns;

/// Most bytes that a call's answer may have.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A function to be called.
#[derive(Debug)]
pub struct Call {
    /// The modules there are.
    pub modules: Modules,
    /// The module's name.
    pub module: String,
    /// The function's.
    pub function: String,
    /// Its arguments behind the first: a packed list.
    pub arguments: Vec<u8>,
    /// The record.
    pub record: Subject,
}

/// A function to be called with a stream of records, in one of which a query's records come. What it makes of each
/// stream is for the client to put together.
#[derive(Clone, Debug)]
pub struct Aggregation {
    /// The modules there are.
    pub modules: Modules,
    /// The module's name.
    pub module: String,
    /// The function's.
    pub function: String,
    /// Its arguments behind the first: a packed list.
    pub arguments: Vec<u8>,
    /// The records.
    pub records: Arc<[Subject]>,
}

/// What came out of a stream: values with their particle types, in order; or why nothing did, as clients are told.
pub type Aggregated = Result<Vec<(u8, Vec<u8>)>, Vec<u8>>;

/// The record that a function is called with.
#[derive(Debug)]
pub struct Subject {
    /// Its digest.
    pub digest: [u8; 20],
    /// The set it is in, or would be; empty for none.
    pub set: Vec<u8>,
    /// What there is; `None` if there is no record.
    pub found: Option<Snapshot>,
}

/// A record as it was read.
#[derive(Debug)]
pub struct Snapshot {
    /// Its version.
    pub version: [u8; 10],
    /// Its generation.
    pub generation: u16,
    /// Seconds since 2010, 0 never.
    pub void_time_s: u32,
    /// Seconds that it still has; 0 if it does not expire.
    pub ttl_s: u32,
    /// Its last update in ms since 2010.
    pub update_time_ms: u64,
    /// The stored key, type byte first.
    pub key: Option<Vec<u8>>,
    /// Bytes that it takes.
    pub size_bytes: usize,
    /// Its bins.
    pub bins: Vec<(Vec<u8>, ParticleType, Vec<u8>)>,
}

/// How a call ended.
#[derive(Debug, PartialEq)]
pub enum Ended {
    /// The function returned.
    Returned(Returned),
    /// It did not, or was not there: why, as clients are told.
    Failed(Vec<u8>),
}

/// What a function returned and did.
#[derive(Debug, PartialEq)]
pub struct Returned {
    /// Its value: particle type and bytes; type 0 for none.
    pub value: (u8, Vec<u8>),
    /// The result code of its last write, if that was rejected.
    pub rejected: Option<u8>,
    /// What it did to the record.
    pub change: Option<Change>,
}

/// What is to become of a record.
#[derive(Debug, Default, PartialEq)]
pub struct Change {
    /// Bins that are not named below go.
    pub wiped: bool,
    /// Bins and their values; those without one go.
    pub bins: Vec<(Vec<u8>, Option<Packed>)>,
    /// Its life, if the function chose one: seconds, 0 default, -1 never, -2 as it is.
    pub ttl: Option<i64>,
    /// The stored key goes.
    pub drops_key: bool,
}

/// A value of a bin in stored form.
pub type Packed = (ParticleType, Vec<u8>);

/// Why a module was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faulty {
    /// Where.
    pub line: u32,
    /// What, without the file and the line.
    pub message: String,
}
