//! Linearizability of real nodes: clients of both kinds ask a few hundred records, a nemesis kills, freezes, parts,
//! restarts and moves nodes and sets their clocks, and `karst_tests::linear` looks for an order in which one correct
//! record could have given every answer.
//!
//! [`plan`] what clients ask · [`ours`] by Karst's own client · [`official`] by the official Python client ·
//! [`nodes`] what can be done to a node · [`nemesis`] what is done, and when · [`clock`] a wall clock for one node ·
//! [`trial`] one history · [`table`] a row for each.
//!
//! `scripts/linear-table` runs many histories on nodes of the release profile. `KARST_HISTORIES` sets how many,
//! `KARST_SECONDS` how long each is, `KARST_SEED` the first one's seed, `KARST_RF` the copies, `KARST_MODE` the mode
//! of the namespace, `KARST_LINEARIZE` of how many reads of a hundred linearization is asked. With
//! `KARST_KEEP_HISTORIES=1` histories that pass are kept too. A seed gives the same faults and requests; what happens between them is up to the machine.

use std::time::Duration;

use karst_tests::venv;

use crate::wires::{Wires, apart_aloud};
use nodes::NAMES;
use trial::Trial;

mod clock;
mod nemesis;
mod nodes;
mod official;
mod ours;
mod plan;
mod table;
mod trial;

/// How a history comes about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// Mode of the namespace.
    mode: &'static str,
    copies: u8,
    nodes: usize,
    /// On files whose writes are answered when they are durable, or in memory.
    on_devices: bool,
    faults: bool,
    lasts: Duration,
    seed: u64,
    /// Of how many reads of a hundred it is asked that they linearize.
    linearize: u32,
}

/// A number of the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn linearize() -> u32 {
    number("KARST_LINEARIZE").unwrap_or(50) as u32
}

/// The mode asked for; strongly consistent, if none is.
fn mode() -> &'static str {
    match std::env::var("KARST_MODE").as_deref() {
        Ok("ap") => "ap",
        Ok("cp") | Err(_) => "cp",
        Ok(other) => panic!("KARST_MODE is ap or cp, not {other}"),
    }
}

/// Histories under faults, one after the other. Every third has five nodes, every other is on devices.
fn settings(histories: u64, seconds: u64, copies: Option<u8>) -> Vec<Setting> {
    let histories = number("KARST_HISTORIES").unwrap_or(histories);
    let lasts = Duration::from_secs(number("KARST_SECONDS").unwrap_or(seconds));
    let first = number("KARST_SEED").unwrap_or(1);
    let copies = copies.or(number("KARST_RF").map(|copies| copies as u8));
    let seeds = first..first + histories;
    let setting = seeds.map(|seed| Setting {
        mode: mode(),
        copies: copies.unwrap_or(2 + (seed % 2) as u8),
        nodes: if seed % 3 == 2 { 5 } else { 3 },
        on_devices: seed / 2 % 2 == 0,
        faults: true,
        lasts,
        seed,
        linearize: linearize(),
    });
    setting.collect()
}

/// Lets each history happen on a cluster of its own and prints a row. Returns how many do not pass.
fn run(settings: &[Setting]) -> usize {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime can be had");
    let wires = Wires::new(&NAMES);
    let (mut rows, mut wrong) = (vec![table::HEAD.to_owned()], 0);
    for setting in settings {
        eprintln!("{setting:?}");
        let trial = runtime.block_on(async { Trial::run(&wires, *setting).await });
        if !trial.passed() {
            trial.complain();
        } else if number("KARST_KEEP_HISTORIES").is_some() {
            eprintln!("its history is in {}", trial.keep().display());
        }
        wrong += usize::from(!trial.passed());
        let row = table::row(&trial);
        eprintln!("{row}");
        table::reasons(&trial)
            .iter()
            .for_each(|it| eprintln!("{it}"));
        rows.push(row);
    }
    println!("\n{}\n", rows.join("\n"));
    wrong
}

/// Nothing goes wrong, so primaries of the available mode answer as one record would, too: clients of both kinds note
/// what they are told correctly, and the nodes' copies agree with it.
#[test]
fn answers_of_a_cluster_that_nothing_happens_to_have_an_order() {
    venv::python(); // made where there is a network
    apart_aloud(|| {
        let setting = Setting {
            mode: "ap",
            copies: 2,
            nodes: 3,
            on_devices: false,
            faults: false,
            lasts: Duration::from_secs(4),
            seed: 1,
            linearize: linearize(),
        };
        assert_eq!(run(&[setting]), 0);
    });
}

#[test]
fn strong_answers_of_two_copies_have_an_order_under_faults() {
    venv::python();
    apart_aloud(|| assert_eq!(run(&settings(1, 20, Some(2))), 0));
}

#[test]
fn strong_answers_of_three_copies_have_an_order_under_faults() {
    venv::python();
    apart_aloud(|| assert_eq!(run(&settings(1, 20, Some(3))), 0));
}

#[test]
#[ignore = "scripts/linear-table runs it"]
fn every_history_has_an_order() {
    venv::python();
    apart_aloud(|| {
        let wrong = run(&settings(30, 60, None));
        assert!(
            wrong == 0 || mode() == "ap",
            "{wrong} histories do not pass"
        );
    });
}
