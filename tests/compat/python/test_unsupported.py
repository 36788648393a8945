"""What this version does not do is said, clearly and at once, and breaks nothing.

Each of these tests goes the day its feature comes, and is then replaced by that feature's tests.
"""

import aerospike
import pytest
from aerospike import exception
from conftest import bins, refused

UNSUPPORTED = 16


@pytest.fixture
def record(client, key):
    client.put(key, {"n": 1, "l": [1, 2], "m": {"a": 1}, "b": b"\x00\xff"})
    yield key
    assert bins(client, key) == {"n": 1, "l": [1, 2], "m": {"a": 1}, "b": b"\x00\xff"}


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
