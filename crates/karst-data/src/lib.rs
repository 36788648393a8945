//! What a record is and what operations do to it; pure.
//!
//! Nothing here reads a clock, draws a random number or does I/O.

pub mod bin;
pub mod flat;
pub mod key;
pub mod msgpack;
pub mod mutation;
pub mod operation;
pub mod policy;
pub mod sindex;
pub mod time;
pub mod value;
