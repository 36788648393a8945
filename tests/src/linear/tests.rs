//! Histories made by hand, each with the verdict it deserves; and histories of a real atomic object.

use super::{Action, Cause, Content, Expect, Operation, Outcome, Seen, Violation, check};

mod atomic;
mod tried;

/// Begins at `called` and ends at `returned`, both in milliseconds.
fn operation(
    client: u32,
    called: u64,
    returned: u64,
    action: Action,
    outcome: Outcome,
) -> Operation {
    Operation {
        client,
        key: 1,
        called_ns: called * 1_000_000,
        returned_ns: returned * 1_000_000,
        action,
        outcome,
        note: String::new(),
    }
}

fn write(value: i64) -> Action {
    let expect = Expect::Any;
    Action::Write { value, expect }
}

fn swap(generation: u16, value: i64) -> Action {
    let expect = Expect::Generation(generation);
    Action::Write { value, expect }
}

fn create(value: i64) -> Action {
    let expect = Expect::Absent;
    Action::Write { value, expect }
}

fn add(amount: i64) -> Action {
    Action::Add { amount }
}

fn append(element: i64) -> Action {
    Action::Append { element }
}

fn number(number: i64, generation: u16) -> Outcome {
    let content = Content::Number(number);
    Outcome::Told(Seen {
        generation,
        content,
    })
}

fn list(elements: &[i64], generation: u16) -> Outcome {
    let content = Content::List(elements.to_vec());
    Outcome::Told(Seen {
        generation,
        content,
    })
}

use Action::{Delete, Read};
use Outcome::{Absent, Done, Exists, Failed, InDoubt, OtherGeneration};

/// Clients, times, actions and outcomes of one key.
type Lines<'a> = &'a [(u32, u64, u64, Action, Outcome)];

fn history(lines: Lines) -> Vec<Operation> {
    let made = lines.iter().cloned();
    made.map(|(client, called, returned, action, outcome)| {
        operation(client, called, returned, action, outcome)
    })
    .collect()
}

fn accepted(lines: Lines) {
    let report = check(&history(lines));
    let why: Vec<String> = report.violations.iter().map(Violation::to_string).collect();
    assert!(report.passed(), "{}", why.join("\n"));
}

/// Refused at the operation of this number.
fn refused(at: usize, lines: Lines) {
    let history = history(lines);
    let report = check(&history);
    assert_eq!(report.violations.len(), 1, "an order was found");
    let violation = &report.violations[0];
    assert_eq!(violation.operation, history[at], "{violation}");
}

#[test]
fn a_read_sees_the_last_write_and_concurrent_ones_in_either_order() {
    accepted(&[
        (1, 0, 1, Read, Absent),
        (1, 2, 3, write(5), Done),
        (2, 4, 5, Read, number(5, 1)),
        (1, 10, 20, write(6), Done),
        (2, 11, 19, write(7), Done),
        (3, 12, 13, Read, number(5, 1)),
        (3, 14, 15, Read, number(7, 2)),
        (3, 21, 22, Read, number(6, 3)),
    ]);
}

#[test]
fn a_stale_read_after_an_acknowledged_write_is_refused() {
    refused(
        2,
        &[
            (1, 0, 1, write(5), Done),
            (1, 2, 3, write(6), Done),
            (2, 4, 5, Read, number(5, 1)),
        ],
    );
}

#[test]
fn a_lost_write_is_refused() {
    refused(1, &[(1, 0, 1, write(5), Done), (2, 2, 3, Read, Absent)]);
    refused(
        2,
        &[
            (1, 0, 1, write(5), Done),
            (2, 2, 3, write(6), Done),
            (3, 4, 5, Read, number(6, 1)), // the generation tells that one is missing
        ],
    );
}

#[test]
fn a_read_that_goes_back_is_refused() {
    refused(
        3,
        &[
            (1, 0, 1, write(5), Done),
            (1, 2, 100, write(6), Done),
            (2, 3, 4, Read, number(6, 2)),
            (3, 5, 6, Read, number(5, 1)),
        ],
    );
}

#[test]
fn a_value_that_nobody_wrote_is_refused() {
    refused(
        1,
        &[(1, 0, 1, write(5), Done), (2, 2, 3, Read, number(9, 1))],
    );
}

#[test]
fn a_write_in_doubt_may_appear_at_any_later_time_or_never() {
    let began = [
        (1, 0, 1, write(5), Done),
        (2, 2, 3, write(6), InDoubt),
        (1, 4, 5, Read, number(5, 1)),
        (1, 6, 7, write(7), Done),
        (1, 8, 9, Read, number(7, 2)),
    ];
    accepted(&began);
    let mut late = began.to_vec();
    late.push((1, 100, 101, Read, number(6, 3)));
    accepted(&late);
    late.push((1, 102, 103, Read, number(7, 2)));
    refused(6, &late);
}

#[test]
fn a_write_in_doubt_happens_once_only() {
    refused(
        5,
        &[
            (1, 0, 1, write(5), Done),
            (2, 2, 3, write(6), InDoubt),
            (1, 4, 5, Read, number(6, 2)),
            (1, 6, 7, write(7), Done),
            (1, 8, 9, Read, number(7, 3)),
            (1, 10, 11, Read, number(6, 4)),
        ],
    );
}

#[test]
fn a_write_in_doubt_does_not_happen_before_it_is_asked() {
    refused(
        1,
        &[
            (1, 0, 1, write(5), Done),
            (1, 2, 3, Read, number(6, 2)),
            (2, 4, 5, write(6), InDoubt),
        ],
    );
}

#[test]
fn a_definite_failure_that_took_effect_is_refused() {
    refused(
        2,
        &[
            (1, 0, 1, write(5), Done),
            (2, 2, 3, write(6), Failed),
            (1, 4, 5, Read, number(6, 2)),
        ],
    );
    refused(
        2,
        &[
            (1, 0, 1, add(1), number(1, 1)),
            (2, 2, 3, add(1), Failed),
            (1, 4, 5, add(1), number(3, 3)),
        ],
    );
    refused(
        2,
        &[
            (1, 0, 1, write(5), Done),
            (2, 2, 3, swap(9, 6), OtherGeneration),
            (1, 4, 5, Read, number(6, 2)),
        ],
    );
}

#[test]
fn of_two_swaps_over_the_same_generation_one_is_done() {
    let one = |outcome| {
        [
            (1, 0, 1, write(5), Done),
            (1, 2, 9, swap(1, 6), Done),
            (2, 3, 8, swap(1, 7), outcome),
            (3, 10, 11, Read, number(6, 2)),
        ]
    };
    accepted(&one(OtherGeneration));
    accepted(&one(InDoubt));
    refused(1, &one(Done)); // its answer comes last
}

#[test]
fn a_refusal_has_to_be_true_at_some_moment() {
    refused(
        1,
        &[
            (1, 0, 1, write(5), Done),
            (2, 2, 3, swap(1, 6), OtherGeneration),
        ],
    );
    refused(0, &[(1, 0, 1, create(5), Exists)]);
    refused(1, &[(1, 0, 1, write(5), Done), (2, 2, 3, Delete, Absent)]);
    accepted(&[(1, 0, 9, write(5), Done), (2, 2, 3, create(6), Exists)]);
    accepted(&[(1, 0, 9, write(5), Done), (2, 2, 3, Delete, Absent)]);
    accepted(&[
        (1, 0, 9, write(5), Done),
        (2, 2, 3, swap(1, 6), OtherGeneration),
    ]);
}

#[test]
fn creating_is_done_once_until_it_is_deleted() {
    accepted(&[
        (1, 0, 9, create(5), Done),
        (2, 0, 9, create(6), Exists),
        (1, 10, 11, Delete, Done),
        (2, 12, 13, create(7), Done),
        (2, 14, 15, Read, number(7, 1)),
    ]);
    refused(1, &[(1, 0, 1, create(5), Done), (2, 2, 3, create(6), Done)]);
}

#[test]
fn a_deleted_record_that_is_back_is_refused() {
    refused(
        2,
        &[
            (1, 0, 1, write(5), Done),
            (1, 2, 3, Delete, Done),
            (2, 4, 5, Read, number(5, 1)),
        ],
    );
    accepted(&[
        (1, 0, 1, write(5), Done),
        (1, 2, 3, Delete, InDoubt),
        (2, 4, 5, Read, number(5, 1)),
        (2, 6, 7, Read, Absent),
    ]);
}

#[test]
fn an_addition_that_was_made_twice_is_refused() {
    refused(
        1,
        &[
            (1, 0, 1, add(1), number(1, 1)),
            (2, 2, 3, add(1), number(3, 3)),
        ],
    );
    accepted(&[
        (1, 0, 1, add(1), number(1, 1)),
        (3, 0, 1, add(1), InDoubt),
        (2, 2, 3, add(1), number(3, 3)),
    ]);
    refused(
        2,
        &[
            (1, 0, 1, add(1), number(1, 1)),
            (3, 0, 1, add(1), InDoubt),
            (2, 2, 3, add(1), number(4, 4)), // one in doubt, two came true
        ],
    );
}

#[test]
fn two_additions_are_not_told_the_same_number() {
    refused(
        1,
        &[
            (1, 0, 9, add(1), number(1, 1)),
            (2, 1, 10, add(1), number(1, 1)),
        ],
    );
}

#[test]
fn a_list_holds_every_acknowledged_element_once_and_in_order() {
    accepted(&[
        (1, 0, 9, append(5), list(&[6, 5], 2)),
        (2, 0, 8, append(6), list(&[6], 1)),
        (3, 10, 11, Read, list(&[6, 5], 2)),
        (1, 12, 13, append(7), InDoubt),
        (3, 14, 15, Read, list(&[6, 5], 2)),
        (3, 16, 17, Read, list(&[6, 5, 7], 3)),
    ]);
    for (elements, generation) in [(&[5, 6][..], 2), (&[6], 1), (&[6, 5, 5], 3), (&[6, 5], 3)] {
        refused(
            2,
            &[
                (1, 0, 9, append(5), list(&[6, 5], 2)),
                (2, 0, 8, append(6), list(&[6], 1)),
                (3, 10, 11, Read, list(elements, generation)),
            ],
        );
    }
}

#[test]
fn keys_are_independent_and_each_violation_is_told() {
    let mut both = history(&[(1, 0, 1, write(5), Done), (2, 2, 3, Read, Absent)]);
    let mut others = both.clone();
    others.iter_mut().for_each(|operation| operation.key = 2);
    both.extend(others);
    both.push(Operation {
        key: 3,
        ..both[0].clone()
    });
    let report = check(&both);
    let keys: Vec<i64> = report.violations.iter().map(|it| it.key).collect();
    assert_eq!((report.keys, keys), (3, vec![1, 2]));
}

#[test]
fn a_violation_is_told_in_a_few_lines() {
    let report = check(&history(&[
        (1, 0, 1, write(5), Done),
        (3, 1, 2, write(8), InDoubt),
        (1, 2, 3, write(6), Done),
        (2, 4, 5, Read, number(5, 1)),
    ]));
    assert_eq!(
        report.violations[0].to_string(),
        "key 1, an acknowledged change is missing: nothing explains the last of these answers (ms relative to its call)
        -4.000       -3.000  client 1    write 5 -> done
        -2.000       -1.000  client 1    write 6 -> done
        -3.000       -2.000  client 3    write 8 -> in doubt  (still open)
        +0.000       +1.000  client 2    read -> 5 in generation 1  <-- this
  before it the record was: a number nobody read in generation 2, or a number nobody read in generation 3"
    );
}

#[test]
fn the_promise_that_was_broken_is_named() {
    let check_cause = |expected: Cause, lines: Lines| {
        let report = check(&history(lines));
        assert_eq!(report.violations[0].cause, expected);
    };
    let began = (1, 0, 1, write(5), Done);
    let later = (1, 4, 5, Read, number(6, 2));
    check_cause(
        Cause::Lied,
        &[began.clone(), (2, 2, 3, write(6), Failed), later.clone()],
    );
    check_cause(
        Cause::Lied,
        &[
            began.clone(),
            (2, 2, 3, swap(1, 6), OtherGeneration),
            later.clone(),
        ],
    );
    check_cause(
        Cause::Lost,
        &[
            began.clone(),
            (2, 2, 3, write(6), Done),
            (1, 4, 5, Read, number(5, 1)),
        ],
    );
    check_cause(
        Cause::Stale,
        &[
            began.clone(),
            (2, 2, 30, write(6), Done),
            (1, 4, 5, Read, number(6, 2)),
            (1, 6, 7, Read, number(5, 1)),
            (1, 40, 41, Read, number(6, 2)),
        ],
    );
    check_cause(
        Cause::Other,
        &[
            (1, 0, 1, add(1), number(1, 1)),
            (1, 2, 3, Read, number(2, 2)),
            (1, 4, 5, add(1), number(3, 3)),
        ],
    );
}

/// Forty writes in doubt, and reads that see some of them: far more subsets than anyone can try.
#[test]
fn many_operations_in_doubt_are_decided_at_once() {
    let mut lines: Vec<_> = (0..40)
        .map(|at| (at as u32, 0, 1, write(at), InDoubt))
        .collect();
    lines.push((50, 10, 11, Read, number(7, 3)));
    lines.push((50, 12, 13, write(99), Done));
    lines.push((50, 14, 15, Read, number(99, 8)));
    lines.push((50, 16, 17, Read, number(21, 30)));
    accepted(&lines);
    lines.push((50, 18, 19, write(100), Done));
    lines.push((50, 20, 21, Read, number(7, 40)));
    refused(45, &lines);
}

#[test]
fn a_search_that_grows_too_large_is_undecided_and_not_passed() {
    // Each of them is read in the end, so none is like another; and the last answer is never given.
    let mut lines: Vec<_> = (0..24)
        .map(|at| (at as u32, 0, 1, add(1 << at), InDoubt))
        .collect();
    lines.push((50, 10, 11, Read, number(-1, 12)));
    let report = check(&history(&lines));
    assert!(!report.passed());
    assert_eq!(report.undecided, [1]);
}

#[test]
fn a_history_is_the_same_when_it_is_read_from_its_file() {
    let written = history(&[
        (1, 0, 1, Read, Absent),
        (1, 2, 3, swap(7, 5), OtherGeneration),
        (1, 2, 3, create(5), Exists),
        (1, 4, 5, write(5), InDoubt),
        (1, 4, 5, Delete, Failed),
        (1, 6, 7, append(5), list(&[5], 1)),
        (1, 8, 9, Read, list(&[5], 1)),
        (1, 10, 11, add(2), number(2, 1)),
    ]);
    let folder = tempfile::tempdir().expect("a folder can be had");
    let path = folder.path().join("history");
    super::operation::write_file(&path, &written).expect("it takes files");
    let read = super::operation::read_file(&path).expect("it is what was written");
    assert_eq!(read, written);
    std::fs::write(&path, "{}\n").expect("it takes files");
    let refused = super::operation::read_file(&path).expect_err("no operation");
    assert!(refused.to_string().starts_with("line 1: "), "{refused}");
}
