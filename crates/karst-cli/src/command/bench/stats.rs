//! What was measured, and how it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use karst_client::ResultCode;
use serde::Serialize;

use crate::args::{Bench, KeyDist};
use crate::render::human;

/// Longest latency kept apart, in nanoseconds; longer ones count as this. Nothing waits a minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Significant decimal digits of a latency.
const DIGITS: u8 = 3;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Reads a record.
    Read,
    /// Writes one.
    Write,
}

/// What one thread has seen, or all of them together.
#[derive(Debug)]
pub(super) struct Stats {
    reads: Histogram<u64>,
    writes: Histogram<u64>,
    /// Reads of keys that are not there; they are answered and counted as reads too.
    misses: u64,
    /// Answers that were refusals, by number.
    refusals: BTreeMap<u8, u64>,
    /// Requests without an answer.
    lost: u64,
    /// Why the first connection failed.
    failure: Option<String>,
}

impl Stats {
    /// Nothing seen yet.
    pub(super) fn new() -> Stats {
        // Both arguments are constants that the library accepts, as a test shows.
        let histogram =
            || Histogram::new_with_max(LATENCY_NS_MAX, DIGITS).expect("bounds the library accepts");
        Stats {
            reads: histogram(),
            writes: histogram(),
            misses: 0,
            refusals: BTreeMap::new(),
            lost: 0,
            failure: None,
        }
    }

    /// An answer came.
    pub(super) fn answer(&mut self, op: Op, code: u8, latency: Duration) {
        let missed = op == Op::Read && code == ResultCode::NotFound.as_u8();
        if code != ResultCode::Ok.as_u8() && !missed {
            *self.refusals.entry(code).or_default() += 1;
            return;
        }
        self.misses += u64::from(missed);
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        match op {
            Op::Read => self.reads.saturating_record(nanos),
            Op::Write => self.writes.saturating_record(nanos),
        }
    }

    /// So many requests will not be answered.
    pub(super) fn lose(&mut self, requests: usize) {
        self.lost += requests as u64;
    }

    /// A connection failed.
    pub(super) fn fail(&mut self, why: impl ToString) {
        self.failure.get_or_insert_with(|| why.to_string());
    }

    /// Adds what another thread has seen.
    pub(super) fn merge(&mut self, other: Stats) {
        // Same bounds, so nothing is out of range.
        self.reads += other.reads;
        self.writes += other.writes;
        self.misses += other.misses;
        self.lost += other.lost;
        for (code, count) in other.refusals {
            *self.refusals.entry(code).or_default() += count;
        }
        self.failure = self.failure.take().or(other.failure);
    }

    /// Requests that were answered as asked.
    pub(super) fn operations(&self) -> u64 {
        self.reads.len() + self.writes.len()
    }

    fn errors(&self) -> u64 {
        self.lost + self.refusals.values().sum::<u64>()
    }

    /// One thing that went wrong, for a person.
    pub(super) fn first_error(&self) -> Option<String> {
        let refusal = self.refusals.keys().next().map(|code| code_text(*code));
        self.failure.clone().or(refusal)
    }
}

pub(super) fn code_text(code: u8) -> String {
    ResultCode::from_u8(code).map_or_else(|| format!("result {code}"), |code| code.to_string())
}

/// Latencies of one kind of request, in microseconds.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    operations: u64,
    ops_per_second: f64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p99_9_us: f64,
    max_us: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>, seconds: f64) -> Latency {
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Latency {
            operations: histogram.len(),
            ops_per_second: histogram.len() as f64 / seconds,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: at(1.0),
        }
    }
}

/// What `--json` prints. Latencies of all requests stand at the top, those of each kind below.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    namespace: String,
    set: String,
    keys: u64,
    key_dist: &'static str,
    object_bytes: u32,
    read_percent: u8,
    connections: u32,
    threads: u32,
    pipeline: u32,
    seconds: f64,
    #[serde(flatten)]
    all: Latency,
    reads: Latency,
    writes: Latency,
    /// Reads of keys that are not there.
    misses: u64,
    /// Refused or unanswered requests.
    errors: u64,
    /// Refused ones by reason.
    refusals: BTreeMap<String, u64>,
    /// Those without an answer.
    unanswered: u64,
    /// Null unless the server is on this machine.
    server_cpu_us_per_op: Option<f64>,
    /// What the loader itself spent.
    client_cpu_us_per_op: Option<f64>,
    /// Why the first connection failed; null if none did.
    failure: Option<String>,
}

impl Report {
    pub(super) fn new(
        args: &Bench,
        stats: Stats,
        elapsed: Duration,
        server_cpu: Option<Duration>,
        own_cpu: Option<Duration>,
    ) -> Report {
        let seconds = elapsed.as_secs_f64();
        // A refusal costs the server as much as an answer, so both share its time.
        let answered = stats.operations() + stats.errors() - stats.lost;
        let per_op = |cpu: Duration| cpu.as_secs_f64() * 1e6 / answered.max(1) as f64;
        let mut all = stats.reads.clone();
        all += &stats.writes;
        Report {
            namespace: args.namespace.clone(),
            set: args.set.clone(),
            keys: args.keys,
            key_dist: match args.key_dist {
                KeyDist::Uniform => "uniform",
                KeyDist::Zipf => "zipf",
            },
            object_bytes: args.object_bytes,
            read_percent: args.read_percent,
            connections: args.connections,
            threads: args.threads,
            pipeline: args.pipeline,
            seconds,
            all: Latency::of(&all, seconds),
            reads: Latency::of(&stats.reads, seconds),
            writes: Latency::of(&stats.writes, seconds),
            misses: stats.misses,
            errors: stats.errors(),
            refusals: stats
                .refusals
                .iter()
                .map(|(code, count)| (code_text(*code), *count))
                .collect(),
            unanswered: stats.lost,
            server_cpu_us_per_op: server_cpu.map(per_op),
            client_cpu_us_per_op: own_cpu.map(per_op),
            failure: stats.failure,
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![
            format!(
                "{} ({}), {} bytes, {}% reads, {} x {} in flight, {:.1} s",
                human::plural(self.keys, "key"),
                self.key_dist,
                self.object_bytes,
                self.read_percent,
                human::plural(self.connections.into(), "connection"),
                self.pipeline,
                self.seconds
            ),
            format!(
                "{:6} {:>12} {:>12} {:>10} {:>10} {:>10} {:>10} {:>10}",
                "", "operations", "ops/s", "p50 us", "p90 us", "p99 us", "p99.9 us", "max us"
            ),
        ];
        for (name, latency) in [
            ("read", &self.reads),
            ("write", &self.writes),
            ("all", &self.all),
        ] {
            if latency.operations > 0 {
                lines.push(row(name, latency));
            }
        }
        lines.push(format!("errors {}", human::count(self.errors)));
        for (reason, count) in &self.refusals {
            lines.push(format!("  {} x {reason}", human::count(*count)));
        }
        if self.unanswered > 0 {
            lines.push(format!("  {} unanswered", human::count(self.unanswered)));
        }
        lines.extend(
            self.failure
                .iter()
                .map(|why| format!("  first failure: {why}")),
        );
        if self.misses > 0 {
            let misses = human::plural(self.misses, "read");
            lines.push(format!(
                "{misses} found no record; --load writes them all first"
            ));
        }
        if let Some(cpu) = self.server_cpu_us_per_op {
            lines.push(format!("server CPU {cpu:.2} us per request"));
        }
        lines.join("\n")
    }
}

fn row(name: &str, latency: &Latency) -> String {
    format!(
        "{name:6} {:>12} {:>12} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>10.1}",
        human::count(latency.operations),
        human::count(latency.ops_per_second as u64),
        latency.p50_us,
        latency.p90_us,
        latency.p99_us,
        latency.p99_9_us,
        latency.max_us
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Arguments of a small run.
    pub(in crate::command::bench) fn args() -> Bench {
        Bench {
            namespace: "test".into(),
            set: "bench".into(),
            keys: 1000,
            object_bytes: 10,
            read_percent: 50,
            connections: 8,
            threads: 2,
            pipeline: 4,
            seconds: 1,
            key_dist: KeyDist::Uniform,
            zipf_exponent: 0.99,
            load: false,
            seed: 1,
        }
    }

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn sample() -> Stats {
        let mut one = Stats::new();
        for latency in 1..=100 {
            one.answer(Op::Read, 0, micros(latency));
        }
        one.answer(Op::Read, ResultCode::NotFound.as_u8(), micros(50));
        one.answer(Op::Write, 0, micros(2000));
        one.answer(Op::Write, ResultCode::NotFound.as_u8(), micros(1));
        let mut other = Stats::new();
        other.answer(Op::Write, 18, micros(1));
        other.lose(3);
        other.fail("reset by peer");
        one.merge(other);
        one
    }

    #[test]
    fn answers_refusals_misses_and_losses_are_told_apart() {
        let stats = sample();
        assert_eq!(stats.operations(), 102);
        assert_eq!(stats.misses, 1);
        assert_eq!(stats.errors(), 5); // two refusals, three without answer
        assert_eq!(stats.first_error().as_deref(), Some("reset by peer"));
    }

    #[test]
    fn a_report_has_rate_percentiles_errors_and_cpu() {
        let report = Report::new(
            &args(),
            sample(),
            Duration::from_secs(2),
            Some(micros(208)),
            None,
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["operations"], 102);
        assert_eq!(json["ops_per_second"], 51.0);
        let p50 = json["reads"]["p50_us"].as_f64().unwrap();
        assert!((p50 - 50.0).abs() < 0.5, "{p50}");
        let max = json["max_us"].as_f64().unwrap();
        assert!((max - 2000.0).abs() < 20.0, "{max}");
        for member in ["p90_us", "p99_us", "p99_9_us"] {
            assert!(json[member].is_number(), "{member}");
        }
        assert_eq!(json["errors"], 5);
        assert_eq!(json["server_cpu_us_per_op"], 2.0); // 104 answers of whatever kind
        assert!(json["client_cpu_us_per_op"].is_null());
        let text = report.text();
        for part in [
            "errors 5",
            "3 unanswered",
            "reset by peer",
            "1 read found no",
            "2.00 us",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    }

    #[test]
    fn an_absurd_latency_is_kept_as_the_longest() {
        let mut stats = Stats::new();
        stats.answer(Op::Read, 0, Duration::MAX);
        assert_eq!(stats.operations(), 1);
        assert!(stats.reads.max() >= LATENCY_NS_MAX / 1000 * 999);
    }
}
