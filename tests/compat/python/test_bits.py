"""Bits of blobs."""

import pytest
from aerospike_helpers.operations import bitwise_operations as bit
from aerospike_helpers.operations import operations
from conftest import bins, refused

import aerospike

CREATE_ONLY = {"bit_write_flags": aerospike.BIT_WRITE_CREATE_ONLY}
NO_FAIL = {"bit_write_flags": aerospike.BIT_WRITE_NO_FAIL}
PARTIAL = {"bit_write_flags": aerospike.BIT_WRITE_PARTIAL}


@pytest.fixture
def record(client, key):
    client.put(key, {"b": b"\x0f\x10\xff", "n": 1})
    return key


@pytest.mark.parametrize(
    "operation, after",
    [
        (bit.bit_resize("b", 5), b"\x0f\x10\xff\x00\x00"),
        (bit.bit_resize("b", 4, resize_flags=aerospike.BIT_RESIZE_FROM_FRONT), b"\x00\x0f\x10\xff"),
        (bit.bit_insert("b", 1, 2, b"\xaa\xbb"), b"\x0f\xaa\xbb\x10\xff"),
        (bit.bit_remove("b", 1, 1), b"\x0f\xff"),
        (bit.bit_set("b", 4, 8, 1, b"\xa5"), b"\x0a\x50\xff"),
        (bit.bit_or("b", 0, 8, 1, b"\xf0"), b"\xff\x10\xff"),
        (bit.bit_xor("b", 0, 8, 1, b"\xff"), b"\xf0\x10\xff"),
        (bit.bit_and("b", 16, 8, 1, b"\x81"), b"\x0f\x10\x81"),
        (bit.bit_not("b", 0, 12), b"\xf0\xe0\xff"),
        (bit.bit_lshift("b", 0, 16, 4), b"\xf1\x00\xff"),
        (bit.bit_rshift("b", 0, 16, 4), b"\x00\xf1\xff"),
        (bit.bit_add("b", 8, 8, 1, False, aerospike.BIT_OVERFLOW_FAIL), b"\x0f\x11\xff"),
        (bit.bit_add("b", 16, 8, 1, False, aerospike.BIT_OVERFLOW_WRAP), b"\x0f\x10\x00"),
        (bit.bit_subtract("b", 8, 8, 17, False, aerospike.BIT_OVERFLOW_SATURATE), b"\x0f\x00\xff"),
        (bit.bit_not("b", 20, 8, PARTIAL), b"\x0f\x10\xf0"),
        (bit.bit_not("b", 20, 8, NO_FAIL), b"\x0f\x10\xff"),
    ],
)
def test_blobs_are_changed_in_place(client, record, operation, after):
    client.operate(record, [operation])
    assert bins(client, record)["b"] == after


@pytest.mark.parametrize(
    "operation, answer",
    [
        (bit.bit_get("b", 4, 8), b"\xf1"),
        (bit.bit_count("b", 0, 24), 13),
        (bit.bit_lscan("b", 0, 24, True), 4),
        (bit.bit_rscan("b", 0, 24, False), 15),
        (bit.bit_get_int("b", 16, 8, True), -1),
        (bit.bit_get_int("b", 16, 8, False), 255),
    ],
)
def test_blobs_are_read_alone_and_beside_writes(client, record, operation, answer):
    assert client.operate(record, [operation])[2] == {"b": answer}
    _, _, found = client.operate(record, [operations.increment("n", 1), operation])
    assert found["b"] == answer


def test_bits_create_bins_and_see_each_other(client, key):
    work = [bit.bit_resize("b", 2), bit.bit_not("b", 0, 4), bit.bit_count("b", 0, 16)]
    assert client.operate(key, work)[2] == {"b": 4}
    assert bins(client, key) == {"b": b"\xf0\x00"}


@pytest.mark.parametrize(
    "operation, code",
    [
        (bit.bit_not("n", 0, 8), 12),
        (bit.bit_count("n", 0, 8), 12),
        (bit.bit_not("none", 0, 8), 17),
        (bit.bit_resize("b", 4, CREATE_ONLY), 6),
        (bit.bit_not("b", 20, 8), 26),
        (bit.bit_count("b", 20, 8), 26),
        (bit.bit_remove("b", 2, 2), 4),
        (bit.bit_add("b", 16, 8, 1, False, aerospike.BIT_OVERFLOW_FAIL), 26),
        (bit.bit_resize("b", 100_000_000), 13),
    ],
)
def test_refusals_have_the_codes_that_clients_know(client, record, operation, code):
    before = bins(client, record)
    with refused(code):
        client.operate(record, [operations.increment("n", 1), operation])
    assert bins(client, record) == before
