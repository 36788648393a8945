"""What every test of the official Python client starts from.

The server is somebody else's: `tests/compat/main.rs` starts it and says where it is in KARST_HOST and
KARST_PORT, and which namespaces it has in KARST_NAMESPACES. Every test runs once in each of them, so
once on a device and once in memory. A test owns its keys: they begin with its name and are removed when
it ends, and so the tests need no order.
"""

import os
import time
import uuid

import aerospike
import pytest
from aerospike import exception

HOST = (os.environ.get("KARST_HOST", "127.0.0.1"), int(os.environ.get("KARST_PORT", "3000")))
NAMESPACES = os.environ.get("KARST_NAMESPACES", "disk,mem").split(",")

# Generous: the tests ask whether an answer is right, not whether it is fast.
TOTAL_TIMEOUT_MS = 10_000


def connect(**config):
    """A client of its own, for tests that change a client's settings or close it."""
    timeouts = {"total_timeout": TOTAL_TIMEOUT_MS, "socket_timeout": TOTAL_TIMEOUT_MS}
    policies = {
        name: dict(timeouts)
        for name in ("read", "write", "operate", "remove", "batch", "scan", "query")
    }
    policies.update(config.pop("policies", {}))
    config = {"hosts": [HOST], "policies": policies, "validate_keys": True, **config}
    return aerospike.client(config).connect()


@pytest.fixture(scope="session")
def client():
    client = connect()
    yield client
    client.close()


@pytest.fixture(params=NAMESPACES)
def ns(request):
    return request.param


@pytest.fixture
def key(client, ns):
    """A key that no other test uses, and no record under it."""
    key = (ns, "compat", f"key-{uuid.uuid4()}")
    yield key
    forget(client, key)


@pytest.fixture
def keys(client, ns):
    """Ten keys that no other test uses, and no records under them."""
    start = uuid.uuid4()
    keys = [(ns, "compat", f"key-{start}-{number}") for number in range(10)]
    yield keys
    for key in keys:
        forget(client, key)


@pytest.fixture
def own_set(client, ns):
    """A set that no other test uses."""
    name = f"set-{uuid.uuid4()}"[:40]
    yield name
    client.truncate(ns, name, 0)


def forget(client, key):
    try:
        client.remove(key)
    except exception.RecordNotFound:
        pass


def bins(client, key):
    """The bins of a record that is there."""
    return client.get(key)[2]


def refused(code):
    """Expects a server's refusal with this result code, raised as any kind of client exception."""

    class Refused:
        def __enter__(self):
            return self

        def __exit__(self, kind, error, _trace):
            assert error is not None, f"nothing was raised, code {code} was expected"
            if not isinstance(error, exception.AerospikeError):
                return False
            assert error.code == code, f"code {error.code} ({error.msg}), {code} was expected"
            self.error = error
            return True

    return Refused()


def wait_until(condition, seconds=10):
    """Waits until something is true; a server may take this long, never longer."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        time.sleep(0.02)
