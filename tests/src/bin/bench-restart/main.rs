//! How long a node takes to come back, whichever way it went down.
//!
//! ```text
//! start -> load N records -> flushed
//! for each way:  stop or kill -9 -> remove what that way takes away -> start -> /readyz answers 200
//! then the file read once more, sequentially and past the page cache, as the device's own speed
//! ```
//!
//! | way | how it ends | what is gone |
//! |---|---|---|
//! | clean | SIGTERM | nothing |
//! | kill | kill -9 | nothing |
//! | reboot | SIGTERM | shared memory, and the page cache of the checkpoint |
//! | crash | kill -9 | shared memory, and the page cache of the checkpoint |
//! | scan | SIGTERM | shared memory and checkpoint |
//!
//! Seconds run from the start of the process to the first 200 of `/readyz`, polled every 10 ms. Phases
//! and records are those of `karst status --json`. Every start is checked: it holds the records that
//! were loaded.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]

mod raw_read;

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use karst_tests::spec::{Namespace, ServerSpec};
use karst_tests::{Server, binary};
use rustix::fs::{Advice, fadvise};
use serde_json::Value;

/// What a record occupies beside its value: header, set name, bin, and the rounding to 16 bytes.
const OVERHEAD_BYTES: u64 = 88;

/// Measures restarts of one node.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench-restart")]
struct Arguments {
    /// Records to load.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Bytes of each value.
    #[arg(long, default_value_t = 100)]
    object_bytes: u64,
    /// Ways to go down, each measured once, in this order.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "clean,kill,reboot,crash,scan"
    )]
    ways: Vec<Way>,
    /// Times that the list of ways is gone through.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Share of the device that live records fill, in percent.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=80))]
    fill_percent: u64,
    /// Data cores; 0 for one per CPU.
    #[arg(long, default_value_t = 0)]
    cores: u16,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// How the node goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    /// Told to stop; everything is left where it is
    Clean,
    /// Killed; everything is left where it is
    Kill,
    /// Told to stop; shared memory is gone
    Reboot,
    /// Killed; shared memory is gone
    Crash,
    /// Told to stop; shared memory and checkpoint are gone
    Scan,
}

/// One restart.
struct Row {
    way: Way,
    seconds: f64,
    recovery: Value,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-restart: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let mut server = spec(arguments).start();
    load(&server, arguments)?;
    std::thread::sleep(Duration::from_secs(3)); // more than flush_max: everything is on the device
    let loaded = records(&status(&server));
    let mut rows = Vec::new();
    for _ in 0..arguments.rounds {
        for way in &arguments.ways {
            rows.push(restart(&mut server, *way)?);
            let found = records(&status(&server));
            if found != loaded {
                let text = format!("{found} records after {way:?}, {loaded} were loaded");
                return Err(io::Error::other(text));
            }
        }
    }
    let (file, used) = (server.file("test", 0), used_bytes(&status(&server)));
    server.stop();
    let raw_bytes_per_s = raw_read::bytes_per_second(&file, used.max(1 << 30))?;
    match arguments.json {
        true => println!("{}", to_json(arguments, loaded, raw_bytes_per_s, &rows)),
        false => print(arguments, loaded, raw_bytes_per_s, &rows),
    }
    Ok(())
}

fn spec(arguments: &Arguments) -> ServerSpec {
    let live_bytes = arguments.records * (arguments.object_bytes + OVERHEAD_BYTES);
    let size_mib = (live_bytes * 100 / arguments.fill_percent) >> 20;
    let namespace = Namespace::device("test")
        .size(&format!("{}MiB", size_mib.max(256)))
        .storage("commit_to_device", "false");
    ServerSpec::new()
        .cores(arguments.cores)
        .namespace(namespace)
}

/// Writes every record once, pipelined, with the tool that users have.
fn load(server: &Server, arguments: &Arguments) -> io::Result<()> {
    let text = |number: u64| number.to_string();
    let loaded = Command::new(binary::karst())
        .args(["--host", &server.admin().to_string(), "bench", "--load"])
        .args(["--keys", &text(arguments.records)])
        .args(["--object-bytes", &text(arguments.object_bytes)])
        .args([
            "--connections",
            "8",
            "--read-percent",
            "100",
            "--seconds",
            "1",
        ])
        .stdout(std::process::Stdio::null())
        .status()?;
    if loaded.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("karst bench --load: {loaded}")))
    }
}

fn restart(server: &mut Server, way: Way) -> io::Result<Row> {
    match way {
        Way::Clean | Way::Reboot | Way::Scan => server.stop(),
        Way::Kill | Way::Crash => server.kill9(),
    }
    let checkpoints = server.data_dir().join("checkpoint");
    match way {
        Way::Clean | Way::Kill => {}
        Way::Reboot | Way::Crash => {
            server.forget_memory();
            forget_page_cache(&checkpoints)?;
        }
        Way::Scan => {
            server.forget_memory();
            remove(&checkpoints)?;
        }
    }
    let started = Instant::now();
    server.restart();
    let seconds = started.elapsed().as_secs_f64();
    let status = status(server);
    Ok(Row {
        way,
        seconds,
        recovery: status["namespaces"][0]["recovery"].clone(),
    })
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn forget_page_cache(folder: &Path) -> io::Result<()> {
    let Ok(files) = fs::read_dir(folder) else {
        return Ok(()); // there is no checkpoint
    };
    for file in files {
        let file = fs::File::open(file?.path())?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

fn status(server: &Server) -> Value {
    server.karst(&["status", "--json"])
}

fn records(status: &Value) -> u64 {
    status["namespaces"][0]["records"].as_u64().unwrap_or(0)
}

fn used_bytes(status: &Value) -> u64 {
    status["namespaces"][0]["space"]["used_bytes"]
        .as_u64()
        .unwrap_or(0)
}

fn name(way: Way) -> String {
    format!("{way:?}").to_lowercase()
}

fn print(arguments: &Arguments, loaded: u64, raw: f64, rows: &[Row]) {
    println!(
        "{loaded} records with values of {} bytes; raw sequential read {:.0} MB/s",
        arguments.object_bytes,
        raw / 1e6
    );
    println!("way     seconds  from        records/s    scan MB/s  phases");
    for row in rows {
        let took = |phase: &str| row.recovery["phases"][phase].as_f64().unwrap_or(0.0);
        let phases: Vec<String> = row.recovery["phases"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(phase, seconds)| format!("{phase} {:.2}", seconds.as_f64().unwrap_or(0.0)))
            .collect();
        let scanned = row.recovery["scanned_bytes"].as_f64().unwrap_or(0.0);
        println!(
            "{:<7} {:>7.2}  {:<10} {:>10.0}  {:>10.0}  {}",
            name(row.way),
            row.seconds,
            row.recovery["from"].as_str().unwrap_or("?"),
            loaded as f64 / row.seconds,
            if scanned > 0.0 {
                scanned / 1e6 / took("scan").max(1e-3)
            } else {
                0.0
            },
            phases.join(", "),
        );
    }
}

fn to_json(arguments: &Arguments, loaded: u64, raw: f64, rows: &[Row]) -> Value {
    let row = |row: &Row| {
        serde_json::json!({
            "way": name(row.way),
            "seconds": row.seconds,
            "recovery": row.recovery,
        })
    };
    serde_json::json!({
        "records": loaded,
        "object_bytes": arguments.object_bytes,
        "raw_read_bytes_per_second": raw,
        "restarts": rows.iter().map(row).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_knows_every_way() {
        Arguments::command().debug_assert();
        let all = Arguments::parse_from(["bench-restart"]);
        assert_eq!(all.ways.len(), Way::value_variants().len());
    }
}
