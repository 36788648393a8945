"""HyperLogLog."""

import aerospike
import pytest
from aerospike_helpers import expressions as exp
from aerospike_helpers.operations import expression_operations
from aerospike_helpers.operations import hll_operations as hll
from aerospike_helpers.operations import operations
from conftest import bins, refused

CREATE_ONLY = {"flags": aerospike.HLL_WRITE_CREATE_ONLY}
UPDATE_ONLY = {"flags": aerospike.HLL_WRITE_UPDATE_ONLY}
ALLOW_FOLD = {"flags": aerospike.HLL_WRITE_ALLOW_FOLD}


def one(client, key, operation):
    return client.operate(key, [operation])[2]["h"]


@pytest.fixture
def sketches(client, keys):
    """Sketches of 0..1000, 500..1500 and nothing, with minhashes."""
    for key, numbers in zip(keys, [range(1000), range(500, 1500), []]):
        client.operate(key, [hll.hll_init("h", 12, 16), hll.hll_add("h", list(numbers))])
    return keys


def test_elements_of_every_scalar_type_are_counted(client, key):
    elements = ["a", 5, 1000, 1.5, b"blob", True]
    assert one(client, key, hll.hll_add("h", elements, 12)) == 6
    assert one(client, key, hll.hll_add("h", elements)) == 0
    assert one(client, key, hll.hll_get_count("h")) == 6
    assert one(client, key, hll.hll_describe("h")) == [12, 0]
    for element, contained in [("a", 1), (5, 1), ("b", 0)]:
        may_contain = exp.HLLMayContain([element], exp.HLLBin("h")).compile()
        asked = [expression_operations.expression_read("out", may_contain)]
        assert client.operate(key, asked)[2] == {"out": contained}
    assert one(client, key, hll.hll_refresh_count("h")) == 6


def test_sketches_are_byte_for_byte_those_of_other_servers(client, key):
    client.operate(key, [hll.hll_add("h", ["a", 5, 1000, 1.5], 4)])
    expected = bytes.fromhex("00040000000000000000000000000040000c2000000005")
    assert bytes(bins(client, key)["h"]) == expected


def test_sketches_are_joined_and_compared(client, sketches):
    first, second, empty = sketches[:3]
    other = [bins(client, second)["h"]]
    assert abs(one(client, first, hll.hll_get_count("h")) - 1000) < 60
    assert abs(one(client, first, hll.hll_get_union_count("h", other)) - 1500) < 90
    assert abs(one(client, first, hll.hll_get_intersect_count("h", other)) - 500) < 90
    assert abs(one(client, first, hll.hll_get_similarity("h", other)) - 1 / 3) < 0.05
    union = one(client, first, hll.hll_get_union("h", other))
    client.operate(empty, [hll.hll_set_union("h", [bins(client, first)["h"], *other])])
    assert bytes(bins(client, empty)["h"]) == bytes(union)


def test_sketches_are_written_back_as_they_were_read(client, sketches):
    sketch = bins(client, sketches[0])["h"]
    client.put(sketches[3], {"h": sketch})
    assert bytes(bins(client, sketches[3])["h"]) == bytes(sketch)
    assert one(client, sketches[3], hll.hll_describe("h")) == [12, 16]


def test_folding_loses_precision_only_where_it_is_allowed(client, key, keys):
    client.operate(key, [hll.hll_add("h", list(range(100)), 12)])
    client.operate(keys[0], [hll.hll_add("h", list(range(100)), 8)])
    narrow = [bins(client, keys[0])["h"]]
    with refused(26):
        client.operate(key, [hll.hll_set_union("h", narrow)])
    client.operate(key, [hll.hll_set_union("h", narrow, ALLOW_FOLD)])
    assert one(client, key, hll.hll_describe("h")) == [8, 0]
    client.operate(key, [hll.hll_fold("h", 4)])
    assert one(client, key, hll.hll_describe("h")) == [4, 0]


@pytest.mark.parametrize(
    "operation, code",
    [
        (hll.hll_add("n", [1], 8), 12),
        (hll.hll_get_count("n"), 12),
        (hll.hll_add("none", [1]), 26),
        (hll.hll_refresh_count("none"), 17),
        (hll.hll_init("h", 8, policy=CREATE_ONLY), 6),
        (hll.hll_init("none", 8, policy=UPDATE_ONLY), 17),
        (hll.hll_init("h", 3), 4),
        (hll.hll_fold("h", 10), 26),
        (operations.append("h", "x"), 12),
    ],
)
def test_refusals_have_the_codes_that_clients_know(client, key, operation, code):
    client.put(key, {"n": 1})
    client.operate(key, [hll.hll_add("h", [1, 2], 8)])
    with refused(code):
        client.operate(key, [operation])
