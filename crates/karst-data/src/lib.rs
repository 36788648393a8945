//! What a record is and what operations do to it; pure.
//!
//! Nothing here reads a clock, draws a random number or does I/O.

pub mod bin;
pub mod bit;
pub mod call;
pub mod cdt;
pub mod expr;
pub mod flat;
pub mod geo;
pub mod hll;
pub mod key;
mod list;
mod map;
pub mod msgpack;
pub mod mutation;
pub mod operation;
mod packed;
pub mod policy;
pub mod sindex;
pub mod time;
pub mod value;
pub mod weigh;
pub mod work;
