"""Queries in the background, aggregations, and what is told of both."""

import time

import aerospike
import pytest
from aerospike import exception, predicates
from aerospike_helpers import expressions as exp
from aerospike_helpers.operations import expression_operations, operations
from conftest import TOTAL_TIMEOUT_MS, connect, refused, wait_until

RECORDS = 200

PATIENT = {"timeout": TOTAL_TIMEOUT_MS}

MODULE = """
function more(rec, bin, by) rec[bin] = rec[bin] + by aerospike:update(rec) end
function odd_fails(rec) if rec.n % 2 == 1 then error("odd") end rec.done = 1 aerospike:update(rec) end
function creates(rec) aerospike:create(rec) end
function removes(rec) aerospike:remove(rec) end

local function n(rec) return rec.n end
local function add(a, b) return a + b end
function sum(stream) return stream : map(n) : reduce(add) end
function count(stream, mod)
    local function group(m, rec) m[rec.n % mod] = (m[rec.n % mod] or 0) + 1 return m end
    local function merge(a, b) return map.merge(a, b, add) end
    return stream : aggregate(map{}, group) : reduce(merge)
end
function above(stream, least)
    return stream : filter(function(rec) return rec.n >= least end) : map(n)
end
function fails(stream) return stream : map(function(rec) return rec.nothing.there end) end
function changes(stream) return stream : map(function(rec) rec.n = 0 return 1 end) end
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """One that finds its copies of modules: it carries out the last steps of an aggregation itself."""
    client = connect(lua={"user_path": str(tmp_path_factory.mktemp("copies"))})
    yield client
    client.close()


@pytest.fixture(scope="module")
def module(client, tmp_path_factory):
    file = tmp_path_factory.mktemp("udf") / "background.lua"
    file.write_text(MODULE)
    client.udf_put(str(file), 0, PATIENT)
    wait_until(lambda: "background.lua" in [it["name"] for it in client.udf_list()])
    yield "background"
    client.udf_remove("background.lua", PATIENT)


@pytest.fixture
def records(client, ns, own_set):
    """Records 0 to 199 of a set of their own, and one beside the set."""
    keys = [(ns, own_set, number) for number in range(RECORDS)]
    for number, key in enumerate(keys):
        client.put(key, {"n": number})
    beside = (ns, "compat", f"beside-{own_set}")
    client.put(beside, {"n": -1})
    yield keys
    assert client.get(beside)[2] == {"n": -1}
    client.remove(beside)


@pytest.fixture
def index(client, ns, own_set):
    name = f"i{abs(hash((ns, own_set))) % 10**9}"
    client.index_integer_create(ns, own_set, "n", name, PATIENT)
    wait_until(lambda: "load_pct=100" in ask(client, f"sindex/{ns}/{name}"))
    yield name
    client.index_remove(ns, name, PATIENT)


def ask(client, command):
    (_, answer), = client.info_all(command).values()
    return answer.strip().split("\t", 1)[-1]


def job(client, number):
    return dict(item.split("=", 1) for item in ask(client, f"query-show:trid={number}").split(":"))


def ended(client, number):
    wait_until(
        lambda: client.job_info(number, aerospike.JOB_QUERY)["status"]
        == aerospike.JOB_STATUS_COMPLETED
    )
    return job(client, number)


def changed(client, keys, bin_name="n"):
    return [bins.get(bin_name) for _, _, bins in (client.get(key) for key in keys)]


def background(client, ns, own_set, ops, policy=None, where=None):
    query = client.query(ns, own_set)
    query.add_ops(ops)
    if where is not None:
        query.where(where)
    return ended(client, query.execute_background(policy or {}))


def test_operations_change_every_record_of_the_set_and_none_beside(client, ns, own_set, records):
    info = background(client, ns, own_set, [operations.increment("n", 1000)])
    assert changed(client, records) == [number + 1000 for number in range(RECORDS)]
    assert (info["recs-succeeded"], info["recs-failed"]) == (str(RECORDS), "0")
    assert (info["job-type"], info["status"]) == ("background-ops", "done(ok)")
    assert (info["ns"], info["set"], info["job-progress"]) == (ns, own_set, "100.00")


def test_only_what_the_filter_lets_pass_is_changed_or_deleted(client, ns, own_set, records):
    few = {"expressions": exp.LT(exp.IntBin("n"), 20).compile()}
    info = background(client, ns, own_set, [operations.write("few", 1)], few)
    assert changed(client, records, "few") == [1] * 20 + [None] * (RECORDS - 20)
    assert (info["recs-succeeded"], info["recs-filtered-bins"]) == ("20", str(RECORDS - 20))
    background(client, ns, own_set, [operations.delete()], few)
    assert [client.exists(key)[1] is None for key in records] == [
        number < 20 for number in range(RECORDS)
    ]


def test_an_expression_computes_each_records_own_value(client, ns, own_set, records):
    double = exp.Mul(exp.IntBin("n"), 2).compile()
    background(client, ns, own_set, [expression_operations.expression_write("twice", double)])
    assert changed(client, records, "twice") == [2 * number for number in range(RECORDS)]


def test_an_index_names_each_record_once_even_if_it_moves_ahead(client, ns, own_set, records, index):
    where = predicates.between("n", 50, 10_000)
    info = background(client, ns, own_set, [operations.increment("n", 7)], where=where)
    expected = [number + 7 * (number >= 50) for number in range(RECORDS)]
    assert changed(client, records) == expected
    assert info["sindex-name"] == index


def test_a_function_is_called_with_every_record(client, ns, own_set, records, module):
    info = ended(client, client.scan_apply(ns, own_set, module, "more", ["n", 5]))
    assert changed(client, records) == [number + 5 for number in range(RECORDS)]
    assert (info["job-type"], info["recs-succeeded"]) == ("background-udf", str(RECORDS))
    assert (info["udf-filename"], info["udf-function"]) == (module, "more")


def test_a_function_is_called_with_what_an_index_names(client, ns, own_set, records, index, module):
    where = predicates.between("n", 10, 19)
    ended(client, client.query_apply(ns, own_set, where, module, "more", ["n", 1]))
    expected = [number + (10 <= number <= 19) for number in range(RECORDS)]
    assert changed(client, records) == expected


def test_where_a_function_fails_nothing_is_written_and_the_others_go_on(client, ns, own_set, records, module):
    info = ended(client, client.scan_apply(ns, own_set, module, "odd_fails", []))
    assert changed(client, records, "done") == [1, None] * (RECORDS // 2)
    assert (info["recs-succeeded"], info["recs-failed"]) == ("100", "100")
    info = ended(client, client.scan_apply(ns, own_set, "nobody", "more", []))
    assert (info["recs-succeeded"], info["recs-failed"]) == ("0", str(RECORDS))
    ended(client, client.scan_apply(ns, own_set, module, "removes", []))
    assert all(client.exists(key)[1] is None for key in records)


def test_a_job_can_be_ended(client, ns, own_set, records):
    scan = client.scan(ns, own_set)
    scan.add_ops([operations.write("slow", 1)])
    number = scan.execute_background({"records_per_second": 5})
    assert client.job_info(number, aerospike.JOB_SCAN)["status"] == aerospike.JOB_STATUS_INPROGRESS
    assert job(client, number)["status"] == "active(ok)"
    assert ask(client, f"query-abort:trid={number}") == "ok"
    assert ended(client, number)["status"] == "done(user-aborted)"
    assert 0 < changed(client, records, "slow").count(None) < RECORDS + 1
    with refused(2):
        ask(client, f"query-abort:trid={number}")
    assert ask(client, "query-abort-all") == "number-of-queries-killed:0"
    assert client.job_info(4711, aerospike.JOB_QUERY)["status"] == aerospike.JOB_STATUS_COMPLETED


def test_the_rate_that_is_asked_for_is_kept(client, ns, own_set, records):
    began = time.monotonic()
    scan = client.scan(ns, own_set)
    scan.add_ops([operations.write("paced", 1)])
    ended(client, scan.execute_background({"records_per_second": 400}))
    assert time.monotonic() - began >= (RECORDS - 1) / 400
    assert changed(client, records, "paced") == [1] * RECORDS


def test_what_cannot_be_done_is_refused_at_once(client, ns, own_set, records, module):
    def execute(ops, **policy):
        scan = client.scan(ns, own_set)
        scan.add_ops(ops)
        return scan.execute_background(policy)

    with refused(4):
        execute([operations.write("n", 1)], records_per_second=10_001)
    with refused(4):
        execute([operations.read("n"), operations.write("n", 1)])
    with refused(4):
        execute([operations.write("n", 1)], expressions=exp.Eq(exp.IntBin("n"), "x").compile())
    with refused(20):
        client.scan_apply("nobody", own_set, module, "more", ["n", 1])
    with refused(201):
        background(client, ns, own_set, [operations.write("n", 1)], where=predicates.equals("x", 1))
    assert changed(client, records) == list(range(RECORDS))


def aggregated(client, ns, own_set, module, function, *arguments, where=None, **policy):
    query = client.query(ns, own_set)
    if where is not None:
        query.where(where)
    query.apply(module, function, *arguments)  # an empty list is sent otherwise than none
    return query.results(policy)


def test_an_aggregation_over_all_records_gives_one_sum(client, ns, own_set, records, module):
    assert aggregated(client, ns, own_set, module, "sum") == [sum(range(RECORDS))]
    groups = {0: 67, 1: 67, 2: 66}
    assert aggregated(client, ns, own_set, module, "count", [3]) == [groups]
    above = aggregated(client, ns, own_set, module, "above", [190])
    assert sorted(above) == list(range(190, RECORDS))


def test_an_aggregation_over_what_an_index_names(client, ns, own_set, records, index, module):
    where = predicates.between("n", 1, 10)
    assert aggregated(client, ns, own_set, module, "sum", where=where) == [55]
    nothing = predicates.equals("n", 10_000)
    assert aggregated(client, ns, own_set, module, "sum", where=nothing) == []


def test_an_aggregation_that_fails_says_why(client, ns, own_set, records, module):
    for function, why in [
        ("fails", "attempt to index"),
        ("changes", "cannot be changed"),
    ]:
        with pytest.raises(exception.AerospikeError) as refusal:
            aggregated(client, ns, own_set, module, function)
        assert why in refusal.value.msg, refusal.value
    with refused(16):
        few = exp.LT(exp.IntBin("n"), 20).compile()
        aggregated(client, ns, own_set, module, "sum", expressions=few)
    assert changed(client, records) == list(range(RECORDS))


def test_functions_are_counted_for_what_they_were(client, ns, own_set, records, module):
    names = ["client_udf_complete", "udf_sub_udf_complete", "pi_query_udf_bg_complete", "pi_query_aggr_complete"]

    def figures():
        pairs = dict(pair.split("=", 1) for pair in ask(client, f"namespace/{ns}").split(";"))
        return [int(pairs[name]) for name in names]

    before = figures()
    client.apply(records[0], module, "more", ["n", 0])
    ended(client, client.scan_apply(ns, own_set, module, "more", ["n", 0]))
    aggregated(client, ns, own_set, module, "sum")
    assert [after - was for after, was in zip(figures(), before)] == [1, RECORDS, 1, 1]
