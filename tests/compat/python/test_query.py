"""Queries by a secondary index: of integers, strings and blobs, of bins, lists, map keys and map values, of what a
context leads to and of what an expression computes."""

import aerospike
import pytest
from aerospike import exception, predicates
from aerospike_helpers import cdt_ctx
from aerospike_helpers.expressions.arithmetic import Add
from aerospike_helpers.expressions.base import IntBin
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


NESTED = "nested"
WITHIN_MAP = [cdt_ctx.cdt_ctx_map_key("inner"), cdt_ctx.cdt_ctx_list_index(-1)]
SUM = Add(IntBin("a"), IntBin("b")).compile()


def nested(number):
    return {
        "n": number,
        "a": number,
        "b": number % 3,
        "m": {"inner": [-1, number], "tags": [number % 10, f"t{number % 10}"]},
    }


@pytest.fixture(scope="module")
def nested_index(client):
    """Indexes of what a context leads to and of what an expression computes; half of the records come after."""
    tags = [cdt_ctx.cdt_ctx_map_key("tags")]
    default, of_list = aerospike.INDEX_TYPE_DEFAULT, aerospike.INDEX_TYPE_LIST
    names = ("q_inner", "q_tags", "q_sum")
    for ns in NAMESPACES:
        for number in range(50):
            client.put((ns, NESTED, number), nested(number))
        client.index_cdt_create(ns, NESTED, "m", default, aerospike.INDEX_NUMERIC, "q_inner", WITHIN_MAP, PATIENT)
        client.index_cdt_create(ns, NESTED, "m", of_list, aerospike.INDEX_STRING, "q_tags", tags, PATIENT)
        client.index_expr_create(ns, NESTED, default, aerospike.INDEX_NUMERIC, SUM, "q_sum", PATIENT)
        for number in range(50, 100):
            client.put((ns, NESTED, number), nested(number))
        client.put((ns, NESTED, "else"), {"n": -1, "m": {"inner": 5, "tags": {}}, "a": "no", "b": 1})
        wait_until(lambda: all(is_built(client, ns, name) for name in names))
    yield NESTED
    for ns in NAMESPACES:
        for name in names:
            client.index_remove(ns, name, PATIENT)
        client.truncate(ns, NESTED, 0, PATIENT)


def numbers(query):
    return sorted(record[2]["n"] for record in query.results({"max_retries": 0}))


def test_a_context_leads_to_what_is_indexed(client, ns, nested_index):
    query = client.query(ns, NESTED)
    query.where(predicates.between("m", 40, 60), WITHIN_MAP)
    assert numbers(query) == list(range(40, 61))
    query = client.query(ns, NESTED)
    query.where(predicates.contains("m", aerospike.INDEX_TYPE_LIST, "t3"), [cdt_ctx.cdt_ctx_map_key("tags")])
    assert numbers(query) == list(range(3, 100, 10))
    query = client.query(ns, NESTED)
    query.where_with_index_name("q_inner", predicates.equals(None, 7))
    assert numbers(query) == [7]


def test_an_expression_computes_what_is_indexed(client, ns, nested_index):
    expected = [number for number in range(100) if 10 <= number + number % 3 <= 20]
    query = client.query(ns, NESTED)
    query.where_with_expr(SUM, predicates.between(None, 10, 20))
    assert numbers(query) == expected
    query = client.query(ns, NESTED)
    query.where_with_index_name("q_sum", predicates.between(None, 10, 20))
    assert numbers(query) == expected


def test_such_indexes_follow_changes(client, ns, nested_index):
    key = (ns, NESTED, 7)
    changed = nested(7)
    changed["m"]["inner"] = [-1, 7, 7000]
    changed["a"] = 9000
    client.put(key, changed)

    def has(inner, total):
        by_context, by_sum = client.query(ns, NESTED), client.query(ns, NESTED)
        by_context.where(predicates.equals("m", inner), WITHIN_MAP)
        by_sum.where_with_expr(SUM, predicates.equals(None, total))
        return numbers(by_context), numbers(by_sum)

    assert has(7000, 9001) == ([7], [7])
    assert has(7, 8) == ([], [])
    client.remove(key)
    assert has(7000, 9001) == ([], [])
    client.put(key, nested(7))
    assert has(7, 8) == ([7], [7])


def test_another_context_or_expression_has_no_index(client, ns, nested_index):
    query = client.query(ns, NESTED)
    query.where(predicates.equals("m", 7), [cdt_ctx.cdt_ctx_map_key("inner"), cdt_ctx.cdt_ctx_list_index(0)])
    with pytest.raises(exception.IndexNotFound):
        query.results({"max_retries": 0})
    query = client.query(ns, NESTED)
    query.where_with_expr(Add(IntBin("b"), IntBin("a")).compile(), predicates.equals(None, 7))
    with pytest.raises(exception.IndexNotFound):
        query.results({"max_retries": 0})


def test_a_context_and_an_expression_are_listed_in_base64(client, ns, nested_index):
    listed = ask(client, f"sindex-list:namespace={ns}")
    context, expression = client.get_cdtctx_base64(WITHIN_MAP), client.get_expression_base64(SUM)
    assert f"indexname=q_inner:set={NESTED}:bin=m:type=numeric:indextype=default:context={context}:exp=null" in listed
    assert f"indexname=q_sum:set={NESTED}:bin=null:type=numeric:indextype=default:context=null:exp={expression}" in listed


def test_a_list_of_100000_values_is_found_at_once(client, ns, indexed):
    key = (ns, SET, "large")
    values = list(range(1_000_000, 1_100_000))
    client.put(key, {"n": 6000, "l": values})
    for value in (1_000_000, 1_050_000, 1_099_999):
        assert found(client, ns, predicates.contains("l", aerospike.INDEX_TYPE_LIST, value)) == [6000]
    in_range = predicates.range("l", aerospike.INDEX_TYPE_LIST, 1_000_500, 1_000_600)
    assert found(client, ns, in_range) == [6000], "once, however many of its values are in the range"
    entries = lambda: int(ask(client, f"sindex/{ns}/q_l").removeprefix("entries=").split(";")[0])
    wait_until(lambda: entries() >= 100_000)
    assert found(client, ns, in_range) == [6000]
    client.put(key, {"n": 6001, "l": values[1:]})
    assert found(client, ns, predicates.contains("l", aerospike.INDEX_TYPE_LIST, 1_000_000)) == []
    assert found(client, ns, predicates.contains("l", aerospike.INDEX_TYPE_LIST, 1_000_001)) == [6001]
    client.remove(key)
    assert found(client, ns, in_range) == []
