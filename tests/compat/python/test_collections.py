"""Lists and maps: operations inside bins, alone and nested, with the answers that the client makes of them."""

import aerospike
import pytest
from aerospike_helpers import cdt_ctx
from aerospike_helpers.operations import list_operations as lists
from aerospike_helpers.operations import map_operations as maps
from aerospike_helpers.operations import operations as op
from conftest import bins, refused

ORDERED = {"list_order": aerospike.LIST_ORDERED}
UNIQUE = {"write_flags": aerospike.LIST_WRITE_ADD_UNIQUE}
KEY_ORDERED = {"map_order": aerospike.MAP_KEY_ORDERED}
L_VALUE, L_INDEX, L_RANK = (
    aerospike.LIST_RETURN_VALUE,
    aerospike.LIST_RETURN_INDEX,
    aerospike.LIST_RETURN_RANK,
)
L_COUNT = aerospike.LIST_RETURN_COUNT
M_VALUE, M_KEY, M_INDEX, M_RANK = (
    aerospike.MAP_RETURN_VALUE,
    aerospike.MAP_RETURN_KEY,
    aerospike.MAP_RETURN_INDEX,
    aerospike.MAP_RETURN_RANK,
)
M_COUNT, M_PAIRS = aerospike.MAP_RETURN_COUNT, aerospike.MAP_RETURN_KEY_VALUE


def told(client, key, operation):
    """What one operation on the bin "b" tells; None for nothing."""
    return client.operate(key, [operation])[2].get("b")


def content(client, key):
    return bins(client, key)["b"]


@pytest.mark.parametrize(
    "before, operation, answer, after",
    [
        ([1], lists.list_append("b", 2), 2, [1, 2]),
        ([1], lists.list_append("b", "x", UNIQUE), 2, [1, "x"]),
        ([1], lists.list_append_items("b", [2, b"y", 1.5, None, True]), 6, [1, 2, b"y", 1.5, None, True]),
        ([1, 2], lists.list_insert("b", 1, 9), 3, [1, 9, 2]),
        ([1], lists.list_insert("b", 3, 9), 4, [1, None, None, 9]),
        ([1, 2], lists.list_insert_items("b", -1, [8, 9]), 4, [1, 8, 9, 2]),
        ([1, 2], lists.list_set("b", 0, {"k": [1]}), None, [{"k": [1]}, 2]),
        ([1, 2], lists.list_increment("b", 1, 5), 7, [1, 7]),
        ([1, 2.5], lists.list_increment("b", 1, 0.5), 3.0, [1, 3.0]),
        ([1, 2, 3], lists.list_pop("b", -1), 3, [1, 2]),
        ([1, 2, 3], lists.list_pop_range("b", 0, 2), [1, 2], [3]),
        ([1, 2, 3], lists.list_remove("b", 1), 1, [1, 3]),
        ([1, 2, 3], lists.list_remove_range("b", 1, 2), 2, [1]),
        ([1, 2, 3], lists.list_trim("b", 1, 1), 2, [2]),
        ([1, 2, 3], lists.list_clear("b"), None, []),
        ([3, 1, 2, 1], lists.list_sort("b", aerospike.LIST_SORT_DROP_DUPLICATES), None, [1, 2, 3]),
        ([3, 1, 2], lists.list_set_order("b", aerospike.LIST_ORDERED), None, [1, 2, 3]),
        ([5, 1, 5], lists.list_remove_by_index("b", 0, L_VALUE), 5, [1, 5]),
        ([5, 1, 5], lists.list_remove_by_rank("b", 0, L_INDEX), 1, [5, 5]),
        ([5, 1, 5], lists.list_remove_by_value("b", 5, L_INDEX), [0, 2], [1]),
        ([5, 1, 5], lists.list_remove_by_value("b", 5, L_VALUE, inverted=True), [1], [5, 5]),
        ([5, 1, 4], lists.list_remove_by_value_list("b", [4, 5, 6], L_COUNT), 2, [1]),
        ([5, 1, 4], lists.list_remove_by_index_range("b", 1, L_VALUE, 5), [1, 4], [5]),
        ([5, 1, 4], lists.list_remove_by_rank_range("b", 1, L_COUNT, 2), 2, [1]),
        ([5, 1, 4], lists.list_remove_by_value_range("b", L_VALUE, 2, 5), [4], [5, 1]),
        ([0, 4, 5, 9], lists.list_remove_by_value_rank_range_relative("b", 5, -1, L_COUNT, 2), 2, [0, 9]),
    ],
)
def test_lists_are_changed(client, key, before, operation, answer, after):
    client.put(key, {"b": before})
    assert told(client, key, operation) == answer
    assert content(client, key) == after


@pytest.mark.parametrize(
    "operation, answer",
    [
        (lists.list_size("b"), 5),
        (lists.list_get("b", -1), 8),
        (lists.list_get_range("b", 1, 2), [4, [1, 2]]),
        (lists.list_get_by_index("b", 2, L_VALUE), [1, 2]),
        (lists.list_get_by_index("b", 1, L_RANK), 0),
        (lists.list_get_by_rank("b", 0, L_VALUE), 4),
        (lists.list_get_by_rank("b", -1, L_VALUE), [1, 2]),
        (lists.list_get_by_value("b", 8, L_INDEX), [3, 4]),
        (lists.list_get_by_value("b", 8, aerospike.LIST_RETURN_EXISTS), True),
        (lists.list_get_by_value("b", [1, aerospike.CDTWildcard()], L_VALUE), [[1, 2]]),
        (lists.list_get_by_value_list("b", [8, 4], L_COUNT), 3),
        (lists.list_get_by_value_list("b", [8, 4], L_VALUE, inverted=True), ["x", [1, 2]]),
        (lists.list_get_by_index_range("b", 1, L_VALUE, 2), [4, [1, 2]]),
        (lists.list_get_by_rank_range("b", 0, L_RANK, 2), [0, 1]),
        (lists.list_get_by_value_range("b", L_VALUE, 4, aerospike.CDTInfinite()), ["x", 4, [1, 2], 8, 8]),
        (lists.list_get_by_value_range("b", L_COUNT, 5, 9), 2),
        (lists.list_get_by_value_rank_range_relative("b", 5, 0, L_RANK), [1, 2, 3, 4]),
        (lists.list_get_by_value("b", 99, L_COUNT), 0),
    ],
)
def test_lists_are_read(client, key, operation, answer):
    client.put(key, {"b": ["x", 4, [1, 2], 8, 8]})
    assert told(client, key, operation) == answer
    # Among writes it tells the same.
    assert client.operate(key, [op.write("other", 1), operation])[2]["b"] == answer


@pytest.mark.parametrize(
    "before, operation, code",
    [
        ([1], lists.list_get("b", 5), 26),
        ([1], lists.list_pop("b", 5), 26),
        ([1], lists.list_append("b", 1, UNIQUE), 24),
        ([1], lists.list_append_items("b", [2, 2], UNIQUE), 26),
        ([1], lists.list_insert("b", 5, 1, {"write_flags": aerospike.LIST_WRITE_INSERT_BOUNDED}), 26),
        (["x"], lists.list_increment("b", 0, 1), 4),
        ([1], maps.map_put("b", 1, 1), 12),
        ({"a": 1}, lists.list_append("b", 1), 12),
        (7, lists.list_size("b"), 12),
        ("text", maps.map_size("b"), 12),
        ({"a": 1}, maps.map_put("b", "a", 2, {"map_write_flags": aerospike.MAP_WRITE_FLAGS_CREATE_ONLY}), 24),
        ({"a": 1}, maps.map_put("b", "z", 2, {"map_write_flags": aerospike.MAP_WRITE_FLAGS_UPDATE_ONLY}), 23),
        ({"a": "x"}, maps.map_increment("b", "a", 1), 4),
        ({"a": 1}, maps.map_get_by_index("b", 5, M_VALUE), 26),
        ({"a": 1}, maps.map_get_by_rank("b", -5, M_VALUE), 26),
        ({"a": 1}, maps.map_size("b", ctx=[cdt_ctx.cdt_ctx_map_key("z")]), 26),
        ({"a": 1}, maps.map_size("b", ctx=[cdt_ctx.cdt_ctx_map_key("a")]), 12),
        (7, maps.map_size("b", ctx=[cdt_ctx.cdt_ctx_map_key("a")]), 4),
    ],
)
def test_what_does_not_go_is_refused_and_changes_nothing(client, key, before, operation, code):
    client.put(key, {"b": before, "n": 1})
    with refused(code):
        client.operate(key, [op.increment("n", 1), operation])
    assert bins(client, key) == {"b": before, "n": 1}
    assert client.get(key)[1]["gen"] == 1


@pytest.mark.parametrize(
    "before, operation, answer, after",
    [
        ({"a": 1}, maps.map_put("b", "c", [1]), 2, {"a": 1, "c": [1]}),
        ({"a": 1}, maps.map_put("b", 5, "x"), 2, {"a": 1, 5: "x"}),
        ({"a": 1}, maps.map_put_items("b", {"a": 2, b"k": 3}), 2, {"a": 2, b"k": 3}),
        ({"a": 1}, maps.map_increment("b", "a", 5), 6, {"a": 6}),
        ({"a": 1}, maps.map_increment("b", "n", 5), 5, {"a": 1, "n": 5}),
        ({"a": 1}, maps.map_decrement("b", "a", 5), -4, {"a": -4}),
        ({"a": 1}, maps.map_clear("b"), None, {}),
        ({"a": 1}, maps.map_set_policy("b", KEY_ORDERED), None, {"a": 1}),
        ({"a": 1, "c": 2}, maps.map_remove_by_key("b", "a", M_VALUE), 1, {"c": 2}),
        ({"a": 1, "c": 2}, maps.map_remove_by_key("b", "z", M_COUNT), 0, {"a": 1, "c": 2}),
        ({"a": 1, "c": 2, "d": 3}, maps.map_remove_by_key_list("b", ["a", "z", "d"], M_KEY), ["a", "d"], {"c": 2}),
        ({"a": 1, "c": 2, "d": 3}, maps.map_remove_by_key_range("b", "a", "d", M_COUNT), 2, {"d": 3}),
        ({"a": 1, "c": 2}, maps.map_remove_by_value("b", 2, M_KEY), ["c"], {"a": 1}),
        ({"a": 1, "c": 2, "d": 3}, maps.map_remove_by_value_list("b", [1, 3], M_COUNT), 2, {"c": 2}),
        ({"a": 1, "c": 2, "d": 3}, maps.map_remove_by_value_range("b", 1, 3, M_KEY), ["a", "c"], {"d": 3}),
        ({"a": 1, "c": 2}, maps.map_remove_by_index("b", -1, M_KEY), "c", {"a": 1}),
        ({"a": 1, "c": 2, "d": 3}, maps.map_remove_by_index_range("b", 1, 5, M_KEY), ["c", "d"], {"a": 1}),
        ({"a": 9, "c": 2}, maps.map_remove_by_rank("b", 0, M_KEY), "c", {"a": 9}),
        ({"a": 9, "c": 2, "d": 3}, maps.map_remove_by_rank_range("b", 1, 2, M_KEY), ["d", "a"], {"c": 2}),
        ({"a": 9, "c": 2}, maps.map_remove_by_key_index_range_relative("b", "b", 0, M_KEY), ["c"], {"a": 9}),
        ({"a": 9, "c": 2}, maps.map_remove_by_value_rank_range_relative("b", 3, 0, M_KEY), ["a"], {"c": 2}),
    ],
)
def test_maps_are_changed(client, key, before, operation, answer, after):
    client.put(key, {"b": before})
    assert told(client, key, operation) == answer
    assert content(client, key) == after


@pytest.mark.parametrize(
    "operation, answer",
    [
        (maps.map_size("b"), 4),
        (maps.map_get_by_key("b", "c", M_VALUE), 7),
        (maps.map_get_by_key("b", "c", M_INDEX), 1),
        (maps.map_get_by_key("b", "c", M_RANK), 2),
        (maps.map_get_by_key("b", "z", M_INDEX), -1),
        (maps.map_get_by_key("b", "c", aerospike.MAP_RETURN_EXISTS), True),
        (maps.map_get_by_key("b", "c", aerospike.MAP_RETURN_ORDERED_MAP), {"c": 7}),
        (maps.map_get_by_key_list("b", ["e", "a"], M_VALUE), [5, 3]),
        (maps.map_get_by_key_list("b", ["e", "a"], M_KEY, inverted=True), ["c", "d"]),
        (maps.map_get_by_key_range("b", "a", "d", M_KEY), ["a", "c"]),
        (maps.map_get_by_value("b", 3, M_KEY), ["e"]),
        (maps.map_get_by_value_list("b", [9, 3], M_KEY), ["d", "e"]),
        (maps.map_get_by_value_range("b", 5, 9, M_KEY), ["a", "c"]),
        (maps.map_get_by_index("b", -1, M_KEY), "e"),
        (maps.map_get_by_index_range("b", 1, 2, M_KEY), ["c", "d"]),
        (maps.map_get_by_rank("b", 0, M_KEY), "e"),
        (maps.map_get_by_rank_range("b", -2, 2, M_KEY), ["c", "d"]),
        (maps.map_get_by_rank_range("b", 0, 3, M_VALUE), [3, 5, 7]),
        (maps.map_get_by_rank_range("b", 0, 2, aerospike.MAP_RETURN_UNORDERED_MAP), {"a": 5, "e": 3}),
        (maps.map_get_by_key_index_range_relative("b", "b", 0, M_KEY, 2), ["c", "d"]),
        (maps.map_get_by_value_rank_range_relative("b", 6, 0, M_KEY), ["c", "d"]),
    ],
)
def test_maps_are_read(client, key, operation, answer):
    client.put(key, {"b": {"a": 5, "c": 7, "d": 9, "e": 3}})
    assert told(client, key, operation) == answer
    assert client.operate(key, [op.write("other", 1), operation])[2]["b"] == answer


def test_pairs_come_back_in_their_order(client, key):
    client.put(key, {"b": {"a": 5, "c": 7, "e": 3}})
    answer = told(client, key, maps.map_get_by_rank_range("b", 0, 3, M_PAIRS))
    assert list(dict(answer).items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2])) == [
        ("e", 3),
        ("a", 5),
        ("c", 7),
    ]


def test_an_ordered_list_stays_in_order(client, key):
    for value in (5, "x", 1, 3, 5):
        client.operate(key, [lists.list_append("b", value, ORDERED)])
    assert content(client, key) == [1, 3, 5, 5, "x"]
    assert told(client, key, lists.list_get_by_value("b", 5, L_RANK)) == [2, 3]
    assert told(client, key, lists.list_increment("b", 0, 9)) == 10
    assert content(client, key) == [3, 5, 5, 10, "x"]
    with refused(26):
        client.operate(key, [lists.list_insert("b", 0, 1)])


def test_write_flags_leave_undone_what_is_not_allowed(client, key):
    flags = aerospike.LIST_WRITE_ADD_UNIQUE | aerospike.LIST_WRITE_NO_FAIL
    client.put(key, {"b": [1, 2], "m": {"a": 1}})
    assert told(client, key, lists.list_append("b", 1, {"write_flags": flags})) == 2
    flags |= aerospike.LIST_WRITE_PARTIAL
    assert told(client, key, lists.list_append_items("b", [1, 3], {"write_flags": flags})) == 3
    flags = aerospike.MAP_WRITE_FLAGS_CREATE_ONLY | aerospike.MAP_WRITE_FLAGS_NO_FAIL
    policy = {"map_write_flags": flags | aerospike.MAP_WRITE_FLAGS_PARTIAL}
    client.operate(key, [maps.map_put_items("m", {"a": 9, "c": 2}, policy)])
    assert bins(client, key) == {"b": [1, 2, 3], "m": {"a": 1, "c": 2}}


def test_missing_bins_are_made_by_what_adds_and_by_nothing_else(client, key):
    client.put(key, {"n": 1})
    for operation in (
        lists.list_clear("b"),
        lists.list_pop("b", 0),
        lists.list_remove_by_value("b", 1, L_COUNT),
        maps.map_clear("b"),
        maps.map_remove_by_key("b", "a", M_VALUE),
        lists.list_size("b"),
        maps.map_get_by_key("b", "a", M_VALUE),
    ):
        assert told(client, key, operation) is None
        assert bins(client, key) == {"n": 1}
    assert told(client, key, maps.map_put("b", "a", 1, KEY_ORDERED)) == 1
    assert content(client, key) == {"a": 1}


def test_a_record_is_made_by_what_adds_and_by_nothing_else(client, key):
    with refused(2):
        client.operate(key, [lists.list_remove_by_value("b", 1, L_COUNT)])
    assert told(client, key, lists.list_append("b", 1)) == 1


NESTED = {"list": [[5], {"k": [1, 2]}, 3], "map": {"x": 1}}


@pytest.mark.parametrize(
    "path, operation, answer",
    [
        ([cdt_ctx.cdt_ctx_map_key("list")], lists.list_size, 3),
        ([cdt_ctx.cdt_ctx_map_index(0), cdt_ctx.cdt_ctx_list_index(0)], lists.list_size, 1),
        ([cdt_ctx.cdt_ctx_map_key("list"), cdt_ctx.cdt_ctx_list_rank(-1)], maps.map_size, 1),
        ([cdt_ctx.cdt_ctx_map_rank(0), cdt_ctx.cdt_ctx_list_value([5])], lists.list_size, 1),
        ([cdt_ctx.cdt_ctx_map_value({"x": 1})], maps.map_size, 1),
        (
            [
                cdt_ctx.cdt_ctx_map_key("list"),
                cdt_ctx.cdt_ctx_list_index(1),
                cdt_ctx.cdt_ctx_map_key("k"),
            ],
            lists.list_size,
            2,
        ),
    ],
)
def test_paths_lead_into_collections(client, key, path, operation, answer):
    client.put(key, {"b": NESTED})
    assert told(client, key, operation("b", ctx=path)) == answer


def test_collections_inside_others_are_changed_in_place(client, key):
    client.put(key, {"b": NESTED})
    inner = [
        cdt_ctx.cdt_ctx_map_key("list"),
        cdt_ctx.cdt_ctx_list_index(1),
        cdt_ctx.cdt_ctx_map_key("k"),
    ]
    assert told(client, key, lists.list_append("b", 9, ctx=inner)) == 3
    assert told(client, key, maps.map_increment("b", "x", 4, ctx=[cdt_ctx.cdt_ctx_map_key("map")])) == 5
    assert content(client, key) == {"list": [[5], {"k": [1, 2, 9]}, 3], "map": {"x": 5}}


def test_paths_make_what_is_missing(client, key):
    client.put(key, {"b": {}})
    to_map = cdt_ctx.cdt_ctx_map_key_create("m", aerospike.MAP_KEY_ORDERED)
    assert told(client, key, maps.map_put("b", "a", 1, ctx=[to_map])) == 1
    to_list = cdt_ctx.cdt_ctx_map_key_create("l", aerospike.MAP_UNORDERED)
    at_two = cdt_ctx.cdt_ctx_list_index_create(2, aerospike.LIST_UNORDERED, True)
    assert told(client, key, lists.list_append("b", 7, ctx=[to_list, at_two])) == 1
    assert content(client, key) == {"l": [None, None, [7]], "m": {"a": 1}}
    with refused(26):
        client.operate(key, [lists.list_append("b", 1, ctx=[cdt_ctx.cdt_ctx_map_key("z")])])


def test_ordered_lists_around_a_change_stay_in_order(client, key):
    client.operate(key, [lists.list_append_items("b", [[3], [1], [2]], ORDERED)])
    first = [cdt_ctx.cdt_ctx_list_index(0)]
    client.operate(key, [lists.list_set("b", 0, 9, ctx=first)])
    assert content(client, key) == [[2], [3], [9]]


def test_operations_on_one_bin_see_each_other(client, key):
    _, meta, found = client.operate_ordered(
        key,
        [
            lists.list_append("b", 3),
            lists.list_append_items("b", [1, 2]),
            lists.list_get_by_rank("b", 0, L_VALUE),
            lists.list_sort("b"),
            lists.list_get("b", 0),
        ],
    )
    assert [value for _, value in found if value is not None] == [1, 3, 1, 1]
    assert meta["gen"] == 1


def test_a_large_map_is_counted_in(client, key):
    client.put(key, {"b": {f"key{number:05}": number for number in range(10_000)}})
    assert told(client, key, maps.map_increment("b", "key05000", 1)) == 5001
    assert told(client, key, maps.map_get_by_rank("b", -1, M_KEY)) == "key09999"
    assert told(client, key, maps.map_size("b")) == 10_000


def test_collections_are_read_in_batches(client, keys):
    for number, key in enumerate(keys):
        client.put(key, {"b": list(range(number))})
    answer = client.batch_operate(keys, [lists.list_size("b")])
    assert [row.record[2]["b"] for row in answer.batch_records] == list(range(10))
    answer = client.batch_operate(keys, [lists.list_append("b", 0)])
    assert [row.record[2]["b"] for row in answer.batch_records] == list(range(1, 11))
