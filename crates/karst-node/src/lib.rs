//! karstd, the daemon: doors, wiring, clocks, threads.

pub mod config;
pub mod counters;
pub mod data_dir;
pub mod marks;
pub mod node;
pub mod user_agents;
