//! An index query beside a scan with a filter, through real sockets: what each takes, and what it costs the server.
//!
//! ```text
//! start a node alone -> load records of some 200 bytes, in memory -> make an index, wait until it is built
//! for each round: scan, filter meets 1% | scan, filter meets none | index query, the same 1%
//! ```
//!
//! Each way is one request for all partitions on one connection, asked again and again for a number of seconds; a
//! value of the filter is as good as any other, so each request has the next. The median over the rounds is printed.
//! CPU is what the node's process spent, user and system, over the whole time. What a scan and a query of one value
//! return is compared: figures of different answers would mean nothing.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]

use std::io::{self, BufReader, Read as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use karst_data::key::{Digest, KeyBytes, PartitionId};
use karst_tests::process::cpu_time;
use karst_tests::{Connection, Namespace, Server, ServerSpec};
use karst_wire::command::{Body, message};
use karst_wire::field;
use karst_wire::flags::{Info1, Info2, Info3};
use karst_wire::frame::{BODY_BYTES_MAX, FrameHeader, HEADER_BYTES, MessageHeader};
use karst_wire::op::OpCode;
use karst_wire::particle;
use karst_wire::response::Answers;
use serde_json::json;

const NAMESPACE: &str = "bench";
const SET: &str = "bench";
const INDEX: &str = "by_n";

/// The bin that is asked for.
const BIN: &str = "n";

/// Values of that bin: of each one record in so many.
const VALUES: i64 = 100;

/// Writes on the way at once while records are loaded.
const IN_FLIGHT: usize = 64;

/// Longest wait for the index.
const BUILD_MAX: Duration = Duration::from_secs(300);

/// Measures index queries beside filtered scans of a `karstd`.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench-query")]
struct Arguments {
    /// Records that are loaded.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..=50_000_000))]
    records: u64,
    /// Bytes of each record's blob.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    blob_bytes: u64,
    /// Seconds for which each way is asked in a round.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Rounds; of an odd number there is a median.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=99))]
    rounds: u64,
    /// Data cores of the node; 0 for one per CPU.
    #[arg(long, default_value_t = 1)]
    cores: u16,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// A way to the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A scan whose filter meets one record in [`VALUES`].
    ScanSome,
    /// A scan whose filter meets none.
    ScanNone,
    /// A query of an index.
    Query,
}

const WAYS: [Way; 3] = [Way::ScanSome, Way::ScanNone, Way::Query];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::ScanSome => "filtered scan, meets 1%",
            Way::ScanNone => "filtered scan, meets none",
            Way::Query => "index query, the same 1%",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Way::ScanSome => "scan_some",
            Way::ScanNone => "scan_none",
            Way::Query => "query",
        }
    }
}

/// What a request returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Returned {
    records: u64,
    /// The digests' first bytes, summed: the same for the same records in any order.
    sum: u64,
}

/// What a way took in a round, for each request.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    wall_ms: f64,
    cpu_ms: f64,
    records: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-query: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let stored = arguments.records * (arguments.blob_bytes + 400);
    let size = format!("{}MiB", (stored >> 20) + 256);
    let namespace = Namespace::memory(NAMESPACE).size(&size);
    let server = ServerSpec::new()
        .cores(arguments.cores)
        .namespace(namespace)
        .start();
    eprintln!("{} records are loaded", arguments.records);
    load(&server, arguments)?;
    build(&server)?;
    let mut asker = Asker::connect(&server)?;
    for value in 0..3 {
        let (scan, query) = (
            asker.ask(Way::ScanSome, value)?,
            asker.ask(Way::Query, value)?,
        );
        if scan != query || scan.records == 0 {
            let what = format!("a scan returns {scan:?}, a query {query:?}");
            return Err(io::Error::other(what));
        }
    }
    let mut costs: [Vec<Cost>; 3] = Default::default();
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        for (way, costs) in WAYS.into_iter().zip(&mut costs) {
            costs.push(measure(&server, &mut asker, way, arguments.seconds)?);
        }
    }
    report(arguments, costs.map(|costs| median(&costs)));
    Ok(())
}

/// The middle one by time, and by CPU; both vary for reasons of their own.
fn median(costs: &[Cost]) -> Cost {
    let middle = |of: fn(&Cost) -> f64| {
        let mut all: Vec<f64> = costs.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    Cost {
        wall_ms: middle(|cost| cost.wall_ms),
        cpu_ms: middle(|cost| cost.cpu_ms),
        records: costs[0].records,
    }
}

fn report(arguments: &Arguments, costs: [Cost; 3]) {
    let [scan, _, query] = costs;
    let (by_time, by_cpu) = (scan.wall_ms / query.wall_ms, scan.cpu_ms / query.cpu_ms);
    // A scan looks at every record, a query at those that it returns.
    let looked_at = |way: Way, cost: &Cost| match way {
        Way::ScanSome | Way::ScanNone => arguments.records,
        Way::Query => cost.records,
    };
    if arguments.json {
        let mut all = serde_json::Map::new();
        for (way, cost) in WAYS.into_iter().zip(&costs) {
            let looked_at = looked_at(way, cost) as f64;
            let figures = json!({
                "ms": cost.wall_ms, "cpu_ms": cost.cpu_ms, "records_returned": cost.records,
                "looked_at_per_second": looked_at / cost.wall_ms * 1e3,
                "cpu_us_per_record_looked_at": cost.cpu_ms * 1e3 / looked_at,
            });
            all.insert(way.key().into(), figures);
        }
        all.insert("scan_over_query".into(), json!(by_time));
        all.insert("scan_over_query_cpu".into(), json!(by_cpu));
        println!("{:#}", serde_json::Value::Object(all));
        return;
    }
    println!(
        "{} records in memory with a blob of {} bytes, {} cores of the node; for each request:",
        arguments.records, arguments.blob_bytes, arguments.cores
    );
    println!(
        "{:<26} {:>10} {:>10} {:>10} {:>16} {:>16}",
        "", "returned", "ms", "CPU ms", "looked at /s", "CPU us / record"
    );
    for (way, cost) in WAYS.into_iter().zip(&costs) {
        let looked_at = looked_at(way, cost) as f64;
        println!(
            "{:<26} {:>10} {:>10.1} {:>10.1} {:>16.0} {:>16.3}",
            way.name(),
            cost.records,
            cost.wall_ms,
            cost.cpu_ms,
            looked_at / cost.wall_ms * 1e3,
            cost.cpu_ms * 1e3 / looked_at,
        );
    }
    println!(
        "scan over query, the same records: {by_time:.1} in time, {by_cpu:.1} in CPU (target 10)"
    );
}

/// Asks one way for so many seconds, and at least twice.
fn measure(server: &Server, asker: &mut Asker, way: Way, seconds: u64) -> io::Result<Cost> {
    let pid = server.pid().as_raw_nonzero().get() as u32;
    let window = Duration::from_secs(seconds);
    asker.ask(way, 0)?; // caches are as they will be
    let (cpu, began) = (cpu_time(pid)?, Instant::now());
    let (mut requests, mut records) = (0i64, 0);
    while began.elapsed() < window || requests < 2 {
        records = asker.ask(way, requests % VALUES)?.records;
        requests += 1;
    }
    let (wall, cpu) = (began.elapsed(), cpu_time(pid)? - cpu);
    let each_ms = |time: Duration| time.as_secs_f64() * 1e3 / requests as f64;
    Ok(Cost {
        wall_ms: each_ms(wall),
        cpu_ms: each_ms(cpu),
        records,
    })
}

fn load(server: &Server, arguments: &Arguments) -> io::Result<()> {
    let mut connection = server.connect();
    let blob = vec![7u8; arguments.blob_bytes as usize];
    let (mut out, mut waiting) = (Vec::new(), 0);
    let header = MessageHeader {
        info2: Info2::WRITE,
        ..MessageHeader::default()
    };
    for number in 0..arguments.records as i64 {
        let digest = Digest::of(SET.as_bytes(), KeyBytes::Integer(number));
        let written = message(&mut out, header, |body| {
            body.namespace(NAMESPACE);
            body.set(SET);
            body.digest(&digest);
            let value = (number % VALUES).to_be_bytes();
            body.op(OpCode::Write, particle::INTEGER, BIN, &value);
            body.op(OpCode::Write, particle::BLOB, "v", &blob);
        });
        written.map_err(io::Error::other)?;
        waiting += 1;
        if waiting == IN_FLIGHT || number + 1 == arguments.records as i64 {
            connection.send(&out)?;
            out.clear();
            for _ in 0..std::mem::take(&mut waiting) {
                acknowledged(&mut connection)?;
            }
        }
    }
    Ok(())
}

fn acknowledged(connection: &mut Connection) -> io::Result<()> {
    let frame = connection.read_frame()?;
    match frame.as_ref().map(|frame| frame.result_code()) {
        Some(Some(0)) => Ok(()),
        other => Err(io::Error::other(format!("a write was answered {other:?}"))),
    }
}

/// Makes the index, and waits until it is built.
fn build(server: &Server) -> io::Result<()> {
    let began = Instant::now();
    let create =
        format!("sindex-create:ns={NAMESPACE};set={SET};indexname={INDEX};bin={BIN};type=numeric");
    let made = server.info(&create);
    if made != "ok" {
        return Err(io::Error::other(format!("{create}: {made}")));
    }
    let stat = format!("sindex-stat:ns={NAMESPACE};indexname={INDEX}");
    while !server.info(&stat).contains("load_pct=100;") {
        if began.elapsed() > BUILD_MAX {
            return Err(io::Error::other("the index is not built in time"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    eprintln!("the index was built in {:.1?}", began.elapsed());
    Ok(())
}

/// Asks all partitions, on one connection.
struct Asker {
    stream: BufReader<std::net::TcpStream>,
    everywhere: Vec<PartitionId>,
    request: Vec<u8>,
    body: Vec<u8>,
}

impl Asker {
    fn connect(server: &Server) -> io::Result<Asker> {
        let stream = std::net::TcpStream::connect(server.service())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Asker {
            stream: BufReader::with_capacity(256 << 10, stream),
            everywhere: PartitionId::all().collect(),
            request: Vec::new(),
            body: Vec::new(),
        })
    }

    /// Asks for the records of a value and takes all that comes.
    fn ask(&mut self, way: Way, value: i64) -> io::Result<Returned> {
        let header = MessageHeader {
            info1: Info1::READ,
            info3: Info3::PARTITION_DONE,
            ..MessageHeader::default()
        };
        self.request.clear();
        let written = message(&mut self.request, header, |body| {
            body.namespace(NAMESPACE);
            body.set(SET);
            body.partitions(&self.everywhere);
            match way {
                Way::ScanSome => body.field(field::FILTER, &equals(value)),
                Way::ScanNone => body.field(field::FILTER, &equals(VALUES + value)),
                Way::Query => put_range(body, value),
            }
        });
        written.map_err(io::Error::other)?;
        io::Write::write_all(self.stream.get_mut(), &self.request)?;
        let mut returned = Returned::default();
        while !self.take_frame(&mut returned)? {}
        Ok(returned)
    }

    /// Takes a frame. Whether it was the last.
    fn take_frame(&mut self, returned: &mut Returned) -> io::Result<bool> {
        let mut header = [0; HEADER_BYTES];
        self.stream.read_exact(&mut header)?;
        let header = FrameHeader::parse(&header, BODY_BYTES_MAX).map_err(io::Error::other)?;
        self.body.resize(header.body_bytes, 0);
        self.stream.read_exact(&mut self.body)?;
        for answer in Answers::new(&self.body) {
            let answer = answer.map_err(io::Error::other)?;
            let code = answer.header.result_code;
            if code != 0 {
                return Err(io::Error::other(format!("answered with code {code}")));
            }
            if answer.is_last() {
                return Ok(true);
            }
            if let Some(digest) = answer.digest() {
                let (front, _) = digest.0.split_first_chunk().expect("there are 20 bytes");
                returned.records += 1;
                returned.sum = returned.sum.wrapping_add(u64::from_le_bytes(*front));
            }
        }
        Ok(false)
    }
}

/// The filter: the bin's integer is this.
fn equals(value: i64) -> Vec<u8> {
    let mut packed = vec![0x93, 1, 0x93, 81, 2, 0xa1, BIN.as_bytes()[0], 0xd3];
    packed.extend(value.to_be_bytes());
    packed
}

fn put_range(body: &mut Body<'_>, value: i64) {
    body.field_with(field::INDEX_RANGE, |out| {
        out.extend([1, BIN.len() as u8]);
        out.extend(BIN.as_bytes());
        out.push(particle::INTEGER);
        for _ in 0..2 {
            out.extend(8u32.to_be_bytes());
            out.extend(value.to_be_bytes());
        }
    });
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_means_a_million_records() {
        Arguments::command().debug_assert();
        assert_eq!(Arguments::parse_from(["bench-query"]).records, 1_000_000);
    }

    #[test]
    fn the_filter_is_one_that_the_server_reads() {
        for value in [0, VALUES, -1] {
            assert!(karst_data::expr::Filter::parse(&equals(value)).is_ok());
        }
    }

    #[test]
    fn the_median_of_time_and_that_of_cpu_are_each_their_own() {
        let cost = |wall_ms, cpu_ms| Cost {
            wall_ms,
            cpu_ms,
            records: 1,
        };
        let middle = median(&[cost(1.0, 9.0), cost(3.0, 7.0), cost(2.0, 8.0)]);
        assert_eq!((middle.wall_ms, middle.cpu_ms), (2.0, 8.0));
    }
}
