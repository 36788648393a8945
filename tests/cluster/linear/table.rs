//! A row for each history.

use std::collections::BTreeMap;

use karst_tests::linear::{Cause, Outcome};

use super::trial::{Trial, is_answer};

/// What the columns are.
pub(crate) const HEAD: &str =
    "| seed | mode | RF | nodes | storage | operations | a second | answered | a second | failed | in doubt \
| violations | lied | stale | lost | undecided | unreadable | unavailable ms | check s | faults |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// One history.
pub(crate) fn row(trial: &Trial) -> String {
    let setting = trial.setting;
    let operations = trial.history.len();
    let answered = trial.count(is_answer);
    let a_second = |count: usize| format!("{:.0}", count as f64 / trial.asked.as_secs_f64());
    let faults = trial.nemesis.counts.iter();
    let faults: Vec<String> = faults
        .map(|(name, times)| format!("{name} {times}"))
        .collect();
    let causes = |cause: Cause| {
        let violations = trial.report.violations.iter();
        violations
            .filter(|it| it.cause == cause)
            .count()
            .to_string()
    };
    let cells = [
        setting.seed.to_string(),
        setting.mode.to_string(),
        setting.copies.to_string(),
        setting.nodes.to_string(),
        if setting.on_devices {
            "device"
        } else {
            "memory"
        }
        .to_owned(),
        operations.to_string(),
        a_second(operations),
        answered.to_string(),
        a_second(answered),
        trial.count(|it| *it == Outcome::Failed).to_string(),
        trial.count(|it| *it == Outcome::InDoubt).to_string(),
        trial.report.violations.len().to_string(),
        causes(Cause::Lied),
        causes(Cause::Stale),
        causes(Cause::Lost),
        trial.report.undecided.len().to_string(),
        trial.unreadable.len().to_string(),
        trial.unavailable().as_millis().to_string(),
        format!("{:.1}", trial.checked.as_secs_f64()),
        faults.join(", "),
    ];
    format!("| {} |", cells.join(" | "))
}

/// The words of failures and doubts, and how often each client was told them.
pub(crate) fn reasons(trial: &Trial) -> Vec<String> {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for operation in trial.history.iter().filter(|it| !is_answer(&it.outcome)) {
        let words: String = operation
            .note
            .chars()
            .filter(|it| !it.is_ascii_digit())
            .collect();
        let line = format!("{}: {words}", operation.outcome);
        *counts.entry(line).or_default() += 1;
    }
    let mut lines: Vec<(u32, String)> = counts.into_iter().map(|(text, it)| (it, text)).collect();
    lines.sort_unstable_by(|one, other| other.cmp(one));
    let lines = lines.into_iter().take(12);
    lines
        .map(|(times, text)| format!("{times:>8} {text}"))
        .collect()
}
