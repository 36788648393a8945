//! Who owns what, and what owners owe each other.
//!
//! Everything here decides and nothing acts: facts, reports and time come in, commands and messages go
//! out. No clock, socket, file or device is touched, and nothing here knows how a client spells its
//! requests or how a record lies on a device.
//!
//! - [`balance`]: who should hold each partition, from nodes and racks alone.
//! - [`plan`]: what the Raft leader should propose now, so that the map becomes what it should be.
//! - [`island`]: the map of nodes that hear each other and no Raft leader.
//! - [`member`]: who counts as there, from who is heard and by whom.
//! - [`modules`]: modules of user-defined functions.
//! - [`node`]: what a node is and what it tells of itself.
//! - [`fabric`]: messages between nodes.
//! - [`map`]: for each namespace and partition, who serves it; immutable once published.
//! - [`replicate`]: a write on its way to the nodes that are to have it.
//! - [`state`]: everything that Raft keeps, and the commands that change it.
//! - [`sindex`]: which secondary indexes there are.
//! - [`standing`]: how partitions stand, for people and for clients.
//! - [`strong`]: how many have to confirm a write of a strongly consistent partition, and how many are asked.
//! - [`view`]: the map as one node's data path reads it.
//! - [`formation`]: how a node without a cluster comes to one.
//! - `raft`: what openraft needs to keep the state; only with the feature `raft`.

pub mod balance;
pub mod fabric;
pub mod formation;
pub mod island;
pub mod lease;
pub mod map;
pub mod member;
pub mod modules;
pub mod node;
pub mod plan;
#[cfg(feature = "raft")]
pub mod raft;
pub mod replicate;
pub mod sindex;
pub mod standing;
pub mod state;
pub mod strong;
pub mod view;
