"""A namespace past its limits: writes stop, deletes and reads do not, and what expires first is evicted.

Run by itself, against namespaces that `tests/compat/python.rs` makes for it.
"""

import aerospike
import pytest
from aerospike import exception
from conftest import refused, wait_until

VALUE = "x" * 4000


def shown(client, ns):
    text = next(iter(client.info_all(f"namespace/{ns}").values()))[1]
    return dict(item.split("=", 1) for item in text.strip().split(";"))


def fill(client, ns, ttl):
    """Writes until a write is refused with 8; returns how many were not."""
    for number in range(10_000):
        try:
            client.put((ns, "fill", number), {"v": VALUE}, meta={"ttl": ttl})
        except exception.AerospikeError as error:
            if error.code == 18:
                continue
            assert error.code == 8, error.msg
            return number
    raise AssertionError("it is never full")


def test_stopped_writes_are_refused_and_deletes_make_room(client):
    count = fill(client, "full", aerospike.TTL_NEVER_EXPIRE)
    assert 300 < count < 1500
    wait_until(lambda: shown(client, "full")["stop_writes"] == "true")
    for write in (
        lambda: client.put(("full", "fill", 0), {"v": 1}),
        lambda: client.touch(("full", "fill", 0), 100),
        lambda: client.increment(("full", "fill", 0), "n", 1),
    ):
        with refused(8):
            write()
    assert client.get(("full", "fill", 0))[2] == {"v": VALUE}
    for number in range(count):
        client.remove(("full", "fill", number))
    wait_until(lambda: shown(client, "full")["stop_writes"] == "false")
    client.put(("full", "fill", 0), {"v": 1})
    client.remove(("full", "fill", 0))


def test_what_expires_first_is_evicted_beyond_the_limit(client):
    for number in range(1000):
        client.put(("evicts", "e", number), {"v": VALUE}, meta={"ttl": 1000 + 10 * number})
    client.put(("evicts", "e", "ever"), {"v": VALUE})
    wait_until(lambda: int(shown(client, "evicts")["evicted_objects"]) > 0)
    wait_until(lambda: shown(client, "evicts")["hwm_breached"] == "false")
    there = [
        number for number in range(1000) if client.exists(("evicts", "e", number))[1] is not None
    ]
    assert 0 < len(there) < 1000
    assert there == list(range(1000 - len(there), 1000)), "the last to expire are left"
    assert client.get(("evicts", "e", "ever"))[2] == {"v": VALUE}
    assert int(shown(client, "evicts")["evict_ttl"]) > 0


def test_an_evicted_record_is_made_anew(client):
    client.put(("evicts", "again", 0), {"v": 1}, meta={"ttl": 50})
    client.put(("evicts", "again", 0), {"v": 2}, meta={"ttl": 50})
    client.info_all("eviction-reset:namespace=evicts;ttl=60")
    with refused(2):
        client.get(("evicts", "again", 0))
    client.put(("evicts", "again", 0), {"v": 3}, meta={"ttl": 50})
    _, meta, value = client.get(("evicts", "again", 0))
    assert (meta["gen"], value) == (1, {"v": 3})


def test_a_life_has_the_limit_that_the_namespace_sets(client):
    key = ("evicts", "lives", 0)
    client.put(key, {"v": 1}, meta={"ttl": 86_400})
    with refused(4):
        client.put(key, {"v": 1}, meta={"ttl": 86_401})
    client.remove(key)


def test_a_life_is_not_made_shorter_where_the_namespace_forbids_it(client):
    key = ("evicts", "lives", 1)
    client.put(key, {"v": 1}, meta={"ttl": 1000})
    client.put(key, {"v": 2}, meta={"ttl": 10})
    _, meta, value = client.get(key)
    assert 995 <= meta["ttl"] <= 1000 and value == {"v": 2}
    client.put(key, {"v": 3}, meta={"ttl": 2000})
    assert client.get(key)[1]["ttl"] > 1000
    client.remove(key)
