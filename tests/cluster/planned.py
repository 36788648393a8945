"""The official Python client, as an application has it: writes, reads and deletes with its default policies.

`planned.rs` starts it while it does things to the cluster in KARST_HOSTS. It says "ready" when it is connected, goes
on until its input ends, reads every key once more, and prints what it was told as JSON. Each thread has keys of its
own, and so knows what every request has to answer: nothing else writes them, and no node is lost.
"""

import json
import os
import random
import sys
import threading
import time

import aerospike
from aerospike import exception

THREADS = 4
KEYS = 100
# A moment between two requests: the machine is the nodes' too.
PAUSE_S = 0.001


class Worker(threading.Thread):
    def __init__(self, client, number, stopped):
        super().__init__()
        self.client = client
        self.number = number
        self.stopped = stopped
        self.kept = {}
        self.tally = {"writes": 0, "reads": 0, "deletes": 0}
        self.errors = []
        self.wrong = []
        self.slowest_s = 0.0

    def run(self):
        draw = random.Random(self.number)
        version = 0
        while not self.stopped.is_set():
            version += 1
            key = ("test", "planned", self.number * KEYS + draw.randrange(KEYS))
            began = time.monotonic()
            try:
                self.once(draw.random(), key, version)
            except exception.AerospikeError as error:
                took = time.monotonic() - began
                self.errors.append(f"{key[2]} after {took:.3f} s: {error}")
                self.kept[key] = None  # in doubt: whatever is there
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            time.sleep(PAUSE_S)

    def once(self, chance, key, version):
        if chance < 0.4:
            self.client.put(key, {"v": version, "f": "x" * 300})
            self.kept[key] = version
            self.tally["writes"] += 1
        elif chance < 0.5:
            found = True
            try:
                self.client.remove(key)
            except exception.RecordNotFound:
                found = False
            self.expect(key, found, key in self.kept)
            self.kept.pop(key, None)
            self.tally["deletes"] += 1
        else:
            self.read(key)
            self.tally["reads"] += 1

    def read(self, key):
        found = None
        try:
            _, _, bins = self.client.get(key)
            found = bins["v"]
        except exception.RecordNotFound:
            pass
        self.expect(key, found, self.kept.get(key))
        return found

    def expect(self, key, found, expected):
        if key in self.kept and self.kept[key] is None:
            return
        if found != expected:
            self.wrong.append(f"{key[2]}: {found}, not {expected}")


def main():
    hosts = [(host, int(port)) for host, port in (it.split(":") for it in os.environ["KARST_HOSTS"].split(","))]
    client = aerospike.client({"hosts": hosts}).connect()
    stopped = threading.Event()
    workers = [Worker(client, number, stopped) for number in range(THREADS)]
    for worker in workers:
        worker.start()
    print("ready", flush=True)
    sys.stdin.read()
    stopped.set()
    for worker in workers:
        worker.join()
    records = 0
    for worker in workers:
        for number in range(KEYS):
            records += worker.read(("test", "planned", worker.number * KEYS + number)) is not None
    tally = {name: sum(worker.tally[name] for worker in workers) for name in workers[0].tally}
    tally["records"] = records
    tally["slowest_ms"] = round(1000 * max(worker.slowest_s for worker in workers))
    tally["errors"] = [error for worker in workers for error in worker.errors]
    tally["wrong"] = [wrong for worker in workers for wrong in worker.wrong]
    print(json.dumps(tally))
    client.close()


main()
