//! Calls inside expressions.

use super::{check, pack};
use crate::expr::Expr;
use crate::expr::program::Callee;

const BLOB: &str = r#"[81,6,"blob"]"#; // 0f 10
const HLL: &str = r#"[81,9,"hll"]"#; // four elements

fn bits(result: u8, call: &str, outcome: &str) {
    check(&format!("[127, {result}, 1, {call}, {BLOB}]"), outcome);
}

fn changed(call: &str, outcome: &str) {
    check(&format!("[127, 6, 65, {call}, {BLOB}]"), outcome);
}

#[test]
fn blobs_are_read_and_changed_without_being_stored() {
    bits(2, "[51, 0, 16]", "5");
    bits(6, "[50, 4, 8]", "#f1");
    bits(2, "[54, 8, 8]", "16");
    bits(2, "[52, 0, 16, true]", "4");
    changed("[3, 0, 8, \"#ff\"]", "#ff10");
    changed("[7, 0, 16]", "#f0ef");
    changed("[0, 3]", "#0f1000");
    changed("[0, 2]", "#0f10"); // nothing changed: it is what it was
    check(r##"[127, 6, 65, [7,0,8], "#0f"]"##, "#f0");
    check(
        &format!("[127, 2, 1, [51,0,16], [127, 6, 65, [7,0,16], {BLOB}]]"),
        "11",
    );
    check("[127, 6, 65, [0, 2], null]", "#0000"); // made of nothing
    check("[127, 2, 1, [51, 0, 8], null]", "unknown");
    check("[127, 6, 65, [7, 0, 8], null]", "unknown");
    check("[127, 0, 65, [7, 0, 8, 4], null]", "nil"); // still nothing, and no failure
}

#[test]
fn arrays_among_the_arguments_are_expressions() {
    bits(2, r#"[51, 0, [20, 4, 4]]"#, "4");
    bits(2, r#"[51, [20, 4, 4], 8]"#, "1");
    bits(2, r#"[54, 0, [81,2,"five"]]"#, "1");
    bits(2, r#"[54, 0, [81,2,"none"]]"#, "unknown");
    bits(2, r#"[52, 0, 16, [18, false]]"#, "4");
    changed(
        &format!("[3, 0, 8, [127, 6, 1, [50,8,8], {BLOB}]]"),
        "#1010",
    );
    check(
        &format!(r#"[125, "n", 8, [127, 2, 1, [51, 0, [124,"n"]], {BLOB}]]"#),
        "4",
    );
    bits(2, r#"[51, 0, [99]]"#, "!4");
    bits(2, r#"[51, 0, []]"#, "!4");
}

#[test]
fn results_are_of_the_type_that_was_said_or_unknown() {
    bits(7, "[51, 0, 16]", "unknown");
    bits(6, "[51, 0, 16]", "unknown");
    bits(0, "[51, 0, 16]", "unknown");
    check(&format!("[127, 2, 65, [7,0,16], {BLOB}]"), "unknown");
    check(&format!("[20, [127, 2, 1, [51,0,16], {BLOB}], 1]"), "6");
    check(&format!("[20, [127, 6, 1, [50,0,16], {BLOB}], 1]"), "!4");
}

#[test]
fn what_a_call_refuses_is_unknown_but_a_code_that_is_no_call_is_wrong() {
    bits(2, "[51, 0, 17]", "unknown");
    bits(2, "[51, 0]", "unknown");
    bits(2, "[51, 0, true]", "unknown");
    check(r#"[127, 2, 1, [51,0,8], [81,6,"none"]]"#, "unknown");
    check(r#"[127, 2, 1, [51,0,8], [81,6,"five"]]"#, "unknown");
    bits(2, "[49, 0, 8]", "!4");
    bits(2, "[55, 0, 8]", "!4");
    bits(2, "[3, 0, 8, \"#ff\"]", "!4"); // it changes, and is called to read
    changed("[51, 0, 8]", "!4");
    changed("[13, 0, 8]", "!4");
    bits(2, "[255, [1, 2], [51, 0, 8]]", "!4");
    bits(2, "[]", "!4");
    bits(2, "51", "!4");
    check(&format!("[127, 2, 3, [51,0,8], {BLOB}]"), "!4");
    check(&format!("[127, 10, 1, [51,0,8], {BLOB}]"), "!4");
    check(&format!("[127, 2, 1, [51,0,8], {BLOB}, 1]"), "!4");
    check("[127, 2, 1, [51,0,8], 5]", "!4");
    check(&format!("[127, 2, 1, [51,0,8], {HLL}]"), "!4");
    check("[127, 2, 1, [51,0,8], [0]]", "!4");
}

#[test]
fn sketches_are_read_and_changed_without_being_stored() {
    let of =
        |result: u8, system: u8, call: &str| format!("[127, {result}, {system}, {call}, {HLL}]");
    check(&of(2, 2, "[50]"), "4");
    check(&of(4, 2, "[55]"), "List 920400");
    check(&of(2, 2, r#"[56, [126, [5, "=a"]]]"#), "1");
    check(&of(2, 2, r#"[56, [126, [99]]]"#), "0");
    check(&of(2, 2, &format!("[52, {HLL}]")), "4");
    check(&of(7, 2, &format!("[54, {HLL}]")), "1.0");
    check(
        &format!("[127, 2, 2, [50], {}]", of(9, 66, "[1, [126,[6,7,8,9]]]")),
        "9",
    );
    check(
        "[127, 2, 2, [50], [127, 9, 66, [1, [126,[1,2,3]], 8], null]]",
        "3",
    );
    check(&of(2, 2, "[53]"), "unknown");
    check(&of(2, 2, "[1, [126,[1]]]"), "!4");
    check(&of(2, 66, "[50]"), "!4");
    check(&of(2, 66, "[5]"), "!4");
}

const LIST: &str = r#"[81,4,"list"]"#; // 1, 2, 3
const MAP: &str = r#"[81,5,"map"]"#; // k: 1

fn of_list(result: u8, system: u8, call: &str, outcome: &str) {
    check(
        &format!("[127, {result}, {system}, {call}, {LIST}]"),
        outcome,
    );
}

#[test]
fn lists_and_maps_are_read_and_changed_without_being_stored() {
    of_list(2, 0, "[16]", "3");
    of_list(2, 0, "[19, 7, -1]", "3");
    of_list(2, 0, "[19, 7, [20, 1, 1]]", "3");
    of_list(3, 0, "[19, 7, -1]", "unknown");
    of_list(2, 0, "[19, 7, 5]", "unknown");
    of_list(2, 0, "[19, 7]", "unknown");
    of_list(1, 0, "[22, 13, 2]", "true");
    of_list(4, 64, "[1, 9]", "List 9401020309");
    of_list(4, 64, "[1, [20, 4, 5]]", "List 9401020309");
    of_list(4, 64, "[1, [126, [4]]]", "List 940102039104");
    of_list(2, 0, "[1, 9]", "!4");
    of_list(4, 64, "[16]", "!4");
    of_list(2, 0, "[60]", "!4");
    check(&format!(r#"[127, 2, 0, [97,7,"=k"], {MAP}]"#), "1");
    check(
        &format!("[127, 5, 64, [67, [81,3,\"text\"], 2, 1], {MAP}]"),
        "Map 83c70001c0a60368656c6c6f02a2036b01",
    );
    check(r#"[127, 4, 64, [1, 9], null]"#, "List 9109");
    check(r#"[127, 2, 0, [16], null]"#, "unknown");
    check(
        &format!("[127, 2, 0, [16], [127, 4, 64, [1, 9], {LIST}]]"),
        "4",
    );
    check(r#"[127, 2, 0, [16], [81,6,"blob"]]"#, "!4");
}

#[test]
fn calls_on_collections_go_by_a_path() {
    let mixed = |call: &str| format!(r#"[127, 2, 0, {call}, [81,4,"mixed"]]"#);
    check(&mixed("[255, [16, 4], [16]]"), "1");
    check(&mixed("[255, [16, 4], [19, 7, 0]]"), "1");
    check(&mixed("[255, [16, 0], [16]]"), "unknown"); // nil is there
    check(&mixed("[255, [16, 9], [16]]"), "unknown");
    check(&mixed("[255, 16, [16]]"), "!4");
    check(&mixed("[255, [16, 4]]"), "!4");
}

#[test]
fn paths_select_and_change_by_expressions() {
    of_list(4, 0, "[254, [20, [3, [122,2,1], 1]], 1]", "List 920203");
    of_list(4, 0, "[254, [20, true], 1]", "List 93010203");
    of_list(4, 0, "[254, [20, [3, [122,2,2], 0]], 1]", "List 920203");
    let tenth_more = "[254, [20, true], 4, [20, [122,2,1], 10]]";
    of_list(4, 64, tenth_more, "List 930b0c0d");
    of_list(
        4,
        64,
        "[254, [20, [3, [122,2,1], 1]], 4, [100]]",
        "List 9101",
    );
    of_list(4, 0, "[254, [20, [1, [122,3,1], \"=a\"]], 1]", "unknown");
    of_list(4, 0, "[254, [20, [1, [122,3,1], \"=a\"]], 17]", "List 90"); // unknown is passed over
    of_list(4, 0, "[254, [20, [20, 1, 2]], 1]", "!4"); // no truth
    of_list(4, 0, "[254, [20, [99]], 1]", "!4");
    of_list(4, 0, "[254, [20, 7], 1]", "unknown");
}

#[test]
fn a_path_inside_the_expression_of_another_is_the_last() {
    let holds = "[3, [127,2,0,[16],[127,4,0,[254,[20,[3,[122,2,1],CONDITION]],1],LIST]], 0]";
    let inner = holds
        .replace("CONDITION", "0")
        .replace("LIST", "[126,[1,2]]");
    let of = |condition: &str| format!("[254, [20, {condition}], 1]");
    of_list(4, 0, &of(&inner), "List 93010203");
    let number = format!("[50, [127,2,0,[16],[127,4,0,{},[126,[1,2]]]]]", of(&inner));
    let deeper = holds
        .replace("CONDITION", &number)
        .replace("LIST", "[126,[1,2]]");
    of_list(4, 0, &of(&deeper), "!4");
}

#[test]
fn a_call_whose_arguments_are_literals_is_parsed_once() {
    let callee = |text: &str| {
        let expr = Expr::parse(&pack(text)).unwrap();
        expr.program.calls[0].callee.clone()
    };
    let bits = |call: &str| callee(&format!("[127, 6, 65, {call}, {BLOB}]"));
    assert!(matches!(bits("[7, 0, 16]"), Callee::BitsModify(_)));
    assert!(matches!(bits("[3, 0, 8, \"#ff\"]"), Callee::BitsModify(_)));
    assert!(matches!(bits("[7, [20, 1, 1], 8]"), Callee::Pieces(_)));
    let asked = |call: &str| callee(&format!("[127, 2, 2, {call}, {HLL}]"));
    assert!(matches!(asked("[50]"), Callee::Sketch(_)));
    assert!(matches!(asked("[56, [126, [1, 2]]]"), Callee::Sketch(_)));
    let added = callee(&format!("[127, 9, 66, [1, [126, [1, 2]], 8], {HLL}]"));
    assert!(matches!(added, Callee::SketchModify(_)));
}
