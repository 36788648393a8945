//! What a record is and what operations do to it; pure.
//!
//! Nothing here reads a clock, draws a random number or does I/O.

pub mod key;
