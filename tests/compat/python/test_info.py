"""Info commands, as clients and tools send them."""

import pytest
from aerospike import exception
from conftest import HOST, NAMESPACES, connect, wait_until


def ask(client, command):
    name, value = client.info_random_node(command).rstrip("\n").split("\t", 1)
    assert name == command
    return value


def pairs(text, separator=";"):
    return dict(pair.split("=", 1) for pair in text.split(separator) if pair)


def test_every_way_to_ask_gives_the_same_answer(client):
    [node] = client.get_node_names()
    answers = client.info_all("build")
    assert list(answers) == [node["node_name"]]
    error, answer = answers[node["node_name"]]
    assert error is None
    assert answer.strip() == ask(client, "build")
    assert client.info_single_node("build", node["node_name"]).split("\t")[1].strip() == answer.strip()


def test_the_client_knows_one_node_at_the_address_it_asked(client):
    assert client.is_connected()
    assert client.get_nodes() == [HOST]


def test_the_namespaces_are_those_configured(client):
    assert sorted(ask(client, "namespaces").split(";")) == sorted(NAMESPACES)


def test_the_build_is_a_version_that_clients_can_compare(client):
    parts = ask(client, "build").split(".")
    assert len(parts) >= 3
    assert all(part.isdigit() for part in parts)


def test_a_namespace_counts_its_records(client, ns, own_set):
    before = int(pairs(ask(client, f"namespace/{ns}"))["objects"])
    for number in range(7):
        client.put((ns, own_set, number), {"n": number})
    stats = pairs(ask(client, f"namespace/{ns}"))
    assert int(stats["objects"]) == before + 7
    assert stats["storage-engine"] in ("device", "memory")
    assert stats["stop_writes"] == "false"
    assert int(stats["data_used_bytes"]) > 0


def test_a_set_counts_its_records(client, ns, own_set):
    for number in range(7):
        client.put((ns, own_set, number), {"n": number})
    client.remove((ns, own_set, 0))
    stats = pairs(ask(client, f"sets/{ns}/{own_set}"), ":")
    assert stats["objects"] == "6"


def test_statistics_count_connections(client):
    before = int(pairs(ask(client, "statistics"))["client_connections_opened"])
    connect().close()
    wait_until(lambda: int(pairs(ask(client, "statistics"))["client_connections_opened"]) > before)


def test_every_command_that_clients_poll_is_answered(client):
    polled = "node build features partition-generation peers-generation rebalance-generation"
    polled += " peers-clear-std service-clear-std rack-ids replicas cluster-name namespaces"
    for command in polled.split():
        assert not ask(client, command).startswith(("ERROR", "FAIL")), command


def test_all_partitions_are_told_to_be_here(client, ns):
    shown = dict(entry.split(":", 1) for entry in ask(client, "replicas").split(";"))
    regime, factor, bitmap = shown[ns].split(",", 2)
    assert (regime, factor) == ("0", "1")
    assert bitmap == "/" * 682 + "8="


def test_an_unknown_command_is_an_error_and_breaks_nothing(client):
    with pytest.raises(exception.AerospikeError):
        client.info_random_node("no-such-command")
    assert ask(client, "namespaces")


def test_configuration_can_be_read(client, ns):
    shown = pairs(ask(client, f"get-config:context=namespace;namespace={ns}"))
    assert shown["default-ttl"] == "0"
    # A record shares its write block, of 1 MiB here, with the block's header.
    assert (1 << 20) - 8192 <= int(shown["max-record-size"]) <= 1 << 20
