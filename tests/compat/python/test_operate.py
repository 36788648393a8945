"""operate: several operations on one record, in order, all or none."""

import aerospike
import pytest
from aerospike_helpers.operations import operations as op
from conftest import bins, refused


def test_operations_happen_in_order_and_reads_see_what_came_before(client, key):
    client.put(key, {"n": 1})
    _, meta, found = client.operate_ordered(
        key,
        [op.read("n"), op.increment("n", 10), op.read("n"), op.write("n", 0), op.read("n")],
    )
    assert [pair for pair in found if pair[1] is not None] == [("n", 1), ("n", 11), ("n", 0)]
    assert meta["gen"] == 2


def test_operate_returns_the_last_value_of_each_bin(client, key):
    client.put(key, {"n": 1, "s": "b"})
    _, meta, found = client.operate(
        key,
        [op.increment("n", 2), op.append("s", "c"), op.prepend("s", "a"), op.read("n"), op.read("s")],
    )
    assert found == {"n": 3, "s": "abc"}
    assert meta["gen"] == 2


def test_operations_may_be_plain_dictionaries(client, key):
    client.put(key, {"n": 1})
    operations = [
        {"op": aerospike.OPERATOR_INCR, "bin": "n", "val": 3},
        {"op": aerospike.OPERATOR_WRITE, "bin": "w", "val": [1]},
        {"op": aerospike.OPERATOR_READ, "bin": "n"},
        {"op": aerospike.OPERATOR_TOUCH, "val": 100},
    ]
    _, meta, found = client.operate(key, operations)
    assert found == {"n": 4}
    assert 95 <= meta["ttl"] <= 100
    assert bins(client, key) == {"n": 4, "w": [1]}


def test_operate_creates_a_record(client, key):
    _, meta, found = client.operate(key, [op.write("a", 1), op.increment("n", 2), op.read("n")])
    assert (meta["gen"], found) == (1, {"n": 2})
    assert bins(client, key) == {"a": 1, "n": 2}


def test_only_reading_a_missing_record_is_not_found(client, key):
    with refused(2):
        client.operate(key, [op.read("a")])


def test_only_reading_counts_no_generation(client, key):
    client.put(key, {"a": 1, "b": 2})
    _, meta, found = client.operate(key, [op.read("b"), op.read("nope")])
    assert found == {"b": 2}
    assert client.get(key)[1]["gen"] == meta["gen"] == 1


def test_reading_all_bins_shows_them_as_of_its_turn(client, key):
    client.put(key, {"a": 1, "b": 2})
    _, _, found = client.operate(key, [op.write("a", 5), op.read(""), op.write("c", 6)])
    assert found == {"a": 5, "b": 2}
    assert bins(client, key) == {"a": 5, "b": 2, "c": 6}


def test_one_operation_that_cannot_be_done_undoes_all(client, key):
    client.put(key, {"n": 1, "s": "x"})
    for operations in [
        [op.write("n", 2), op.increment("s", 1)],
        [op.increment("n", 1), op.append("n", "x")],
        [op.delete(), op.write("n", 1), op.prepend("n", "x")],
    ]:
        with refused(12):
            client.operate(key, operations)
    _, meta, found = client.get(key)
    assert (meta["gen"], found) == (1, {"n": 1, "s": "x"})


def test_a_failed_operation_on_a_missing_record_creates_nothing(client, key):
    with refused(12):
        client.operate(key, [op.write("s", "x"), op.increment("s", 1)])
    assert client.exists(key)[1] is None


def test_delete_and_write_replaces_all_bins(client, key):
    client.put(key, {"a": 1, "b": 2})
    client.operate(key, [op.delete(), op.write("c", 3)])
    _, meta, found = client.get(key)
    assert (meta["gen"], found) == (2, {"c": 3})


def test_delete_returns_what_was_read_before_it(client, key):
    client.put(key, {"a": 1})
    _, _, found = client.operate(key, [op.read("a"), op.delete()])
    assert found == {"a": 1}
    assert client.exists(key)[1] is None


def test_touch_as_an_operation_sets_the_ttl(client, key):
    client.put(key, {"a": 1})
    _, meta, found = client.operate(key, [op.touch(500), op.read("a")])
    assert found == {"a": 1}
    assert 495 <= meta["ttl"] <= 500
    assert client.get(key)[1]["gen"] == 2


def test_touch_as_an_operation_needs_a_record(client, key):
    with refused(2):
        client.operate(key, [op.touch(500), op.write("a", 1)])
    assert client.exists(key)[1] is None


def test_operate_honours_ttl_and_generation_of_its_metadata(client, key):
    client.put(key, {"a": 1})
    equal = {"gen": aerospike.POLICY_GEN_EQ}
    with refused(3):
        client.operate(key, [op.write("a", 2)], meta={"gen": 7}, policy=equal)
    client.operate(key, [op.write("a", 2)], meta={"gen": 1, "ttl": 300}, policy=equal)
    _, meta, found = client.get(key)
    assert (meta["gen"], found) == (2, {"a": 2})
    assert 295 <= meta["ttl"] <= 300


@pytest.mark.parametrize("bin_count", [1, 200])
def test_operate_takes_many_operations(client, key, bin_count):
    operations = [op.write(f"b{number}", number) for number in range(bin_count)]
    operations += [op.read(f"b{number}") for number in range(bin_count)]
    _, _, found = client.operate(key, operations)
    assert found == {f"b{number}": number for number in range(bin_count)}
