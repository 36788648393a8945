"""Keys: every type a key may have, digests, sets."""

import aerospike
import pytest
from conftest import bins, forget, refused

VECTORS = [
    ("demo", "key1", "ec91192d4b7f8ce35d5d78d34bca65cbaaaac960", 492),
    ("demo", 1, "b7f4b83889e2da67de683e1df6919a1eacc446c8", 1207),
    ("demo", -1, "e9d49a24c3debdc5a6d551d3e7087999a263bb97", 1257),
    (None, "a", "79e55340ff2911fc794c49ec2a8175bd9d7ca04c", 1401),
    ("demo", bytearray(b"\x01\x02\x03"), "ff31c926fbef445648ce63ca72a698a5473425c1", 511),
]

SEND = {"key": aerospike.POLICY_KEY_SEND}


@pytest.mark.parametrize("set_name, user_key, digest, partition", VECTORS)
def test_a_record_is_found_by_the_digest_of_its_key(client, ns, set_name, user_key, digest, partition):
    by_key = (ns, set_name, user_key)
    by_digest = (ns, set_name, None, bytearray.fromhex(digest))
    client.put(by_key, {"a": 1})
    assert bins(client, by_digest) == {"a": 1}
    assert client.get_key_partition_id(ns, set_name or "", user_key) == partition
    client.remove(by_digest)
    assert client.exists(by_key)[1] is None


@pytest.mark.parametrize(
    "user_key",
    ["s", "ü→👍", "x" * 10_000, "with:colon;and\ttab"]
    + [0, -1, 2**63 - 1, -(2**63)]
    + [bytearray(b"\x00"), bytearray(b"\xff" * 5000)],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:12]!a}",
)
def test_keys_of_every_type_and_size_name_records(client, ns, user_key):
    key = (ns, "compat", user_key)
    forget(client, key)
    client.put(key, {"a": 1}, policy=SEND)
    assert client.get(key, policy=SEND)[2] == {"a": 1}
    client.remove(key)


def test_equal_looking_keys_of_different_types_are_different_records(client, ns, own_set):
    keys = [(ns, own_set, 1), (ns, own_set, "1"), (ns, own_set, bytearray(b"1"))]
    for number, key in enumerate(keys):
        client.put(key, {"n": number})
    assert [bins(client, key)["n"] for key in keys] == [0, 1, 2]


def test_the_same_key_in_another_set_is_another_record(client, ns, own_set):
    other = own_set + "-2"
    client.put((ns, own_set, "k"), {"a": 1})
    client.put((ns, other, "k"), {"a": 2})
    client.put((ns, None, "k"), {"a": 3})
    assert bins(client, (ns, own_set, "k")) == {"a": 1}
    assert bins(client, (ns, other, "k")) == {"a": 2}
    assert bins(client, (ns, None, "k")) == {"a": 3}
    client.remove((ns, other, "k"))
    client.remove((ns, None, "k"))


def test_a_key_that_is_not_the_stored_one_is_refused_with_19(client, ns):
    # Digests are taken over set, type and key without separators, so these two have the same one. A
    # read that names no set is not about sets; that leaves the keys to differ.
    stored = (ns, "\x03set", "key")
    impostor = (ns, None, "set\x03key")
    assert aerospike.calc_digest(*stored) == aerospike.calc_digest(ns, "", impostor[2])
    client.put(stored, {"a": 1}, policy=SEND)
    for command in [client.get, client.exists, client.remove]:
        with refused(19):
            command(impostor, policy=SEND)
    assert bins(client, impostor) == {"a": 1}
    assert client.batch_read([impostor]).batch_records[0].result == 0
    client.remove(stored)


def test_a_write_that_names_another_set_than_the_records_is_refused_with_4(client, ns, key):
    client.put(key, {"a": 1})
    digest = aerospike.calc_digest(*key)
    for other in ["other", None]:
        with refused(4):
            client.put((ns, other, None, digest), {"a": 2})
    assert bins(client, key) == {"a": 1}


def test_a_read_or_remove_that_names_another_set_is_refused_with_4(client, ns, key):
    client.put(key, {"a": 1})
    stranger = (ns, "other", None, aerospike.calc_digest(*key))
    for command in [client.get, client.exists, client.remove]:
        with refused(4):
            command(stranger)
    assert bins(client, key) == {"a": 1}


def test_a_read_or_remove_may_leave_the_set_out(client, ns, key):
    client.put(key, {"a": 1})
    setless = (ns, None, None, aerospike.calc_digest(*key))
    assert bins(client, setless) == {"a": 1}
    client.remove(setless)
    assert client.exists(key)[1] is None


def test_set_names_may_have_63_bytes(client, ns):
    key = (ns, "s" * 63, "k")
    client.put(key, {"a": 1})
    assert bins(client, key) == {"a": 1}
    client.remove(key)
