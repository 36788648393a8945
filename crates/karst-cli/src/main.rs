//! `karst`: everything a person types.
//!
//! ```text
//! args ----> command/ ---- admin (gRPC) ------> what a node knows of its cluster
//!               |    '---- karst-client ------> records
//!               |    '---- karstd beside us --> dev, inspect, wipe
//!               v
//!            render: tables for people, JSON for programs
//! ```
//!
//! Results go to standard output, messages and progress to standard error. The exit code is 0 for
//! success, 2 for bad usage, 1 for everything else. Bars and colours appear on a terminal only, and
//! never when `NO_COLOR` is set.

mod admin;
mod args;
#[expect(
    clippy::disallowed_methods,
    reason = "commands measure and wait in real time"
)]
mod command;
mod failure;
mod json;
mod karstd;
mod render;
mod view;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    match command::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                eprintln!("karst: {message}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
