//! Histories of an object that is atomic by construction: every operation takes effect at one moment between call
//! and answer, in doubt perhaps long after, or never.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::{Action, Content, Expect, Operation, Outcome, Seen, check};
use super::{add, append, create, swap, write};

const CLIENTS: u32 = 8;

/// Keys of a history that is contended.
const FEW_KEYS: i64 = 6;

/// Keys of a history that is as long as those of real clusters.
const MANY_KEYS: i64 = 200;

/// Histories that each property is tried on.
const SEEDS: u64 = 100;

/// When an operation takes effect; `None` for never.
type Effect = Option<u64>;

fn drawn_action(rng: &mut StdRng, key: i64, unique: i64) -> Action {
    let kind = rng.random_range(0..10);
    match (key % 3, kind) {
        (_, 0..4) => Action::Read,
        (_, 4) => Action::Delete,
        (0, 5..7) => write(unique),
        (0, 7..9) => swap(rng.random_range(1..5), unique),
        (0, _) => create(unique),
        (1, _) => add(rng.random_range(1..3)),
        (_, _) => append(unique),
    }
}

/// What every client asks, one after the other, and when it takes effect. Answers are yet to be given; of so many
/// operations one is in doubt and takes effect, one is in doubt and does not, and one fails.
fn drawn(rng: &mut StdRng, keys: i64, each: u32, one_of: u32) -> Vec<(Operation, Effect)> {
    let mut all = vec![];
    for client in 0..CLIENTS {
        let mut now = rng.random_range(0..50);
        for turn in 0..each {
            let key = rng.random_range(0..keys);
            let action = drawn_action(rng, key, i64::from(client * 10_000 + turn));
            let (effect, returned) = (rng.random_range(0..50), rng.random_range(0..50));
            let (outcome, takes_effect) = match rng.random_range(0..one_of) {
                0 => (Outcome::InDoubt, Some(now + effect * 30)),
                1 => (Outcome::InDoubt, None),
                2 => (Outcome::Failed, None),
                _ => (Outcome::Done, Some(now + effect)),
            };
            let operation = Operation {
                client,
                key,
                called_ns: now,
                returned_ns: now + effect + returned,
                action,
                outcome,
                note: String::new(),
            };
            now = operation.returned_ns + rng.random_range(1..20);
            all.push((operation, takes_effect));
        }
    }
    all
}

/// The record before, and what the operation makes of it and answers.
pub(super) fn answer(action: &Action, before: Option<Seen>) -> (Option<Seen>, Outcome) {
    let generation = before.as_ref().map_or(0, |seen| seen.generation);
    let holding = |content| Seen {
        generation: generation + 1,
        content,
    };
    match (action, &before) {
        (Action::Read | Action::Delete, None) => (None, Outcome::Absent),
        (Action::Read, Some(seen)) => (before.clone(), Outcome::Told(seen.clone())),
        (Action::Delete, Some(_)) => (None, Outcome::Done),
        (Action::Write { value, expect }, _) => {
            let refusal = match expect {
                Expect::Generation(expected) if *expected != generation => {
                    Some(Outcome::OtherGeneration)
                }
                Expect::Absent if before.is_some() => Some(Outcome::Exists),
                Expect::Any | Expect::Absent | Expect::Generation(_) => None,
            };
            match refusal {
                Some(refusal) => (before, refusal),
                None => (Some(holding(Content::Number(*value))), Outcome::Done),
            }
        }
        (Action::Add { amount }, _) => {
            let number = match before.map(|seen| seen.content) {
                Some(Content::Number(number)) => number,
                Some(Content::List(_)) | None => 0,
            };
            let after = holding(Content::Number(number + amount));
            (Some(after.clone()), Outcome::Told(after))
        }
        (Action::Append { element }, _) => {
            let mut elements = match before.map(|seen| seen.content) {
                Some(Content::List(elements)) => elements,
                Some(Content::Number(_)) | None => vec![],
            };
            elements.push(*element);
            let after = holding(Content::List(elements));
            (Some(after.clone()), Outcome::Told(after))
        }
    }
}

fn history(seed: u64) -> Vec<Operation> {
    made(seed, FEW_KEYS, 60, 20)
}

/// Gives every operation its answer, in the order in which they take effect.
fn made(seed: u64, keys: i64, each: u32, one_of: u32) -> Vec<Operation> {
    let mut drawn = drawn(&mut StdRng::seed_from_u64(seed), keys, each, one_of);
    drawn.sort_by_key(|(_, effect)| *effect);
    let mut records: BTreeMap<i64, Option<Seen>> = BTreeMap::new();
    for (operation, effect) in &mut drawn {
        if effect.is_none() {
            continue;
        }
        let record = records.entry(operation.key).or_default();
        let (after, outcome) = answer(&operation.action, record.take());
        *record = after;
        if operation.outcome == Outcome::Done {
            operation.outcome = match (outcome, record) {
                // Most writes also read, as those of the real clients do.
                (Outcome::Done, Some(seen)) if operation.called_ns % 4 != 0 => {
                    Outcome::Told(seen.clone())
                }
                (outcome, _) => outcome,
            };
        }
    }
    drawn.into_iter().map(|(operation, _)| operation).collect()
}

#[test]
fn every_history_of_an_atomic_object_is_accepted() {
    for seed in 0..SEEDS {
        let report = check(&history(seed));
        assert!(report.undecided.is_empty(), "seed {seed}");
        let first = report.violations.first();
        assert!(
            first.is_none(),
            "seed {seed}: {}",
            first.expect("it is some")
        );
    }
}

/// A read of a number, and one that an acknowledged write between them has overwritten: the later one is told what
/// the earlier one was.
fn gone_back(history: &[Operation], rng: &mut StdRng) -> Option<Vec<Operation>> {
    let number = |it: &Operation| match &it.outcome {
        Outcome::Told(seen) => {
            it.action == Action::Read && matches!(seen.content, Content::Number(_))
        }
        _ => false,
    };
    let wrote = |it: &Operation| {
        matches!(it.outcome, Outcome::Done | Outcome::Told(_)) && it.action.changes()
    };
    let register = |it: &&Operation| it.key % 3 == 0;
    let mut pairs = vec![];
    for (at, late) in history
        .iter()
        .enumerate()
        .filter(|(_, it)| register(it) && number(it))
    {
        let same = history.iter().filter(|it| it.key == late.key);
        for early in same.clone().filter(|it| number(it)) {
            let mut writes = same.clone().filter(|it| wrote(it));
            if writes.any(|it| early.returned_ns < it.called_ns && it.returned_ns < late.called_ns)
            {
                pairs.push((at, early.outcome.clone()));
            }
        }
    }
    if pairs.is_empty() {
        return None;
    }
    let (at, old) = pairs.swap_remove(rng.random_range(0..pairs.len()));
    let mut mutated = history.to_vec();
    mutated[at].outcome = old;
    Some(mutated)
}

#[test]
fn a_history_in_which_one_read_is_told_an_old_value_is_refused() {
    let (mut rng, mut mutated) = (StdRng::seed_from_u64(1), 0);
    for seed in 0..SEEDS {
        if let Some(history) = gone_back(&history(seed), &mut rng) {
            assert_eq!(check(&history).violations.len(), 1, "seed {seed}");
            mutated += 1;
        }
    }
    assert!(mutated > 80, "{mutated} histories have such a read");
}

/// Whatever else is left out of a history: if it is an acknowledged write that somebody read, that is seen.
#[test]
fn a_history_without_one_of_the_writes_that_were_read_is_refused() {
    for seed in 0..SEEDS {
        let mut history = history(seed);
        let read = |key: i64, value: i64| {
            let content = Content::Number(value);
            move |it: &Operation| {
                let told = matches!(&it.outcome, Outcome::Told(seen) if seen.content == content);
                told && it.key == key && it.action == Action::Read
            }
        };
        let lost = history.iter().position(|it| match it.action {
            Action::Write { value, .. } => history.iter().any(read(it.key, value)),
            _ => false,
        });
        history.remove(lost.expect("some write was read"));
        assert_eq!(check(&history).violations.len(), 1, "seed {seed}");
    }
}

/// Real clusters leave less in doubt than one of a hundred, over all faults.
#[test]
fn sixty_thousand_operations_take_seconds() {
    let history = made(7, MANY_KEYS, 60_000 / CLIENTS, 200);
    let began = std::time::Instant::now();
    assert!(check(&history).passed());
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
}

/// What an outage of a contended key leaves behind: forty in doubt of a thousand.
#[test]
fn a_contended_key_with_many_changes_in_doubt_is_decided() {
    let decided = (0..6).filter(|seed| {
        let report = check(&made(*seed, 1, 1000 / CLIENTS, 50));
        assert_eq!(report.violations.len(), 0, "seed {seed}");
        report.passed()
    });
    assert_eq!(decided.count(), 6);
}

/// What a minute of one outage after the other leaves behind, of a record of each kind.
#[test]
fn contended_keys_with_a_tenth_of_their_changes_in_doubt_are_decided() {
    for seed in 0..4 {
        let report = check(&made(seed, 3, 6000 / CLIENTS, 20));
        assert_eq!(report.violations.len(), 0, "seed {seed}");
        assert!(report.passed(), "seed {seed}: {:?}", report.undecided);
    }
}
