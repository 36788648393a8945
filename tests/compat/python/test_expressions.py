"""Expressions: as filters of every command, and as operations."""

import aerospike
import pytest
from aerospike_helpers import expressions as exp
from aerospike_helpers.batch import records as rows
from aerospike_helpers.operations import expression_operations as ops
from aerospike_helpers.operations import operations
from conftest import bins, refused

FILTERED_OUT = 27

PASSES = exp.GT(exp.IntBin("n"), 4)
FAILS = exp.GT(exp.IntBin("n"), 5)
UNKNOWN = exp.GT(exp.IntBin("none"), 0)


def policy(expression):
    return {"expressions": expression.compile()}


@pytest.fixture
def record(client, key):
    client.put(
        key,
        {"n": 5, "f": 1.5, "s": "hello", "b": b"\x0f\x10", "t": True, "l": [1, 2], "m": {"a": 1}},
        policy={"key": aerospike.POLICY_KEY_SEND},
    )
    return key


@pytest.mark.parametrize(
    "expression",
    [
        PASSES,
        exp.And(exp.Eq(exp.StrBin("s"), "hello"), exp.Not(exp.Eq(exp.IntBin("n"), 6))),
        exp.Or(UNKNOWN, PASSES),
        exp.Exclusive(PASSES, FAILS),
        exp.Eq(exp.FloatBin("f") + 0.5, 2.0),
        exp.Eq(exp.IntBin("n") * 3 % 4, 3),
        exp.Eq(exp.Max(exp.IntBin("n"), 9, 2), 9),
        exp.Eq(exp.ToFloat(exp.IntBin("n")), 5.0),
        exp.Eq(exp.IntRightScan(exp.IntBin("n"), True), 63),
        exp.Eq(exp.BlobBin("b"), b"\x0f\x10"),
        exp.BoolBin("t"),
        exp.Eq(exp.ListBin("l"), [1, 2]),
        exp.CmpRegex(aerospike.REGEX_EXTENDED, "^h.l+o$", exp.StrBin("s")),
        exp.CmpRegex(aerospike.REGEX_ICASE | aerospike.REGEX_EXTENDED, "HEL+O", exp.StrBin("s")),
        exp.BinExists("n"),
        exp.Not(exp.BinExists("none")),
        exp.Eq(exp.BinType("n"), aerospike.AS_BYTES_INTEGER),
        exp.KeyExists(),
        exp.Eq(exp.SetName(), "compat"),
        exp.Not(exp.IsTombstone()),
        exp.LT(exp.SinceUpdateTime(), 60_000),
        exp.GT(exp.LastUpdateTime(), 1_600_000_000_000_000_000),
        exp.Eq(exp.VoidTime(), -1),
        exp.Eq(exp.TTL(), -1),
        exp.GE(exp.DigestMod(3), 0),
        exp.GT(exp.RecordSize(), 0),
        exp.Let(exp.Def("x", exp.IntBin("n")), exp.Eq(exp.Add(exp.Var("x"), exp.Var("x")), 10)),
        exp.Cond(exp.Eq(exp.IntBin("n"), 0), False, exp.Eq(exp.IntBin("n"), 5), True, False),
        exp.Eq(exp.BitCount(0, 16, exp.BlobBin("b")), 5),
    ],
    ids=lambda expression: type(expression).__name__,
)
def test_a_record_that_passes_is_served_and_its_opposite_is_not(client, record, expression):
    assert client.get(record, policy=policy(expression))[2]["n"] == 5
    with refused(FILTERED_OUT):
        client.get(record, policy=policy(exp.Not(expression)))


@pytest.mark.parametrize("expression", [FAILS, UNKNOWN], ids=["false", "unknown"])
def test_every_command_is_filtered_and_changes_nothing(client, record, expression):
    before = client.get(record)
    filtered = policy(expression)
    for command in [
        lambda: client.get(record, policy=filtered),
        lambda: client.select(record, ["n"], policy=filtered),
        lambda: client.exists(record, policy=filtered),
        lambda: client.put(record, {"n": 9}, policy=filtered),
        lambda: client.put(record, {"n": 9}, policy={"exists": aerospike.POLICY_EXISTS_REPLACE, **filtered}),
        lambda: client.increment(record, "n", 1, policy=filtered),
        lambda: client.touch(record, 0, policy=filtered),
        lambda: client.operate(record, [operations.read("n")], policy=filtered),
        lambda: client.operate(record, [operations.increment("n", 1)], policy=filtered),
        lambda: client.remove(record, policy=filtered),
    ]:
        with refused(FILTERED_OUT):
            command()
    assert client.get(record) == before


def test_commands_that_pass_are_carried_out(client, record):
    passing = policy(PASSES)
    assert client.exists(record, policy=passing)[1] is not None
    client.put(record, {"n": 7}, policy=passing)
    client.operate(record, [operations.increment("n", 1)], policy=passing)
    assert bins(client, record)["n"] == 8
    client.put(record, {"n": 6}, policy={"exists": aerospike.POLICY_EXISTS_REPLACE, **passing})
    assert bins(client, record) == {"n": 6}
    client.remove(record, policy=passing)
    with refused(2):
        client.get(record, policy=passing)  # existence is told before the filter


def test_a_filter_says_nothing_of_records_that_are_not_there(client, key):
    client.put(key, {"n": 1}, policy=policy(FAILS))
    assert bins(client, key) == {"n": 1}


def test_batches_are_filtered_row_by_row(client, keys):
    for number, key in enumerate(keys[:-1]):
        client.put(key, {"n": number})
    answer = client.batch_read(keys, policy=policy(PASSES))
    codes = [row.result for row in answer.batch_records]
    assert codes == [FILTERED_OUT] * 5 + [0] * 4 + [2]
    own = {"expressions": exp.Eq(exp.IntBin("n"), 0).compile()}
    work = rows.BatchRecords(
        [
            rows.Read(keys[0], [operations.read("n")], policy=own),
            rows.Read(keys[1], [operations.read("n")]),
            rows.Write(keys[2], [operations.write("n", 9)]),
            rows.Write(keys[5], [operations.write("n", 50)]),
            rows.Remove(keys[3]),
        ]
    )
    client.batch_write(work, policy_batch=policy(PASSES))
    codes = [row.result for row in work.batch_records]
    assert codes == [0, FILTERED_OUT, FILTERED_OUT, 0, FILTERED_OUT]
    assert bins(client, keys[5]) == {"n": 50}
    assert bins(client, keys[3]) == {"n": 3}


def test_scans_and_queries_leave_out_what_does_not_pass(client, ns, own_set):
    for number in range(100):
        client.put((ns, own_set, number), {"n": number})
    found = client.scan(ns, own_set).results(policy(exp.GE(exp.IntBin("n"), 90)))
    assert sorted(record[2]["n"] for record in found) == list(range(90, 100))
    query = client.query(ns, own_set)
    found = query.results(policy(exp.Eq(exp.IntBin("n") % 2, 0)))
    assert sorted(record[2]["n"] for record in found) == list(range(0, 100, 2))
    query = client.query(ns, own_set)
    query.max_records = 7
    found = query.results(policy(exp.GE(exp.IntBin("n"), 50)))
    assert len(found) == 7  # counted behind the filter
    assert client.scan(ns, own_set).results(policy(UNKNOWN)) == []


def read(client, key, expression, flags=aerospike.EXP_READ_DEFAULT):
    return client.operate(key, [ops.expression_read("out", expression.compile(), flags)])[2]


def write(client, key, name, expression, flags=aerospike.EXP_WRITE_DEFAULT):
    client.operate(key, [ops.expression_write(name, expression.compile(), flags)])


def test_expressions_are_read(client, record):
    assert read(client, record, exp.Add(exp.IntBin("n"), 4)) == {"out": 9}
    assert read(client, record, exp.StrBin("s")) == {"out": "hello"}
    assert read(client, record, exp.FloatBin("f") * 2.0) == {"out": 3.0}
    assert read(client, record, exp.KeyExists()) == {"out": True}
    assert read(client, record, exp.KeyStr()) == {"out": record[2]}
    assert read(client, record, exp.ListBin("l")) == {"out": [1, 2]}
    assert read(client, record, exp.MapBin("m")) == {"out": {"a": 1}}
    with refused(26):
        read(client, record, exp.IntBin("none"))
    assert read(client, record, exp.IntBin("none"), aerospike.EXP_READ_EVAL_NO_FAIL) == {"out": None}


def test_expressions_are_written(client, record):
    write(client, record, "n", exp.Add(exp.IntBin("n"), 1))
    write(client, record, "half", exp.Div(exp.ToFloat(exp.IntBin("n")), 2.0))
    write(client, record, "s", exp.Eq(exp.StrBin("s"), "hello"))
    write(client, record, "b", exp.BitNot(None, 0, 8, exp.BlobBin("b")))
    found = bins(client, record)
    assert (found["n"], found["half"], found["s"], found["b"]) == (6, 3.0, True, b"\xf0\x10")


def test_writes_follow_their_flags(client, record):
    one = exp.Add(exp.IntBin("n"), 1)
    nothing = exp.Cond(exp.Eq(exp.IntBin("n"), 0), 1, exp.Unknown())
    with refused(6):
        write(client, record, "n", one, aerospike.EXP_WRITE_CREATE_ONLY)
    with refused(17):
        write(client, record, "none", one, aerospike.EXP_WRITE_UPDATE_ONLY)
    with refused(26):
        write(client, record, "n", nothing)
    before = bins(client, record)
    write(client, record, "n", one, aerospike.EXP_WRITE_CREATE_ONLY | aerospike.EXP_WRITE_POLICY_NO_FAIL)
    write(client, record, "n", nothing, aerospike.EXP_WRITE_EVAL_NO_FAIL)
    assert bins(client, record) == before


def test_operations_of_one_command_see_each_other(client, record):
    n = exp.IntBin("n")
    _, _, found = client.operate(
        record,
        [
            operations.increment("n", 10),
            ops.expression_read("first", n.compile()),
            ops.expression_write("n", exp.Mul(n, 2).compile()),
            ops.expression_read("second", n.compile()),
        ],
    )
    assert (found["first"], found["second"]) == (15, 30)


def test_expressions_that_are_none_are_refused(client, record):
    wrong = exp.Eq(exp.IntBin("n"), "five")
    with refused(4):
        client.get(record, policy=policy(wrong))
    with refused(4):
        client.get(record, policy=policy(exp.Add(exp.IntBin("n"), 1)))  # no truth
    with refused(4):
        read(client, record, wrong)


def test_a_batch_whose_filter_means_nothing_is_refused_whole(client, keys):
    wrong = exp.Eq(exp.IntBin("n"), "five")
    assert client.batch_read(keys, policy=policy(wrong)).result == 4
