//! Operations on lists and maps as clients pack them, carried out on values.

use std::borrow::Cow;

use karst_data::cdt::{
    Access, Answer, CdtOp, Evaluate, Expression, Item, Modified, Replacement, Subject,
};
use karst_data::msgpack::{Collection, normalise};
use karst_data::work::Work;

/// The first byte says whether the operation reads, the second how long the value is that comes next and
/// that it is carried out on; the operation is the rest.
pub fn check(bytes: &[u8]) {
    let [access, length, rest @ ..] = bytes else {
        return;
    };
    let access = match access & 1 {
        0 => Access::Read,
        _ => Access::Modify,
    };
    let (value, payload) = rest.split_at(usize::from(*length).min(rest.len()));
    let Ok(op) = CdtOp::parse(payload, access) else {
        return;
    };
    for expression in op.expressions() {
        assert!(
            payload
                .windows(expression.packed.len())
                .any(|part| part == expression.packed)
        );
    }
    let list = normalise(value, Collection::List).ok();
    let map = normalise(value, Collection::Map).ok();
    let subjects = [
        list.as_deref().map(Subject::List),
        map.as_deref().map(Subject::Map),
        Some(Subject::Missing),
        Some(Subject::Other),
    ];
    for subject in subjects.into_iter().flatten() {
        match access {
            Access::Read => read(&op, subject),
            Access::Modify => modify(&op, subject),
        }
    }
}

fn read(op: &CdtOp<'_>, subject: Subject<'_>) {
    let Ok(answer) = op.read(subject, &mut Guess, &Work::unlimited()) else {
        return;
    };
    look_at(&answer);
    assert_eq!(
        op.read(subject, &mut Guess, &Work::unlimited()),
        Ok(answer),
        "it reads something else the second time"
    );
}

fn modify(op: &CdtOp<'_>, subject: Subject<'_>) {
    let Ok(Modified { answer, value }) = op.modify(subject, &mut Guess, &Work::unlimited()) else {
        return;
    };
    look_at(&answer);
    let Some((kind, packed)) = value else {
        return;
    };
    let again = normalise(&packed, kind).expect("what an operation makes can be stored");
    assert!(
        matches!(again, Cow::Borrowed(_)),
        "what an operation makes is canonical"
    );
}

/// What an operation tells can be told.
fn look_at(answer: &Answer<'_>) {
    match answer {
        Answer::List(packed) => {
            normalise(packed, Collection::List).expect("a list that is told is one");
        }
        Answer::Map(packed) => {
            // In the order of an answer it need not be canonical, but it is a map.
            normalise(packed, Collection::Map).expect("a map that is told is one");
        }
        Answer::Element(packed) => assert!(!packed.is_empty()),
        Answer::Nothing | Answer::Int(_) | Answer::Double(_) | Answer::Bool(_) => {}
    }
    let _ = answer.clone().into_value();
}

/// Expressions that have some value or other.
struct Guess;

impl Evaluate for Guess {
    fn holds(&mut self, expression: Expression<'_>, item: Item<'_>) -> Option<bool> {
        match (expression.packed.len() + item.value.len()) % 3 {
            0 => None,
            1 => Some(false),
            _ => Some(true),
        }
    }

    fn replace(&mut self, expression: Expression<'_>, item: Item<'_>) -> Replacement {
        match (expression.packed.len() + item.value.len()) % 4 {
            0 => Replacement::Unknown,
            1 => Replacement::Remove,
            2 => Replacement::Value(item.value.to_vec()),
            _ => Replacement::Value(expression.packed.to_vec()),
        }
    }
}
