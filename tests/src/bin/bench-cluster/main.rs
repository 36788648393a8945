//! Figures of three real nodes on this machine: what a second copy costs, what is shipped to a node that was away,
//! and how fast an empty one fills.
//!
//! Starts `karst dev --nodes 3`, loads it with `karst bench`, and reads metrics and the processes' CPU time. The
//! binaries are those beside this one.

#![allow(
    clippy::disallowed_methods,
    reason = "a measurement waits for real processes on the real clock"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Measures three nodes on this machine.
#[derive(Parser)]
struct Arguments {
    /// Length of each measurement, in seconds
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Records that are loaded
    #[arg(long, default_value_t = 200_000)]
    keys: u64,
    /// Bytes of each
    #[arg(long, default_value_t = 1000)]
    object_bytes: u64,
    /// Compare strong consistency with the available mode instead
    #[arg(long)]
    strong: bool,
    /// Rounds of such a comparison; of an odd number there is a median
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// A node of the cluster, as `karst dev` announced it.
struct Node {
    name: String,
    admin: String,
    http: String,
    pid: i32,
}

/// A running `karst dev`.
struct Cluster {
    child: Child,
    dir: PathBuf,
    nodes: Vec<Node>,
}

impl Cluster {
    fn start(factor: u8, mode: &str) -> Cluster {
        let name = format!("karst-bench-{}-{mode}-{factor}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let factor = factor.to_string();
        let mut child = beside("karst")
            .args([
                "dev",
                "--nodes",
                "3",
                "--device-size",
                "2GiB",
                "--json",
                "--dir",
            ])
            .arg(&dir)
            .args(["--replication-factor", &factor, "--mode", mode])
            .args(["--commit-to-device", "false"]) // the same in both modes
            .stdout(Stdio::piped())
            .spawn()
            .expect("karst starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output is piped");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("it announces its nodes");
        let announced: Value = serde_json::from_str(&line).expect("it announces JSON");
        let text = |node: &Value, field: &str| node[field].as_str().unwrap_or_default().to_owned();
        let node = |node: &Value| Node {
            name: text(node, "name"),
            admin: text(node, "admin"),
            http: text(node, "http"),
            pid: node["pid"].as_i64().unwrap_or_default() as i32,
        };
        let nodes = announced["nodes"]
            .as_array()
            .expect("nodes")
            .iter()
            .map(node);
        let cluster = Cluster {
            nodes: nodes.collect(),
            child,
            dir,
        };
        cluster.settle();
        cluster
    }

    /// Waits until no copy is on its way.
    fn settle(&self) {
        loop {
            let status = self.karst(&["status", "--json"]);
            let settled = status["namespaces"][0]["migrations_remaining"] == 0;
            if settled && serving(&status) == self.nodes.len() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn karst(&self, arguments: &[&str]) -> Value {
        let host = ["--host", &self.nodes[0].admin];
        let output = beside("karst")
            .args(host)
            .args(arguments)
            .output()
            .expect("karst runs");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    fn bench(&self, arguments: &Arguments, more: &[&str]) -> Value {
        let (keys, bytes) = (
            arguments.keys.to_string(),
            arguments.object_bytes.to_string(),
        );
        let mut all = vec!["bench", "--json", "--keys", &keys, "--object-bytes", &bytes];
        all.extend(more);
        self.karst(&all)
    }

    /// A counter, summed over its labels and the nodes that answer.
    fn metric(&self, name: &str) -> f64 {
        self.nodes.iter().map(|node| metric(&node.http, name)).sum()
    }

    /// CPU time of all nodes in seconds.
    fn cpu_s(&self) -> f64 {
        self.nodes.iter().map(|node| cpu_s(node.pid)).sum()
    }

    fn kill(&mut self, at: usize) {
        let pid = Pid::from_raw(self.nodes[at].pid).expect("a process");
        kill_process(pid, Signal::KILL).expect("it is our own");
        std::thread::sleep(Duration::from_secs(3)); // it is given up, and others are filled in its stead
    }

    /// Starts a node again and waits until it serves.
    fn start_again(&mut self, at: usize) -> Child {
        let home = self.dir.join(&self.nodes[at].name);
        let child = beside("karstd")
            .arg("--config")
            .arg(home.join("karst.toml"))
            .stderr(Stdio::null())
            .spawn()
            .expect("karstd starts");
        self.nodes[at].pid = child.id() as i32;
        while !get(&self.nodes[at].http, "/readyz").starts_with("HTTP/1.1 200") {
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn beside(name: &str) -> Command {
    let own = std::env::current_exe().expect("this program has a path");
    Command::new(own.parent().unwrap_or(Path::new(".")).join(name))
}

fn serving(status: &Value) -> usize {
    let nodes = status["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    nodes
        .iter()
        .filter(|node| node["state"] == "serving")
        .count()
}

/// What a node answers on its HTTP door; empty if it does not.
fn get(http: &str, path: &str) -> String {
    let mut answer = String::new();
    let asked = TcpStream::connect(http).and_then(|mut stream| {
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"
        )?;
        stream.read_to_string(&mut answer)
    });
    asked.map_or(String::new(), |_| answer)
}

fn metric(http: &str, name: &str) -> f64 {
    let answer = get(http, "/metrics");
    let of = |line: &str| line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']);
    let value = |line: &str| {
        line.rsplit(' ')
            .next()
            .and_then(|text| text.parse::<f64>().ok())
    };
    answer
        .lines()
        .filter(|line| of(line))
        .filter_map(value)
        .sum()
}

fn cpu_s(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |at: usize| {
        after
            .split_whitespace()
            .nth(at)
            .and_then(|it| it.parse::<f64>().ok())
    };
    let hertz = rustix::param::clock_ticks_per_second() as f64;
    (ticks(11).unwrap_or_default() + ticks(12).unwrap_or_default()) / hertz
}

/// Writes a second and the CPU of one, with this many copies.
fn writes(arguments: &Arguments, factor: u8) -> (f64, f64) {
    let cluster = Cluster::start(factor, "ap");
    let seconds = arguments.seconds.to_string();
    let load = [
        "--read-percent",
        "0",
        "--connections",
        "16",
        "--pipeline",
        "8",
    ];
    cluster.bench(arguments, &[&load[..], &["--seconds", "2"]].concat()); // warm
    let before = cluster.cpu_s();
    let report = cluster.bench(arguments, &[&load[..], &["--seconds", &seconds]].concat());
    let cpu_s = cluster.cpu_s() - before;
    let per_s = report["ops_per_second"].as_f64().unwrap_or_default();
    (per_s, cpu_s * 1e6 / (per_s * arguments.seconds as f64))
}

/// What one mode costs, in one kind of request.
struct Cost {
    per_s: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: f64,
}

/// Requests of one kind, one at a time on each of 16 connections.
fn cost(cluster: &Cluster, arguments: &Arguments, read_percent: &str) -> Cost {
    let seconds = arguments.seconds.to_string();
    let load = ["--read-percent", read_percent, "--connections", "16"];
    cluster.bench(arguments, &[&load[..], &["--seconds", "2"]].concat()); // warm
    let before = cluster.cpu_s();
    let report = cluster.bench(arguments, &[&load[..], &["--seconds", &seconds]].concat());
    let cpu_s = cluster.cpu_s() - before;
    let of = if read_percent == "0" {
        "writes"
    } else {
        "reads"
    };
    let figure = |name: &str| report[of][name].as_f64().unwrap_or_default();
    let per_s = report["ops_per_second"].as_f64().unwrap_or_default();
    Cost {
        per_s,
        p50_us: figure("p50_us"),
        p99_us: figure("p99_us"),
        cpu_us: cpu_s * 1e6 / (per_s * arguments.seconds as f64),
    }
}

/// Both modes with two and three copies: writes that all copies answer for, or a quorum; reads by the primary. Two clusters
/// take turns, so that what else happens on this machine happens to both; what is told is the median of the rounds.
fn strong(arguments: &Arguments) {
    println!("three nodes, 16 connections, one request at a time on each; CPU of all nodes");
    println!("            ops/s    p50 us   p99 us   CPU us");
    const KINDS: [(&str, &str); 2] = [("write", "0"), ("read", "100")];
    for factor in [2, 3] {
        let clusters = ["ap", "cp"].map(|mode| {
            let cluster = Cluster::start(factor, mode);
            cluster.bench(
                arguments,
                &["--load", "--seconds", "1", "--read-percent", "100"],
            );
            cluster.settle();
            (mode, cluster)
        });
        for (name, percent) in KINDS {
            let rounds: Vec<[Cost; 2]> = (0..arguments.rounds)
                .map(|_| [0, 1].map(|at| cost(&clusters[at].1, arguments, percent)))
                .collect();
            for (at, (mode, _)) in clusters.iter().enumerate() {
                let of = |figure: fn(&Cost) -> f64| median(rounds.iter().map(|it| figure(&it[at])));
                println!(
                    "RF {factor} {mode} {name:<5} {:>7.0} {:>8.0} {:>8.0} {:>8.1}",
                    of(|it| it.per_s),
                    of(|it| it.p50_us),
                    of(|it| it.p99_us),
                    of(|it| it.cpu_us)
                );
            }
            let ratio = |figure: fn(&Cost) -> f64| {
                median(rounds.iter().map(|[ap, cp]| figure(cp) / figure(ap)))
            };
            println!(
                "RF {factor} {name:<5} cp/ap: p99 {:.2}, CPU {:.2}",
                ratio(|it| it.p99_us),
                ratio(|it| it.cpu_us)
            );
        }
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

fn main() {
    let arguments = Arguments::parse();
    if arguments.strong {
        return strong(&arguments);
    }
    let (one_per_s, one_us) = writes(&arguments, 1);
    let (two_per_s, two_us) = writes(&arguments, 2);
    println!(
        "writes, all copies answered for: RF 1 {one_per_s:.0}/s, {one_us:.1} us of CPU; RF 2 {two_per_s:.0}/s, {two_us:.1} us"
    );
    println!(
        "  ratio {:.2}, CPU {:.2}",
        two_per_s / one_per_s,
        two_us / one_us
    );
    away_and_empty(&arguments);
}

/// What a node that was away is sent, and how fast an empty one fills.
fn away_and_empty(arguments: &Arguments) {
    let mut cluster = Cluster::start(2, "ap");
    cluster.bench(
        arguments,
        &["--load", "--seconds", "1", "--read-percent", "100"],
    );
    cluster.settle();
    let data = cluster.metric("karst_device_used_bytes");
    cluster.kill(1);
    let one_percent = (arguments.keys / 100).to_string();
    let few = Arguments {
        keys: arguments.keys / 100,
        ..Arguments::parse()
    };
    cluster.bench(&few, &["--load", "--seconds", "1", "--read-percent", "100"]);
    std::thread::sleep(Duration::from_secs(5)); // others hold what it held
    let before = cluster.metric("karst_migration_sent_bytes_total");
    let started = Instant::now();
    let mut back = cluster.start_again(1);
    cluster.settle();
    let sent = cluster.metric("karst_migration_sent_bytes_total") - before;
    println!(
        "away while {one_percent} of {} records were written: {:.1} MB sent, {:.2}% of {:.0} MB, whole again after {:.1} s",
        arguments.keys,
        sent / 1e6,
        sent * 100.0 / data,
        data / 1e6,
        started.elapsed().as_secs_f64()
    );
    let _ = back.kill();
    let _ = back.wait();
    std::thread::sleep(Duration::from_secs(3));
    let home = cluster.dir.join(&cluster.nodes[1].name);
    for gone in ["data", "shm", "test.dat"] {
        let path = home.join(gone);
        let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
    }
    std::thread::sleep(Duration::from_secs(5));
    let before = cluster.metric("karst_migration_sent_bytes_total");
    let started = Instant::now();
    let mut fresh = cluster.start_again(1);
    cluster.settle();
    let (sent, took) = (
        cluster.metric("karst_migration_sent_bytes_total") - before,
        started.elapsed().as_secs_f64(),
    );
    println!(
        "an empty node: {:.0} MB sent in {took:.1} s, {:.0} MB/s, its start included",
        sent / 1e6,
        sent / 1e6 / took
    );
    let _ = fresh.kill();
    let _ = fresh.wait();
}
