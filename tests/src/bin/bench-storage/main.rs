//! The device log under load, on real files: durable writes beside fio, sustained overwrites at 50% and
//! 80% fill, and reads beside defrag.
//!
//! ```text
//! durable     fio, O_DIRECT and O_DSYNC, as many writes in flight -> karstd, commit_to_device -> karstd without it
//!             -> fio again
//! overwrite   fill to so much, then overwrite at random for so long: write amplification, latency, stalls
//! reads       p99 of reads alone, beside writes that need no defrag, and beside the same with defrag
//! ```
//!
//! Every part has a node of its own in a folder of `--dir`, with one file that is removed at the end. fio
//! writes to the same file system in the same run, in the block sizes that Karst's flushes turned out
//! to have. The load comes from `karst bench`, so its CPU is the machine's too: all figures say what this
//! machine does with both. Only programs that were started here are ever ended.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]

mod fio;
mod node;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

use node::{Load, Node};

/// Bytes of a record's value.
const OBJECT_BYTES: u64 = 1000;

/// Bytes that such a record has on a device.
const STORED_BYTES: u64 = 1072;

/// Measures the device log of a `karstd`.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench-storage")]
struct Arguments {
    /// Folder on the file system to measure.
    #[arg(long)]
    dir: PathBuf,
    /// What to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Durable, Part::Overwrite, Part::Reads])]
    parts: Vec<Part>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(2..=3600))]
    seconds: u64,
    /// Size of the device file in MiB.
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u64).range(256..=65536))]
    device_mib: u64,
    /// Connections of clients.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1000))]
    connections: u64,
    /// How full the device is in the overwrite part, in percent.
    #[arg(long, value_delimiter = ',', default_values_t = [50, 80])]
    fill: Vec<u64>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Durable writes beside fio.
    Durable,
    /// Sustained uniform overwrites.
    Overwrite,
    /// Reads while defrag runs.
    Reads,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-storage: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    std::fs::create_dir_all(&arguments.dir)?;
    tempfile::env::override_temp_dir(&arguments.dir)
        .map_err(|_| io::Error::other("the folder for temporary files is set already"))?;
    let mut all = serde_json::Map::new();
    if arguments.parts.contains(&Part::Durable) {
        all.insert("durable".into(), durable(arguments)?);
    }
    if arguments.parts.contains(&Part::Overwrite) {
        for fill in &arguments.fill {
            all.insert(format!("overwrite_{fill}"), overwrite(arguments, *fill)?);
        }
    }
    if arguments.parts.contains(&Part::Reads) {
        all.insert("reads".into(), reads(arguments)?);
    }
    if arguments.json {
        println!("{:#}", Value::Object(all));
    }
    Ok(())
}

/// Prints a line of the report; with `--json` it goes to standard error.
fn say(arguments: &Arguments, line: &str) {
    if arguments.json {
        eprintln!("{line}");
    } else {
        println!("{line}");
    }
}

/// Keys that fill so much of the device.
fn keys(arguments: &Arguments, fill_percent: u64) -> u64 {
    (arguments.device_mib << 20) / 100 * fill_percent / STORED_BYTES
}

fn load(arguments: &Arguments, keys: u64, read_percent: u64) -> Load {
    Load {
        keys,
        read_percent,
        connections: arguments.connections,
        seconds: arguments.seconds,
        object_bytes: OBJECT_BYTES,
    }
}

fn durable(arguments: &Arguments) -> io::Result<Value> {
    let in_flight = arguments.connections;
    let before = fio::durable_writes(&arguments.dir, 4096, in_flight, arguments.seconds)?;
    let node = Node::start(arguments.device_mib, true, "64MiB");
    node.fill(&load(arguments, keys(arguments, 20), 0))?;
    let (from, written) = (
        node.status()?,
        node.load(&load(arguments, keys(arguments, 20), 0))?,
    );
    let to = node.status()?;
    drop(node);
    let uncommitted = uncommitted(arguments)?;
    let delta = |name: &str| node::counter(&to, name) - node::counter(&from, name);
    let flushes = delta("flushes_total").max(1.0);
    let per_flush = delta("client_records_total") / flushes;
    let flush_bytes = delta("written_bytes_total") / flushes;
    let near = (flush_bytes as u64)
        .next_multiple_of(4096)
        .clamp(4096, 1 << 20);
    let same = fio::durable_writes(&arguments.dir, near, in_flight, arguments.seconds)?;
    let after = fio::durable_writes(&arguments.dir, 4096, in_flight, arguments.seconds)?;
    let ops = node::number(&written, &["writes", "ops_per_second"]);
    let fio_iops = match (before, after) {
        (Some(before), Some(after)) => Some((before + after) / 2.0),
        _ => None,
    };
    let ratio = fio_iops.map(|iops| ops / iops);
    say(
        arguments,
        &format!(
            "durable writes of {OBJECT_BYTES} B, {in_flight} connections: {ops:.0}/s, {per_flush:.1} per flush of \
         {flush_bytes:.0} B, p50 {:.0} us, p99 {:.0} us",
            node::number(&written, &["writes", "p50_us"]),
            node::number(&written, &["writes", "p99_us"]),
        ),
    );
    say(
        arguments,
        &format!(
            "  the same load without commit_to_device: {uncommitted:.0}/s, which is what loader and node do on \
             these CPUs; durable over it: {:.2}",
            ops / uncommitted
        ),
    );
    match fio_iops {
        Some(iops) => say(
            arguments,
            &format!(
                "  fio, O_DIRECT O_DSYNC, {in_flight} in flight: {iops:.0}/s of 4096 B (before {:.0}, after {:.0}), \
             {:.0}/s of {near} B; Karst's writes over fio's of 4096 B: {:.2} (target 0.7)",
                before.unwrap_or(0.0),
                after.unwrap_or(0.0),
                same.unwrap_or(0.0),
                ratio.unwrap_or(0.0)
            ),
        ),
        None => say(
            arguments,
            "  fio is not installed here (apt-get install fio): nothing to compare with",
        ),
    }
    Ok(json!({
        "karst": written, "uncommitted_ops_per_second": uncommitted,
        "writes_per_flush": per_flush, "bytes_per_flush": flush_bytes,
        "fio_4096_iops_before": before, "fio_4096_iops_after": after,
        "fio_same_size_iops": same, "fio_same_size_bytes": near, "ratio": ratio,
    }))
}

/// Writes a second of the same load on a node that does not wait for the device.
fn uncommitted(arguments: &Arguments) -> io::Result<f64> {
    let node = Node::start(arguments.device_mib, false, "64MiB");
    let load = load(arguments, keys(arguments, 20), 0);
    node.fill(&load)?;
    let written = node.load(&load)?;
    Ok(node::number(&written, &["writes", "ops_per_second"]))
}

fn overwrite(arguments: &Arguments, fill_percent: u64) -> io::Result<Value> {
    let node = Node::start(arguments.device_mib, false, "64MiB");
    let keys = keys(arguments, fill_percent);
    node.fill(&load(arguments, keys, 0))?;
    // Once over, so that what is measured is the steady state and not the first lap.
    let warm_up = arguments.device_mib << 20;
    node.overwrite_at_least(&load(arguments, keys, 0), warm_up)?;
    let from = node.status()?;
    let (written, free) = node.load_watched(&load(arguments, keys, 0))?;
    let to = node.status()?;
    let delta = |name: &str| node::counter(&to, name) - node::counter(&from, name);
    let amplification = delta("written_bytes_total") / delta("client_bytes_total").max(1.0);
    let refused = node::number(&written, &["errors"]);
    let (least, most) = (free.iter().min().copied(), free.iter().max().copied());
    say(
        arguments,
        &format!(
            "overwrite at {fill_percent}% fill: write amplification {amplification:.2}, {:.0}/s, p50 {:.0} us, \
         p99 {:.0} us, p99.9 {:.0} us, max {:.0} us, refused {refused:.0}, waited for a block {:.0}, free blocks \
         {} to {} of {}",
            node::number(&written, &["writes", "ops_per_second"]),
            node::number(&written, &["writes", "p50_us"]),
            node::number(&written, &["writes", "p99_us"]),
            node::number(&written, &["writes", "p99_9_us"]),
            node::number(&written, &["writes", "max_us"]),
            delta("stalled_total"),
            least.unwrap_or(0),
            most.unwrap_or(0),
            node::number(&to, &["space", "blocks_total"]),
        ),
    );
    let every = (free.len() / 20).max(1);
    let over_time: Vec<String> = free.iter().step_by(every).map(u64::to_string).collect();
    say(
        arguments,
        &format!("  free blocks over time: {}", over_time.join(" ")),
    );
    Ok(json!({
        "fill_percent": fill_percent, "write_amplification": amplification, "karst": written,
        "stop_writes": refused, "waited": delta("stalled_total"), "free_blocks": free,
    }))
}

fn reads(arguments: &Arguments) -> io::Result<Value> {
    let node = Node::start(arguments.device_mib, false, "0B");
    let keys = keys(arguments, 50);
    node.fill(&load(arguments, keys, 0))?;
    // Reads are few and the same in each part: what changes is what runs beside them.
    let reader = Load {
        connections: 4,
        read_percent: 100,
        ..load(arguments, keys, 100)
    };
    let writer = load(arguments, keys, 0);
    let idle = node.load(&reader)?;
    let (without, _) = node.load_beside(&reader, &writer)?;
    node.overwrite_at_least(&writer, arguments.device_mib << 20)?;
    let from = node.status()?;
    let (with, writes) = node.load_beside(&reader, &writer)?;
    let to = node.status()?;
    let moved = node::number(&to, &["defrag", "records_moved_total"])
        - node::number(&from, &["defrag", "records_moved_total"]);
    let p99 = |load: &Value| node::number(load, &["reads", "p99_us"]);
    say(
        arguments,
        &format!(
            "reads, p99: idle {:.0} us; beside writes on a fresh device {:.0} us; beside {:.0} writes/s with defrag \
         moving {:.0} records/s {:.0} us: {:.2} of idle (target 3), {:.2} of writes alone",
            p99(&idle),
            p99(&without),
            node::number(&writes, &["writes", "ops_per_second"]),
            moved / Duration::from_secs(arguments.seconds).as_secs_f64(),
            p99(&with),
            p99(&with) / p99(&idle).max(1.0),
            p99(&with) / p99(&without).max(1.0),
        ),
    );
    Ok(json!({
        "idle": idle, "beside_writes": without, "beside_defrag": with, "writes": writes,
        "records_moved": moved, "ratio": p99(&with) / p99(&idle).max(1.0),
    }))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_measures_everything_unless_told() {
        Arguments::command().debug_assert();
        let all = Arguments::parse_from(["bench-storage", "--dir", "/x"]);
        assert_eq!(all.parts, [Part::Durable, Part::Overwrite, Part::Reads]);
        assert_eq!(all.fill, [50, 80]);
        let one = Arguments::parse_from(["bench-storage", "--dir", "/x", "--parts", "reads"]);
        assert_eq!(one.parts, [Part::Reads]);
    }
}
