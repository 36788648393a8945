"""Batches: many records in one call, each answered as if it had been asked for alone."""

import aerospike
import pytest
from aerospike_helpers.batch import records as batch
from aerospike_helpers.operations import operations as op
from conftest import bins

SEND = {"key": aerospike.POLICY_KEY_SEND}


def put_numbers(client, keys):
    for number, key in enumerate(keys):
        client.put(key, {"n": number, "s": str(number)})


def results(answer):
    return [record.result for record in answer.batch_records]


def test_batch_read_answers_every_key_in_its_place(client, keys):
    put_numbers(client, keys[:5])
    answer = client.batch_read(keys)
    assert answer.result == 0
    assert results(answer) == [0] * 5 + [2] * 5
    for number, record in enumerate(answer.batch_records[:5]):
        assert record.record[1]["gen"] == 1
        assert record.record[2] == {"n": number, "s": str(number)}
    assert all(record.record is None for record in answer.batch_records[5:])


def test_batch_read_returns_only_the_bins_it_names(client, keys):
    put_numbers(client, keys)
    answer = client.batch_read(keys, ["n"])
    assert [record.record[2] for record in answer.batch_records] == [{"n": n} for n in range(10)]


def test_batch_read_of_no_bins_tells_what_is_there(client, keys):
    put_numbers(client, keys[:3])
    answer = client.batch_read(keys, [])
    assert results(answer) == [0] * 3 + [2] * 7
    assert [record.record[1]["gen"] for record in answer.batch_records[:3]] == [1] * 3
    assert all(len(record.record) == 2 for record in answer.batch_records[:3])  # key and metadata


def test_a_batch_may_name_a_key_twice(client, keys):
    put_numbers(client, keys[:1])
    answer = client.batch_read([keys[0], keys[1], keys[0]])
    assert results(answer) == [0, 2, 0]
    assert answer.batch_records[0].record[2] == answer.batch_records[2].record[2]


def test_a_batch_of_one_is_a_batch(client, key):
    put_numbers(client, [key])
    assert client.batch_read([key]).batch_records[0].record[2] == {"n": 0, "s": "0"}


def test_an_empty_batch_is_answered_empty(client):
    assert client.batch_read([]).batch_records == []


def test_a_batch_of_five_thousand_answers_every_row(client, ns, own_set):
    present = [(ns, own_set, number) for number in range(0, 5000, 50)]
    for key in present:
        client.put(key, {"n": key[2], "b": b"x" * 1000})
    answer = client.batch_read([(ns, own_set, number) for number in range(5000)])
    found = {record.key[2]: record.record[2]["n"] for record in answer.batch_records if record.record}
    assert found == {number: number for number in range(0, 5000, 50)}
    assert len(answer.batch_records) == 5000


def test_a_batch_spans_namespaces_and_sets(client, ns):
    namespaces = sorted({ns, "mem", "disk"} & set(known_namespaces(client)))
    keys = [(name, f"span-{number}", "k") for name in namespaces for number in range(3)]
    put_numbers(client, keys)
    answer = client.batch_read(keys)
    assert [record.record[2]["n"] for record in answer.batch_records] == list(range(len(keys)))
    assert set(results(client.batch_remove(keys))) == {0}


def known_namespaces(client):
    return client.info_random_node("namespaces").split("\t")[1].strip().split(";")


def test_batch_write_mixes_reads_writes_and_removes(client, keys):
    put_numbers(client, keys[:3])
    records = batch.BatchRecords(
        [
            batch.Read(keys[0], [op.read("n")]),
            batch.Write(keys[1], [op.increment("n", 10), op.read("n")]),
            batch.Remove(keys[2]),
            batch.Write(keys[3], [op.write("new", 1)]),
            batch.Read(keys[4], None, read_all_bins=True),
            batch.Remove(keys[5]),
        ]
    )
    assert client.batch_write(records).result == 0
    assert [record.result for record in records.batch_records] == [0, 0, 0, 0, 2, 2]
    assert records.batch_records[0].record[2] == {"n": 0}
    assert records.batch_records[1].record[2] == {"n": 11}
    assert bins(client, keys[1]) == {"n": 11, "s": "1"}
    assert client.exists(keys[2])[1] is None
    assert bins(client, keys[3]) == {"new": 1}


def test_batch_write_honours_policies_of_each_row(client, keys):
    put_numbers(client, keys[:3])
    create = {"exists": aerospike.POLICY_EXISTS_CREATE}
    equal = {"gen": aerospike.POLICY_GEN_EQ}
    records = batch.BatchRecords(
        [
            batch.Write(keys[0], [op.write("n", 100)], policy=create),
            batch.Write(keys[1], [op.write("n", 100)], meta={"gen": 5}, policy=equal),
            batch.Write(keys[2], [op.write("n", 100)], meta={"gen": 1, "ttl": 500}, policy=equal),
            batch.Write(keys[3], [op.write("n", 100)], policy=create),
            batch.Remove(keys[2], policy={"gen": aerospike.POLICY_GEN_EQ, "generation": 9}),
        ]
    )
    client.batch_write(records, {"respond_all_keys": True})
    codes = [record.result for record in records.batch_records]
    assert codes[:2] == [5, 3]
    assert codes[3] == 0
    assert [client.get(key)[2]["n"] for key in keys[:2]] == [0, 1]
    assert (codes[2], codes[4]) == (0, 3)  # whichever came first, generation 9 is neither 1 nor 2
    assert 495 <= client.get(keys[2])[1]["ttl"] <= 500


def test_batch_write_reports_a_failing_row_and_carries_out_the_others(client, keys):
    put_numbers(client, keys)
    rows = [batch.Write(key, [op.increment("n", 1)]) for key in keys]
    rows[4] = batch.Write(keys[4], [op.increment("s", 1)])
    records = batch.BatchRecords(rows)
    client.batch_write(records, {"respond_all_keys": True})
    assert [record.result for record in records.batch_records] == [0] * 4 + [12] + [0] * 5
    expected = [{"n": n + (n != 4), "s": str(n)} for n in range(10)]
    assert [bins(client, key) for key in keys] == expected


def test_a_batch_that_need_not_respond_for_all_still_reports_the_failing_row(client, keys):
    put_numbers(client, keys)
    records = batch.BatchRecords([batch.Write(key, [op.increment("s", 1)]) for key in keys])
    client.batch_write(records, {"respond_all_keys": False})
    codes = [record.result for record in records.batch_records]
    assert 12 in codes
    assert 0 not in codes


def test_batch_rows_may_send_their_keys(client, ns, own_set):
    keys = [(ns, own_set, f"k{number}") for number in range(5)]
    rows = [batch.Write(key, [op.write("n", 1)], policy=SEND) for key in keys]
    client.batch_write(batch.BatchRecords(rows))
    assert {record[0][2] for record in client.scan(ns, own_set).results()} == {key[2] for key in keys}
    rows = [batch.Read(key, None, read_all_bins=True) for key in keys]
    answer = client.batch_write(batch.BatchRecords(rows))
    assert set(results(answer)) == {0}


def test_batch_operate_does_the_same_to_every_key(client, keys):
    put_numbers(client, keys[:5])
    answer = client.batch_operate(keys, [op.increment("n", 100), op.read("n")])
    assert results(answer) == [0] * 10
    found = [record.record[2]["n"] for record in answer.batch_records]
    assert found == [100, 101, 102, 103, 104] + [100] * 5


def test_batch_operate_honours_ttl_and_exists(client, keys):
    put_numbers(client, keys[:5])
    policy = {"exists": aerospike.POLICY_EXISTS_UPDATE, "ttl": 900}
    answer = client.batch_operate(keys, [op.write("n", 7)], policy_batch_write=policy)
    assert results(answer) == [0] * 5 + [2] * 5
    assert all(895 <= client.get(key)[1]["ttl"] <= 900 for key in keys[:5])


def test_batch_remove_removes_what_is_there(client, keys):
    put_numbers(client, keys[:5])
    assert results(client.batch_remove(keys)) == [0] * 5 + [2] * 5
    assert all(client.exists(key)[1] is None for key in keys)


def test_batch_remove_honours_the_generation(client, keys):
    put_numbers(client, keys[:2])
    client.touch(keys[1])
    policy = {"gen": aerospike.POLICY_GEN_EQ, "generation": 1}
    assert results(client.batch_remove(keys[:2], policy_batch_remove=policy)) == [0, 3]


@pytest.mark.parametrize(
    "policy",
    [
        {"concurrent": True},
        {"allow_inline": False},
        {"allow_inline_ssd": True},
        {"respond_all_keys": False},
        {"replica": aerospike.POLICY_REPLICA_ANY},
        {"read_mode_ap": aerospike.POLICY_READ_MODE_AP_ALL},
    ],
    ids=str,
)
def test_batches_are_answered_under_every_policy(client, keys, policy):
    put_numbers(client, keys)
    assert results(client.batch_read(keys, policy=policy)) == [0] * 10


def test_a_function_of_no_module_fails_row_by_row_and_breaks_nothing(client, keys):
    put_numbers(client, keys)
    answer = client.batch_apply(keys, "nowhere", "function", [1])
    assert set(results(answer)) == {100}
    assert bins(client, keys[0]) == {"n": 0, "s": "0"}


def test_a_batch_in_an_unknown_namespace_says_so(client):
    # The client has no partition map for the namespace, so it answers for the server.
    answer = client.batch_read([("nope", "s", number) for number in range(3)])
    assert answer.result != 0 or set(results(answer)) == {20}
