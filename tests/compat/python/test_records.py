"""Commands on one record.

put, get, select, exists, touch, remove, remove_bin, append, prepend, increment.
"""

import aerospike
import pytest
from aerospike import exception
from conftest import bins, refused

INT_MAX = 2**63 - 1
INT_MIN = -(2**63)


def test_get_returns_key_metadata_and_bins_of_what_was_put(client, key):
    client.put(key, {"a": 1, "b": "two"})
    (ns, set_name, user_key, digest), meta, found = client.get(key)
    assert (ns, set_name, user_key) == (key[0], key[1], None)
    assert digest == aerospike.calc_digest(*key)
    assert meta["gen"] == 1
    assert meta["ttl"] == aerospike.TTL_NEVER_EXPIRE
    assert found == {"a": 1, "b": "two"}


def test_a_second_put_keeps_the_bins_it_does_not_name(client, key):
    client.put(key, {"a": 1, "b": 2})
    client.put(key, {"b": 3, "c": 4})
    _, meta, found = client.get(key)
    assert found == {"a": 1, "b": 3, "c": 4}
    assert meta["gen"] == 2


def test_a_bin_may_change_its_type(client, key):
    for value in [1, "one", 1.5, b"1", True, [1], {"a": 1}]:
        client.put(key, {"a": value})
        assert bins(client, key) == {"a": value}


@pytest.mark.parametrize("nothing", [None, aerospike.null()])
def test_putting_nothing_removes_the_bin(client, key, nothing):
    client.put(key, {"a": 1, "b": 2})
    client.put(key, {"a": nothing})
    assert bins(client, key) == {"b": 2}


def test_a_record_goes_with_its_last_bin(client, key):
    client.put(key, {"a": 1})
    client.put(key, {"a": None})
    assert client.exists(key)[1] is None
    with refused(2):
        client.get(key)


def test_putting_only_nothing_into_a_missing_record_is_not_found(client, key):
    with refused(2):
        client.put(key, {"a": None})


def test_get_of_a_missing_record_is_not_found(client, key):
    with pytest.raises(exception.RecordNotFound):
        client.get(key)


def test_exists_tells_metadata_or_nothing(client, key):
    assert client.exists(key)[1] is None
    client.put(key, {"a": 1})
    client.put(key, {"a": 1})
    assert client.exists(key)[1]["gen"] == 2


def test_select_returns_only_the_bins_it_names(client, key):
    client.put(key, {"a": 1, "b": "2", "c": [3]})
    assert client.select(key, ["c", "a"])[2] == {"a": 1, "c": [3]}


def test_select_leaves_out_bins_that_are_not_there(client, key):
    client.put(key, {"a": 1})
    assert client.select(key, ["a", "nope"])[2] == {"a": 1}
    _, meta, found = client.select(key, ["nope"])
    assert (meta["gen"], found) == (1, {})


def test_select_of_a_missing_record_is_not_found(client, key):
    with refused(2):
        client.select(key, ["a"])


def test_touch_counts_a_generation_and_sets_the_ttl(client, key):
    client.put(key, {"a": 1})
    client.touch(key, 1000)
    _, meta, found = client.get(key)
    assert found == {"a": 1}
    assert meta["gen"] == 2
    assert 995 <= meta["ttl"] <= 1000


def test_touch_of_a_missing_record_is_not_found(client, key):
    with refused(2):
        client.touch(key, 100)


def test_a_removed_record_is_gone_and_starts_again_at_generation_one(client, key):
    client.put(key, {"a": 1})
    client.put(key, {"a": 2})
    client.remove(key)
    with refused(2):
        client.get(key)
    client.put(key, {"b": 1})
    _, meta, found = client.get(key)
    assert (meta["gen"], found) == (1, {"b": 1})


def test_remove_of_a_missing_record_is_not_found(client, key):
    with refused(2):
        client.remove(key)


def test_remove_bin_removes_the_named_bins_only(client, key):
    client.put(key, {"a": 1, "b": 2, "c": 3})
    client.remove_bin(key, ["a", "c", "nope"])
    assert bins(client, key) == {"b": 2}


def test_remove_bin_of_the_last_bin_removes_the_record(client, key):
    client.put(key, {"a": 1})
    client.remove_bin(key, ["a"])
    with refused(2):
        client.get(key)


def test_append_and_prepend_extend_a_string(client, key):
    client.put(key, {"s": "m"})
    client.append(key, "s", "ä→")
    client.prepend(key, "s", "α")
    assert bins(client, key) == {"s": "αmä→"}


def test_append_and_prepend_extend_bytes(client, key):
    client.put(key, {"b": b"\x01"})
    client.append(key, "b", b"\x02\x00")
    client.prepend(key, "b", bytearray(b"\xff"))
    assert bins(client, key) == {"b": b"\xff\x01\x02\x00"}


def test_append_and_prepend_create_record_and_bin(client, key):
    client.append(key, "a", "x")
    client.prepend(key, "p", "y")
    assert bins(client, key) == {"a": "x", "p": "y"}


def test_append_of_another_type_is_refused_and_changes_nothing(client, key):
    values = {"i": 1, "f": 1.5, "l": [1], "m": {"a": 1}, "b": b"1", "t": True}
    client.put(key, values)
    for name in values:
        with refused(12):
            client.append(key, name, "x")
        with refused(12):
            client.prepend(key, name, "x")
    _, meta, found = client.get(key)
    assert (meta["gen"], found) == (1, values)


def test_increment_adds_to_integers_and_floats(client, key):
    client.put(key, {"i": 5, "f": 1.25})
    client.increment(key, "i", -7)
    client.increment(key, "f", 0.5)
    assert bins(client, key) == {"i": -2, "f": 1.75}


def test_increment_creates_record_and_bin(client, key):
    client.increment(key, "i", 3)
    client.increment(key, "f", 0.25)
    assert bins(client, key) == {"i": 3, "f": 0.25}


def test_increment_wraps_around_at_the_ends(client, key):
    client.put(key, {"max": INT_MAX, "min": INT_MIN})
    client.increment(key, "max", 1)
    client.increment(key, "min", -1)
    assert bins(client, key) == {"max": INT_MIN, "min": INT_MAX}


def test_increment_of_another_type_is_refused_and_changes_nothing(client, key):
    values = {"s": "1", "b": b"1", "l": [1], "m": {"a": 1}, "t": True, "f": 1.5}
    client.put(key, values)
    for name in values:
        with refused(12):
            client.increment(key, name, 1)
    assert client.get(key)[1:] == ({"gen": 1, "ttl": aerospike.TTL_NEVER_EXPIRE}, values)


def test_a_record_may_have_a_thousand_bins(client, key):
    many = {f"bin-{number}": number for number in range(1000)}
    client.put(key, many)
    assert bins(client, key) == many


def test_a_record_just_below_the_limit_is_stored_whole(client, key):
    large = bytes(range(256)) * 4064  # 1,040,384 bytes of the 1,048,576 that a record may have
    client.put(key, {"large": large})
    assert bins(client, key) == {"large": large}
