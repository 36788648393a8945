"""What a command may ask of the record it meets, and of how it is carried there.

Existence, generation, life time, stored key; durability, replicas, compression.
"""

import time

import aerospike
import pytest
from aerospike_helpers.operations import operations as op
from conftest import bins, connect, refused, wait_until

EQUAL = {"gen": aerospike.POLICY_GEN_EQ}
GREATER = {"gen": aerospike.POLICY_GEN_GT}
SEND = {"key": aerospike.POLICY_KEY_SEND}


def exists(rule):
    return {"exists": rule}


# Existence


def test_create_only_writes_only_what_is_not_there(client, key):
    create = exists(aerospike.POLICY_EXISTS_CREATE)
    client.put(key, {"a": 1}, policy=create)
    with refused(5):
        client.put(key, {"a": 2}, policy=create)
    assert bins(client, key) == {"a": 1}
    client.remove(key)
    client.put(key, {"a": 3}, policy=create)
    assert bins(client, key) == {"a": 3}


def test_update_only_writes_only_what_is_there(client, key):
    update = exists(aerospike.POLICY_EXISTS_UPDATE)
    with refused(2):
        client.put(key, {"a": 1}, policy=update)
    client.put(key, {"a": 1, "b": 1})
    client.put(key, {"a": 2}, policy=update)
    assert bins(client, key) == {"a": 2, "b": 1}


def test_replace_only_discards_the_old_bins_of_what_is_there(client, key):
    replace = exists(aerospike.POLICY_EXISTS_REPLACE)
    with refused(2):
        client.put(key, {"a": 1}, policy=replace)
    client.put(key, {"a": 1, "b": 1})
    client.put(key, {"c": 2}, policy=replace)
    _, meta, found = client.get(key)
    assert (meta["gen"], found) == (2, {"c": 2})


def test_create_or_replace_writes_either_way_and_discards_old_bins(client, key):
    replace = exists(aerospike.POLICY_EXISTS_CREATE_OR_REPLACE)
    client.put(key, {"a": 1}, policy=replace)
    client.put(key, {"b": 2}, policy=replace)
    _, meta, found = client.get(key)
    assert (meta["gen"], found) == (2, {"b": 2})


def test_ignore_writes_either_way_and_keeps_old_bins(client, key):
    ignore = exists(aerospike.POLICY_EXISTS_IGNORE)
    client.put(key, {"a": 1}, policy=ignore)
    client.put(key, {"b": 2}, policy=ignore)
    assert bins(client, key) == {"a": 1, "b": 2}


def test_replacing_does_not_go_with_operations_on_old_bins(client, key):
    client.put(key, {"a": 1})
    replace = exists(aerospike.POLICY_EXISTS_CREATE_OR_REPLACE)
    with refused(4):
        client.operate(key, [op.increment("a", 1)], policy=replace)
    assert bins(client, key) == {"a": 1}


# Generation


def test_equal_generation_writes_only_on_that_generation(client, key):
    client.put(key, {"a": 1})
    client.put(key, {"a": 2}, meta={"gen": 1}, policy=EQUAL)
    with refused(3):
        client.put(key, {"a": 3}, meta={"gen": 1}, policy=EQUAL)
    with refused(3):
        client.put(key, {"a": 3}, meta={"gen": 3}, policy=EQUAL)
    _, meta, found = client.get(key)
    assert (meta["gen"], found) == (2, {"a": 2})


def test_equal_generation_zero_creates(client, key):
    with refused(3):
        client.put(key, {"a": 1}, meta={"gen": 5}, policy=EQUAL)
    client.put(key, {"a": 1}, meta={"gen": 0}, policy=EQUAL)
    with refused(3):
        client.put(key, {"a": 2}, meta={"gen": 0}, policy=EQUAL)
    assert bins(client, key) == {"a": 1}


def test_greater_generation_writes_only_with_a_newer_one(client, key):
    client.put(key, {"a": 1})
    with refused(3):
        client.put(key, {"a": 2}, meta={"gen": 1}, policy=GREATER)
    client.put(key, {"a": 2}, meta={"gen": 9}, policy=GREATER)
    _, meta, found = client.get(key)
    assert (meta["gen"], found) == (2, {"a": 2})


def test_remove_honours_the_generation(client, key):
    client.put(key, {"a": 1})
    with refused(3):
        client.remove(key, meta={"gen": 2}, policy=EQUAL)
    client.remove(key, meta={"gen": 1}, policy=EQUAL)
    assert client.exists(key)[1] is None


def test_every_kind_of_write_counts_one_generation(client, key):
    client.put(key, {"a": 1, "s": "x"})
    client.append(key, "s", "y")
    client.increment(key, "a", 1)
    client.touch(key)
    client.remove_bin(key, ["s"])
    client.put(key, {"b": 1}, policy=exists(aerospike.POLICY_EXISTS_REPLACE))
    assert client.get(key)[1]["gen"] == 6


# Life time


@pytest.mark.parametrize("ttl", [1, 60, 86_400, 315_360_000])
def test_a_ttl_in_seconds_is_told_back(client, key, ttl):
    client.put(key, {"a": 1}, meta={"ttl": ttl})
    assert ttl - 3 <= client.get(key)[1]["ttl"] <= ttl
    assert ttl - 3 <= client.exists(key)[1]["ttl"] <= ttl


@pytest.mark.parametrize("ttl", [aerospike.TTL_NAMESPACE_DEFAULT, aerospike.TTL_NEVER_EXPIRE])
def test_default_and_never_live_forever_where_the_namespace_sets_no_default(client, key, ttl):
    client.put(key, {"a": 1}, meta={"ttl": 100})
    client.put(key, {"a": 1}, meta={"ttl": ttl})
    assert client.get(key)[1]["ttl"] == aerospike.TTL_NEVER_EXPIRE


def test_dont_update_keeps_the_ttl_and_is_the_default_for_a_new_record(client, key):
    keep = {"ttl": aerospike.TTL_DONT_UPDATE}
    client.put(key, {"a": 1}, meta=keep)
    assert client.get(key)[1]["ttl"] == aerospike.TTL_NEVER_EXPIRE
    client.put(key, {"a": 1}, meta={"ttl": 1000})
    client.put(key, {"a": 2}, meta=keep)
    assert 990 <= client.get(key)[1]["ttl"] <= 1000


def test_a_ttl_of_more_than_ten_years_is_refused(client, key):
    with refused(4):
        client.put(key, {"a": 1}, meta={"ttl": 315_360_001})
    assert client.exists(key)[1] is None


def test_an_expired_record_is_gone_for_every_command(client, key):
    client.put(key, {"a": 1}, meta={"ttl": 1})
    assert bins(client, key) == {"a": 1}
    wait_until(lambda: client.exists(key)[1] is None)
    for command in [client.get, client.touch, client.remove]:
        with refused(2):
            command(key)
    assert client.batch_read([key]).batch_records[0].result == 2
    scanned = client.scan(key[0], key[1]).results()
    assert aerospike.calc_digest(*key) not in [record[0][3] for record in scanned]


def test_a_write_to_an_expired_record_begins_a_new_one(client, key):
    client.put(key, {"a": 1, "b": 1})
    client.put(key, {"a": 2}, meta={"ttl": 1})
    wait_until(lambda: client.exists(key)[1] is None)
    client.put(key, {"c": 3}, policy=exists(aerospike.POLICY_EXISTS_CREATE))
    _, meta, found = client.get(key)
    assert (meta["gen"], found) == (1, {"c": 3})


def test_a_touch_in_time_keeps_a_record_alive(client, key):
    client.put(key, {"a": 1}, meta={"ttl": 1})
    client.touch(key, 100)
    time.sleep(2.2)
    assert bins(client, key) == {"a": 1}


@pytest.mark.parametrize("percent", [-1, 0, 50, 100])
def test_reads_may_say_how_they_extend_life(client, key, percent):
    client.put(key, {"a": 1}, meta={"ttl": 1000})
    found = client.get(key, policy={"read_touch_ttl_percent": percent})
    assert found[2] == {"a": 1}


# Stored keys


def test_a_sent_key_is_stored_and_scanned(client, ns, own_set):
    for user_key in ["text", 7, bytearray(b"\x00\xff")]:
        client.put((ns, own_set, user_key), {"a": 1}, policy=SEND)
    client.put((ns, own_set, "not sent"), {"a": 1})
    found = [record[0][2] for record in client.scan(ns, own_set).results()]
    assert sorted(found, key=str) == sorted([None, "text", 7, bytearray(b"\x00\xff")], key=str)


def test_a_stored_key_stays_when_later_writes_do_not_send_it(client, ns, own_set):
    key = (ns, own_set, "text")
    client.put(key, {"a": 1}, policy=SEND)
    client.put(key, {"a": 2})
    client.put(key, {"b": 3}, policy=exists(aerospike.POLICY_EXISTS_REPLACE))
    assert [record[0][2] for record in client.scan(ns, own_set).results()] == ["text"]


def test_a_key_is_stored_by_the_first_write_that_sends_it(client, ns, own_set):
    key = (ns, own_set, "text")
    client.put(key, {"a": 1})
    client.put(key, {"a": 2}, policy=SEND)
    assert [record[0][2] for record in client.scan(ns, own_set).results()] == ["text"]


def test_every_command_takes_a_sent_key(client, key):
    client.put(key, {"a": 1, "s": "x"}, policy=SEND)
    assert client.get(key, policy=SEND)[2] == {"a": 1, "s": "x"}
    assert client.select(key, ["a"], policy=SEND)[2] == {"a": 1}
    assert client.exists(key, policy=SEND)[1]["gen"] == 1
    client.touch(key, 0, policy=SEND)
    client.append(key, "s", "y", policy=SEND)
    client.increment(key, "a", 1, policy=SEND)
    client.operate(key, [op.write("b", 1)], policy=SEND)
    client.remove_bin(key, ["b"], policy=SEND)
    assert bins(client, key) == {"a": 2, "s": "xy"}
    client.remove(key, policy=SEND)


# Durability, replicas, transport


@pytest.mark.parametrize(
    "level", [aerospike.POLICY_COMMIT_LEVEL_ALL, aerospike.POLICY_COMMIT_LEVEL_MASTER]
)
def test_both_commit_levels_write(client, key, level):
    client.put(key, {"a": 1}, policy={"commit_level": level})
    assert bins(client, key) == {"a": 1}
    client.remove(key, policy={"commit_level": level})


def test_a_durable_delete_deletes(client, key):
    client.put(key, {"a": 1})
    client.remove(key, policy={"durable_delete": True})
    assert client.exists(key)[1] is None
    client.put(key, {"a": 1})
    client.operate(key, [op.delete()], policy={"durable_delete": True})
    assert client.exists(key)[1] is None


@pytest.mark.parametrize(
    "policy",
    [
        {"replica": aerospike.POLICY_REPLICA_MASTER},
        {"replica": aerospike.POLICY_REPLICA_ANY},
        {"replica": aerospike.POLICY_REPLICA_SEQUENCE},
        {"replica": aerospike.POLICY_REPLICA_PREFER_RACK},
        {"read_mode_ap": aerospike.POLICY_READ_MODE_AP_ALL},
        {"read_mode_sc": aerospike.POLICY_READ_MODE_SC_LINEARIZE},
        {"read_mode_sc": aerospike.POLICY_READ_MODE_SC_ALLOW_REPLICA},
        {"read_mode_sc": aerospike.POLICY_READ_MODE_SC_ALLOW_UNAVAILABLE},
        {"total_timeout": 2000, "socket_timeout": 1000, "max_retries": 0},
        {"total_timeout": 0, "socket_timeout": 0},
    ],
    ids=str,
)
def test_reads_are_answered_under_every_policy(client, key, policy):
    client.put(key, {"a": 1})
    assert client.get(key, policy=policy)[2] == {"a": 1}
    assert client.batch_read([key], policy=policy).batch_records[0].record[2] == {"a": 1}


def test_large_messages_may_be_compressed(client, key):
    text = "compressible " * 20_000
    client.put(key, {"t": text}, policy={"compress": True})
    assert client.get(key, policy={"compress": True})[2] == {"t": text}
    assert bins(client, key) == {"t": text}


def test_large_batches_may_be_compressed(client, ns, own_set):
    keys = [(ns, own_set, number) for number in range(500)]
    for key in keys:
        client.put(key, {"n": key[2]})
    found = client.batch_read(keys, policy={"compress": True}).batch_records
    assert [record.record[2] for record in found] == [{"n": number} for number in range(500)]


def test_a_client_whose_policies_compress_and_send_keys_works_throughout(ns, own_set):
    every = {"compress": True, "key": aerospike.POLICY_KEY_SEND}
    client = connect(policies={"write": every, "read": every, "batch": {"compress": True}})
    keys = [(ns, own_set, f"k{number}") for number in range(50)]
    for key in keys:
        client.put(key, {"t": "x" * 1000})
    assert len(client.batch_read(keys).batch_records) == 50
    assert {record[0][2] for record in client.scan(ns, own_set).results()} == {key[2] for key in keys}
    client.close()
