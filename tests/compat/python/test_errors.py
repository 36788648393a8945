"""Refusals: the right code, nothing applied, and a connection that goes on working.

Codes that belong to one command are tested with it: 2, 3, 5, 12 and 160 in records, policies and
values, 19 in keys.
"""

import aerospike
import pytest
from aerospike import exception
from aerospike_helpers.operations import operations as op
from conftest import bins, connect, refused


def test_a_record_beyond_the_limit_is_refused_with_13(client, key):
    client.put(key, {"a": 1})
    with refused(13):
        client.put(key, {"b": bytes(2 << 20)})
    with pytest.raises(exception.RecordTooBig):
        client.put(key, {f"b{number}": bytes(300_000) for number in range(5)})
    assert client.get(key)[1:] == ({"gen": 1, "ttl": aerospike.TTL_NEVER_EXPIRE}, {"a": 1})


def test_an_append_beyond_the_limit_is_refused_with_13(client, key):
    client.put(key, {"s": "x" * 700_000})
    with refused(13):
        client.append(key, "s", "x" * 700_000)
    assert len(bins(client, key)["s"]) == 700_000


def test_an_unknown_namespace_is_refused_with_20(client):
    with refused(20):
        client.put(("nope", "s", "k"), {"a": 1})
    with refused(20):
        client.get(("nope", "s", "k"))


def test_a_bin_name_of_15_bytes_is_taken_and_of_16_refused_with_21(client, key):
    client.put(key, {"b" * 15: 1})
    with refused(21):
        client.put(key, {"b" * 16: 1})
    assert bins(client, key) == {"b" * 15: 1}


def test_an_operate_without_operations_is_refused(client, key):
    client.put(key, {"a": 1})
    with pytest.raises(exception.AerospikeError):
        client.operate(key, [])


def test_the_same_connection_answers_after_every_refusal(key):
    client = connect(max_conns_per_node=1)
    client.put(key, {"s": "x"})
    refusals = [
        (12, lambda: client.increment(key, "s", 1)),
        (13, lambda: client.put(key, {"b": bytes(2 << 20)})),
        (3, lambda: client.remove(key, {"gen": 9}, {"gen": aerospike.POLICY_GEN_EQ})),
        (5, lambda: client.put(key, {"a": 1}, policy={"exists": aerospike.POLICY_EXISTS_CREATE})),
        (4, lambda: client.put(key, {"a": 1}, meta={"ttl": 315_360_001})),
        (2, lambda: client.get((key[0], key[1], "nobody"))),
    ]
    before = opened_connections(client)
    for code, command in refusals * 3:
        with refused(code):
            command()
        assert bins(client, key) == {"s": "x"}
    # Info goes over connections of its own, one at a time; a broken data connection would add to them.
    assert opened_connections(client) - before <= 2
    client.close()


def opened_connections(client):
    answer = client.info_random_node("statistics").split("\t", 1)[1]
    pairs = dict(pair.split("=", 1) for pair in answer.strip().split(";"))
    return int(pairs["client_connections_opened"])
