"""Queries by a secondary index: of integers, strings and blobs, of bins, lists, map keys and map values."""

import aerospike
import pytest
from aerospike import exception, predicates
from conftest import NAMESPACES, TOTAL_TIMEOUT_MS, wait_until

RECORDS = 300
SET = "queried"

# The cluster has to agree, on a machine that may be busy.
PATIENT = {"timeout": TOTAL_TIMEOUT_MS}

INDEXES = {
    "q_n": ("n", aerospike.INDEX_NUMERIC, aerospike.INDEX_TYPE_DEFAULT),
    "q_s": ("s", aerospike.INDEX_STRING, aerospike.INDEX_TYPE_DEFAULT),
    "q_b": ("b", aerospike.INDEX_BLOB, aerospike.INDEX_TYPE_DEFAULT),
    "q_l": ("l", aerospike.INDEX_NUMERIC, aerospike.INDEX_TYPE_LIST),
    "q_k": ("m", aerospike.INDEX_STRING, aerospike.INDEX_TYPE_MAPKEYS),
    "q_v": ("m", aerospike.INDEX_NUMERIC, aerospike.INDEX_TYPE_MAPVALUES),
}


def record(number):
    return {
        "n": number,
        "s": f"text {number % 10}",
        "b": bytearray(b"blob %d" % (number % 10)),
        "l": [number, number + 1, "x"],
        "m": {f"k{number % 10}": number, "all": -1},
    }


def create(client, ns, name, bin_name, kind, source):
    make = {
        (aerospike.INDEX_NUMERIC, aerospike.INDEX_TYPE_DEFAULT): client.index_integer_create,
        (aerospike.INDEX_STRING, aerospike.INDEX_TYPE_DEFAULT): client.index_string_create,
        (aerospike.INDEX_BLOB, aerospike.INDEX_TYPE_DEFAULT): client.index_blob_create,
    }
    of = {
        aerospike.INDEX_TYPE_LIST: client.index_list_create,
        aerospike.INDEX_TYPE_MAPKEYS: client.index_map_keys_create,
        aerospike.INDEX_TYPE_MAPVALUES: client.index_map_values_create,
    }
    if source in of:
        of[source](ns, SET, bin_name, kind, name, PATIENT)
    else:
        make[(kind, source)](ns, SET, bin_name, name, PATIENT)


def ask(client, command):
    (_, answer), = client.info_all(command).values()
    return answer.strip().split("\t", 1)[-1]


def is_built(client, ns, name):
    return "load_pct=100" in ask(client, f"sindex/{ns}/{name}")


@pytest.fixture(scope="module")
def indexed(client):
    """Half of the records are there before the indexes, half come after."""
    for ns in NAMESPACES:
        for number in range(RECORDS // 2):
            client.put((ns, SET, number), record(number))
        for name, (bin_name, kind, source) in INDEXES.items():
            create(client, ns, name, bin_name, kind, source)
        for number in range(RECORDS // 2, RECORDS):
            client.put((ns, SET, number), record(number))
        wait_until(lambda: all(is_built(client, ns, name) for name in INDEXES))
    yield SET
    for ns in NAMESPACES:
        for name in INDEXES:
            client.index_remove(ns, name, PATIENT)
        client.truncate(ns, SET, 0, PATIENT)


def found(client, ns, predicate, **settings):
    query = client.query(ns, SET)
    query.where(predicate)
    for name, value in settings.items():
        setattr(query, name, value)
    return sorted(record[2]["n"] for record in query.results())


EVERY_TENTH = list(range(3, RECORDS, 10))

BY_INDEX = pytest.mark.parametrize(
    "predicate, expected",
    [
        (predicates.equals("n", 7), [7]),
        (predicates.equals("n", RECORDS), []),
        (predicates.between("n", 140, 160), list(range(140, 161))),
        (predicates.between("n", -(2**63), 2**63 - 1), list(range(RECORDS))),
        (predicates.equals("s", "text 3"), EVERY_TENTH),
        (predicates.equals("s", "text"), []),
        (predicates.equals("b", bytearray(b"blob 3")), EVERY_TENTH),
        (predicates.contains("l", aerospike.INDEX_TYPE_LIST, 7), [6, 7]),
        (predicates.range("l", aerospike.INDEX_TYPE_LIST, 140, 160), list(range(139, 161))),
        (predicates.contains("m", aerospike.INDEX_TYPE_MAPKEYS, "k3"), EVERY_TENTH),
        (predicates.contains("m", aerospike.INDEX_TYPE_MAPKEYS, "all"), list(range(RECORDS))),
        (predicates.contains("m", aerospike.INDEX_TYPE_MAPVALUES, 9), [9]),
        (predicates.range("m", aerospike.INDEX_TYPE_MAPVALUES, -1, 5), list(range(RECORDS))),
    ],
)


@BY_INDEX
def test_just_the_records_that_have_the_value_are_returned_each_once(client, ns, indexed, predicate, expected):
    assert found(client, ns, predicate) == expected


def test_a_query_goes_on_page_by_page(client, ns, indexed):
    query = client.query(ns, SET)
    query.where(predicates.between("n", 50, 149))
    query.max_records = 7
    query.paginate()
    numbers, pages = [], 0
    while not query.is_done():
        numbers += [record[2]["n"] for record in query.results()]
        pages += 1
        assert pages < 100
    assert sorted(numbers) == list(range(50, 150))
    assert pages > 10


def test_an_index_follows_changes_and_deletes(client, ns, indexed):
    key = (ns, SET, "changes")
    client.put(key, {"n": 5000, "s": "changing"})
    assert found(client, ns, predicates.equals("n", 5000)) == [5000]
    client.put(key, {"n": 5001})
    assert found(client, ns, predicates.equals("n", 5000)) == []
    assert found(client, ns, predicates.equals("s", "changing")) == [5001]
    replace = {"exists": aerospike.POLICY_EXISTS_CREATE_OR_REPLACE}
    client.put(key, {"n": 5002}, policy=replace)
    assert found(client, ns, predicates.equals("s", "changing")) == []
    assert found(client, ns, predicates.between("n", 5000, 6000)) == [5002]
    client.remove(key)
    assert found(client, ns, predicates.between("n", 5000, 6000)) == []


def test_a_query_without_its_index_is_refused(client, ns, indexed):
    query = client.query(ns, SET)
    query.where(predicates.equals("no", 1))
    with pytest.raises(exception.IndexNotFound):
        query.results({"max_retries": 0})


def test_an_index_is_listed_and_gone_once_it_is_removed(client, ns, indexed):
    client.index_integer_create(ns, SET, "n2", "q_listed", PATIENT)
    listed = ask(client, f"sindex-list:namespace={ns}")
    assert f"ns={ns}:indexname=q_listed:set={SET}:bin=n2:type=numeric:indextype=default" in listed
    with pytest.raises(exception.IndexFoundError):
        client.index_string_create(ns, SET, "n2", "q_listed", PATIENT)
    client.index_remove(ns, "q_listed", PATIENT)
    assert ask(client, f"sindex-exists:namespace={ns};indexname=q_listed") == "false"
