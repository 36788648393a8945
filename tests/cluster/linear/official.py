"""The official Python client, asked by many threads, with every request and its answer noted.

`official.rs` starts it: it says "ready" when it is connected, goes on until its input ends, and writes what it noted
to KARST_HISTORY, a line of JSON each, as `karst_tests::linear::Operation` reads it. What is asked is drawn by the table
in `plan.rs`. KARST_FIRST is the number of the first thread's client; KARST_RATE requests a second are asked.
"""

import itertools
import json
import os
import random
import sys
import threading
import time

import aerospike
from aerospike import exception
from aerospike_helpers.operations import operations

THREADS = 24
KEYS = 240
HOT_KEYS = 16
NUMBERS = 10_000_000
# How long a record is mostly left alone after a request for it came to nothing, and how often another one is drawn.
SILENT_S = 0.5
DRAWS = 8
# Pause after a failure.
AFTER_FAILURE_S = 0.2
# How far behind its rate the load makes up for what it could not ask.
BEHIND_MAX_S = 20.0

BASE = {"total_timeout": 1000, "socket_timeout": 1000, "max_retries": 0}
WRITE = BASE | {"key": aerospike.POLICY_KEY_DIGEST, "commit_level": aerospike.POLICY_COMMIT_LEVEL_ALL}
SWAP = WRITE | {"gen": aerospike.POLICY_GEN_EQ}
CREATE = WRITE | {"exists": aerospike.POLICY_EXISTS_CREATE}
REMOVE = WRITE | {"durable_delete": True}
SESSION = BASE | {
    "replica": aerospike.POLICY_REPLICA_MASTER,
    "read_mode_sc": aerospike.POLICY_READ_MODE_SC_SESSION,
}
LINEARIZE = SESSION | {"read_mode_sc": aerospike.POLICY_READ_MODE_SC_LINEARIZE}


class Pace:
    """When the next request is due, for all threads together."""

    def __init__(self, rate):
        self.began = time.monotonic()
        self.each_s = 1 / rate
        self.turn = itertools.count()
        self.skipped = 0.0

    def next(self):
        due = self.began + self.skipped + next(self.turn) * self.each_s
        behind = time.monotonic() - due
        if behind > BEHIND_MAX_S:
            self.skipped += behind - BEHIND_MAX_S
        elif behind < 0:
            time.sleep(-behind)

    def give_back(self):
        """Has what failed asked once more than was planned."""
        self.skipped -= self.each_s


def seen(meta, bins):
    value = bins["v"]
    if isinstance(value, str):
        content = {"list": [int(element) for element in value.split(",")[:-1]]}
    else:
        content = {"number": value}
    return {"told": {"generation": meta["gen"], "content": content}}


class Worker(threading.Thread):
    def __init__(self, client, number, pace, silent, stopped):
        super().__init__()
        self.client = client
        self.number = number
        self.pace = pace
        self.silent = silent
        self.stopped = stopped
        self.draw = random.Random(f"{os.environ['KARST_SEED']} {number}")
        self.linearize = int(os.environ["KARST_LINEARIZE"]) / 100
        self.turn = 0
        self.last_read = None
        self.noted = []

    def run(self):
        while not self.stopped.is_set():
            self.pace.next()
            self.turn += 1
            key, action = self.next()
            outcome = self.ask(key, action)
            if outcome in ("failed", "in_doubt"):
                self.silent[key] = time.monotonic() + SILENT_S
            if outcome == "failed":
                self.pace.give_back()
                time.sleep(AFTER_FAILURE_S)

    def next(self):
        unique = self.number * NUMBERS + self.turn
        last, self.last_read = self.last_read, None
        if last and self.draw.random() < 0.6:
            key, generation = last
            return key, {"write": {"value": unique, "expect": {"generation": generation}}}
        for _ in range(DRAWS):
            hot = self.draw.random() < 1 / 3
            key = self.draw.randrange(HOT_KEYS if hot else KEYS)
            if self.silent[key] < time.monotonic():
                break
        chance = self.draw.random()
        if chance < 0.4:
            return key, "read"
        if chance < (0.45, 0.42, 0.46, 0.6)[key % 4]:
            return key, "delete"
        return key, (
            {"write": {"value": unique, "expect": "any"}},
            {"add": {"amount": 1}},
            {"append": {"element": unique}},
            {"write": {"value": unique, "expect": "absent"}},
        )[key % 4]

    def ask(self, number, action):
        linearizes = action == "read" and self.draw.random() < self.linearize
        note = "python, linearize" if linearizes else "python"
        called = time.monotonic_ns()
        try:
            outcome = self.answer(("test", "linear", number), action, linearizes)
            returned = time.monotonic_ns()
        except exception.RecordNotFound:
            outcome, returned = "absent", time.monotonic_ns()
        except exception.RecordGenerationError:
            outcome, returned = "other_generation", time.monotonic_ns()
        except exception.RecordExistsError:
            outcome, returned = "exists", time.monotonic_ns()
        except exception.AerospikeError as error:
            returned = time.monotonic_ns()
            outcome = "in_doubt" if error.in_doubt and action != "read" else "failed"
            note = f"python: {type(error).__name__} {error.code} {error.msg}"
        if number % 4 == 0 and action == "read" and isinstance(outcome, dict):
            self.last_read = number, outcome["told"]["generation"]
        operation = {
            "client": self.number,
            "key": number,
            "called_ns": called,
            "returned_ns": returned,
            "action": action,
            "outcome": outcome,
            "note": note,
        }
        self.noted.append(operation)
        return outcome

    def answer(self, key, action, linearizes):
        if action == "read":
            _, meta, bins = self.client.get(key, LINEARIZE if linearizes else SESSION)
            return seen(meta, bins)
        if action == "delete":
            self.client.remove(key, {}, REMOVE)
            return "done"
        if "add" in action:
            steps = [operations.increment("v", action["add"]["amount"]), operations.read("v")]
            _, meta, bins = self.client.operate(key, steps, {}, WRITE)
            return seen(meta, bins)
        if "append" in action:
            element = f"{action['append']['element']},"
            steps = [operations.append("v", element), operations.read("v")]
            _, meta, bins = self.client.operate(key, steps, {}, WRITE)
            return seen(meta, bins)
        return self.write(key, action["write"]["value"], action["write"]["expect"])

    def write(self, key, value, expect):
        if expect == "any":
            steps = [operations.write("v", value), operations.read("v")]
            _, meta, bins = self.client.operate(key, steps, {}, WRITE)
            return seen(meta, bins)
        if expect == "absent":
            self.client.put(key, {"v": value}, {}, CREATE)
        else:
            self.client.put(key, {"v": value}, {"gen": expect["generation"]}, SWAP)
        return "done"


def main():
    hosts = [(host, int(port)) for host, port in (it.split(":") for it in os.environ["KARST_HOSTS"].split(","))]
    client = aerospike.client({"hosts": hosts}).connect()
    stopped = threading.Event()
    pace = Pace(int(os.environ["KARST_RATE"]))
    first = int(os.environ["KARST_FIRST"])
    silent = [0.0] * KEYS  # until when, for all threads
    workers = [Worker(client, first + number, pace, silent, stopped) for number in range(THREADS)]
    for worker in workers:
        worker.start()
    print("ready", flush=True)
    sys.stdin.read()
    stopped.set()
    for worker in workers:
        worker.join()
    with open(os.environ["KARST_HISTORY"], "w") as file:
        for operation in (operation for worker in workers for operation in worker.noted):
            file.write(json.dumps(operation) + "\n")
    client.close()


main()
