"""Clients and connections: many at once, threads, closing, coming back."""

import threading
from concurrent.futures import ThreadPoolExecutor

import aerospike
import pytest
from aerospike import exception
from conftest import bins, connect, forget


def test_threads_of_one_client_do_not_disturb_each_other(client, ns, own_set):
    def work(worker):
        for number in range(30):
            key = (ns, own_set, f"{worker}-{number}")
            client.put(key, {"w": worker, "n": number, "pad": b"p" * number * 50})
            assert bins(client, key) == {"w": worker, "n": number, "pad": b"p" * number * 50}
        return worker

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(16))) == list(range(16))
    assert len(client.scan(ns, own_set).results()) == 16 * 30


def test_increments_of_many_threads_all_count(client, key):
    def work(_):
        for _ in range(25):
            client.increment(key, "n", 1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    _, meta, found = client.get(key)
    assert (meta["gen"], found) == (200, {"n": 200})


def test_of_many_threads_only_one_creates(client, key):
    start = threading.Barrier(8)

    def work(worker):
        start.wait()
        try:
            client.put(key, {"w": worker}, policy={"exists": aerospike.POLICY_EXISTS_CREATE})
        except exception.RecordExistsError:
            return None
        return worker

    with ThreadPoolExecutor(8) as pool:
        winners = [worker for worker in pool.map(work, range(8)) if worker is not None]
    assert [bins(client, key)["w"]] == winners


def test_many_clients_may_be_connected_at_once(key):
    clients = [connect() for _ in range(20)]
    for number, client in enumerate(clients):
        client.put(key, {"n": number})
        assert bins(client, key) == {"n": number}
    forget(clients[0], key)
    for client in clients:
        client.close()


def test_a_closed_client_may_connect_again(key):
    client = connect()
    client.put(key, {"n": 1})
    client.close()
    assert not client.is_connected()
    client.connect()
    assert bins(client, key) == {"n": 1}
    client.close()


def test_another_cluster_name_is_refused_by_the_client():
    with pytest.raises(exception.AerospikeError):
        connect(cluster_name="another")


def test_the_clusters_own_name_is_accepted(key):
    client = connect(cluster_name="karst")
    client.put(key, {"n": 1})
    client.close()


def test_a_login_is_refused_or_ignored_where_access_control_is_off(key):
    # Servers without access control answer a login with code 52; the client then goes on without.
    client = connect(user="somebody", password="secret")
    client.put(key, {"n": 1})
    assert bins(client, key) == {"n": 1}
    client.close()
