//! What came out: medians of all rounds, in one table.

use std::fmt;

use serde_json::{Value as Json, json};

use super::Arguments;
use super::dialect::Op;
use super::load::Measurement;
use super::proc;
use super::server::Kind;

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) kind: Kind,
    pub(crate) value_bytes: usize,
    pub(crate) op: Op,
    pub(crate) in_flight: usize,
}

/// A figure of one server at one size of values, of every round.
struct Memory {
    kind: Kind,
    value_bytes: usize,
    bytes_per_record: Vec<f64>,
}

/// Everything that was measured.
pub(crate) struct Report {
    arguments: Arguments,
    kinds: Vec<Kind>,
    /// Of the machine, before anything was started.
    load_average: f64,
    cells: Vec<(Cell, Vec<Measurement>)>,
    memory: Vec<Memory>,
}

impl Report {
    /// Nothing yet.
    pub(crate) fn new(arguments: &Arguments, kinds: &[Kind]) -> Report {
        let (arguments, kinds) = (arguments.clone(), kinds.to_vec());
        Report {
            arguments,
            kinds,
            load_average: proc::load_average(),
            cells: Vec::new(),
            memory: Vec::new(),
        }
    }

    /// Takes one round's figures of a cell.
    pub(crate) fn note(&mut self, cell: Cell, measurement: Measurement) {
        match self.cells.iter_mut().find(|(known, _)| *known == cell) {
            Some((_, rounds)) => rounds.push(measurement),
            None => self.cells.push((cell, vec![measurement])),
        }
    }

    /// Takes one round's growth of a server by loading it.
    pub(crate) fn note_memory(&mut self, kind: Kind, value_bytes: usize, bytes_per_record: f64) {
        let known = |memory: &&mut Memory| memory.kind == kind && memory.value_bytes == value_bytes;
        match self.memory.iter_mut().find(known) {
            Some(memory) => memory.bytes_per_record.push(bytes_per_record),
            None => {
                let bytes_per_record = vec![bytes_per_record];
                self.memory.push(Memory {
                    kind,
                    value_bytes,
                    bytes_per_record,
                });
            }
        }
    }

    /// A cell's figures, each the median of its rounds.
    fn medians(&self, cell: Cell) -> Option<Measurement> {
        let (_, rounds) = self.cells.iter().find(|(known, _)| *known == cell)?;
        let of = |figure: fn(&Measurement) -> f64| median(rounds.iter().map(figure).collect());
        Some(Measurement {
            ops_per_second: of(|round| round.ops_per_second),
            p50_us: of(|round| round.p50_us),
            p99_us: of(|round| round.p99_us),
            p99_9_us: of(|round| round.p99_9_us),
            server_cpu_us: of(|round| round.server_cpu_us),
        })
    }

    /// What Karst in memory spends on a request, over what this server spends on the same.
    fn karst_over(&self, cell: Cell) -> Option<f64> {
        let karst = self.medians(Cell {
            kind: Kind::Karst,
            ..cell
        })?;
        Some(karst.server_cpu_us / self.medians(cell)?.server_cpu_us)
    }

    /// The cells in the order of the table: all servers of one kind of request together.
    fn in_order(&self) -> Vec<Cell> {
        let mut cells: Vec<Cell> = self.cells.iter().map(|(cell, _)| *cell).collect();
        cells.sort_by_key(|cell| (cell.value_bytes, cell.in_flight, cell.op)); // stable
        cells
    }

    /// The report for programs.
    pub(crate) fn to_json(&self) -> Json {
        let cell = |cell: Cell| {
            let figures = self.medians(cell).unwrap_or_default();
            json!({
                "server": cell.kind.to_string(),
                "value_bytes": cell.value_bytes,
                "op": cell.op.name(),
                "in_flight": cell.in_flight,
                "ops_per_second": figures.ops_per_second,
                "p50_us": figures.p50_us,
                "p99_us": figures.p99_us,
                "p99_9_us": figures.p99_9_us,
                "server_cpu_us_per_request": figures.server_cpu_us,
                "karst_cpu_over_this": self.karst_over(cell),
            })
        };
        let memory = self.memory.iter().map(|memory| {
            json!({
                "server": memory.kind.to_string(),
                "value_bytes": memory.value_bytes,
                "resident_bytes_per_record": median(memory.bytes_per_record.clone()),
            })
        });
        json!({
            "machine": proc::machine(),
            "load_average_before": self.load_average,
            "connections": self.arguments.connections,
            "keys": self.arguments.keys,
            "rounds": self.arguments.rounds,
            "seconds": self.arguments.seconds,
            "versions": self.kinds.iter().map(|kind| kind.version()).collect::<Vec<_>>(),
            "requests": self.in_order().into_iter().map(cell).collect::<Vec<_>>(),
            "memory": memory.collect::<Vec<_>>(),
        })
    }
}

/// The middle of some figures, the upper one of two.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// A whole number with its thousands set apart.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Arguments {
            connections,
            keys,
            rounds,
            seconds,
            ..
        } = &self.arguments;
        let (machine, load) = (proc::machine(), self.load_average);
        writeln!(out, "{machine}; load average before the run {load:.1}")?;
        for kind in self.kinds.iter().filter(|kind| **kind != Kind::KarstDevice) {
            writeln!(out, "  {}", kind.version())?;
        }
        writeln!(
            out,
            "{connections} connections, {} keys, one thread for requests each, the same loader for \
             all (scripts/bench-peers); medians of {rounds} x {seconds} s",
            grouped(*keys as f64)
        )?;
        self.requests(out)?;
        self.memory(out)
    }
}

impl Report {
    fn requests(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = [
            "ops/s",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "CPU us/req",
            "karst/this",
        ];
        let mut group = None;
        for cell in self.in_order() {
            if group.replace((cell.value_bytes, cell.in_flight, cell.op))
                != Some((cell.value_bytes, cell.in_flight, cell.op))
            {
                let Cell {
                    value_bytes,
                    in_flight,
                    op,
                    ..
                } = cell;
                let heading = format!("{} {value_bytes} B, {in_flight} in flight", op.name());
                write!(out, "\n{heading:<26}")?;
                titles
                    .iter()
                    .try_for_each(|title| write!(out, "{title:>12}"))?;
                writeln!(out)?;
            }
            let figures = self.medians(cell).unwrap_or_default();
            write!(
                out,
                "  {:<24}{:>12}",
                cell.kind,
                grouped(figures.ops_per_second)
            )?;
            for latency in [figures.p50_us, figures.p99_us, figures.p99_9_us] {
                write!(out, "{:>12}", grouped(latency))?;
            }
            let ratio = self.karst_over(cell).unwrap_or(f64::NAN);
            writeln!(out, "{:>12.2}{ratio:>11.2}x", figures.server_cpu_us)?;
        }
        Ok(())
    }

    fn memory(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "\nresident bytes per record, growth of the process by loading"
        )?;
        let mut memory: Vec<&Memory> = self.memory.iter().collect();
        memory.sort_by_key(|memory| memory.value_bytes); // stable
        for Memory {
            kind,
            value_bytes,
            bytes_per_record,
        } in memory
        {
            let bytes = median(bytes_per_record.clone());
            writeln!(out, "  {kind:<16}{value_bytes:>5} B{:>14}", grouped(bytes))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn report() -> Report {
        let arguments = Arguments::parse_from(["bench-peers"]);
        let mut report = Report::new(&arguments, &[Kind::Karst, Kind::Redis]);
        for (kind, cpu_us) in [
            (Kind::Karst, [6.0, 1.0, 4.0]),
            (Kind::Redis, [8.0, 8.0, 80.0]),
        ] {
            let cell = Cell {
                kind,
                value_bytes: 100,
                op: Op::Get,
                in_flight: 1,
            };
            for server_cpu_us in cpu_us {
                let ops_per_second = 1_234_567.0;
                let round = Measurement {
                    server_cpu_us,
                    ops_per_second,
                    ..Default::default()
                };
                report.note(cell, round);
            }
            report.note_memory(kind, 100, 209.0);
        }
        report
    }

    #[test]
    fn the_table_has_medians_and_what_karst_spends_over_each_peer() {
        let text = report().to_string();
        let row = |name: &str| {
            text.lines()
                .find(|line| line.trim_start().starts_with(name))
                .unwrap()
        };
        assert!(text.contains("GET 100 B, 1 in flight"), "{text}");
        let redis = row("redis-server  ");
        assert!(
            redis.contains("1,234,567") && redis.ends_with("8.00       0.50x"),
            "{text}"
        );
        assert!(row("karst  ").ends_with("4.00       1.00x"), "{text}");
    }

    #[test]
    fn json_has_every_cell() {
        let json = report().to_json();
        let requests = json["requests"].as_array().unwrap();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[1]["karst_cpu_over_this"], 0.5);
        assert_eq!(json["memory"][0]["resident_bytes_per_record"], 209.0);
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [
            (0.0, "0"),
            (999.4, "999"),
            (1e3, "1,000"),
            (12_345_678.0, "12,345,678"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
