"""What this version does not do is said, clearly and at once, and breaks nothing.

Each of these tests goes the day its feature comes, and is then replaced by that feature's tests.
"""

import aerospike
import pytest
from aerospike import exception
from aerospike import predicates
from aerospike_helpers import expressions as exp
from aerospike_helpers.operations import bitwise_operations as bit
from aerospike_helpers.operations import expression_operations
from aerospike_helpers.operations import hll_operations as hll
from aerospike_helpers.operations import list_operations as lists
from aerospike_helpers.operations import map_operations as maps
from conftest import bins, refused

UNSUPPORTED = 16

FILTER = exp.GT(exp.IntBin("n"), 0).compile()


@pytest.fixture
def record(client, key):
    client.put(key, {"n": 1, "l": [1, 2], "m": {"a": 1}, "b": b"\x00\xff"})
    yield key
    assert bins(client, key) == {"n": 1, "l": [1, 2], "m": {"a": 1}, "b": b"\x00\xff"}


@pytest.mark.parametrize(
    "operation",
    [
        lists.list_append("l", 3),
        lists.list_size("l"),
        lists.list_get_by_index("l", 0, aerospike.LIST_RETURN_VALUE),
        maps.map_put("m", "b", 2),
        maps.map_get_by_key("m", "a", aerospike.MAP_RETURN_VALUE),
        bit.bit_set("b", 0, 8, 1, b"\x01"),
        bit.bit_count("b", 0, 8),
        hll.hll_add("h", ["x"], 8),
        expression_operations.expression_read("x", exp.IntBin("n").compile()),
        expression_operations.expression_write("n", exp.Add(exp.IntBin("n"), 1).compile()),
    ],
    ids=lambda operation: str(operation.get("op")),
)
def test_operations_inside_values_are_refused(client, record, operation):
    with refused(UNSUPPORTED):
        client.operate(record, [operation])


def test_filter_expressions_are_refused_never_ignored(client, record):
    policy = {"expressions": FILTER}
    for command in [
        lambda: client.get(record, policy=policy),
        lambda: client.exists(record, policy=policy),
        lambda: client.put(record, {"n": 2}, policy=policy),
        lambda: client.remove(record, policy=policy),
        lambda: client.scan(record[0], record[1]).results(policy),
        lambda: client.query(record[0], record[1]).results(policy),
    ]:
        with refused(UNSUPPORTED):
            command()


def test_filter_expressions_of_a_batch_are_refused_never_ignored(client, record):
    other = record[:2] + ("nobody",)
    answer = client.batch_read([record, other], policy={"expressions": FILTER})
    assert {row.result for row in answer.batch_records} == {UNSUPPORTED}


def test_secondary_indexes_are_refused(client, ns):
    with pytest.raises(exception.AerospikeError):
        client.index_integer_create(ns, "compat", "n", "idx_n")


def test_a_query_with_a_predicate_finds_no_index(client, record):
    query = client.query(record[0], record[1])
    query.where(predicates.between("n", 0, 10))
    with refused(201):
        query.results({"max_retries": 0})


def test_background_work_is_refused(client, record):
    query = client.query(record[0], record[1])
    query.add_ops([{"op": aerospike.OPERATOR_INCR, "bin": "n", "val": 1}])
    with refused(UNSUPPORTED):
        query.execute_background()
    with refused(UNSUPPORTED):
        client.scan_apply(record[0], record[1], "module", "function", [])


def test_transactions_are_refused_by_the_code_that_clients_know(client, record):
    transaction = aerospike.Transaction()
    with pytest.raises(exception.AerospikeError) as refusal:
        client.put(record, {"n": 2}, policy={"txn": transaction})
    assert refusal.value.code in (16, 25)


def test_user_administration_says_that_access_control_is_off(client):
    with refused(52):
        client.admin_query_users_info()
