//! A namespace's index in DRAM and its log on devices.
//!
//! Emits device operations and is fed their completions; performs none itself, reads no clock.

pub mod checkpoint;
pub mod defrag;
pub mod expire;
pub mod index;
pub mod log;
pub mod place;
pub mod sindex;
pub mod tombstone;
pub mod watermark;
