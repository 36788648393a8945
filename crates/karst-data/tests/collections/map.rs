//! Maps: what each operation reads, makes and refuses.

use crate::run::{makes, reads};

#[test]
fn pairs_are_put_where_their_key_wants_them() {
    makes("-", "m.put 1 2", "{1: 2} / 1");
    makes("-", "m.put 1 2 0 0", "{1: 2} / 1");
    makes("-", "m.put 1 2 1", "K{1: 2} / 1");
    makes("-", "m.put 1 2 3", "V{1: 2} / 1");
    makes("-", "m.put 1 2 0x13", "V{1: 2} / 1");
    makes("-", "m.put 1 2 2", "{1: 2} / 1"); // an order that means nothing
    makes("{1: 2}", "m.put 1 3 1", "{1: 3} / 1"); // the order is for new maps
    makes("{1: 2, 3: 4}", "m.put 2 9", "{1: 2, 2: 9, 3: 4} / 3");
    makes("K{1: 2}", "m.put \"a\" 9", "K{1: 2, \"a\": 9} / 2");
    makes("K{\"a\": 2}", "m.put #00 9", "K{\"a\": 2, #00: 9} / 2");
    makes("K{\"a\": 2}", "m.put -5 [1]", "K{-5: [1], \"a\": 2} / 2");
    makes("{}", "m.put 1.5 1", "!4");
    makes("{}", "m.put nil 1", "!4");
    makes("{}", "m.put [1] 1", "!4");
    makes("{}", "m.put * 1", "!4");
    makes("{}", "m.put 1 *", "!4");
    makes("{}", "m.put 1", "!4");
    makes("{}", "m.put 1 1 1 1 1", "!4");
    makes("[]", "m.put 1 1", "!12");
    makes("\"x\"", "m.put 1 1", "!12");
}

#[test]
fn write_flags_decide_which_keys_may_be_put() {
    makes("{1: 2}", "m.put 1 3 0 1", "!24");
    makes("{1: 2}", "m.put 1 3 0 5", "{1: 2} / 1");
    makes("{1: 2}", "m.put 2 3 0 1", "{1: 2, 2: 3} / 2");
    makes("{1: 2}", "m.put 2 3 0 2", "!23");
    makes("{1: 2}", "m.put 2 3 0 6", "{1: 2} / 1");
    makes("{1: 2}", "m.put 1 3 0 2", "{1: 3} / 1");
    makes("-", "m.put 1 3 0 2", "!23");
    makes("-", "m.put 1 3 0 6", "- / 0");
    makes("{1: 2}", "m.add 1 3", "!24");
    makes("{1: 2}", "m.add 2 3", "{1: 2, 2: 3} / 2");
    makes("-", "m.add 2 3 1", "K{2: 3} / 1");
    makes("{1: 2}", "m.replace 1 3", "{1: 3} / 1");
    makes("{1: 2}", "m.replace 2 3", "!23");
    makes("-", "m.replace 2 3", "!23");
}

#[test]
fn many_pairs_are_put_in_one_pass() {
    makes("-", "m.put_items {2: 1, 1: 2}", "{1: 2, 2: 1} / 2");
    makes("-", "m.put_items {2: 1} 1", "K{2: 1} / 1");
    makes("-", "m.put_items {}", "{} / 0");
    makes("-", "m.put_items {} 3", "V{} / 0");
    makes("{1: 2}", "m.put_items {}", "{1: 2} / 1");
    makes(
        "{1: 2, 5: 6}",
        "m.put_items {0: 0, 5: 9, 7: 7, 3: 3}",
        "{0: 0, 1: 2, 3: 3, 5: 9, 7: 7} / 5",
    );
    makes("K{1: 2}", "m.put_items K{1: 3, 2: 4}", "K{1: 3, 2: 4} / 2");
    makes("K{1: 2}", "m.put_items K{2: 3, 1: 4}", "!4");
    makes("{1: 2}", "m.put_items {1: 3, 1: 4}", "!4");
    makes("{1: 2}", "m.put_items {nil: 3}", "!4");
    makes("{1: 2}", "m.put_items [1]", "!4");
    makes("{1: 2}", "m.put_items {1: 3, 2: 4} 0 1", "!24");
    makes("{1: 2}", "m.put_items {1: 3, 2: 4} 0 5", "{1: 2} / 1");
    makes(
        "{1: 2}",
        "m.put_items {1: 3, 2: 4} 0 13",
        "{1: 2, 2: 4} / 2",
    );
    makes("{1: 2}", "m.put_items {1: 3, 2: 4} 0 9", "!24"); // partial needs no-fail
    makes("{1: 2}", "m.put_items {1: 3, 2: 4} 0 2", "!23");
    makes("{1: 2}", "m.put_items {1: 3, 2: 4} 0 6", "{1: 2} / 1");
    makes("{1: 2}", "m.put_items {1: 3, 2: 4} 0 14", "{1: 3} / 1");
    makes("{1: 2}", "m.add_items {2: 4}", "{1: 2, 2: 4} / 2");
    makes("{1: 2}", "m.add_items {1: 4, 2: 4}", "!24");
    makes("{1: 2}", "m.replace_items {1: 4}", "{1: 4} / 1");
    makes("{1: 2}", "m.replace_items {1: 4, 2: 4}", "!23");
    makes("{1: 2}", "m.replace_items {}", "{1: 2} / 1");
    makes("-", "m.replace_items {}", "!23");
}

#[test]
fn numbers_in_maps_are_added_to_or_made() {
    makes("{1: 5}", "m.increment 1", "{1: 6} / 6");
    makes("{1: 5}", "m.increment 1 10", "{1: 15} / 15");
    makes("{1: 5}", "m.decrement 1 10", "{1: -5} / -5");
    makes("{1: 5}", "m.decrement 1", "{1: 4} / 4");
    makes("{1: 5}", "m.increment 2 7", "{1: 5, 2: 7} / 7");
    makes("{1: 5}", "m.increment 2", "{1: 5, 2: 1} / 1");
    makes("{1: 5}", "m.decrement 2 7", "{1: 5, 2: -7} / -7");
    makes("{1: 5}", "m.increment 0 1.5", "{0: 1.5, 1: 5} / 1.5");
    makes("{1: 5}", "m.increment 1 1.5", "{1: 6} / 6");
    makes("{1: 5.0}", "m.increment 1 1", "{1: 6.0} / 6.0");
    makes("{1: 5.0}", "m.decrement 1 0.5", "{1: 4.5} / 4.5");
    makes("{1: \"a\"}", "m.increment 1", "!4");
    makes("{1: 1}", "m.increment 1 \"a\"", "!4");
    makes("{1: 1}", "m.increment 1 nil", "{1: 2} / 2");
    makes("-", "m.increment 1 5", "{1: 5} / 5");
    makes("-", "m.increment \"a\" 5 1", "K{\"a\": 5} / 5");
    makes("K{1: 127, 2: 9}", "m.increment 1", "K{1: 128, 2: 9} / 128"); // another width
    makes("{1: 1}", "m.increment 1 1 0 0", "!4");
}

#[test]
fn types_change_flags_and_clearing_keeps_them() {
    makes("{1: 2}", "m.set_type 1", "K{1: 2} / -");
    makes("{1: 2}", "m.set_type 3", "V{1: 2} / -");
    makes("V{1: 2}", "m.set_type 0", "{1: 2} / -");
    makes("V{1: 2}", "m.set_type 0x11", "K{1: 2} / -");
    makes("{1: 2}", "m.set_type 4", "!26");
    makes("-", "m.set_type 1", "K{} / -");
    makes("-", "m.set_type 8", "!26");
    makes("K{1: 2}", "m.clear", "K{} / -");
    makes("{1: 2}", "m.clear", "{} / -");
    makes("-", "m.clear", "- / -");
}

#[test]
fn one_pair_is_found_by_key() {
    let map = "{1: 9, 2: 5, 3: 9}";
    reads(map, "m.size", "3");
    reads("K{}", "m.size", "0");
    reads("-", "m.size", "-");
    reads(map, "m.get_key VALUE 2", "5");
    reads(map, "m.get_key KEY 2", "2");
    reads(map, "m.get_key INDEX 3", "2");
    reads(map, "m.get_key REVINDEX 3", "0");
    reads(map, "m.get_key RANK 3", "2");
    reads(map, "m.get_key RANK 1", "1");
    reads(map, "m.get_key REVRANK 2", "2");
    reads(map, "m.get_key COUNT 2", "1");
    reads(map, "m.get_key EXISTS 2", "true");
    reads(map, "m.get_key KV 2", "P{2: 5}");
    reads(map, "m.get_key UMAP 2", "{2: 5}");
    reads(map, "m.get_key OMAP 2", "K{2: 5}");
    reads(map, "m.get_key INDEXES 2", "[1, 1]");
    reads(map, "m.get_key RANKS 2", "!26");
    reads(map, "m.get_key !VALUE 2", "!26");
    reads(map, "m.get_key VALUE 7", "-");
    reads(map, "m.get_key KEY 7", "-");
    reads(map, "m.get_key INDEX 7", "-1");
    reads(map, "m.get_key RANK 7", "-1");
    reads(map, "m.get_key COUNT 7", "0");
    reads(map, "m.get_key EXISTS 7", "false");
    reads(map, "m.get_key KV 7", "P{}");
    reads(map, "m.get_key UMAP 7", "{}");
    reads(map, "m.get_key OMAP 7", "K{}");
    reads(map, "m.get_key VALUE 2.0", "-");
    reads(map, "m.get_key VALUE nil", "-");
    reads(map, "m.get_key VALUE", "!4");
    makes(map, "m.remove_key VALUE 2", "{1: 9, 3: 9} / 5");
    makes(map, "m.remove_key VALUE 7", "{1: 9, 2: 5, 3: 9} / -");
    makes("-", "m.remove_key VALUE 7", "- / -");
}

#[test]
fn one_pair_is_found_by_index_rank_or_value() {
    let map = "{1: 9, 2: 5, 3: 9}";
    reads(map, "m.get_index KEY -1", "3");
    reads(map, "m.get_index RANK 0", "1");
    reads(map, "m.get_index VALUE 3", "!26");
    reads(map, "m.get_index INDEXES 1", "[1, 1]");
    reads(map, "m.get_index RANKS 1", "!26");
    reads(map, "m.get_rank KEY 0", "2");
    reads(map, "m.get_rank KEY 1", "1");
    reads(map, "m.get_rank KEY -1", "3");
    reads(map, "m.get_rank VALUE 3", "!26");
    reads(map, "m.get_rank RANKS 1", "[1, 1]");
    reads(map, "m.get_rank INDEXES 1", "!26");
    reads("{}", "m.get_rank VALUE 0", "!26");
    reads(map, "m.get_value KEY 9", "1");
    reads(map, "m.get_value RANK 9", "1");
    reads(map, "m.get_value INDEX 6", "-1");
    reads(map, "m.get_value KEY 6", "-");
    makes(map, "m.remove_rank KEY 1", "{2: 5, 3: 9} / 1");
    makes(map, "m.remove_index KV -1", "{1: 9, 2: 5} / P{3: 9}");
    makes(map, "m.remove_value NONE 9", "{2: 5, 3: 9} / -");
}

#[test]
fn pairs_are_found_by_many_keys() {
    let map = "{1: 9, 2: 5, 3: 7, \"a\": 1}";
    reads(map, "m.get_keys VALUE [\"a\", 1, 8]", "[9, 1]");
    reads(map, "m.get_keys KEY [\"a\", 1, 8]", "[1, \"a\"]");
    reads(map, "m.get_keys INDEX [\"a\", 1, 8]", "[3, 0]");
    reads(map, "m.get_keys REVINDEX [\"a\", 1]", "[0, 3]");
    reads(map, "m.get_keys KV [\"a\", 1]", "P{1: 9, \"a\": 1}");
    reads(map, "m.get_keys OMAP [\"a\", 1]", "K{1: 9, \"a\": 1}");
    reads(map, "m.get_keys COUNT [1, 1, 1]", "1");
    reads(map, "m.get_keys RANK [1]", "!26");
    reads(map, "m.get_keys INDEXES [1]", "!26");
    reads(map, "m.get_keys KEY []", "[]");
    reads(map, "m.get_keys !KEY []", "[1, 2, 3, \"a\"]");
    reads(map, "m.get_keys !KEY [1, 9]", "[2, 3, \"a\"]");
    reads(map, "m.get_keys !INDEX [1, 9]", "[1, 2, 3]");
    reads(map, "m.get_keys KEY 1", "!4");
    reads(map, "m.get_key_interval KEY 2 \"a\"", "[2, 3]");
    reads(map, "m.get_key_interval KEY 2", "[2, 3, \"a\"]");
    reads(map, "m.get_key_interval KEY nil 2", "[1]");
    reads(map, "m.get_key_interval RANK 1 3", "[3, 1]");
    reads(map, "m.get_key_interval INDEXES 2", "[1, 3]");
    reads(map, "m.get_key_interval RANKS 2", "!26");
    reads(map, "m.get_key_interval !KEY 2 3", "[1, 3, \"a\"]");
    reads(map, "m.get_key_interval KEY 3 1", "[]");
    makes(
        map,
        "m.remove_keys VALUE [3, 2, 7]",
        "{1: 9, \"a\": 1} / [5, 7]",
    );
    makes(map, "m.remove_key_interval COUNT 2", "{1: 9} / 3");
}

#[test]
fn ranges_of_indexes_are_in_the_order_of_keys() {
    let map = "{1: 9, 2: 5, 3: 7}";
    reads(map, "m.get_index_range KEY 1", "[2, 3]");
    reads(map, "m.get_index_range KV -2 1", "P{2: 5}");
    reads(map, "m.get_index_range RANK 0", "[2, 0, 1]");
    reads(map, "m.get_index_range !UMAP 1 1", "{1: 9, 3: 7}");
    reads(map, "m.get_index_range KV 9", "P{}");
    reads(map, "m.get_keys_near KEY 2 0", "[2, 3]");
    reads(map, "m.get_keys_near KEY 2 -1 2", "[1, 2]");
    reads(map, "m.get_keys_near KEY 2 -3 2", "[]");
    reads(map, "m.get_keys_near KEY 5 -1 9", "[3]");
    reads(map, "m.get_keys_near INDEXES 2 1 1", "[2, 1]");
    makes(map, "m.remove_keys_near KEY 2 1", "{1: 9, 2: 5} / [3]");
    makes(map, "m.remove_index_range !KEY 0 1", "{1: 9} / [2, 3]");
}

#[test]
fn ranges_of_ranks_are_told_in_the_order_of_ranks() {
    let map = "{1: 9, 2: 5, 3: 7, 4: 5}";
    reads(map, "m.get_rank_range KEY 0", "[2, 4, 3, 1]");
    reads(map, "m.get_rank_range VALUE 1 2", "[5, 7]");
    reads(map, "m.get_rank_range KV 1 2", "P{4: 5, 3: 7}");
    reads(map, "m.get_rank_range UMAP 1 2", "{4: 5, 3: 7}");
    reads(map, "m.get_rank_range OMAP 1 2", "K{3: 7, 4: 5}");
    reads(map, "m.get_rank_range INDEX 1 2", "[3, 2]");
    reads(map, "m.get_rank_range RANK 1 2", "[1, 2]");
    reads(map, "m.get_rank_range RANKS 1 2", "[1, 2]");
    reads(map, "m.get_rank_range INDEXES 1 2", "!26");
    reads(map, "m.get_rank_range !KEY 1 2", "[1, 2]"); // in the order of keys
    reads(map, "m.get_rank_range !KEY 0 2", "[3, 1]"); // the other end's range
    reads(map, "m.get_near KEY 7 0", "[3, 1]");
    reads(map, "m.get_near KEY 6 -1 2", "[4, 3]");
    reads(map, "m.get_near RANKS 6 -1 2", "[1, 2]");
    makes(
        map,
        "m.remove_rank_range KEY -1 1",
        "{2: 5, 3: 7, 4: 5} / [1]",
    );
    makes(map, "m.remove_near KEY 6 0", "{2: 5, 4: 5} / [3, 1]");
}

#[test]
fn values_are_looked_for_in_the_order_of_keys() {
    let map = "{1: 9, 2: 5, 3: 7, 4: 5}";
    reads(map, "m.get_all_value KEY 5", "[2, 4]");
    reads(map, "m.get_all_value RANK 5", "[0, 1]");
    reads(map, "m.get_all_value RANKS 5", "[0, 2]");
    reads(map, "m.get_all_value KEY 6", "[]");
    reads(map, "m.get_all_value !KEY 5", "[1, 3]");
    reads(map, "m.get_all_value INDEXES 5", "!26");
    reads(map, "m.get_values KEY [9, 5]", "[1, 2, 4]");
    reads(map, "m.get_values RANK [9, 5]", "[3, 0, 1]");
    reads(map, "m.get_values KEY []", "[]");
    reads(map, "m.get_values !KEY []", "[1, 2, 3, 4]");
    reads(map, "m.get_values RANKS [9]", "!26");
    reads(map, "m.get_interval KEY 5 9", "[2, 3, 4]");
    reads(map, "m.get_interval KEY nil 6", "[2, 4]");
    reads(map, "m.get_interval RANKS 7", "[2, 2]");
    reads(map, "m.get_interval !KEY 5 9", "[1]");
    reads(
        "{1: [1, 2], 2: [2, 1]}",
        "m.get_all_value KEY [1, *]",
        "[1]",
    );
    reads(
        "{1: [1, 2], 2: [2, 1]}",
        "m.get_interval KEY [1, nil] [1, inf]",
        "[1]",
    );
    makes(map, "m.remove_all_value COUNT 5", "{1: 9, 3: 7} / 2");
    makes(map, "m.remove_values !KEY [5]", "{2: 5, 4: 5} / [1, 3]");
    makes(map, "m.remove_interval KEY 9", "{2: 5, 3: 7, 4: 5} / [1]");
}

#[test]
fn numbers_that_mean_nothing_are_refused() {
    reads("{}", "m.unknown 7 1", "!4");
    makes("{}", "m.unknown_write 1", "!4");
}
