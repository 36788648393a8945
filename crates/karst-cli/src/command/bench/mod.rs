//! `karst bench`: as many requests as the cluster answers, and how long each took.
//!
//! ```text
//! main thread: map of owners -> [fill] -> start -> a line a second -> end -> report
//! a thread:    keeps the map current, so that the load follows partitions from node to node
//! --threads:   one runtime each, its share of --connections; each keeps --pipeline in flight
//! ```
//!
//! The loop is closed: a connection sends its next request when an earlier one is answered, so a
//! server that stalls is sent less, and percentiles say what these clients saw, not what an
//! independent stream of arrivals would have seen. The loader shares the machine with a local server;
//! the server's CPU time per request is the figure that suffers least from that, and is read from
//! `/proc` when the server is on this machine.

mod connection;
mod cpu;
mod fill;
mod keys;
mod stats;
mod worker;

use std::time::{Duration, Instant};

use karst_client::{Key, RawMap};

use super::connect::admin_and_client;
use crate::admin::is_local;
use crate::args::Bench;
use crate::failure::{Failure, Outcome};
use crate::render::{human, output, progress};
use cpu::CpuTime;
use stats::{Report, Stats};
use worker::Workers;

/// Between two lines of progress.
const TICK: Duration = Duration::from_secs(1);

/// What a run needs to know of the cluster.
struct Target {
    map: RawMap,
    /// Server processes on this machine.
    pids: Vec<u32>,
}

/// `karst bench`
pub(super) fn run(host: &str, json: bool, args: &Bench) -> Outcome {
    check(args)?;
    let target = find_target(host, args)?;
    if args.load {
        // A key must not be left out because its partition moves while the keys are divided.
        fill::run(args, &target.map.frozen())?;
    }
    let report = measure(args, &target)?;
    match json {
        true => output::json(&report),
        false => output::line(&report.text()),
    }
}

fn check(args: &Bench) -> Outcome {
    Key::new(args.namespace.as_str(), args.set.as_str(), 0).map_err(Failure::usage)?;
    match args.connections < args.threads {
        true => Err(Failure::usage(format!(
            "--threads {} need a connection each, but --connections is {}",
            args.threads, args.connections
        ))),
        false => Ok(()),
    }
}

/// Asks the cluster who owns what, and goes on asking. The client is needed for that alone.
fn find_target(host: &str, args: &Bench) -> Outcome<Target> {
    let runtime = worker::runtime()?;
    let (target, client) = runtime.block_on(async {
        let (mut admin, client) = admin_and_client(host).await?;
        let map = client.raw(&args.namespace).map_err(Failure::failed)?;
        let nodes = match is_local(host) {
            true => admin.nodes().await?,
            false => Vec::new(),
        };
        let target = Target {
            map,
            pids: nodes.iter().map(|node| node.pid).collect(),
        };
        Ok::<_, Failure>((target, client))
    })?;
    let map = target.map.clone();
    std::thread::Builder::new()
        .name("karst-bench-map".into())
        .spawn(move || runtime.block_on(client.keep_current(&map)))
        .map_err(Failure::failed)?; // it ends with the process
    Ok(target)
}

/// The measured part.
fn measure(args: &Bench, target: &Target) -> Outcome<Report> {
    let workers = Workers::connect(args, &target.map)?;
    let seconds = Duration::from_secs(args.seconds);
    let server_before = CpuTime::of_servers(&target.pids);
    let own_before = CpuTime::own();
    let started = Instant::now();
    workers.start(started + seconds);
    watch(&workers, args.seconds);
    let elapsed = started.elapsed();
    // Before the threads are joined: what they do after the end is not measured.
    let server = CpuTime::of_servers(&target.pids);
    let own = CpuTime::own();
    let stats = workers.join()?;
    refuse_empty(&stats)?;
    Ok(Report::new(
        args,
        stats,
        elapsed,
        CpuTime::between(server_before, server),
        CpuTime::between(own_before, own),
    ))
}

/// Shows what is going on, until the time is over or nobody works any more.
fn watch(workers: &Workers, seconds: u64) {
    let bar = progress::of_seconds(seconds);
    let mut before = workers.operations();
    for _ in 0..seconds {
        if workers.are_done() {
            break;
        }
        std::thread::sleep(TICK);
        let now = workers.operations();
        bar.set_message(format!("{} ops/s", human::count(now - before)));
        bar.inc(1);
        before = now;
    }
    bar.finish_and_clear();
}

/// A run in which nothing succeeded has no result.
fn refuse_empty(stats: &Stats) -> Outcome {
    match (stats.operations(), stats.first_error()) {
        (0, Some(error)) => Err(Failure::failed(format!("no request succeeded: {error}"))),
        (0, None) => Err(Failure::failed("no request was answered in time")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_that_cannot_work_are_bad_usage() {
        let good = stats::tests::args();
        assert_eq!(check(&good), Ok(()));
        for wrong in [
            Bench {
                namespace: String::new(),
                ..good.clone()
            },
            Bench {
                set: "s".repeat(64),
                ..good.clone()
            },
            Bench {
                threads: 9,
                connections: 8,
                ..good.clone()
            },
        ] {
            assert_eq!(check(&wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn a_run_without_one_success_is_a_failure_and_no_result() {
        let mut stats = Stats::new();
        assert!(refuse_empty(&stats).is_err());
        stats.fail("refused");
        let failure = refuse_empty(&stats).unwrap_err();
        assert!(failure.message().unwrap().contains("refused"));
        stats.answer(stats::Op::Read, 0, Duration::from_micros(1));
        assert_eq!(refuse_empty(&stats), Ok(()));
    }
}
