//! Short histories with answers drawn at random, for which every order is tried: the search says the same.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::{Action, Content, Expect, Operation, Outcome, Seen, check};
use super::atomic::answer;
use super::{add, append, create, swap, write};

const CLIENTS: u32 = 3;

fn drawn_seen(rng: &mut StdRng, kind: u32) -> Seen {
    let content = match kind {
        2 => Content::List((0..rng.random_range(1..4)).collect()),
        _ => Content::Number(rng.random_range(0..4)),
    };
    Seen {
        generation: rng.random_range(1..4),
        content,
    }
}

/// An operation and an answer that somebody might give to it. Of eight changes so many are in doubt.
fn drawn_pair(rng: &mut StdRng, kind: u32, doubtful: u32, unique: i64) -> (Action, Outcome) {
    let action = match (kind, rng.random_range(0..7)) {
        (_, 0..2) => Action::Read,
        (_, 2) => Action::Delete,
        (0, 3..5) => write(unique),
        (0, 5) => swap(rng.random_range(1..3), unique),
        (0, _) => create(unique),
        (1, _) => add(1),
        (_, _) => append(unique),
    };
    let outcome = match (&action, rng.random_range(0..8)) {
        (Action::Read, 0..6) => Outcome::Told(drawn_seen(rng, kind)),
        (Action::Read | Action::Delete, 6..) => Outcome::Absent,
        (_, at) if at < doubtful => Outcome::InDoubt,
        (_, 2) => Outcome::Failed,
        (Action::Add { .. } | Action::Append { .. }, _) => Outcome::Told(drawn_seen(rng, kind)),
        (Action::Write { expect, .. }, 3) => match expect {
            Expect::Any => Outcome::Done,
            Expect::Absent => Outcome::Exists,
            Expect::Generation(_) => Outcome::OtherGeneration,
        },
        (_, _) => Outcome::Done,
    };
    (action, outcome)
}

fn drawn(seed: u64, doubtful: u32) -> Vec<Operation> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (kind, mut unique, mut all) = (rng.random_range(0..3), 0, vec![]);
    for client in 0..CLIENTS {
        let mut now = rng.random_range(0..4);
        for _ in 0..rng.random_range(1..4) {
            let (action, outcome) = drawn_pair(&mut rng, kind, doubtful, unique);
            unique += i64::from(action.changes() && kind != 1);
            let returned_ns = now + rng.random_range(0..8);
            all.push(Operation {
                client,
                key: 1,
                called_ns: now,
                returned_ns,
                action,
                outcome,
                note: String::new(),
            });
            now = returned_ns + rng.random_range(1..4);
        }
    }
    all
}

/// Tries every operation that may come next. One that is in doubt may also never come.
fn has_order(record: Option<&Seen>, left: &[&Operation]) -> bool {
    let owed = |it: &&&Operation| it.outcome != Outcome::InDoubt;
    let first_answer = left.iter().filter(owed).map(|it| it.returned_ns).min();
    let Some(first_answer) = first_answer else {
        return true;
    };
    (0..left.len()).any(|at| {
        let next = left[at];
        if next.called_ns > first_answer {
            return false;
        }
        let (after, outcome) = answer(&next.action, record.cloned());
        let doubtful = next.outcome == Outcome::InDoubt && outcome != Outcome::Absent;
        if outcome != next.outcome && !doubtful {
            return false;
        }
        let mut rest = left.to_vec();
        rest.remove(at);
        has_order(after.as_ref(), &rest)
    })
}

#[test]
fn the_search_says_what_comes_of_trying_every_order() {
    let mut ordered = 0;
    let much_in_doubt = (0..30_000).map(|seed| (seed, 5));
    for (seed, doubtful) in (0..30_000).map(|seed| (seed, 2)).chain(much_in_doubt) {
        let history = drawn(seed, doubtful);
        let counts = |it: &&Operation| match it.outcome {
            Outcome::Failed => false,
            Outcome::InDoubt => it.action.changes(),
            _ => true,
        };
        let left: Vec<&Operation> = history.iter().filter(counts).collect();
        let expected = has_order(None, &left);
        assert_eq!(
            check(&history).passed(),
            expected,
            "seed {seed}, {doubtful} in doubt: {history:#?}"
        );
        ordered += u32::from(expected);
    }
    assert!(
        (2_000..58_000).contains(&ordered),
        "{ordered} have an order"
    );
}
