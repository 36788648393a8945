"""Functions in Lua: registered, run on one record and on the rows of a batch, and ended when they do not end."""

import threading
import time

import pytest
from aerospike import exception
from conftest import bins, connect, refused, wait_until

MODULE = """
function add(rec, bin, n)
    rec[bin] = (rec[bin] or 0) + n
    if aerospike:exists(rec) then aerospike:update(rec) else aerospike:create(rec) end
    return rec[bin]
end
function keep(rec, bin, value)
    rec[bin] = value
    return aerospike:exists(rec) and aerospike:update(rec) or aerospike:create(rec)
end
function echo(rec, value) return value end
function forgets(rec) rec.n = 99 end
function fails(rec) rec.n = 99 aerospike:update(rec) error("on purpose") end
function gone(rec) return aerospike:remove(rec) end
function endless(rec) while true do pcall(function() while true do end end) end end
function greedy(rec) local l = list() while true do list.append(l, ("x"):rep(1000) .. #l) end end
function reaches(rec) return type(io) .. type(os.execute) .. type(load) end
"""


# Generous, as conftest's are.
PATIENT = {"total_timeout": 10_000, "max_retries": 0}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """One that keeps its copies of modules out of the working folder."""
    client = connect(lua={"user_path": str(tmp_path_factory.mktemp("copies"))})
    yield client
    client.close()


@pytest.fixture(scope="module")
def module(client, tmp_path_factory):
    file = tmp_path_factory.mktemp("udf") / "functions.lua"
    file.write_text(MODULE)
    client.udf_put(str(file), 0, {"timeout": 10_000})
    wait_until(lambda: "functions.lua" in [it["name"] for it in client.udf_list()])
    yield "functions"
    client.udf_remove("functions.lua", {"timeout": 10_000})


def test_a_module_is_listed_and_returned_as_it_was_put(client, module):
    assert client.udf_get("functions.lua") == MODULE
    client.udf_remove("nobody.lua", {"timeout": 10_000})


def test_a_module_that_does_not_compile_is_refused(client, tmp_path):
    file = tmp_path / "broken.lua"
    file.write_text("function f(\n")
    with pytest.raises(exception.AerospikeError):
        client.udf_put(str(file), 0, {"timeout": 10_000})
    assert "broken.lua" not in [it["name"] for it in client.udf_list()]


@pytest.mark.parametrize(
    "value", [1, 1.5, "text", True, None, b"\x01\x02", [1, [2, None], {"a": 1}], {"k": [1], 2: "b"}]
)
def test_values_pass_through_a_function_and_a_bin(client, module, key, value):
    assert client.apply(key, module, "echo", [value]) == value
    if value is not None:
        assert client.apply(key, module, "keep", ["v", value]) == 0
        assert bins(client, key) == {"v": value}


def test_only_an_update_that_ends_well_is_written(client, module, key):
    client.put(key, {"n": 1})
    assert client.apply(key, module, "forgets", []) is None
    with refused(100):
        client.apply(key, module, "fails", [])
    assert bins(client, key) == {"n": 1}
    assert client.apply(key, module, "gone", []) == 0
    assert client.exists(key)[1] is None


def test_what_is_not_there_is_said(client, module, key):
    for name, function in (("nobody", "f"), (module, "nobody")):
        with refused(100):
            client.apply(key, name, function, [])


def test_no_increment_of_many_at_once_is_lost(module, key):
    def work():
        client = connect()
        for _ in range(50):
            client.apply(key, module, "add", ["n", 1], PATIENT)
        client.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client = connect()
    assert bins(client, key) == {"n": 200}
    client.close()


def test_a_batch_runs_a_function_on_each_of_its_records(client, module, keys):
    answer = client.batch_apply(keys, module, "add", ["n", 2])
    assert [row.record[2] for row in answer.batch_records] == [{"SUCCESS": 2}] * len(keys)
    assert all(bins(client, key) == {"n": 2} for key in keys)
    answer = client.batch_apply(keys, module, "fails", [])
    assert {row.result for row in answer.batch_records} == {100}


def test_an_endless_function_and_a_greedy_one_end_with_an_error(client, module, key):
    began = time.monotonic()
    with refused(100):
        client.apply(key, module, "endless", [], {"total_timeout": 1000, "max_retries": 0})
    assert time.monotonic() - began < 1.5
    with refused(100):
        client.apply(key, module, "greedy", [], PATIENT)
    assert client.apply(key, module, "echo", [1]) == 1


def test_files_and_processes_are_out_of_reach(client, module, key):
    assert client.apply(key, module, "reaches", []) == "nilnilfunction"
