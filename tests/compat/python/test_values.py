"""Values: what goes in comes out, to the bit and to the type."""

import math
import struct

import aerospike
import pytest
from aerospike import KeyOrderedDict
from aerospike_helpers import HyperLogLog
from conftest import bins, refused

INTEGERS = [0, 1, -1, 127, 128, 255, 256, -128, -129, 32767, -32768, 65535, 65536, 2**31 - 1, 2**31]
INTEGERS += [-(2**31), -(2**31) - 1, 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1, -(2**63)]
FLOATS = [0.0, -0.0, 1.5, -1.5, 1e308, -1e308, 5e-324, math.pi, math.inf, -math.inf, 2.0**53]
# None with a NUL inside: this client ends its strings there. tests/compat/rust_client.rs has one.
STRINGS = ["", "a", "ä", "日本語", "👩‍👩‍👧", "\n\t;:=", "x" * 31, "x" * 32, "x" * 255, "x" * 256]
STRINGS += ["é" * 40_000]
BLOBS = [b"", b"\x00", b"\x00\x03abc", bytes(range(256)), b"\xff" * 70_000]


def check(client, key, value):
    client.put(key, {"v": value})
    found = bins(client, key)["v"]
    assert same(found, value), f"{found!r} came back for {value!r}"


def same(found, value):
    """Equal in value and type, all the way down; floats by their bits."""
    if isinstance(value, float):
        return type(found) is float and struct.pack(">d", found) == struct.pack(">d", value)
    if isinstance(value, list):
        return (
            type(found) is list
            and len(found) == len(value)
            and all(same(left, right) for left, right in zip(found, value))
        )
    if isinstance(value, dict):
        return (
            isinstance(found, dict)
            and len(found) == len(value)
            and all(key in found and same(found[key], value[key]) for key in value)
        )
    return type(found) is type(value) and found == value


@pytest.mark.parametrize("value", INTEGERS)
def test_integers_come_back_exactly(client, key, value):
    check(client, key, value)


@pytest.mark.parametrize("value", FLOATS)
def test_floats_come_back_to_the_bit(client, key, value):
    check(client, key, value)


def test_not_a_number_comes_back(client, key):
    client.put(key, {"v": math.nan})
    assert math.isnan(bins(client, key)["v"])


@pytest.mark.parametrize("value", STRINGS, ids=lambda value: f"{len(value)}-{value[:4]!a}")
def test_strings_come_back_exactly(client, key, value):
    check(client, key, value)


@pytest.mark.parametrize("value", BLOBS, ids=lambda value: str(len(value)))
def test_bytes_come_back_exactly(client, key, value):
    check(client, key, value)


def test_a_bytearray_comes_back_as_bytes(client, key):
    client.put(key, {"v": bytearray(b"\x00\x01")})
    assert bins(client, key)["v"] == b"\x00\x01"


@pytest.mark.parametrize("value", [True, False])
def test_booleans_stay_booleans(client, key, value):
    check(client, key, value)


@pytest.mark.parametrize(
    "value",
    [
        [],
        [1],
        [[]],
        [[[[[[1]]]]]],
        INTEGERS,
        FLOATS,
        STRINGS[:-1],
        BLOBS[:-1],
        [True, False, None, 1, "1", b"1", 1.0, [1], {"1": 1}],
        list(range(15)),
        list(range(16)),
        list(range(70_000)),
        [3, 1, 2, 1],
    ],
    ids=lambda value: str(len(value)),
)
def test_lists_come_back_in_order_and_type(client, key, value):
    check(client, key, value)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": 1},
        {1: "a", "1": "b", b"1": "c"},
        {"a": {"b": {"c": {"d": [1, {"e": None}]}}}},
        {number: str(number) for number in INTEGERS},
        {text: number for number, text in enumerate(STRINGS[:-1])},
        {"t": True, "f": False, "n": None, "d": 1.5, "l": [], "m": {}},
        {number: number for number in range(15)},
        {number: number for number in range(16)},
        {number: number for number in range(70_000)},
    ],
    ids=lambda value: str(len(value)),
)
def test_maps_come_back_with_every_key_and_type(client, key, value):
    check(client, key, value)


def test_a_key_ordered_map_comes_back_in_the_order_of_its_keys(client, key):
    client.put(key, {"v": KeyOrderedDict({"c": 3, "a": 1, "b": {"z": 1, "y": 2}})})
    found = bins(client, key)["v"]
    assert list(found.items()) == [("a", 1), ("b", {"z": 1, "y": 2}), ("c", 3)]


def test_an_ordered_map_puts_integers_before_strings_before_bytes(client, key):
    client.put(key, {"v": KeyOrderedDict({b"b": 1, "a": 2, 7: 3, -1: 4})})
    assert list(bins(client, key)["v"]) == [-1, 7, "a", b"b"]


@pytest.mark.parametrize(
    "shape",
    [
        '{"type": "Point", "coordinates": [-122.0, 37.5]}',
        '{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,1],[0,0]]]}',
        '{"type":"AeroCircle","coordinates":[[10.0,20.0],1000.5]}',
    ],
)
def test_geojson_comes_back_as_the_text_that_was_written(client, key, shape):
    client.put(key, {"v": aerospike.geojson(shape)})
    found = bins(client, key)["v"]
    assert type(found) is aerospike.GeoJSON
    assert found.dumps() == aerospike.geojson(shape).dumps()


def test_geojson_inside_a_list_stays_geojson(client, key):
    point = aerospike.geojson('{"type": "Point", "coordinates": [1.0, 2.0]}')
    client.put(key, {"v": [1, point]})
    found = bins(client, key)["v"]
    assert type(found[1]) is aerospike.GeoJSON
    assert found[1].dumps() == point.dumps()


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "Point", "coordinates": [200.0, 95.0]}',
        '{"type": "Pint", "coordinates": [1.0, 2.0]}',
        '{"coordinates": [1.0, 2.0]}',
    ],
)
def test_text_that_is_no_geometry_is_refused_with_160(client, key, text):
    with refused(160):
        client.put(key, {"v": aerospike.geojson(text)})
    assert client.exists(key)[1] is None


def test_a_hyperloglog_comes_back_to_the_byte(client, key):
    sketch = bytes([0, 4, 0]) + bytes(8) + bytes(range(12))
    client.put(key, {"v": HyperLogLog(sketch)})
    found = bins(client, key)["v"]
    assert type(found) is HyperLogLog
    assert bytes(found) == sketch


def test_every_type_fits_into_one_record(client, key):
    values = {"i": 1, "f": 1.5, "s": "x", "b": b"y", "t": True, "l": [1, [2]], "m": {"a": {"b": 1}}}
    client.put(key, values)
    assert bins(client, key) == values


def test_a_set_of_numbers_that_no_integer_holds_is_refused_by_the_client(client, key):
    with refused(-2):
        client.put(key, {"v": 2**63})
    assert client.exists(key)[1] is None
