//! karstd, the daemon: doors, wiring, clocks, threads.

pub mod admin;
#[expect(
    clippy::disallowed_methods,
    reason = "the log says how long recovery took"
)]
pub mod boot;
#[expect(
    clippy::disallowed_methods,
    reason = "checkpoints are written in time and at a bounded rate"
)]
pub mod checkpoint;
pub mod client_port;
pub mod config;
pub mod control;
pub mod core;
pub mod counters;
pub mod data_dir;
pub mod fabric_port;
pub mod failures;
pub mod http;
pub mod info;
pub mod inspect;
pub mod island;
pub mod jobs;
pub mod leave;
pub mod limits;
pub mod logs;
pub mod marks;
pub mod memory;
pub mod metrics;
pub mod migrations;
pub mod node;
pub mod restart;
pub mod sight;
pub mod trust;
pub mod udf;
mod user_agents;
pub mod wipe;

#[cfg(test)]
mod testing;
