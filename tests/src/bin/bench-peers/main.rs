//! Karst beside memcached, redis-server and valkey-server: one loader, one machine, one table.
//!
//! ```text
//! for each value size, for each round, for each server in turn:
//!     start it alone -> load the keys -> memory per record -> GET and SET, 1 and N in flight -> kill it
//! then the median over the rounds of every figure
//! ```
//!
//! Every server has one thread for requests and is asked by the same closed loop over the same number
//! of connections, each in its own protocol ([`dialect`]). Rounds are interleaved because a machine
//! drifts from minute to minute: only figures of one run compare. Server CPU per request is what the
//! process spent, user and system, between two readings of `/proc/PID/stat` around the measured window;
//! it suffers least from the loader on the same machine.
//!
//! Only servers that were started here are ever ended; one that answers anything but what was asked
//! for ends the whole run, since its figures would mean nothing.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]

mod dialect;
mod load;
mod proc;
mod report;
mod server;

use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;

use dialect::Op;
use load::{Measurement, Workload};
use report::{Cell, Report};
use server::Kind;

/// Sizes of values in bytes.
const VALUE_BYTES: [usize; 2] = [100, 1000];

/// Measures Karst and the in-memory stores that are installed here, one at a time, with one loader.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench-peers")]
struct Arguments {
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Times that every server is started and measured; the table has medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=99))]
    rounds: u64,
    /// Records that each server is loaded with.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    keys: u64,
    /// Connections to the server.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1000))]
    connections: u64,
    /// Requests in flight on a connection in the pipelined rows.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(2..=64))]
    in_flight: u64,
    /// One short round of few records: to see that it works, not to quote.
    #[arg(long, conflicts_with_all = ["seconds", "rounds", "keys"])]
    quick: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn resolved(self) -> Arguments {
        match self.quick {
            true => Arguments {
                seconds: 1,
                rounds: 1,
                keys: 100_000,
                ..self
            },
            false => self,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse().resolved();
    match run(&arguments) {
        Ok(report) if arguments.json => println!("{}", report.to_json()),
        Ok(report) => print!("{report}"),
        Err(error) => {
            eprintln!("bench-peers: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(arguments: &Arguments) -> io::Result<Report> {
    let (kinds, missing) = server::installed();
    if let Some(line) = server::how_to_install(&missing) {
        eprintln!(
            "not installed here: {}; to have them in the table: {line}",
            missing.join(", ")
        );
    }
    let mut report = Report::new(arguments, &kinds);
    for value_bytes in VALUE_BYTES {
        for round in 1..=arguments.rounds {
            for kind in &kinds {
                eprintln!(
                    "{value_bytes} B, round {round} of {}: {kind}",
                    arguments.rounds
                );
                measure(arguments, *kind, value_bytes, &mut report)
                    .map_err(|error| io::Error::other(format!("{kind}: {error}")))?;
            }
        }
    }
    Ok(report)
}

/// One server's turn.
fn measure(
    arguments: &Arguments,
    kind: Kind,
    value_bytes: usize,
    report: &mut Report,
) -> io::Result<()> {
    let server = kind.start(arguments.keys, value_bytes)?;
    let keys = Rc::new(kind.dialect().keys(arguments.keys));
    let workload = |op, connections, in_flight| Workload {
        address: server.address(),
        pid: server.pid(),
        dialect: kind.dialect(),
        keys: keys.clone(),
        value_bytes,
        op,
        connections,
        in_flight,
    };
    let empty_bytes = proc::resident_bytes(server.pid())?;
    workload(Op::Set, 8, 64).fill()?;
    let full_bytes = proc::resident_bytes(server.pid())?;
    let grown_bytes = full_bytes.saturating_sub(empty_bytes) as f64;
    report.note_memory(kind, value_bytes, grown_bytes / arguments.keys as f64);
    let seconds = Duration::from_secs(arguments.seconds);
    for in_flight in [1, arguments.in_flight as usize] {
        for op in [Op::Get, Op::Set] {
            let workload = workload(op, arguments.connections as usize, in_flight);
            let measurement: Measurement = workload.measure(seconds)?;
            report.note(
                Cell {
                    kind,
                    value_bytes,
                    op,
                    in_flight,
                },
                measurement,
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_quick_means_one_short_round() {
        Arguments::command().debug_assert();
        let quick = Arguments::parse_from(["bench-peers", "--quick"]).resolved();
        assert_eq!((quick.rounds, quick.seconds), (1, 1));
        let slow = Arguments::parse_from(["bench-peers", "--rounds", "5"]).resolved();
        assert_eq!((slow.rounds, slow.seconds, slow.keys), (5, 5, 1_000_000));
        assert!(Arguments::try_parse_from(["bench-peers", "--quick", "--rounds", "2"]).is_err());
    }
}
