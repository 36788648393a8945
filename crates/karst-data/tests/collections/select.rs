//! Selecting and changing by path, with stand-ins for expressions.

use karst_data::cdt::{Access, CdtOp, Evaluate, Expression, Item, NoExpressions};

use crate::run::{code_of, packed, run};
use crate::stand::Stand;
use crate::tree::Notation;

#[track_caller]
fn check(value: &str, operation: &str, outcome: &str) {
    let (payload, access) = packed(operation);
    let value = (value != "-").then(|| Notation::one(value));
    let found = match run(value.as_ref(), &payload, access, &mut Stand) {
        Err(code) => format!("!{code}"),
        Ok((_, told)) if access == Access::Read => told.map_or("-".into(), |told| told.to_string()),
        Ok((after, told)) => {
            assert_eq!(told, None, "{operation}");
            after.map_or("-".into(), |after| after.to_string())
        }
    };
    assert_eq!(found, outcome, "{operation}");
}

#[test]
fn leaves_are_told_as_one_flat_list() {
    let value = "{\"a\": {\"x\": 1, \"y\": 9}, \"b\": {\"x\": 7}, \"c\": 5}";
    check(value, "select [4, true, 4, true] 1", "[1, 9, 7]");
    check(
        value,
        "select [4, true, 4, true] 2",
        "[\"x\", \"y\", \"x\"]",
    );
    check(
        value,
        "select [4, true, 4, true] 3",
        "[\"x\", 1, \"y\", 9, \"x\", 7]",
    );
    check(value, "select [4, true, 0x22, \"x\"] 1", "[1, 7]");
    check(value, "select [4, true, 4, [\">\", 5]] 1", "[9, 7]");
    check(
        value,
        "select [4, true] 1",
        "[{\"x\": 1, \"y\": 9}, {\"x\": 7}, 5]",
    );
    check(
        value,
        "select [10, [\"b\", \"c\", \"z\"]] 2",
        "[\"b\", \"c\"]",
    );
    check(value, "select [0x20, -1] 1", "[5]");
    check(value, "select [0x21, 0] 1", "[5]");
    check(value, "select [3, 5] 2", "[\"c\"]");
    check(value, "select [2, \"z\", 4, true] 1", "[]");
    check("[[1, 6], [7], 8]", "select [4, true, 0, 0] 1", "[1, 7]");
    check(
        "[[1, 6], [7], 8]",
        "select [4, true, 4, [\"index\", 1]] 1",
        "[6]",
    );
    check("[1, 6, 9]", "select [0, 7] 1", "[]");
    check("-", "select [4, true] 1", "-");
}

#[test]
fn trees_keep_their_shape_and_lose_other_branches() {
    let value = "{\"a\": {\"x\": 1, \"y\": 9}, \"b\": {\"x\": 7}, \"c\": 5}";
    check(
        value,
        "select [4, true, 4, [\">\", 5]] 0",
        "{\"a\": {\"y\": 9}, \"b\": {\"x\": 7}, \"c\": 5}",
    );
    check(
        value,
        "select [2, \"a\", 2, \"x\"] 0",
        "{\"a\": {\"x\": 1}}",
    );
    check(
        "K{1: <1, 2>, 2: <>}",
        "select [4, true, 0, 0] 0",
        "{1: [1], 2: <>}",
    );
    check("K{1: <1, 2>}", "select [4, true] 0", "{1: <1, 2>}");
    check(
        "[[1], [9]]",
        "select [4, true, 4, [\">\", 5]] 0",
        "[[], [9]]",
    );
    check("<>", "select [4, true] 0", "<>");
}

#[test]
fn what_is_unknown_fails_or_does_not_count() {
    check("[1, \"a\", 9]", "select [4, [\">\", 5]] 1", "!4");
    check("[1, \"a\", 9]", "select [4, [\">\", 5]] 0x11", "[9]");
    check("[1, 9]", "select [4, true] 2", "!12");
    check("[1, 9]", "select [4, true] 0x12", "[]");
    check("[1, 9]", "apply [4, true] 4 [\"add\", 1]", "[2, 10]");
    check("[1, \"a\"]", "apply [4, true] 4 [\"add\", 1]", "!1");
    check(
        "[1, \"a\"]",
        "apply [4, true] 0x14 [\"add\", 1]",
        "[2, \"a\"]",
    );
}

#[test]
fn a_second_condition_narrows_the_step_before() {
    let value = "{\"a\": 1, \"b\": 9, \"c\": 7}";
    check(
        value,
        "select [10, [\"a\", \"b\"], 0x204, [\">\", 5]] 2",
        "[\"b\"]",
    );
    check(value, "select [0x204, [\">\", 5]] 2", "!4");
    check(value, "select [4, true, 0x204, [\">\", 5]] 2", "!4");
    check(value, "select [2, \"a\", 0x204, true, 0x204, true] 2", "!4");
    check(value, "select [4, [\"key\", \"c\"]] 1", "[7]");
}

#[test]
fn applying_changes_what_is_selected_and_keeps_the_order() {
    check(
        "{1: {2: 3}, 4: 5}",
        "apply [4, true, 4, true] 4 [\"add\", 1]",
        "{1: {2: 4}, 4: 5}",
    );
    check("<1, 2, 3>", "apply [0, 0] 4 [\"add\", 9]", "<2, 3, 10>");
    check(
        "<[1], [2]>",
        "apply [0, 0, 4, true] 4 [\"add\", 9]",
        "<[2], [10]>",
    );
    check("K{1: 2, 3: 4}", "apply [2, 1] 4 [\"drop\"]", "K{3: 4}");
    check("[1, 7, 9]", "apply [4, [\">\", 5]] 4 [\"drop\"]", "[1]");
    check("[1]", "apply [0, 9] 4 [\"drop\"]", "[1]");
    check("[1]", "apply [0, 0] 4 [\"wild\"]", "!12");
    check("-", "apply [4, true] 4 [\"drop\"]", "!12");
    check("5", "apply [4, true] 4 [\"drop\"]", "!12");
    check("5", "select [4, true] 1", "!12");
}

#[test]
fn malformed_selections_are_refused() {
    for operation in [
        "select [] 1",
        "select [4] 1",
        "select [4, 5] 1",
        "select [4, true] 4",
        "select [4, true] 5",
        "select [4, true]",
        "select [4, true] 1 [1]",
        "select [8, true] 1",
        "select [0x40, 0] 1",
        "select [0x10, 0] \"a\"",
        "select [10, 5] 1",
        "apply [4, true] 1 [\"drop\"]",
        "apply [4, true] 4",
    ] {
        check("{1: 2}", operation, "!4");
    }
    check("{1: 2}", "select [0x10, 0] 1", "!4");
    check("[1]", "select [0x20, 0] 1", "!4");
    check("[1]", "select [2, 0] 1", "!4");
    check("[1]", "select [10, [0]] 1", "!4");
    let deep = format!("select [{}] 1", "0, 0, ".repeat(65));
    check("[1]", &deep, "!4");
    let deepest = format!("select [{}] 1", "0, 0, ".repeat(64));
    check("[1]", &deepest, "[]");
}

#[test]
fn an_operation_names_its_expressions_in_their_order() {
    let (payload, access) = packed("apply [4, [\">\", 1], 2, 5, 0x204, [\">\", 2]] 4 [\"drop\"]");
    let op = CdtOp::parse(&payload, access).map_err(code_of).unwrap();
    let numbers: Vec<_> = op
        .expressions()
        .map(|expression| expression.number)
        .collect();
    assert_eq!(numbers, [0, 1, 2]);
    let (payload, access) = packed("l.size");
    assert_eq!(
        CdtOp::parse(&payload, access).map(|op| op.expressions().count()),
        Ok(0)
    );
    let _ = NoExpressions.holds(
        Expression {
            number: 0,
            packed: &[],
            decides: true,
        },
        Item {
            key: None,
            value: &[],
            index: None,
        },
    );
}
