//! Who owns what, and what owners owe each other.
//!
//! Everything here decides and nothing acts: facts, reports and time come in, commands and messages go
//! out. No clock, socket, file or device is touched, and nothing here knows how a client spells its
//! requests or how a record lies on a device.
//!
//! - [`node`]: what a node is and what it tells of itself.
//! - [`map`]: for each namespace and partition, who serves it; immutable once published.
//! - [`state`]: everything that Raft keeps, and the commands that change it.
//! - [`formation`]: how a node without a cluster comes to one.
//! - `raft`: what openraft needs to keep the state; only with the feature `raft`.

pub mod formation;
pub mod map;
pub mod node;
#[cfg(feature = "raft")]
pub mod raft;
pub mod state;
