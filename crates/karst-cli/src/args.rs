//! The command line: what can be typed, and nothing of what it does.

mod query;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use query::{Index, IndexCreate, Query, Udf, UdfApply};

/// Karst, an open hybrid-memory database: look at a cluster, use its data, load it, measure it.
#[derive(Debug, Parser)]
#[command(name = "karst", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Admin address of any node
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:3002",
        env = "KARST_HOST"
    )]
    pub(crate) host: String,

    /// Print results as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a local cluster in the foreground, on free ports, until Ctrl-C
    Dev(Dev),
    /// One screen: nodes, namespaces, partitions, alarms
    Status,
    /// Table of nodes
    Nodes,
    /// Table of namespaces and their devices
    Namespaces {
        /// Only this one
        #[arg(long)]
        namespace: Option<String>,
    },
    /// Table of sets
    Sets {
        /// Only those of this namespace
        #[arg(long)]
        namespace: Option<String>,
    },
    /// Table of damaged records
    Damage {
        /// Only those of this namespace
        #[arg(long)]
        namespace: Option<String>,
    },
    /// Who serves which partition: a grid of all, or one in full
    Partitions(Partitions),
    /// Have a node give what it holds to the others, before it is stopped for good or for long
    Drain(Drain),
    /// Forget a node that is down and holds nothing
    Remove {
        /// Name or id of the node
        node: String,
    },
    /// Have partitions of a strongly consistent namespace that nobody can serve go on with what is left of them
    Revive(Revive),
    /// What the index knows of the records of a partition, one JSON object a line
    Entries {
        /// Namespace
        #[arg(long, default_value = "test")]
        namespace: String,
        /// Partition
        #[arg(long, value_parser = clap::value_parser!(u32).range(0..4096))]
        partition: u32,
        /// Go on after this digest, 40 hexadecimal digits
        #[arg(long, value_parser = parse_digest)]
        after: Option<[u8; 20]>,
        /// Stop after this many entries; 0 for all
        #[arg(long, default_value_t = 0)]
        limit: u64,
    },
    /// Write bins of one record
    Put(Put),
    /// Read one record
    Get(Get),
    /// Delete one record
    Delete(Delete),
    /// Read every record of a namespace or set
    Scan(Scan),
    /// Read the records for which conditions hold, one JSON object a line
    Query(Query),
    /// Make, drop and look at secondary indexes
    #[command(subcommand)]
    Index(Index),
    /// Register, look at and run Lua functions
    #[command(subcommand)]
    Udf(Udf),
    /// Import records from JSON lines
    Load(Load),
    /// Measure a cluster under load
    Bench(Bench),
    /// Look at a device whose node is stopped
    Inspect {
        /// Block device or file
        device: PathBuf,
        /// Key file of an encrypted namespace
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Empty a device whose node is stopped, so that a node can take it into use
    Wipe {
        /// Block device or file
        device: PathBuf,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Print a shell completion script
    Completions {
        /// Shell to complete for
        shell: clap_complete::Shell,
    },
}

/// `karst partitions`
#[derive(Debug, Args)]
pub(crate) struct Partitions {
    /// Namespace
    #[arg(long, default_value = "test")]
    pub(crate) namespace: String,
    /// Only this one, with what each node holds of it
    #[arg(long, alias = "partition", value_parser = clap::value_parser!(u32).range(0..4096))]
    pub(crate) id: Option<u32>,
    /// What a place of the grid shows
    #[arg(long, value_enum, default_value_t = GridBy::State)]
    pub(crate) by: GridBy,
    /// A table of what the asked node holds instead: counts, and a fingerprint that is equal where two indexes
    /// hold the same
    #[arg(long)]
    pub(crate) contents: bool,
}

/// What a place of the grid shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GridBy {
    /// Whether it is served by those who should
    State,
    /// Who leads it
    Owner,
    /// How many records the asked node holds of it
    Records,
    /// How often clients ask for its records, on all nodes that answer, within a second
    Heat,
}

/// `karst drain`
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// Name or id of the node
    pub(crate) node: String,
    /// It is to stay after all
    #[arg(long, conflicts_with_all = ["wait", "timeout"])]
    pub(crate) undo: bool,
    /// Return when it holds nothing any more
    #[arg(long)]
    pub(crate) wait: bool,
    /// Longest wait, such as 10m; it goes on draining afterwards. For ever if absent
    #[arg(long, requires = "wait", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

/// `karst revive`
#[derive(Debug, Args)]
pub(crate) struct Revive {
    /// Namespace
    pub(crate) namespace: String,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Have those of which nobody alive holds anything begin anew, empty
    #[arg(long)]
    pub(crate) empty: bool,
    /// Longest wait until they are served, such as 10m; they go on recovering afterwards
    #[arg(long, default_value = "1m", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
}

/// `karst dev`
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Nodes to run
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) nodes: u8,
    /// Copies of each record, as far as there are nodes
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) replication_factor: u8,
    /// What the namespace promises when nodes cannot talk
    #[arg(long, value_enum, default_value_t = Mode::Ap)]
    pub(crate) mode: Mode,
    /// Whether a write is answered only when it is on the device, if not what the mode implies
    #[arg(long)]
    pub(crate) commit_to_device: Option<bool>,
    /// Keep data in this folder instead of one that is removed at the end
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Name of the one namespace
    #[arg(long, default_value = "test")]
    pub(crate) namespace: String,
    /// Size of each node's device file, such as 1GiB
    #[arg(long, default_value = "1GiB")]
    pub(crate) device_size: String,
}

/// Promise of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Available: every reachable replica serves
    Ap,
    /// Strongly consistent
    Cp,
}

/// Where a record is.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// Namespace
    #[arg(long, default_value = "test")]
    pub(crate) namespace: String,
    /// Set; empty for none
    #[arg(long, default_value = "")]
    pub(crate) set: String,
}

/// Which record.
#[derive(Clone, Debug, Args)]
pub(crate) struct RecordKey {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Key of the record
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: String,
    /// How KEY is read
    #[arg(long, value_enum, default_value_t = KeyType::Auto)]
    pub(crate) key_type: KeyType,
}

/// How a typed key is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyType {
    /// A whole number if it looks like one, text otherwise
    Auto,
    /// A whole number
    Int,
    /// Text
    String,
    /// Bytes in hexadecimal
    Bytes,
}

/// `karst put`
#[derive(Debug, Args)]
pub(crate) struct Put {
    #[command(flatten)]
    pub(crate) key: RecordKey,
    /// Bins; VALUE is JSON, or text if it is not; null removes the bin
    #[arg(required = true, value_name = "BIN=VALUE")]
    pub(crate) bins: Vec<String>,
    /// Life of the record: 30d, 90s, or `never`; the namespace's default if absent
    #[arg(long, value_parser = parse_ttl)]
    pub(crate) ttl: Option<Ttl>,
    /// Fail if the record exists
    #[arg(long, conflicts_with = "replace")]
    pub(crate) create_only: bool,
    /// Remove bins that are not named
    #[arg(long)]
    pub(crate) replace: bool,
    /// Fail unless the record has this generation
    #[arg(long)]
    pub(crate) generation: Option<u16>,
    /// Store KEY itself with the record, not only its digest
    #[arg(long)]
    pub(crate) send_key: bool,
}

/// A life given on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ttl {
    /// For ever.
    Never,
    /// At least one second.
    Seconds(u32),
}

fn parse_ttl(text: &str) -> Result<Ttl, String> {
    if text == "never" {
        return Ok(Ttl::Never);
    }
    let time: Duration = humantime::parse_duration(text)
        .map_err(|_| "write it like 30d or 90s, or `never`".to_owned())?;
    match u32::try_from(time.as_secs()) {
        Ok(seconds) if seconds > 0 && seconds <= karst_client::TTL_SECONDS_MAX => {
            Ok(Ttl::Seconds(seconds))
        }
        _ => Err("from 1s to 10 years".to_owned()),
    }
}

/// `karst get`
#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) key: RecordKey,
    /// Only these bins
    #[arg(long, value_delimiter = ',')]
    pub(crate) bins: Vec<String>,
}

/// `karst delete`
#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) key: RecordKey,
}

/// `karst scan`
#[derive(Debug, Args)]
pub(crate) struct Scan {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Only these bins
    #[arg(long, value_delimiter = ',')]
    pub(crate) bins: Vec<String>,
    /// Stop after this many records; 0 for all
    #[arg(long, default_value_t = 0)]
    pub(crate) limit: u64,
    /// Write to this file instead of standard output; compressed if it ends in .gz
    #[arg(long, value_name = "FILE.jsonl[.gz]")]
    pub(crate) output: Option<PathBuf>,
    /// Add a member `_meta` with key, digest, generation and expiry
    #[arg(long)]
    pub(crate) with_meta: bool,
}

/// `karst load`
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// One JSON object a line; each member becomes a bin
    #[arg(value_name = "FILE.jsonl[.gz]")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Member that is the record's key
    #[arg(long, value_name = "MEMBER")]
    pub(crate) key_field: String,
    /// Records in flight
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) concurrency: u16,
    /// Skip lines that are no record instead of stopping at the first
    #[arg(long)]
    pub(crate) skip_bad: bool,
    /// Write nothing: read every record back and compare
    #[arg(long)]
    pub(crate) verify: bool,
    /// Store the key itself with each record, not only its digest
    #[arg(long)]
    pub(crate) send_key: bool,
}

/// `karst bench`
#[derive(Clone, Debug, Args)]
pub(crate) struct Bench {
    /// Namespace
    #[arg(long, default_value = "test")]
    pub(crate) namespace: String,
    /// Set
    #[arg(long, default_value = "bench")]
    pub(crate) set: String,
    /// Keys to choose from
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    pub(crate) keys: u64,
    /// Bytes of each value
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=8_388_608))]
    pub(crate) object_bytes: u32,
    /// Share of reads; the rest writes
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) read_percent: u8,
    /// Connections to each node, all threads together
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: u32,
    /// Threads that send
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
    /// Requests in flight on each connection
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) pipeline: u32,
    /// Length of the measurement
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// How keys are chosen
    #[arg(long, value_enum, default_value_t = KeyDist::Uniform)]
    pub(crate) key_dist: KeyDist,
    /// Skew of `--key-dist zipf`
    #[arg(long, default_value_t = 0.99, value_parser = parse_exponent)]
    pub(crate) zipf_exponent: f64,
    /// Write every key once before measuring
    #[arg(long)]
    pub(crate) load: bool,
    /// Repeats the same choices
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

fn parse_digest(text: &str) -> Result<[u8; 20], String> {
    let wrong = || "40 hexadecimal digits".to_owned();
    let mut digest = [0; 20];
    if text.len() != 40 || !text.is_ascii() {
        return Err(wrong());
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        let pair = &text[2 * at..2 * at + 2];
        *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
    }
    Ok(digest)
}

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyDist {
    /// Each as often as any other
    Uniform,
    /// Few of them much more often than the rest
    Zipf,
}

fn parse_exponent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(exponent) if (0.01..=10.0).contains(&exponent) => Ok(exponent),
        _ => Err("a number from 0.01 to 10".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_contracts_flags_are_there() {
        for line in [
            "karst --host 10.0.0.1:3002 status --json",
            "karst status --host 10.0.0.1:3002 --json",
            "karst nodes --json",
            "karst namespaces --json",
            "karst sets --json --namespace test",
            "karst damage --json --namespace test",
            "karst partitions --namespace test --json",
            "karst partitions --namespace test --id 7",
            "karst partitions --by owner",
            "karst drain n1 --wait --timeout 10m",
            "karst drain n1 --undo",
            "karst remove n1 --json",
            "karst entries --partition 7 --limit 10",
            "karst put --namespace test --set demo key a=1 b=two",
            "karst get --namespace test --set demo key --json",
            "karst delete --namespace test --set demo key",
            "karst scan --namespace test --set demo --output out.jsonl.gz",
            "karst query --set demo age>=18 name=Ada --limit 10 --with-meta",
            "karst query --set demo --index by_age age>=18",
            "karst index create by_age --set demo --bin age --json",
            "karst index create tags --bin tags --type string --elements list --timeout 0s",
            "karst index create by_city --bin profile --inside address --inside [0] --type string",
            "karst index create by_area --expression k1ECoWE=",
            "karst index create of_demo --set demo --set-index --timeout 10m",
            "karst index drop by_age",
            "karst index list --namespace test --json",
            "karst index show by_age",
            "karst udf put counters.lua",
            "karst udf put /tmp/x --name counters.lua",
            "karst udf list --json",
            "karst udf show counters.lua",
            "karst udf remove counters.lua",
            "karst udf apply --set demo key counters raise visits -1 --json",
            "karst load cities.jsonl.gz --namespace test --set cities --key-field id",
            "karst load cities.jsonl.gz --namespace test --set cities --key-field id --verify",
            "karst bench --namespace test --set b --keys 1000 --object-bytes 100 --read-percent 80 \
             --connections 8 --threads 2 --pipeline 16 --seconds 5 --key-dist zipf --json",
            "karst dev --nodes 1 --mode ap --dir /tmp/x --json",
            "karst inspect /dev/nvme0n1 --json",
            "karst wipe /dev/nvme0n1 --yes",
            "karst completions bash",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
        assert_eq!(parse("karst status").unwrap().host, "127.0.0.1:3002");
    }

    #[test]
    fn bad_usage_is_refused_with_exit_code_2() {
        for line in [
            "karst",
            "karst fly",
            "karst get",
            "karst get --jsno",
            "karst put key",
            "karst load file",
            "karst bench --read-percent 101",
            "karst bench --threads 0",
            "karst bench --key-dist normal",
            "karst bench --zipf-exponent 0",
            "karst put k a=1 --ttl soon",
            "karst put k a=1 --ttl 0s",
            "karst put k a=1 --create-only --replace",
            "karst dev --nodes 0",
            "karst partitions --id 4096",
            "karst drain",
            "karst drain n1 --undo --wait",
            "karst drain n1 --timeout 1m",
            "karst drain n1 --wait --timeout soon",
            "karst entries --partition 1 --after 00ff",
            "karst query --index by_age",
            "karst index",
            "karst index create by_age",
            "karst index create by_age --bin age --type text",
            "karst index create by_age --bin age --expression k1ECoWE=",
            "karst index create of_demo --set demo --set-index --bin age",
            "karst index create of_demo --set demo --set-index --type numeric",
            "karst udf apply key counters",
            "karst completions tcl",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        assert_eq!(parse("karst --version").unwrap_err().exit_code(), 0);
        assert_eq!(parse("karst --help").unwrap_err().exit_code(), 0);
    }

    #[test]
    fn a_negative_number_is_a_key_and_a_value() {
        let cli = parse("karst put -5 a=-1").unwrap();
        let Verb::Put(put) = cli.verb else {
            panic!("{cli:?}");
        };
        assert_eq!((put.key.key.as_str(), put.bins[0].as_str()), ("-5", "a=-1"));
    }

    #[test]
    fn a_life_is_some_seconds_or_for_ever() {
        assert_eq!(parse_ttl("never"), Ok(Ttl::Never));
        assert_eq!(parse_ttl("2m"), Ok(Ttl::Seconds(120)));
        assert!(parse_ttl("11years").is_err());
    }
}
