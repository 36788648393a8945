//! Lists: what each operation reads, makes and refuses.

use crate::run::{makes, reads};

#[test]
fn values_are_appended_at_the_end_or_where_the_order_wants_them() {
    makes("-", "l.append 5", "[5] / 1");
    makes("-", "l.append 5 0 0", "[5] / 1");
    makes("-", "l.append 5 1 0", "<5> / 1");
    makes("-", "l.append 5 0x11", "<5> / 1");
    makes("-", "l.append 5 0x10", "[5] / 1");
    makes("-", "l.append 5 2", "[5] / 1"); // an order that means nothing
    makes("-", "l.append 5 3", "[5] / 1");
    makes("[1, 2]", "l.append \"a\" 1", "[1, 2, \"a\"] / 3"); // the order is for new lists
    makes("<1, 3>", "l.append 2", "<1, 2, 3> / 3");
    makes("<1, 3>", "l.append 3", "<1, 3, 3> / 3");
    makes("<1, 3>", "l.append nil", "<nil, 1, 3> / 3");
    makes("<1, 3>", "l.append [2]", "<1, 3, [2]> / 3");
    makes("[]", "l.append <1, 2>", "[<1, 2>] / 1");
    makes("[1]", "l.append *", "!4");
    makes("[1]", "l.append [1, inf]", "!4");
    makes("[1]", "l.append", "!4");
    makes("[1]", "l.append 1 0 0 0", "!4");
    makes("[1]", "l.append 1 1.5", "!4");
    makes("{1: 2}", "l.append 1", "!12");
    makes("7", "l.append 1", "!12");
}

#[test]
fn many_values_are_appended_as_one_by_one() {
    makes("-", "l.append_items [2, 1]", "[2, 1] / 2");
    makes("-", "l.append_items [2, 1] 1", "<1, 2> / 2");
    makes("-", "l.append_items []", "[] / 0");
    makes("-", "l.append_items [] 1", "<> / 0");
    makes("[1]", "l.append_items []", "[1] / 1");
    makes("[1]", "l.append_items <2, 3>", "[1, 2, 3] / 3"); // flags of the request do not count
    makes("[1]", "l.append_items <3, 2>", "!4"); // but they have to be true
    makes(
        "<2, 5>",
        "l.append_items [9, 1, 5, 3]",
        "<1, 2, 3, 5, 5, 9> / 6",
    );
    makes("[1]", "l.append_items 5", "!4");
    makes("[1]", "l.append_items {1: 2}", "!4");
    makes("[1]", "l.append_items [*]", "!4");
}

#[test]
fn unique_lists_take_no_value_twice() {
    makes("[1, 2]", "l.append 2 0 1", "!24");
    makes("[1, 2]", "l.append 2 0 5", "[1, 2] / 2");
    makes("[1, 2]", "l.append 3 0 1", "[1, 2, 3] / 3");
    makes("<1, 2>", "l.append 1 0 1", "!24");
    makes("<1, 2>", "l.append 1 0 5", "<1, 2> / 2");
    makes("[1]", "l.append 1.0 0 1", "[1, 1.0] / 2"); // of another type, so another value
    makes("[[1]]", "l.append <1> 0 1", "!24"); // order flags do not count
    makes("[1, 2]", "l.append_items [3, 2] 0 1", "!24");
    makes("[1, 2]", "l.append_items [3, 2] 0 5", "[1, 2] / 2");
    makes(
        "[1, 2]",
        "l.append_items [3, 2, 4] 0 13",
        "[1, 2, 3, 4] / 4",
    );
    makes("[1, 2]", "l.append_items [3, 3] 0 1", "!26");
    makes("[1, 2]", "l.append_items [3, 3] 0 5", "[1, 2] / 2");
    makes("[1, 2]", "l.append_items [3, 3, 1] 0 13", "[1, 2, 3] / 3");
    makes("[1, 2]", "l.append_items [3, 3] 0 9", "!26"); // partial needs no-fail
    makes("[1, 2]", "l.append_items [1, 2] 0 13", "[1, 2] / 2");
    makes(
        "<1, 2>",
        "l.append_items [5, 0, 2, 5] 0 13",
        "<0, 1, 2, 5> / 4",
    );
    makes("-", "l.append_items [1, 1] 0 5", "- / 0");
    makes("-", "l.append_items [1, 1] 0 13", "[1] / 1");
    makes("[1, 2]", "l.insert 0 2 1", "!24");
    makes("[1, 2]", "l.insert 0 2 5", "[1, 2] / 2");
    makes("[1, 2]", "l.insert_items 1 [1, 7] 13", "[1, 7, 2] / 3");
    makes("[1, 2]", "l.insert_items 9 [1, 2] 13", "[1, 2] / 2");
    makes("[1, 2]", "l.set 0 2 1", "!24");
    makes("[1, 2]", "l.set 0 2 5", "[1, 2] / -");
    makes("[1, 2]", "l.set 0 1 1", "[1, 2] / -");
    makes("[1, 1]", "l.set 0 1 1", "!24");
}

#[test]
fn many_unique_values_are_sorted_out_as_few_are() {
    let request = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]";
    makes(
        "[12, 5, 77]",
        &format!("l.append_items {request} 0 13"),
        "[12, 5, 77, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11] / 13",
    );
    makes(
        "[12, 5, 77]",
        &format!("l.append_items {request} 0 1"),
        "!24",
    );
    makes(
        "[0]",
        &format!("l.append_items {request} 0 1"),
        "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] / 13",
    );
}

#[test]
fn values_are_inserted_before_an_index_or_after_nils() {
    makes("[1, 2]", "l.insert 0 9", "[9, 1, 2] / 3");
    makes("[1, 2]", "l.insert 2 9", "[1, 2, 9] / 3");
    makes("[1, 2]", "l.insert -1 9", "[1, 9, 2] / 3");
    makes("[1, 2]", "l.insert -2 9", "[9, 1, 2] / 3");
    makes("[1, 2]", "l.insert -3 9", "!26");
    makes("[1, 2]", "l.insert 4 9", "[1, 2, nil, nil, 9] / 5");
    makes("[1, 2]", "l.insert 4 9 2", "!26");
    makes("[1, 2]", "l.insert 4 9 6", "[1, 2] / 2");
    makes("[1, 2]", "l.insert 2 9 2", "[1, 2, 9] / 3");
    makes("[1, 2]", "l.insert 2147483648 9", "!26");
    makes("[1, 2]", "l.insert 2147483647 9", "!13");
    makes("[1, 2]", "l.insert 2147483647 9 2", "!26");
    makes("[1, 2]", "l.insert 1.5 9", "!4");
    makes("<1, 2>", "l.insert 0 0", "!26");
    makes("-", "l.insert 0 9", "[9] / 1");
    makes("-", "l.insert 2 9", "[nil, nil, 9] / 3");
    makes("-", "l.insert -1 9", "!26");
    makes("-", "l.insert 2 9 6", "- / 0");
    makes("[1, 2]", "l.insert_items 1 [8, 9]", "[1, 8, 9, 2] / 4");
    makes("[1, 2]", "l.insert_items 3 [8, 9]", "[1, 2, nil, 8, 9] / 5");
    makes("[1, 2]", "l.insert_items 3 [8] 2", "!26");
    makes("[1, 2]", "l.insert_items 3 [8] 6", "[1, 2] / 2");
    makes("[1, 2]", "l.insert_items 3 []", "[1, 2] / 2");
    makes("[1, 2]", "l.insert_items 0 5", "!4");
    makes("-", "l.insert_items 0 [1]", "[1] / 1");
    makes("-", "l.insert_items 0 []", "[] / 0");
    makes("<1>", "l.insert_items 0 [1]", "!26");
}

#[test]
fn setting_replaces_or_inserts_and_tells_nothing() {
    makes("[1, 2]", "l.set 0 9", "[9, 2] / -");
    makes("[1, 2]", "l.set -1 9", "[1, 9] / -");
    makes("[1, 2]", "l.set 2 9", "[1, 2, 9] / -");
    makes("[1, 2]", "l.set 3 9", "[1, 2, nil, 9] / -");
    makes("[1, 2]", "l.set 3 9 2", "!26");
    makes("[1, 2]", "l.set 3 9 6", "[1, 2] / -");
    makes("[1, 2]", "l.set -3 9", "!26");
    makes("<1, 2>", "l.set 0 9", "!26");
    makes("-", "l.set 1 9", "[nil, 9] / -");
    makes("[1, 2]", "l.set 0 *", "!4");
}

#[test]
fn old_removals_tell_elements_or_counts() {
    makes("[1, 2, 3]", "l.pop 0", "[2, 3] / 1");
    makes("[1, 2, 3]", "l.pop -1", "[1, 2] / 3");
    makes("[1, 2, 3]", "l.pop 3", "!26");
    makes("[]", "l.pop 0", "!26");
    makes("[nil]", "l.pop 0", "[] / nil");
    makes("-", "l.pop 0", "- / -");
    makes("[1, 2, 3]", "l.pop_range 1", "[1] / [2, 3]");
    makes("[1, 2, 3]", "l.pop_range 0 2", "[3] / [1, 2]");
    makes("[1, 2, 3]", "l.pop_range 5 2", "[1, 2, 3] / []");
    makes("[1, 2, 3]", "l.remove 1", "[1, 3] / 1");
    makes("[1, 2, 3]", "l.remove -4", "!26");
    makes("[1, 2, 3]", "l.remove_range -2", "[1] / 2");
    makes("[1, 2, 3]", "l.remove_range 3 1", "[1, 2, 3] / 0");
    makes("<1, 2, 3>", "l.pop 1", "<1, 3> / 2");
    makes("-", "l.remove_range 0 1", "- / -");
}

#[test]
fn trimming_keeps_a_range() {
    makes("[1, 2, 3, 4]", "l.trim 1 2", "[2, 3] / 2");
    makes("[1, 2, 3, 4]", "l.trim 0 9", "[1, 2, 3, 4] / 0");
    makes("[1, 2, 3, 4]", "l.trim -1 5", "[4] / 3");
    makes("[1, 2, 3, 4]", "l.trim -6 3", "[1] / 3");
    makes("[1, 2, 3, 4]", "l.trim 9 1", "[] / 4");
    makes("<1, 2>", "l.trim 0 0", "<> / 2");
    makes("[1, 2]", "l.trim 0", "!4");
    makes("-", "l.trim 0 1", "- / -");
}

#[test]
fn clearing_keeps_the_order() {
    makes("[1, 2]", "l.clear", "[] / -");
    makes("<1, 2>", "l.clear", "<> / -");
    makes("[1]", "l.clear 1 2 3", "[] / -"); // more arguments are not looked at
    makes("-", "l.clear", "- / -");
}

#[test]
fn numbers_in_lists_are_added_to() {
    makes("[1, 2]", "l.increment 0", "[2, 2] / 2");
    makes("[1, 2]", "l.increment 0 nil", "[2, 2] / 2");
    makes("[1, 2]", "l.increment -1 10", "[1, 12] / 12");
    makes("[1, 2]", "l.increment 0 2.9", "[3, 2] / 3");
    makes("[1, 2]", "l.increment 0 -2.9", "[-1, 2] / -1");
    makes("[1.5]", "l.increment 0 1", "[2.5] / 2.5");
    makes("[1.5]", "l.increment 0 0.25", "[1.75] / 1.75");
    makes(
        "[9223372036854775807]",
        "l.increment 0",
        "[-9223372036854775808] / -9223372036854775808",
    );
    makes("[\"a\"]", "l.increment 0", "!4");
    makes("[1]", "l.increment 0 \"a\"", "!4");
    makes("[1]", "l.increment 1 5", "[1, 5] / 5");
    makes("[1]", "l.increment 3 5", "[1, nil, nil, 5] / 5");
    makes("[1]", "l.increment 3 5 0 2", "!26");
    makes("[1]", "l.increment -2 5", "!26");
    makes("-", "l.increment 0 5", "[5] / 5");
    makes("-", "l.increment 1 5 1", "!26");
    makes("-", "l.increment 0 5 1", "<5> / 5");
    makes("<1, 2, 3>", "l.increment 0 9", "<2, 3, 10> / 10");
    makes("<1, 2, 3>", "l.increment 2 -9", "<-6, 1, 2> / -6");
    makes("<1, 2, 3>", "l.increment 1 0", "<1, 2, 3> / 2");
    makes("<1, 2, 3>", "l.increment 0 1", "<2, 2, 3> / 2");
    makes("<1, 2, 3>", "l.increment 0 1 0 1", "!24");
    makes("<1, 2, 3>", "l.increment 0 1 0 5", "<1, 2, 3> / -");
    makes("<1, 2, 3>", "l.increment 3 2", "<1, 2, 2, 3> / 2");
    makes("<1, 2, 3>", "l.increment 4 2", "!26");
    makes("[1]", "l.increment 0 1 0 0 0", "!4");
}

#[test]
fn lists_are_sorted_once_or_for_good() {
    makes("[3, 1, 2, 1]", "l.sort", "[1, 1, 2, 3] / -");
    makes("[3, 1, 2, 1]", "l.sort 1", "[3, 2, 1, 1] / -");
    makes("[3, 1, 2, 1]", "l.sort 2", "[1, 2, 3] / -");
    makes("[3, 1, 2, 1]", "l.sort 3", "[3, 2, 1] / -");
    makes("[3]", "l.sort", "[3] / -");
    makes("<1, 1, 2>", "l.sort 1", "<1, 1, 2> / -");
    makes("<1, 1, 2>", "l.sort 3", "<1, 2> / -");
    makes("-", "l.sort", "!12");
    makes("[2, 1, 1]", "l.set_type 1", "<1, 1, 2> / -");
    makes("[2, 1]", "l.set_type 0x11", "<1, 2> / -");
    makes("<1, 2>", "l.set_type 0", "[1, 2] / -");
    makes("[2, 1]", "l.set_type 2", "!26");
    makes("[2, 1]", "l.set_type 0 0", "!4");
    makes("-", "l.set_type 1", "<> / -");
    makes("-", "l.set_type 0x10", "[] / -");
    makes("-", "l.set_type 4", "!26");
}

#[test]
fn values_of_all_types_have_one_order() {
    makes(
        "[#00, {1: 2}, [1], \"a\", 1.5, 7, -3, true, false, nil, {}, [], \"\", [nil, 5]]",
        "l.sort",
        "[nil, false, true, -3, 7, \"\", \"a\", [], [nil, 5], [1], {}, {1: 2}, #00, 1.5] / -",
    );
    makes(
        "[\"b\", \"aa\", \"a\"]",
        "l.sort",
        "[\"a\", \"aa\", \"b\"] / -",
    );
    makes("[[2], [1, 5], [1]]", "l.sort", "[[1], [1, 5], [2]] / -");
    makes(
        "[{1: 9, 2: 1}, {7: 1}, {2: 5}]",
        "l.sort",
        "[{2: 5}, {7: 1}, {1: 9, 2: 1}] / -",
    );
    makes("[NaN, 2.0, NaN, 1.0]", "l.sort 2", "[1.0, 2.0, NaN] / -");
}

#[test]
fn one_element_is_found_by_index() {
    reads("[4, 7, 4]", "l.size", "3");
    reads("<>", "l.size", "0");
    reads("[4, 7, 4]", "l.get 1", "7");
    reads("[4, 7, 4]", "l.get -3", "4");
    reads("[4, 7, 4]", "l.get 3", "!26");
    reads("[]", "l.get 0", "!26");
    reads("-", "l.get 0", "-");
    reads("5", "l.get 0", "!12");
    reads("[4, 7, 4]", "l.get_range 1", "[7, 4]");
    reads("[4, 7, 4]", "l.get_range -2 1", "[7]");
    reads("<4, 7>", "l.get_range 0", "[4, 7]");
    let list = "[40, 7, 40, 1]";
    reads(list, "l.get_index VALUE -2", "40");
    reads(list, "l.get_index INDEX -2", "2");
    reads(list, "l.get_index REVINDEX -2", "1");
    reads(list, "l.get_index RANK 2", "2"); // shared with the equal one
    reads(list, "l.get_index REVRANK 1", "2");
    reads(list, "l.get_index COUNT 0", "1");
    reads(list, "l.get_index EXISTS 0", "true");
    reads(list, "l.get_index NONE 0", "-");
    reads(list, "l.get_index INDEXES 3", "[3, 1]");
    reads(list, "l.get_index REVINDEXES 3", "[0, 1]");
    reads(list, "l.get_index RANKS 3", "!26");
    reads("<1, 2>", "l.get_index RANKS 1", "[1, 1]");
    reads("<1, 2>", "l.get_index REVRANKS 1", "[0, 1]");
    reads(list, "l.get_index KEY 0", "!26");
    reads(list, "l.get_index KV 0", "!26");
    reads(list, "l.get_index OMAP 0", "!26");
    reads(list, "l.get_index !VALUE 0", "!26");
    reads(list, "l.get_index 14 0", "!26");
    reads(list, "l.get_index 99 0", "!26");
    reads(list, "l.get_index EXISTS 4", "!26");
}

#[test]
fn one_element_is_found_by_rank_or_value() {
    let list = "[40, 7, 40, 1]";
    reads(list, "l.get_rank VALUE 0", "1");
    reads(list, "l.get_rank INDEX 1", "1");
    reads(list, "l.get_rank INDEX 2", "0");
    reads(list, "l.get_rank INDEX -1", "2");
    reads(list, "l.get_rank RANK -1", "3");
    reads(list, "l.get_rank REVRANK -1", "0");
    reads(list, "l.get_rank RANKS 1", "[1, 1]");
    reads(list, "l.get_rank INDEXES 1", "!26");
    reads(list, "l.get_rank VALUE 4", "!26");
    reads("<1, 2>", "l.get_rank INDEXES 1", "[1, 1]");
    reads(list, "l.get_value INDEX 40", "0");
    reads(list, "l.get_value RANK 40", "2");
    reads(list, "l.get_value REVRANK 40", "1");
    reads(list, "l.get_value REVINDEX 7", "2");
    reads(list, "l.get_value COUNT 40", "1");
    reads(list, "l.get_value EXISTS 40", "true");
    reads(list, "l.get_value EXISTS 41", "false");
    reads(list, "l.get_value COUNT 41", "0");
    reads(list, "l.get_value INDEX 41", "-1");
    reads(list, "l.get_value RANK 41", "-1");
    reads(list, "l.get_value REVRANK 41", "-1");
    reads(list, "l.get_value VALUE 41", "-");
    reads(list, "l.get_value RANKS 40", "[2, 1]");
    reads(list, "l.get_value INDEXES 40", "!26");
    reads("<1, 2, 2, 3>", "l.get_value INDEX 2", "1");
    reads("<1, 2, 2, 3>", "l.get_value INDEXES 2", "[1, 1]");
    reads("[[1, 2], [3, 4]]", "l.get_value VALUE [3, *]", "[3, 4]");
    makes("[5, 1, 5]", "l.remove_rank INDEX 1", "[1, 5] / 0");
    makes("[5, 1, 5]", "l.remove_value INDEX 5", "[1, 5] / 0");
    makes("[5, 1, 5]", "l.remove_value VALUE 9", "[5, 1, 5] / -");
    makes("[5, 1, 5]", "l.remove_index VALUE -1", "[5, 1] / 5");
    makes("[5, 1, 5]", "l.remove_index VALUE 3", "!26");
    makes("-", "l.remove_index VALUE 3", "- / -");
}

#[test]
fn ranges_of_indexes_are_told_in_their_order() {
    let list = "[5, 3, 5, 1]";
    reads(list, "l.get_index_range VALUE 1 2", "[3, 5]");
    reads(list, "l.get_index_range INDEX 1 2", "[1, 2]");
    reads(list, "l.get_index_range REVINDEX 1 2", "[2, 1]");
    reads(list, "l.get_index_range RANK 0", "[2, 1, 2, 0]");
    reads(list, "l.get_index_range REVRANK 0 2", "[1, 2]");
    reads(list, "l.get_index_range COUNT 2 9", "2");
    reads(list, "l.get_index_range EXISTS 4", "false");
    reads(list, "l.get_index_range INDEXES 4", "[4, 0]");
    reads(list, "l.get_index_range INDEXES -3 2", "[1, 2]");
    reads(list, "l.get_index_range REVINDEXES -3 2", "[1, 2]");
    reads(list, "l.get_index_range RANKS 1", "!26");
    reads("<1, 2, 3>", "l.get_index_range RANKS 1", "[1, 2]");
    reads("<1, 1, 3>", "l.get_index_range RANK 0 2", "[0, 1]");
    reads(list, "l.get_index_range !VALUE 1 2", "[5, 1]");
    reads(list, "l.get_index_range !VALUE 0 2", "[5, 1]");
    reads(list, "l.get_index_range !VALUE 2 2", "[5, 3]");
    reads(list, "l.get_index_range !VALUE 9 2", "[5, 3, 5, 1]");
    reads(list, "l.get_index_range !COUNT 1 2", "2");
    reads(list, "l.get_index_range !INDEX 1 2", "[0, 3]");
    reads(list, "l.get_index_range !INDEXES 1 2", "!26");
    reads(list, "l.get_index_range NONE 1 2", "-");
    makes(list, "l.remove_index_range !COUNT 1 2", "[3, 5] / 2");
    makes(list, "l.remove_index_range NONE 1", "[5] / -");
    makes(
        "<1, 2, 3>",
        "l.remove_index_range VALUE -2 1",
        "<1, 3> / [2]",
    );
}

#[test]
fn ranges_of_ranks_are_told_from_the_nearer_end() {
    let list = "[5, 3, 9, 1, 7]";
    reads(list, "l.get_rank_range VALUE 0 2", "[3, 1]");
    reads(list, "l.get_rank_range VALUE -2 2", "[7, 9]");
    reads(list, "l.get_rank_range INDEX -2 2", "[2, 4]");
    reads(list, "l.get_rank_range RANK -2 2", "[3, 4]");
    reads(list, "l.get_rank_range REVRANK -2 2", "[1, 0]");
    reads(list, "l.get_rank_range RANKS 1 2", "[1, 2]");
    reads(list, "l.get_rank_range REVRANKS 1 2", "[2, 2]");
    reads(list, "l.get_rank_range INDEXES 1 2", "!26");
    reads(list, "l.get_rank_range COUNT 9", "0");
    reads(list, "l.get_rank_range !VALUE 1 3", "[9, 1]"); // in the order of indexes
    reads(list, "l.get_rank_range !VALUE 0 3", "[7, 9]"); // the other end's range
    reads(list, "l.get_rank_range !RANK 1 3", "[0, 4]");
    reads("<1, 2, 3>", "l.get_rank_range VALUE 0 2", "[1, 2]");
    reads("<1, 2, 3>", "l.get_rank_range INDEXES 0 2", "[0, 2]");
    makes(list, "l.remove_rank_range VALUE 3 2", "[5, 3, 1] / [7, 9]");
}

#[test]
fn ranks_near_a_value_count_from_where_it_is_or_would_be() {
    let list = "[0, 4, 5, 9, 11, 15]";
    reads(list, "l.get_near RANKS 5 0", "[2, 4]");
    reads(list, "l.get_near RANKS 5 1 2", "[3, 2]");
    reads(list, "l.get_near RANKS 5 -1 2", "[1, 2]");
    reads(list, "l.get_near RANKS 3 -3 4", "[0, 2]");
    reads(list, "l.get_near RANKS 3 0", "[1, 5]");
    reads(list, "l.get_near RANKS 20 0", "[6, 0]");
    reads(list, "l.get_near VALUE 5 2 2", "[11, 15]");
    reads(list, "l.get_near !VALUE 5 0 2", "[0, 4, 11, 15]");
    reads("<0, 4, 5, 9>", "l.get_near INDEXES 5 -1 2", "[1, 2]");
    makes(list, "l.remove_near COUNT 9 0", "[0, 4, 5] / 3");
}

#[test]
fn all_of_a_value_or_an_interval_are_told_in_the_order_of_indexes() {
    let list = "[2, 1, 3, 2]";
    reads(list, "l.get_all_value INDEX 2", "[0, 3]");
    reads(list, "l.get_all_value REVINDEX 2", "[3, 0]");
    reads(list, "l.get_all_value RANK 2", "[1, 2]");
    reads(list, "l.get_all_value REVRANK 2", "[2, 1]");
    reads(list, "l.get_all_value RANKS 2", "[1, 2]");
    reads(list, "l.get_all_value VALUE 9", "[]");
    reads(list, "l.get_all_value EXISTS 2", "true");
    reads(list, "l.get_all_value !VALUE 2", "[1, 3]");
    reads(list, "l.get_all_value !RANK 2", "[0, 3]");
    reads(list, "l.get_all_value !EXISTS 9", "true");
    reads(list, "l.get_all_value INDEXES 2", "!26");
    reads("<1, 2, 2, 3>", "l.get_all_value INDEXES 2", "[1, 2]");
    reads(list, "l.get_all_value COUNT *", "4");
    reads(list, "l.get_interval VALUE 2 3", "[2, 2]");
    reads(list, "l.get_interval VALUE 2", "[2, 3, 2]");
    reads(list, "l.get_interval VALUE nil 2", "[1]");
    reads(list, "l.get_interval VALUE 1 inf", "[2, 1, 3, 2]");
    reads(list, "l.get_interval VALUE 3 1", "[]");
    reads(list, "l.get_interval !VALUE 3 1", "[2, 1, 3, 2]");
    reads(list, "l.get_interval RANKS 2", "[1, 3]");
    reads(list, "l.get_interval COUNT \"a\"", "0");
    reads("<1, 2, 2, 3>", "l.get_interval INDEXES 2 3", "[1, 2]");
    reads(
        "[[1, 2], [1, 9], [2, 0], [1]]",
        "l.get_all_value VALUE [1, *]",
        "[[1, 2], [1, 9]]",
    );
    reads(
        "[[1, 2], [1, 9], [2, 0], [1]]",
        "l.get_interval VALUE [1, nil] [1, inf]",
        "[[1, 2], [1, 9]]",
    );
    makes(list, "l.remove_all_value INDEX 2", "[1, 3] / [0, 3]");
    makes(list, "l.remove_interval !VALUE 2 3", "[2, 2] / [1, 3]");
}

#[test]
fn lists_of_values_are_looked_for() {
    let list = "[2, 1, 3, 2]";
    reads(list, "l.get_values VALUE [3, 2]", "[2, 3, 2]");
    reads(list, "l.get_values INDEX [3, 2]", "[0, 2, 3]");
    reads(list, "l.get_values RANK [3, 2]", "[3, 1, 1]");
    reads(list, "l.get_values COUNT [3, 2, 2]", "3");
    reads(list, "l.get_values VALUE []", "[]");
    reads(list, "l.get_values !VALUE []", "[2, 1, 3, 2]");
    reads(list, "l.get_values !VALUE [2, 7]", "[1, 3]");
    reads(list, "l.get_values !RANK [1]", "[1, 1, 3]");
    reads(list, "l.get_values RANKS [1]", "!26");
    reads(list, "l.get_values VALUE 5", "!4");
    reads(
        "<1, 2, 2, 3>",
        "l.get_values VALUE [3, 2, 3]",
        "[3, 2, 2, 3]",
    );
    reads(
        "<1, 2, 2, 3>",
        "l.get_values INDEX [3, 2, 3]",
        "[3, 1, 2, 3]",
    );
    reads("<1, 2, 2, 3>", "l.get_values COUNT [3, 2, 3]", "3");
    reads("<1, 2, 2, 3>", "l.get_values !VALUE [3, 1]", "[2, 2]");
    reads("<1, 2, 2, 3>", "l.get_values INDEXES [3]", "!26");
    reads(
        list,
        "l.get_values VALUE [9, 8, 7, 6, 5, 4, 3, 0, 1]",
        "[1, 3]",
    );
    reads(
        "[[1, 1], [2, 2]]",
        "l.get_values VALUE [[2, *]]",
        "[[2, 2]]",
    );
    makes(list, "l.remove_values VALUE [2, 3]", "[1] / [2, 3, 2]");
    makes(
        "<1, 2, 2, 3>",
        "l.remove_values COUNT [3, 3, 1]",
        "<2, 2> / 2",
    );
}

#[test]
fn numbers_that_mean_nothing_are_refused() {
    reads("[1]", "l.unknown", "!4");
    makes("[1]", "l.unknown_write 1 2", "!4");
}
