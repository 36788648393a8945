//! What one node promises when things go wrong, seen from outside: real `karstd` processes that are
//! killed, filled, starved, lied to and given the wrong devices.
//!
//! [`client`] is the few requests these tests need, without any cleverness of a real client that could
//! hide a failure. [`families`] is the exception: each family of calls of Karst's own client once. [`history`] knows which states of a key a server may show after a crash. The other
//! modules are the tests, by what is done to the node.
//!
//! `KARST_LONG=1` makes the crash and overwrite tests go on ten times as long. `KARST_SEED` repeats a
//! run's keys and moments, as far as a real clock and kernel allow.

#![allow(
    clippy::disallowed_methods,
    reason = "tests wait for real processes on the real clock"
)]

mod background;
mod bad_input;
mod client;
mod corruption;
mod crash;
mod devices;
mod eviction;
mod families;
mod history;
mod load;
mod long;
mod order;
mod restart;
mod space;
mod start;
mod storage;
mod tool;

/// How many times as much a test does when `KARST_LONG` is set.
fn long() -> u32 {
    if std::env::var_os("KARST_LONG").is_some() {
        10
    } else {
        1
    }
}

/// The seed of a test's random choices; printed, so that a failure can be repeated.
fn seed() -> u64 {
    let given = std::env::var("KARST_SEED").ok();
    let seed = match given {
        Some(text) => text.parse().expect("KARST_SEED is a number"),
        None => rand::random(),
    };
    println!("KARST_SEED={seed}");
    seed
}
