//! Paths into collections inside others, and what is made on the way.

use karst_data::cdt::{Access, NoExpressions};

use crate::run::{makes, packed, reads, run};
use crate::tree::Tree;

#[test]
fn a_path_leads_by_index_rank_key_or_value() {
    let value = "[[5], {1: [7]}, 3]";
    reads(value, "in [0x10, 0] l.get 0", "5");
    reads(value, "in [0x10, -2, 0x22, 1] l.get 0", "7");
    reads(value, "in [0x00, 0] l.get 0", "5");
    reads(value, "in [0x00, 1, 0x02, 1] l.size", "1");
    reads(value, "in [0x11, -1, 0x20, 0] l.get 0", "7");
    reads(value, "in [0x11, 1] l.get 0", "5");
    reads(value, "in [0x13, [5]] l.get 0", "5");
    reads(value, "in [0x13, [*]] l.get 0", "5");
    let value = "{\"a\": [1, 2], \"b\": [0]}";
    reads(value, "in [0x22, \"b\"] l.size", "1");
    reads(value, "in [0x20, -1] l.size", "1");
    reads(value, "in [0x21, 0] l.size", "1");
    reads(value, "in [0x23, [1, 2]] l.size", "2");
    reads(value, "in [0x03, [1, 2]] l.size", "2");
    reads("{1: {2: 3}}", "in [0x22, 1] m.get_key VALUE 2", "3");
    reads("-", "in [0x22, 1] m.get_key VALUE 2", "-");
}

#[test]
fn a_path_that_leads_nowhere_does_not_apply() {
    let value = "[[5], {1: [7]}, 3]";
    for path in [
        "[0x10, 3]",
        "[0x10, -4]",
        "[0x11, 3]",
        "[0x13, 9]",
        "[0x12, 1]",
        "[0x02, 1]",
        "[0x20, 0]",
        "[0x22, 1]",
        "[0x14, 1]",
        "[0x30, 0]",
        "[0x210, 0]",
        "[0x10, 1, 0x22, 2]",
        "[0x10, 1, 0x10, 0]",
        "[0x10, 2, 0x10, 0]",
    ] {
        reads(value, &format!("in {path} l.size"), "!26");
        makes(value, &format!("in {path} l.append 1"), "!26");
    }
    reads(value, "in [0x10, 2] l.size", "!12");
    reads(value, "in [0x10, 1] l.size", "!12");
    reads(value, "in [0x10, 0] m.size", "!12");
    makes(value, "in [0x10, 0] m.put 1 1", "!12");
    reads("5", "in [0x10, 0] l.size", "!4");
    makes("5", "in [0x10, 0] l.append 1", "!4");
}

#[test]
fn what_is_wrong_with_arguments_is_told_after_the_path_and_the_value() {
    reads("{1: {2: 3}}", "in [0x22, 9] m.get_values VALUE 7", "!26");
    reads("{1: {2: 3}}", "in [0x22, 1] m.get_values VALUE 7", "!4");
    reads("{1: [2]}", "in [0x22, 1] m.get_values VALUE 7", "!12");
    reads("[1]", "m.get_values VALUE 7", "!12");
    reads("-", "m.get_values VALUE 7", "-");
    makes("[1]", "m.put nil 7", "!12");
    makes("{}", "in [0x62, 1] m.put nil 7", "!4");
    makes("-", "l.pop \"a\"", "- / -");
    makes("-", "m.remove_keys VALUE 7", "- / -");
    makes("-", "l.append", "!4");
}

#[test]
fn a_malformed_path_is_refused() {
    for path in [
        "[]",
        "[0x10]",
        "[1.5, 0]",
        "[\"a\", 0]",
        "[0x10, \"a\"]",
        "[0x11, nil]",
    ] {
        reads("[[1]]", &format!("in {path} l.size"), "!4");
    }
    let call = Tree::list(vec![Tree::Int(16)]);
    let path = Tree::list(vec![Tree::Int(0x10), Tree::Int(0)]);
    let inner = Tree::list(vec![Tree::Int(0xff), path.clone(), call.clone()]);
    for whole in [
        vec![Tree::Int(0xff), path.clone()],
        vec![Tree::Int(0xff), path.clone(), call.clone(), Tree::Nil],
        vec![Tree::Int(0xff), path.clone(), inner],
        vec![Tree::Int(0xff), call.clone(), path.clone()],
        vec![Tree::Int(0xff), path, Tree::list(Vec::new())],
        vec![Tree::Nil],
        Vec::new(),
    ] {
        let payload = Tree::list(whole).packed();
        let value = Tree::list(vec![Tree::list(Vec::new())]);
        let found = run(Some(&value), &payload, Access::Read, &mut NoExpressions);
        assert_eq!(found, Err(4), "{payload:02x?}");
    }
}

#[test]
fn changes_inside_leave_the_rest_as_it_is() {
    makes(
        "[1, [2, 3], 4]",
        "in [0x10, 1] l.append 9",
        "[1, [2, 3, 9], 4] / 3",
    );
    makes(
        "{1: [2], 3: 4}",
        "in [0x22, 1] l.pop 0",
        "{1: [], 3: 4} / 2",
    );
    makes(
        "{1: {2: {3: 4}}}",
        "in [0x22, 1, 0x22, 2] m.increment 3",
        "{1: {2: {3: 5}}} / 5",
    );
    makes("{1: K{2: 3}}", "in [0x22, 1] m.clear", "{1: K{}} / -");
    makes("[[1]]", "in [0x10, 0] l.remove_value VALUE 7", "[[1]] / -");
    makes("[[1]]", "in [0x10, 0] l.append 1 0 1", "!24");
    makes("[[2, 1]]", "in [0x10, 0] l.set_type 0x11", "[<1, 2>] / -");
}

#[test]
fn ordered_lists_around_a_change_stay_in_order() {
    makes(
        "<[1], [2], [3]>",
        "in [0x10, 0] l.set 0 9",
        "<[2], [3], [9]> / -",
    );
    makes(
        "<[1], [2], [3]>",
        "in [0x10, 2] l.set 0 0",
        "<[0], [1], [2]> / -",
    );
    makes(
        "<[1], [2], [3]>",
        "in [0x10, 1] l.append 0",
        "<[1], [2, 0], [3]> / 2",
    );
    makes(
        "{1: <[1], [2]>}",
        "in [0x22, 1, 0x10, 0] l.increment 0 5",
        "{1: <[2], [6]>} / 6",
    );
    makes(
        "<<[1], [5]>, <[2]>>",
        "in [0x10, 0, 0x10, 0] l.set 0 7",
        "<<[2]>, <[5], [7]>> / -",
    );
}

#[test]
fn missing_values_are_made_where_the_path_says_so() {
    makes("-", "in [0x50, 0] l.append 1", "[[1]] / 1");
    makes("-", "in [0x50, -1] l.append 1", "[[1]] / 1");
    makes("-", "in [0x50, 1] l.append 1", "!26");
    makes("-", "in [0x90, 2] l.append 1", "[nil, nil, [1]] / 1");
    makes("-", "in [0xd0, 5] l.append 1", "<[1]> / 1");
    makes("-", "in [0xd0, -2] l.append 1", "!26");
    makes("-", "in [0x62, \"a\"] l.append 1", "{\"a\": [1]} / 1");
    makes("-", "in [0xa2, \"a\"] l.append 1 1", "K{\"a\": <1>} / 1");
    makes("-", "in [0xe2, \"a\"] m.put 1 2 1", "V{\"a\": K{1: 2}} / 1");
    makes("-", "in [0x162, \"a\"] l.append 1", "{\"a\": [1]} / 1");
    makes("-", "in [0x22, \"a\"] l.append 1", "!26");
    makes("-", "in [0x122, \"a\"] l.append 1", "!26"); // an index alone does not make
    makes("-", "in [0x51, 0] l.append 1", "!26");
    makes("-", "in [0x42, 0] l.append 1", "!26");
    makes("-", "in [0x62, *] l.append 1", "!26");
    makes("-", "in [0x62, 1.5] l.append 1", "!4");
    reads("-", "in [0x62, \"a\"] l.size", "-");
    reads("{}", "in [0x62, \"a\"] l.size", "!26");
}

#[test]
fn the_rest_of_a_path_is_made_with_its_beginning() {
    makes(
        "-",
        "in [0x62, 1, 0x22, 2] m.put 3 4",
        "{1: {2: {3: 4}}} / 1",
    );
    makes(
        "-",
        "in [0x62, 1, 0xa2, 2] m.put 3 4",
        "{1: K{2: {3: 4}}} / 1",
    );
    makes("-", "in [0x62, 1, 0x10, 0] l.append 4", "{1: [[4]]} / 1");
    makes("-", "in [0x62, 1, 0x10, 1] l.append 4", "!26");
    makes(
        "-",
        "in [0x62, 1, 0x90, 1] l.append 4",
        "{1: [nil, [4]]} / 1",
    );
    makes("-", "in [0x62, 1, 0xd0, 7] l.append 4", "{1: <[4]>} / 1");
    makes("-", "in [0x62, 1, 0x11, 0] l.append 4", "!26");
    makes("-", "in [0x62, 1, 0x02, 0] l.append 4", "!26");
    makes("-", "in [0x62, 1, 0x162, 2] l.append 4", "!26");
    makes(
        "{1: {5: 6}}",
        "in [0x22, 1, 0x62, 2] l.append 4",
        "{1: {2: [4], 5: 6}} / 1",
    );
    makes("{1: {5: 6}}", "in [0x22, 1, 0x22, 2] l.append 4", "!26");
    makes(
        "{}",
        "in [0x62, 1, 0x22, 2] l.append 4",
        "{1: {2: [4]}} / 1",
    );
    makes("K{}", "in [0xe2, 1] m.set_type 3", "K{1: V{}} / -");
}

#[test]
fn new_elements_of_lists_are_made_next_to_their_end() {
    makes("[1]", "in [0x50, 1] l.append 9", "[1, [9]] / 1");
    makes("[]", "in [0x50, -1] l.append 9", "[[9]] / 1");
    makes("[1]", "in [0x50, -2] l.append 9", "!26");
    makes("[1]", "in [0x50, 2] l.append 9", "!26");
    makes("[1]", "in [0x90, 3] l.append 9", "[1, nil, nil, [9]] / 1");
    makes("[1]", "in [0xd0, 3] l.append 9", "!26");
    makes(
        "<\"z\", #00>",
        "in [0x50, 2] l.append 9",
        "<\"z\", [9], #00> / 1",
    );
    makes("<1>", "in [0x50, 7] l.append 9", "<1, [9]> / 1");
    makes("[1]", "in [0x90, 99999999] l.append 9", "!13");
}

#[test]
fn what_makes_nothing_makes_no_path() {
    for call in [
        "l.clear",
        "l.pop 0",
        "l.trim 0 1",
        "l.remove_value VALUE 1",
        "m.clear",
        "m.remove_key NONE 1",
    ] {
        makes("-", &format!("in [0x62, 1] {call}"), "- / -");
        makes("{5: 6}", &format!("in [0x62, 1] {call}"), "{5: 6} / -");
    }
    makes("{5: 6}", "in [0x62, 1] l.sort", "!12");
    makes("{5: 6}", "in [0x62, 1] m.replace 1 2", "!23");
    makes("{5: 6}", "in [0x62, 1] m.put 1 2 0 6", "{5: 6} / 0");
    makes("{5: 6}", "in [0x62, 1] m.put_items {}", "{1: {}, 5: 6} / 0");
    makes(
        "{5: 6}",
        "in [0x62, 1] l.append_items [] 1",
        "{1: <>, 5: 6} / 0",
    );
    makes("{5: 6}", "in [0x62, 1] l.set_type 1", "{1: <>, 5: 6} / -");
}

#[test]
fn old_requests_have_their_number_in_two_bytes() {
    let value = Tree::list(vec![Tree::Int(7), Tree::Int(8)]);
    let told = |payload: &[u8]| {
        run(Some(&value), payload, Access::Read, &mut NoExpressions).map(|(_, told)| told)
    };
    assert_eq!(told(&[0, 16]), Ok(Some(Tree::Int(2))));
    assert_eq!(told(&[0, 17, 0x91, 1]), Ok(Some(Tree::Int(8))));
    assert_eq!(told(&[0, 17]), Err(4));
    assert_eq!(told(&[0]), Err(4));
    assert_eq!(told(&[]), Err(4));
}

#[test]
fn reads_and_writes_do_not_stand_in_for_each_other() {
    let value = Tree::list(vec![Tree::Int(7)]);
    for (text, other) in [("l.size", Access::Modify), ("l.append 1", Access::Read)] {
        let (payload, _) = packed(text);
        assert_eq!(
            run(Some(&value), &payload, other, &mut NoExpressions),
            Err(4)
        );
    }
}
