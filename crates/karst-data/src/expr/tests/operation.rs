//! Expressions as operations.

use super::{pack, sample, show};
use crate::call::CallError;
use crate::expr::{Change, Datum, ExpressionRead, ExpressionWrite};
use crate::value::Value;

fn text_of(value: Option<Value<'_>>) -> String {
    match value {
        None => "nil".to_owned(),
        Some(value) => {
            let bytes = super::hex(&value.bytes);
            match show(&Datum::from_stored(value.particle, value.bytes)) {
                text if text.starts_with('~') => format!("~{bytes}"),
                text => text,
            }
        }
    }
}

fn code(error: CallError) -> String {
    match error {
        CallError::BinExists => "!6".to_owned(),
        CallError::BinNotFound => "!17".to_owned(),
        CallError::NotApplicable(_) => "!26".to_owned(),
        other => panic!("{other}"),
    }
}

#[track_caller]
fn reads(text: &str, outcome: &str) {
    let found = match ExpressionRead::parse(&pack(text)) {
        Err(_) => "!4".to_owned(),
        Ok(read) => match read.evaluate(&sample()) {
            Ok(value) => text_of(value),
            Err(error) => code(error),
        },
    };
    assert_eq!(found, outcome, "{text}");
}

/// A write, onto a bin that is there or not.
#[track_caller]
fn writes(text: &str, bin_exists: bool, outcome: &str) {
    let found = match ExpressionWrite::parse(&pack(text)) {
        Err(_) => "!4".to_owned(),
        Ok(write) => match write.evaluate(&sample(), bin_exists) {
            Ok(Change::Nothing) => "same".to_owned(),
            Ok(Change::Remove) => "removed".to_owned(),
            Ok(Change::Set(value)) => text_of(Some(value)),
            Err(error) => code(error),
        },
    };
    assert_eq!(found, outcome, "{text} {bin_exists}");
}

#[test]
fn pairs_are_answered_in_the_order_that_they_are_told_in_and_stored_in_that_of_keys() {
    let pairs = r#"[[127, 5, 0, [104, 8, 0], [81,5,"map"]]]"#;
    reads(pairs, "Map 82c70008c0a2036b01");
    writes(pairs, true, "Map 81a2036b01");
}

#[test]
fn reads_answer_what_is_computed() {
    reads("[5]", "5");
    reads("[5, 0]", "5");
    reads("[[20, 1, 2], 0]", "3");
    reads("[[71]]", "true");
    reads("[null]", "nil");
    reads(r#"[[81,8,"geo"]]"#, "~0000007b7d"); // whole again, without cells
    reads("[[0]]", "!26");
    reads("[[0], 16]", "nil");
    reads("[[100]]", "!26");
    reads("[[126,[1,2]]]", "List 920102");
    reads(r#"[[126,["!d4ff00"]]]"#, "!26"); // no bin can hold it
    reads(r#"["!a21200"]"#, "!26"); // a sketch that is none
    for flags in [1, 2, 4, 8, 15, 32, 17, -1] {
        reads(&format!("[5, {flags}]"), "!4");
    }
    reads("[]", "!4");
    reads("[5, 0, 0]", "!4");
    reads("5", "!4");
    reads("[5, true]", "!4");
    reads("[[99]]", "!4");
    reads("[[18, true], 16]", "false");
    let trailing = [pack("[5, 0]"), vec![0]].concat();
    assert!(ExpressionRead::parse(&trailing).is_err());
}

#[test]
fn writes_follow_their_flags() {
    writes("[5]", true, "5");
    writes("[5]", false, "5");
    writes("[5, 1]", true, "!6");
    writes("[5, 1]", false, "5");
    writes("[5, 2]", true, "5");
    writes("[5, 2]", false, "!17");
    writes("[5, 9]", true, "same");
    writes("[5, 10]", false, "same");
    writes("[5, 25]", true, "same");
    writes("[5, 17]", true, "!6");
    writes("[[0]]", true, "!26");
    writes("[[0], 8]", true, "!26");
    writes("[[0], 16]", true, "same");
    writes("[[0], 16]", false, "same");
    writes("[null]", true, "!26");
    writes("[null, 4]", true, "removed");
    writes("[null, 8]", true, "same");
    writes("[null, 16]", true, "same");
    writes("[null, 2]", true, "same");
    writes("[null]", false, "same");
    writes("[null, 4]", false, "same");
    writes("[[123, true, 1, [0]], 0]", true, "1");
    writes("[[72]]", true, "false");
    writes("[5, 32]", true, "!4");
    writes("[5, 33]", true, "!4");
    let stored = crate::geo::stored(super::SPOT).unwrap();
    writes(
        r#"[[81,8,"spot"]]"#,
        true,
        &format!("~{}", super::hex(&stored)),
    );
    writes(r#"[[81,8,"geo"]]"#, true, "!26"); // no bin can hold it
    writes("[5, -1]", true, "!4");
    writes(
        r#"["!82020101 02"]"#.replace(' ', "").as_str(),
        false,
        "Map 8201020201",
    );
}
