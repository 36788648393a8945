//! What is printed.

use std::time::Duration;

use karst_data::mutation::Mutation;
use karst_sim::cluster::contend::Outcomes;
use karst_sim::cluster::{self, fault};
use karst_sim::crowd::Outcome;
use karst_sim::disk::fault::Kind;
use karst_sim::media::{Count, Counts};
use karst_sim::world::Tally;

/// The sum of many lives.
pub(crate) fn lives(what: &str, outcome: &Outcome<Tally>, took: Duration) {
    let Tally {
        requests,
        changes,
        no_room,
        stops,
        emptied,
        tombstones,
        truncations,
        let_go,
        writes,
        failed_writes,
        torn_writes,
        ..
    } = outcome.sum;
    println!(
        "{what}: {} seeds in {:.1} s",
        outcome.seeds,
        took.as_secs_f64()
    );
    println!("  {requests} requests, {changes} of them changes, {no_room} found no room");
    println!("  {stops} stops, {writes} device writes, {torn_writes} torn, {failed_writes} failed");
    println!(
        "  {emptied} blocks emptied by defrag, {tombstones} tombstones forgotten, \
         {truncations} truncations, {let_go} partitions let go of"
    );
}

/// The sum of many clusters.
pub(crate) fn clusters(outcome: &Outcome<cluster::Tally>, took: Duration) {
    let sum = outcome.sum;
    let (seconds, virtual_s) = (took.as_secs_f64(), sum.virtual_us as f64 / 1e6);
    let seeds = outcome.seeds.max(1) as f64;
    println!(
        "clusters: {} seeds in {seconds:.1} s; {virtual_s:.0} virtual seconds, {:.0} in one",
        outcome.seeds,
        virtual_s / seconds
    );
    println!(
        "  {} changes, {} of them acknowledged, {} in doubt; {} reads",
        sum.changes, sum.acknowledged, sum.doubtful, sum.reads
    );
    println!(
        "  {} faults, {} islands, {} changes of the cluster's state, {} messages, {} events",
        sum.faults_by.sum(),
        sum.islands,
        sum.entries,
        sum.messages,
        sum.events
    );
    println!(
        "  {} comparisons, {} writes by merging, {} handed over, {} partitions let go of, \
         {} tombstones forgotten; settled after {:.2} s",
        sum.comparisons,
        sum.adopted,
        sum.handed_over,
        sum.let_go,
        sum.tombstones,
        sum.settling_us as f64 / 1e6 / seeds
    );
    println!(
        "  {:.1} virtual hours; {} clusters strongly consistent, {} of them on devices; {} revivals",
        virtual_s / 3600.0,
        sum.strong_lives,
        sum.device_lives,
        sum.revivals
    );
    let titles = Outcomes::WENT.map(|title| format!("{title:>12}"));
    println!("  {:<22}{}", "asked", titles.concat());
    for (asked, row) in Outcomes::ASKED.iter().zip(sum.outcomes.rows()) {
        let figures = row.map(|count| format!("{count:>12}"));
        println!("  {asked:<22}{}", figures.concat());
    }
    println!("  {:<50}{:>12}", "faults", "injected");
    for kind in fault::Kind::ALL {
        println!("  {:<50}{:>12}", kind.name(), sum.faults_by.of(kind));
    }
}

/// The table of media faults.
pub(crate) fn media(outcome: &Outcome<Counts>, took: Duration) {
    println!(
        "media faults: {} lives in {:.1} s; {} undetected",
        outcome.seeds,
        took.as_secs_f64(),
        outcome.failures.len()
    );
    let titles = [
        "injected", "harmless", "detected", "same", "noticed", "older",
    ];
    println!(
        "  {:<18}{}",
        "kind",
        titles.map(|title| format!("{title:>10}")).concat()
    );
    let mut sum = Count::default();
    for (kind, count) in Kind::ALL.iter().zip(&outcome.sum) {
        row(kind.name(), count);
        sum.add(count);
    }
    row("all", &sum);
    println!(
        "  same, noticed, older: a cold start from the damaged devices. `older` is an older state, or"
    );
    println!(
        "  none, with nothing to tell it by: there is one copy of the data and no index to compare with"
    );
}

fn row(name: &str, count: &Count) {
    let figures = [
        count.injected,
        count.harmless,
        count.detected,
        count.cold_same,
        count.cold_noticed,
        count.cold_older,
    ];
    println!(
        "  {name:<18}{}",
        figures.map(|figure| format!("{figure:>10}")).concat()
    );
}

/// Whether a planted behaviour was caught, and the first line that says so.
pub(crate) fn mutation(mutation: Mutation, caught: bool, output: &str) {
    let line = output.lines().find(|line| line.starts_with("seed "));
    let line: String = line.unwrap_or_default().chars().take(100).collect();
    let verdict = if caught { "caught" } else { "MISSED" };
    println!("  {:<34} {verdict}  {line}", format!("{mutation:?}"));
}
