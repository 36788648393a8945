"""Rules of sets: default lives, reads that renew them, and how much a set may hold.

`tests/compat/python.rs` configures the sets.
"""

import uuid

import aerospike
from conftest import bins, forget, refused, wait_until


def key_in(ns, name):
    return (ns, name, f"key-{uuid.uuid4()}")


def ttl_of(client, key):
    return client.get(key)[1]["ttl"]


def test_a_set_has_a_default_life_of_its_own(client, ns):
    key = key_in(ns, "hundred")
    client.put(key, {"a": 1})
    assert 98 <= ttl_of(client, key) <= 100
    client.put(key, {"a": 1}, meta={"ttl": 500})
    assert 498 <= ttl_of(client, key) <= 500
    client.put(key, {"a": 1}, meta={"ttl": aerospike.TTL_DONT_UPDATE})
    assert 498 <= ttl_of(client, key) <= 500
    client.put(key, {"a": 1}, meta={"ttl": aerospike.TTL_NEVER_EXPIRE})
    assert ttl_of(client, key) == aerospike.TTL_NEVER_EXPIRE
    client.put(key, {"a": 1})
    assert 98 <= ttl_of(client, key) <= 100
    client.remove(key)


def test_a_kept_life_of_a_new_record_is_the_default_one(client, ns):
    key = key_in(ns, "hundred")
    client.put(key, {"a": 1}, meta={"ttl": aerospike.TTL_DONT_UPDATE})
    assert 98 <= ttl_of(client, key) <= 100
    client.remove(key)


def test_a_set_may_have_reads_renew_its_records(client, ns):
    key = key_in(ns, "touched")
    client.put(key, {"a": 1}, meta={"ttl": 1000})
    policy = {"read_touch_ttl_percent": -1}
    assert client.get(key, policy=policy)[1]["gen"] == 1
    client.get(key)
    wait_until(lambda: client.get(key, policy=policy)[1]["gen"] > 1)
    assert bins(client, key) == {"a": 1}
    client.remove(key)


def test_a_record_for_ever_is_not_renewed(client, ns):
    key = key_in(ns, "touched")
    client.put(key, {"a": 1})
    for _ in range(5):
        assert client.get(key)[1]["gen"] == 1
    client.remove(key)


def test_a_set_takes_as_many_records_as_it_may_hold(client, ns):
    keys = [(ns, "three", number) for number in range(4)]
    for key in keys[:3]:
        client.put(key, {"a": 1})
    with refused(22):
        client.put(keys[3], {"a": 1})
    client.put(keys[0], {"a": 2})
    client.remove(keys[0])
    client.put(keys[3], {"a": 1})
    for key in keys:
        forget(client, key)


def test_a_set_takes_as_many_bytes_as_it_may_hold(client, ns):
    keys = [(ns, "small", number) for number in range(3)]
    client.put(keys[0], {"a": "x" * 1500})
    client.put(keys[1], {"a": "x" * 1500})
    with refused(22):
        client.put(keys[2], {"a": 1})
    with refused(22):
        client.put(keys[0], {"a": 1})
    client.remove(keys[0])
    client.put(keys[2], {"a": 1})
    for key in keys:
        forget(client, key)
