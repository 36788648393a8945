//! What a record is and what operations do to it; pure.
//!
//! Nothing here reads a clock, draws a random number or does I/O.

pub mod bin;
pub mod cdt;
pub mod flat;
pub mod key;
mod list;
mod map;
pub mod msgpack;
pub mod mutation;
pub mod operation;
pub mod policy;
pub mod time;
pub mod value;
