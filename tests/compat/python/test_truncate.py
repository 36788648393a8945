"""Truncation: a set or a namespace emptied at once, up to a moment."""

import time

import pytest
from aerospike import exception
from conftest import refused


def fill(client, ns, set_name, numbers):
    for number in numbers:
        client.put((ns, set_name, number), {"n": number})


def present(client, ns, set_name):
    return sorted(record[2]["n"] for record in client.scan(ns, set_name).results())


def now_ns():
    return time.time_ns()


def test_a_truncated_set_is_empty_for_every_command(client, ns, own_set):
    fill(client, ns, own_set, range(20))
    client.truncate(ns, own_set, 0)
    assert present(client, ns, own_set) == []
    with refused(2):
        client.get((ns, own_set, 1))
    assert client.exists((ns, own_set, 1))[1] is None
    assert {record.result for record in client.batch_read([(ns, own_set, 2)]).batch_records} == {2}


def test_other_sets_stay_when_one_is_truncated(client, ns, own_set):
    other = own_set + "-2"
    fill(client, ns, own_set, range(5))
    fill(client, ns, other, range(5))
    client.truncate(ns, own_set, 0)
    assert present(client, ns, other) == list(range(5))
    client.truncate(ns, other, 0)


def test_records_written_after_a_truncation_stay(client, ns, own_set):
    fill(client, ns, own_set, range(10))
    client.truncate(ns, own_set, 0)
    fill(client, ns, own_set, range(5, 8))
    assert present(client, ns, own_set) == [5, 6, 7]
    assert client.get((ns, own_set, 5))[1]["gen"] == 1


def test_a_truncation_up_to_a_moment_spares_what_is_younger(client, ns, own_set):
    fill(client, ns, own_set, range(5))
    time.sleep(0.05)
    moment = now_ns()
    time.sleep(0.05)
    fill(client, ns, own_set, range(3, 8))
    client.truncate(ns, own_set, moment)
    assert present(client, ns, own_set) == [3, 4, 5, 6, 7]


def test_a_truncation_in_the_future_is_refused(client, ns, own_set):
    fill(client, ns, own_set, range(3))
    with pytest.raises(exception.AerospikeError):
        client.truncate(ns, own_set, now_ns() + 3600 * 10**9)
    assert present(client, ns, own_set) == [0, 1, 2]


def test_a_truncation_of_an_unknown_set_is_no_error(client, ns):
    client.truncate(ns, "no-such-set", 0)


def test_a_truncation_in_an_unknown_namespace_is_refused(client):
    with pytest.raises(exception.AerospikeError):
        client.truncate("nope", "s", 0)


def test_a_truncated_namespace_is_empty(client, ns, own_set):
    fill(client, ns, own_set, range(10))
    client.put((ns, None, "setless"), {"n": 1})
    client.truncate(ns, None, 0)
    assert client.scan(ns).results() == []
    fill(client, ns, own_set, range(2))
    assert present(client, ns, own_set) == [0, 1]
