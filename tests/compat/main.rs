//! Real servers driven by the official clients: what a user's program would see.
//!
//! `python/` holds the tests of the Python client, and with it of the C client that it wraps;
//! [`python`] runs them against servers that it starts. [`rust_client`] drives the Rust client, which
//! shares no code with the other. Both go through every command; the Python tests go into more detail.
//! [`expressions`] compares what Karst's own client packs with what the Rust client does.

#![allow(
    clippy::disallowed_methods,
    reason = "tests wait for real processes on the real clock"
)]

mod expressions;
mod python;
mod rust_client;
