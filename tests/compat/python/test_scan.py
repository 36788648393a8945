"""Scans, and queries without a predicate.

Every record once: at one go, in pages, by partition, and from where another left off.
"""

import aerospike
import pytest
from aerospike import exception
from conftest import NAMESPACES, wait_until

RECORDS = 200

KINDS = pytest.mark.parametrize("kind", ["scan", "query"])


@pytest.fixture(scope="module")
def sets(client):
    """A set of records 0..RECORDS in each namespace; the tests of this file only read it."""
    for ns in NAMESPACES:
        for number in range(RECORDS):
            client.put((ns, "scanned", number), {"n": number, "s": "x" * (number % 7)})
    yield "scanned"
    for ns in NAMESPACES:
        client.truncate(ns, "scanned", 0)


@pytest.fixture
def filled(sets):
    return sets


def numbers(records):
    return sorted(record[2]["n"] for record in records)


def everything(kind, client, ns, set_name, max_records=None):
    """A scan or a query without a predicate, and the policy that bounds it: each has its own way."""
    if kind == "scan":
        return client.scan(ns, set_name), {} if max_records is None else {"max_records": max_records}
    query = client.query(ns, set_name)
    if max_records is not None:
        query.max_records = max_records
    return query, {}


@KINDS
def test_every_record_of_a_set_is_returned_once(client, ns, filled, kind):
    records = everything(kind, client, ns, filled)[0].results()
    assert numbers(records) == list(range(RECORDS))
    (found_ns, found_set, user_key, digest), meta, found = records[0]
    assert (found_ns, found_set, user_key) == (ns, filled, None)
    assert digest == aerospike.calc_digest(ns, filled, found["n"])
    assert meta == {"gen": 1, "ttl": aerospike.TTL_NEVER_EXPIRE}
    assert found["s"] == "x" * (found["n"] % 7)


def test_records_of_other_sets_are_not_returned(client, ns, filled):
    other = (ns, filled + "-2", "k")
    client.put(other, {"n": -1})
    assert numbers(client.scan(ns, filled).results()) == list(range(RECORDS))
    assert [record[2] for record in client.scan(ns, other[1]).results()] == [{"n": -1}]
    client.remove(other)


@KINDS
def test_a_scan_of_the_namespace_returns_every_set_and_none(client, ns, filled, kind):
    setless = (ns, None, "compat-setless")
    client.put(setless, {"n": -1})
    scan = client.scan(ns) if kind == "scan" else client.query(ns)
    found = {(record[0][1], record[2].get("n")) for record in scan.results()}
    assert {(filled, number) for number in range(RECORDS)} <= found
    assert (None, -1) in found
    client.remove(setless)


@KINDS
def test_an_unknown_set_is_empty(client, ns, kind):
    assert everything(kind, client, ns, "no-such-set")[0].results() == []


def test_an_unknown_namespace_is_refused(client):
    with pytest.raises(exception.AerospikeError):
        client.scan("nope", "s").results()


def test_removed_records_are_not_returned(client, ns, own_set):
    for number in range(20):
        client.put((ns, own_set, number), {"n": number})
    for number in range(0, 20, 2):
        client.remove((ns, own_set, number))
    assert numbers(client.scan(ns, own_set).results()) == list(range(1, 20, 2))


@KINDS
def test_select_projects_the_bins_it_names(client, ns, filled, kind):
    scan, _ = everything(kind, client, ns, filled)
    scan.select("n", "nope")
    records = scan.results()
    assert numbers(records) == list(range(RECORDS))
    assert {tuple(record[2]) for record in records} == {("n",)}


def test_records_without_any_selected_bin_are_left_out(client, ns, own_set):
    client.put((ns, own_set, 1), {"a": 1})
    client.put((ns, own_set, 2), {"b": 2})
    scan = client.scan(ns, own_set)
    scan.select("a")
    assert [record[2] for record in scan.results()] == [{"a": 1}]


def test_nobins_returns_keys_and_metadata_only(client, ns, own_set):
    client.put((ns, own_set, "sent"), {"n": 1}, policy={"key": aerospike.POLICY_KEY_SEND})
    client.put((ns, own_set, "not sent"), {"n": 2}, meta={"ttl": 1000})
    records = []
    client.scan(ns, own_set).foreach(records.append, {}, {"nobins": True})
    assert {record[0][2] for record in records} == {None, "sent"}
    assert [record[1]["gen"] for record in records] == [1, 1]
    assert [list(record[2]) for record in records] == [[], []]


@KINDS
def test_foreach_hands_over_every_record_and_stops_when_told(client, ns, filled, kind):
    seen = []
    everything(kind, client, ns, filled)[0].foreach(seen.append)
    assert numbers(seen) == list(range(RECORDS))
    seen.clear()

    def two_only(record):
        seen.append(record)
        return len(seen) < 2

    everything(kind, client, ns, filled)[0].foreach(two_only)
    assert len(seen) == 2
    assert client.is_connected()


@KINDS
@pytest.mark.parametrize("maximum", [1, 17, RECORDS, RECORDS + 1])
def test_max_records_bounds_the_answer(client, ns, filled, kind, maximum):
    scan, policy = everything(kind, client, ns, filled, maximum)
    assert len(scan.results(policy)) == min(maximum, RECORDS)


@KINDS
@pytest.mark.parametrize("page", [7, 100, 1000])
def test_pages_together_return_every_record_once(client, ns, filled, kind, page):
    scan, policy = everything(kind, client, ns, filled, page)
    scan.paginate()
    found, pages = [], 0
    while not scan.is_done():
        part = scan.results(policy)
        assert len(part) <= page
        found += part
        pages += 1
        assert pages <= RECORDS + 2, "the pages never end"
    assert numbers(found) == list(range(RECORDS))


@KINDS
def test_another_scan_resumes_from_the_status_of_partitions(client, ns, filled, kind):
    first, policy = everything(kind, client, ns, filled, 100)
    first.paginate()
    found = first.results(policy)
    assert len(found) == 100
    rest, policy = everything(kind, client, ns, filled)
    status = {"partition_filter": {"partition_status": first.get_partitions_status()}}
    assert numbers(found + rest.results(policy | status)) == list(range(RECORDS))


def test_ranges_of_partitions_together_return_every_record_once(client, ns, filled):
    found = []
    for begin, count in [(0, 1), (1, 1023), (1024, 2048), (3072, 1024)]:
        part = client.scan(ns, filled).results({"partition_filter": {"begin": begin, "count": count}})
        ids = {client.get_key_partition_id(ns, filled, record[2]["n"]) for record in part}
        assert all(begin <= partition < begin + count for partition in ids)
        found += part
    assert numbers(found) == list(range(RECORDS))


def test_a_scan_after_a_digest_returns_the_rest_of_its_partition(client, ns, own_set):
    partition, in_partition, number = 7, [], 0
    while len(in_partition) < 5:
        if client.get_key_partition_id(ns, own_set, number) == partition:
            in_partition.append(number)
            client.put((ns, own_set, number), {"n": number})
        number += 1
    only = {"begin": partition, "count": 1}
    whole = client.scan(ns, own_set).results({"partition_filter": only})
    assert numbers(whole) == in_partition
    for place, record in enumerate(whole):
        # (partition, resumes, is retried, last digest, last value of an index)
        status = {partition: (partition, True, False, record[0][3], 0)}
        after = only | {"partition_status": {"done": False, "retry": False} | status}
        rest = client.scan(ns, own_set).results({"partition_filter": after})
        assert [found[2] for found in rest] == [found[2] for found in whole[place + 1 :]]


def test_large_records_are_streamed_whole(client, ns, own_set):
    for number in range(40):
        client.put((ns, own_set, number), {"n": number, "b": bytes([number]) * 100_000})
    records = client.scan(ns, own_set).results()
    assert numbers(records) == list(range(40))
    assert all(record[2]["b"] == bytes([record[2]["n"]]) * 100_000 for record in records)


def test_a_scan_may_be_slowed_down(client, ns, filled):
    records = client.scan(ns, filled).results({"records_per_second": 2000})
    assert numbers(records) == list(range(RECORDS))


@pytest.mark.parametrize(
    "duration",
    [
        aerospike.QUERY_DURATION_LONG,
        aerospike.QUERY_DURATION_SHORT,
        aerospike.QUERY_DURATION_LONG_RELAX_AP,
    ],
)
def test_queries_of_every_expected_duration_return_every_record(client, ns, filled, duration):
    records = client.query(ns, filled).results({"expected_duration": duration})
    assert numbers(records) == list(range(RECORDS))


def test_expired_records_are_not_returned(client, ns, own_set):
    client.put((ns, own_set, 1), {"n": 1}, meta={"ttl": 1})
    client.put((ns, own_set, 2), {"n": 2}, meta={"ttl": 1000})
    wait_until(lambda: client.exists((ns, own_set, 1))[1] is None)
    records = client.scan(ns, own_set).results()
    assert numbers(records) == [2]
    assert 990 <= records[0][1]["ttl"] <= 1000
