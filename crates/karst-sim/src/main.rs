//! Seed in, verdict out: 0 when every promise held, 1 when one was broken.

mod arguments;
mod report;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use karst_data::mutation::Mutation;
use karst_sim::cluster::setup::Consistency;
use karst_sim::crowd::{self, Outcome};
use karst_sim::media::{self, Counts};
use karst_sim::{cluster, life, world::Tally};

use crate::arguments::{Arguments, Asked};

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Asked::Run(arguments)) => arguments,
        Ok(Asked::Help) => {
            print!("{}", arguments::HELP);
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprint!("karst-sim: {wrong}\n\n{}", arguments::HELP);
            return ExitCode::from(2);
        }
    };
    crowd::report_panics();
    if let Some(mutation) = arguments.plant {
        plant(mutation);
    }
    let held = [
        arguments.seeds.map(|seeds| at_random(&arguments, seeds)),
        arguments.cluster.map(|seeds| clusters(&arguments, seeds)),
        arguments
            .every_cut
            .map(|seeds| at_every_write(&arguments, seeds)),
        arguments.media.map(|faults| media(&arguments, faults)),
        arguments.mutations.map(mutations),
    ];
    match held.into_iter().flatten().all(|held| held) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the door reads the clock; the world has its own"
)]
fn now() -> Instant {
    Instant::now()
}

/// When to begin no further seed, and how many there may be until then.
fn limits(arguments: &Arguments, seeds: u64) -> (Instant, u64) {
    let minutes = arguments.minutes;
    let until = now() + Duration::from_secs(60 * minutes.unwrap_or(60 * 24 * 365));
    (until, if minutes.is_some() { u64::MAX } else { seeds })
}

fn clusters(arguments: &Arguments, seeds: u64) -> bool {
    let begun = now();
    let (until, seeds) = limits(arguments, seeds);
    let told = arguments.tell;
    let outcome = crowd::run(
        "clusters",
        arguments.first,
        seeds,
        || now() < until,
        |seed| cluster::life(seed, &arguments.wanted, told),
        |sum: &mut cluster::Tally, tally| sum.add(&tally),
    );
    report::clusters(&outcome, begun.elapsed());
    let mut again = "--cluster 1".to_owned();
    match arguments.wanted.consistency {
        Some(Consistency::Available) => again += " --cluster-mode ap",
        Some(Consistency::Strong) => again += " --cluster-mode cp",
        None => {}
    }
    if let Some(seconds) = arguments.wanted.seconds {
        again += &format!(" --cluster-seconds {seconds}");
    }
    verdict(&outcome, &again)
}

fn at_random(arguments: &Arguments, seeds: u64) -> bool {
    let begun = now();
    let (until, seeds) = limits(arguments, seeds);
    let told = arguments.tell;
    let outcome = crowd::run(
        "random cuts",
        arguments.first,
        seeds,
        || now() < until,
        |seed| life::at_random(seed, told),
        |sum: &mut Tally, tally| sum.add(&tally),
    );
    report::lives("random cuts", &outcome, begun.elapsed());
    verdict(&outcome, "--seeds 1")
}

fn at_every_write(arguments: &Arguments, seeds: u64) -> bool {
    let begun = now();
    let outcome = crowd::run(
        "every write cut",
        arguments.first,
        seeds,
        || true,
        life::at_every_write,
        |sum: &mut Tally, tally| sum.add(&tally),
    );
    report::lives("every write cut", &outcome, begun.elapsed());
    verdict(&outcome, "--every-cut 1")
}

fn media(arguments: &Arguments, faults: u64) -> bool {
    let begun = now();
    let outcome = crowd::run(
        "media faults",
        arguments.first,
        faults.div_ceil(media::FAULTS_PER_LIFE),
        || true,
        media::life,
        |sum: &mut Counts, counts| {
            sum.iter_mut()
                .zip(counts)
                .for_each(|(sum, count)| sum.add(&count));
        },
    );
    report::media(&outcome, begun.elapsed());
    verdict(&outcome, "--media 1")
}

/// Prints the failures with how to see them again. Whether there are none.
fn verdict<T>(outcome: &Outcome<T>, again: &str) -> bool {
    for failure in &outcome.failures {
        println!("seed {}: {}", failure.seed, failure.violation);
        println!("  again: karst-sim {again} --seed {}", failure.seed);
    }
    outcome.failures.is_empty()
}

/// From which seed on a behaviour is looked for: some are rare, and known to show near these.
fn first_seed(mutation: Mutation) -> &'static str {
    match mutation {
        Mutation::MovesWithoutTombstones => "7000",
        Mutation::ForgetsRepairs => "2000",
        _ => "0",
    }
}

/// Plants each known-wrong behaviour in a process of its own, and sees whether it is caught.
fn mutations(seeds: u64) -> bool {
    let this = std::env::current_exe().expect("a running program has a path");
    let mut all_caught = true;
    for mutation in Mutation::ALL {
        let mut child = Command::new(&this);
        child.args(["--plant", &format!("{mutation:?}")]);
        let mode = match mutation.is_of_strong() {
            true => "cp",
            false => "ap",
        };
        match mutation.is_of_cluster() {
            true => child.args([
                "--cluster",
                &seeds.to_string(),
                "--seed",
                first_seed(mutation),
                "--cluster-mode",
                mode,
            ]),
            false => child.args(["--seeds", &seeds.to_string(), "--media", "2000"]),
        };
        let output = child.output().expect("this program can be run again");
        let text = String::from_utf8_lossy(&output.stdout);
        let caught = text.lines().any(|line| line.starts_with("seed "));
        report::mutation(mutation, caught, &text);
        all_caught &= caught;
    }
    all_caught
}

#[cfg(feature = "mutations")]
fn plant(mutation: Mutation) {
    karst_data::mutation::plant(mutation);
}

#[cfg(not(feature = "mutations"))]
fn plant(mutation: Mutation) {
    eprintln!("karst-sim: {mutation:?} cannot be planted: build with `--features mutations`");
    std::process::exit(2);
}
