"""Points and regions: queries by `geo2dsphere`, and comparison in expressions."""

import aerospike
import pytest
from aerospike import predicates
from aerospike_helpers.expressions import CmpGeo, GeoBin
from conftest import NAMESPACES, TOTAL_TIMEOUT_MS, refused, wait_until

SET = "places"
PATIENT = {"timeout": TOTAL_TIMEOUT_MS}

# Points one degree apart, each in a region of its own of half a degree around it.
SIDE = 10

INDEXES = {
    "g_point": ("point", None),
    "g_region": ("region", None),
    "g_list": ("list", aerospike.INDEX_TYPE_LIST),
    "g_map": ("map", aerospike.INDEX_TYPE_MAPVALUES),
}


def point(longitude, latitude):
    return aerospike.GeoJSON({"type": "Point", "coordinates": [longitude, latitude]})


def square(west, south, size):
    east, north = west + size, south + size
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return aerospike.GeoJSON({"type": "Polygon", "coordinates": [ring]})


def record(x, y):
    here, around = point(x, y), square(x - 0.25, y - 0.25, 0.5)
    return {
        "at": [x, y],
        "point": here,
        "region": around,
        "list": [1, here, point(-x - 60, -y)],
        "map": {"a": around, "b": 7},
    }


def ask(client, command):
    (_, answer), = client.info_all(command).values()
    return answer.strip().split("\t", 1)[-1]


@pytest.fixture(scope="module", params=NAMESPACES)
def placed(request, client):
    """Half of the records are there before the indexes, half come after."""
    ns = request.param
    places = [(x, y) for x in range(SIDE) for y in range(SIDE)]
    for x, y in places[::2]:
        client.put((ns, SET, x * SIDE + y), record(x, y))
    for name, (bin_name, source) in INDEXES.items():
        if source is None:
            client.index_geo2dsphere_create(ns, SET, bin_name, name, PATIENT)
        else:
            make = {
                aerospike.INDEX_TYPE_LIST: client.index_list_create,
                aerospike.INDEX_TYPE_MAPVALUES: client.index_map_values_create,
            }
            make[source](ns, SET, bin_name, aerospike.INDEX_GEO2DSPHERE, name, PATIENT)
    for x, y in places[1::2]:
        client.put((ns, SET, x * SIDE + y), record(x, y))
    built = lambda name: "load_pct=100" in ask(client, f"sindex/{ns}/{name}")
    wait_until(lambda: all(built(name) for name in INDEXES))
    yield ns
    for name in INDEXES:
        client.index_remove(ns, name, PATIENT)
    client.truncate(ns, SET, 0, PATIENT)


def found(client, ns, predicate):
    query = client.query(ns, SET)
    query.where(predicate)
    return sorted(record[2]["at"] for record in query.results())


WEST_HALF = square(-0.5, -0.5, 5).dumps()
WITHIN = sorted([x, y] for x in range(5) for y in range(5))


@pytest.mark.parametrize(
    "predicate, expected",
    [
        (predicates.geo_within_geojson_region("point", WEST_HALF), WITHIN),
        (predicates.geo_within_radius("point", 3, 4, 1000), [[3, 4]]),
        (predicates.geo_within_radius("point", 3.5, 4, 1000), []),
        (predicates.geo_within_radius("region", 3, 4, 1000), []),
        (predicates.geo_contains_point("region", 3.2, 4.2), [[3, 4]]),
        (predicates.geo_contains_point("region", 3.3, 4.2), []),
        (predicates.geo_contains_point("point", 3, 4), []),
        (
            predicates.geo_within_geojson_region("list", WEST_HALF, aerospike.INDEX_TYPE_LIST),
            WITHIN,
        ),
        (
            predicates.geo_within_radius("list", -63, -4, 1000, aerospike.INDEX_TYPE_LIST),
            [[3, 4]],
        ),
        (
            predicates.geo_within_radius("list", 0, 0, 3e7, aerospike.INDEX_TYPE_LIST),
            sorted([x, y] for x in range(SIDE) for y in range(SIDE)),
        ),
        (
            predicates.geo_contains_point("map", 3.2, 4.2, aerospike.INDEX_TYPE_MAPVALUES),
            [[3, 4]],
        ),
    ],
)
def test_a_query_of_places_returns_each_that_is_meant_once(client, placed, predicate, expected):
    assert found(client, placed, predicate) == expected


def test_a_place_that_moves_is_found_where_it_is(client, placed):
    key = (placed, SET, "moves")
    try:
        for longitude in (-100, 100, -179.99, 179.99):
            client.put(key, {"at": [longitude], "point": point(longitude, -45)})
            for asked in (-100, 100, -179.99, 179.99):
                here = predicates.geo_within_radius("point", asked, -45, 500)
                expected = [[longitude]] if asked == longitude else []
                assert found(client, placed, here) == expected
    finally:
        client.remove(key)


def test_queries_of_places_are_counted_by_what_they_came_upon(client, placed):
    def counted():
        pairs = (pair.split("=", 1) for pair in ask(client, f"namespace/{placed}").split(";"))
        names = [f"geo_region_query_{name}" for name in ("reqs", "cells", "points", "falsepos")]
        figures = dict(pairs)
        return [int(figures[name]) for name in names]

    before = counted()
    # To the north and to the south they are two hundred metres farther away than to the east and to the west.
    circle = predicates.geo_within_radius("point", 3, 4, 111_000)
    assert found(client, placed, circle) == [[2, 4], [3, 4], [4, 4]]
    queries, cells, met, missed = (now - then for now, then in zip(counted(), before))
    assert (queries, met) == (1, 3)
    assert cells > 0 and missed >= 2


def test_a_query_that_is_no_place_is_refused(client, placed):
    query = client.query(placed, SET)
    query.where(predicates.geo_within_geojson_region("point", '{"type": "Line"}'))
    with refused(4):
        query.results({"max_retries": 0})


def test_keys_of_maps_are_no_places(client, placed):
    with refused(4):
        client.index_map_keys_create(
            placed, SET, "map", aerospike.INDEX_GEO2DSPHERE, "g_keys", PATIENT
        )


def test_expressions_compare_places(client, placed):
    query = client.query(placed, SET)
    within = CmpGeo(GeoBin("point"), square(-0.5, -0.5, 5)).compile()
    rows = query.results({"expressions": within})
    assert sorted(row[2]["at"] for row in rows) == WITHIN
    around = CmpGeo(GeoBin("region"), point(3.2, 4.2)).compile()
    rows = query.results({"expressions": around})
    assert [row[2]["at"] for row in rows] == [[3, 4]]
