//! The fuzz targets on every change: the committed corpus is replayed, then mutated for a few seconds.
//!
//! `KARST_FUZZ_SECONDS` is the time for each target, 2 unless it says otherwise; `KARST_FUZZ_SEED` makes
//! a run repeat another one's mutations. A failure prints seed, round and the input in hex. The corpus
//! is `tests/fuzz/corpus/<target>/`; `KARST_FUZZ_BLESS=1` writes the hand-made part of it anew.
//!
//! Real searches are libFuzzer's, with the same targets: see `tests/fuzz/README.md`.

#![allow(
    clippy::disallowed_methods,
    reason = "a budget of time is spent on the real clock"
)]

mod calls;
mod mutate;
mod seeds;
#[allow(unreachable_pub, reason = "the same files are a library for libFuzzer")]
#[path = "../src/lib.rs"]
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use self::mutate::Mutator;

/// Largest committed corpus, all targets together.
const CORPUS_BYTES_MAX: usize = 200 << 10;

/// Address space that a target may take beyond what it had: a buffer sized by a number that the input
/// claims shows here, even if it is never touched.
const CLAIMED_BYTES_MAX: u64 = 1 << 30;

/// What a target is called and what it does.
struct Target {
    name: &'static str,
    check: fn(&[u8]),
}

const TARGETS: [Target; 10] = [
    Target {
        name: "request",
        check: targets::request::check,
    },
    Target {
        name: "info",
        check: targets::info::check,
    },
    Target {
        name: "response",
        check: targets::response::check,
    },
    Target {
        name: "record",
        check: targets::record::check,
    },
    Target {
        name: "block",
        check: targets::block::check,
    },
    Target {
        name: "collection",
        check: targets::collection::check,
    },
    Target {
        name: "cdt",
        check: targets::cdt::check,
    },
    Target {
        name: "call",
        check: targets::call::check,
    },
    Target {
        name: "expression",
        check: targets::expression::check,
    },
    Target {
        name: "geo",
        check: targets::geo::check,
    },
];

fn corpus_folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

/// The committed inputs of a target, in the order of their names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpus_folder(target);
    let files =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let read = |file: fs::DirEntry| {
        let bytes = fs::read(file.path()).expect("a file of the corpus can be read");
        (file.file_name().to_string_lossy().into_owned(), bytes)
    };
    let mut inputs: Vec<_> = files
        .map(|file| read(file.expect("the folder can be read")))
        .collect();
    inputs.sort();
    inputs
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}, a number was expected")),
    )
}

/// Runs a target on one input. `what` says where the input is from, if it fails.
fn check(target: &Target, input: &[u8], what: &dyn Fn() -> String) {
    let done = catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
    if done.is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("target {} failed on {}: {hex}", target.name, what());
    }
}

/// Replays the corpus of a target, then mutates it until its time is up.
fn spend(name: &str) {
    let target = TARGETS
        .iter()
        .find(|target| target.name == name)
        .expect("a target of this name");
    let corpus = corpus(name);
    for (file, input) in &corpus {
        check(target, input, &|| file.clone());
    }
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = from_environment("KARST_FUZZ_SEED")
        .unwrap_or_else(|| clock.map_or(0, |since| since.as_nanos() as u64));
    let seconds = from_environment("KARST_FUZZ_SECONDS").unwrap_or(2);
    println!(
        "target {name}: KARST_FUZZ_SEED={seed}, {} inputs, {seconds} s",
        corpus.len()
    );
    let inputs: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    let mut mutator = Mutator::new(seed, &inputs);
    let (started, before) = (Instant::now(), address_space_bytes());
    let mut rounds = 0u64;
    while started.elapsed() < Duration::from_secs(seconds) {
        let input = mutator.next_input();
        check(target, &input, &|| format!("seed {seed}, round {rounds}"));
        rounds += 1;
    }
    let claimed = address_space_bytes() - before;
    assert!(
        claimed <= CLAIMED_BYTES_MAX,
        "seed {seed}: {claimed} bytes in {rounds} rounds"
    );
    println!("target {name}: {rounds} rounds");
}

/// The most address space that this process ever had.
fn address_space_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells a process its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("the status tells VmPeak in kB") << 10
}

#[test]
fn no_request_makes_the_parser_panic_or_contradict_itself() {
    spend("request");
}

#[test]
fn no_info_request_makes_the_parser_panic_or_lose_a_command() {
    spend("info");
}

#[test]
fn no_answer_makes_the_client_decoder_panic_or_read_outside() {
    spend("response");
}

#[test]
fn no_stored_record_makes_the_reader_panic_and_what_it_accepts_can_be_stored_again() {
    spend("record");
}

#[test]
fn no_block_or_superblock_makes_recovery_panic_or_hand_out_overlapping_records() {
    spend("block");
}

#[test]
fn no_collection_makes_the_walker_panic_and_normalising_is_a_fixed_point() {
    spend("collection");
}

#[test]
fn no_operation_on_a_collection_panics_and_what_it_makes_can_be_stored() {
    spend("cdt");
}

#[test]
fn no_call_makes_a_blob_or_sketch_panic_and_what_it_leaves_can_be_stored() {
    spend("call");
}

#[test]
fn no_expression_panics_and_metadata_never_decide_against_the_record() {
    spend("expression");
}

#[test]
fn no_geojson_panics_and_what_lies_within_is_found() {
    spend("geo");
}

#[test]
fn the_corpus_is_small_and_holds_every_hand_made_seed() {
    let mut bytes = 0;
    for target in &TARGETS {
        let folder = corpus_folder(target.name);
        for (name, seed) in seeds::of(target.name) {
            if std::env::var_os("KARST_FUZZ_BLESS").is_some() {
                fs::create_dir_all(&folder).expect("the corpus can be written");
                fs::write(folder.join(name), &seed).expect("the corpus can be written");
            }
            let found = fs::read(folder.join(name)).unwrap_or_default();
            assert!(
                found == seed,
                "{}/{name} is stale: run with KARST_FUZZ_BLESS=1",
                target.name
            );
        }
        bytes += corpus(target.name)
            .iter()
            .map(|(_, input)| input.len())
            .sum::<usize>();
    }
    assert!(
        bytes <= CORPUS_BYTES_MAX,
        "the corpus has {bytes} bytes, at most {CORPUS_BYTES_MAX}"
    );
}
