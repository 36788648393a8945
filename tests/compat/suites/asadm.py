"""Types every everyday command of asadm, Aerospike's administration shell, at one node, and says which complain.

asadm-suite runs it:  asadm.py CHECKOUT HOST:PORT FOLDER OUTPUT
What each command printed goes to OUTPUT. FOLDER is empty, and where asadm writes its files.
"""

import pathlib
import re
import shutil
import subprocess
import sys

SET_UP = [
    "manage sindex create numeric ix_count ns test set demo bin count",
    "manage udfs add echo.lua path {folder}/echo.lua",
]

SCREENS = """
info
info network
info namespace
info namespace usage
info namespace object
info set
info sindex
info release
info transactions
info xdr
info dc
show best-practices
show config
show config service
show config network
show config namespace
show config security
show config xdr
show config xdr dcs
show config diff
show distribution
show distribution time_to_live
show distribution object_size
show distribution object_size -b
show jobs
show jobs queries
show latencies
show latencies -v
show latencies -e 1 -b 17
show mapping
show mapping ip
show mapping node
show masking
show pmap
show racks
show roster
show sindex
show statistics
show statistics service
show statistics namespace
show statistics sets
show statistics sindex
show statistics xdr
show stop-writes
show udfs
show udfs echo.lua
show user-agents
features
summary
health
asinfo -v status
asinfo -v build
asinfo -v namespaces
asinfo -v namespace/test
asinfo -v sets/test
asinfo -v latencies:
asinfo -v statistics
asinfo -v help
asinfo -v "get-config:context=namespace;namespace=test"
""".split("\n")

CHANGES = """
manage config namespace test param default-ttl to 3600
manage config namespace test storage-engine param evict-used-pct to 60
manage config namespace test set demo param stop-writes-count to 100000
manage config logging file stderr param karst to debug
manage config logging file stderr param karst to info
manage recluster
manage jobs kill all queries
manage truncate ns test set demo --no-warn
manage sindex delete ix_count ns test set demo
manage udfs remove echo.lua
collectinfo --output-prefix {prefix}
""".split("\n")

# Asked of a node without access control, security has one answer; and one node is not to be quiesced.
REFUSED = {
    "show users": "not enabled",
    "show roles": "not enabled",
    "manage acl create user jo password secret roles read": "not enabled",
    "manage quiesce with all": "no other node",
}

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
COMPLAINT = re.compile(r"error|exception|traceback|failed|invalid|unrecognized|unable|bad parameter", re.IGNORECASE)
# Rows, names of figures, the counts of `health`, and what collectinfo finds missing on the machine.
HARMLESS = re.compile(r"\||[a-z0-9]_?(errors?|failed)\b|(errors?|failed)_|^ +(\w+: |Failed: )|WARNING: ", re.IGNORECASE)


def complaints(text, is_change):
    """Lines that tell of something wrong; of a change, whose rows are its answers, rows too."""
    lines = [line for line in text.splitlines() if COMPLAINT.search(line)]
    return [line for line in lines if is_change or not HARMLESS.search(line)]


def main():
    checkout, address, folder, output = sys.argv[1:]
    host, port = address.rsplit(":", 1)
    pathlib.Path(folder, "echo.lua").write_text("function echo(rec, value) return value end\n")
    commands = [line for line in [*SET_UP, *SCREENS, *CHANGES] if line]
    shell = pathlib.Path(checkout, "asadm.py").resolve()
    asadm = [sys.executable, shell, "--host", host, "--port", port, "--enable", "-e"]
    prefix = pathlib.Path(folder).parent.name  # collectinfo writes to /tmp, whatever it is told
    complaining = 0
    with open(output, "w", encoding="utf-8") as log:
        for command in [*commands, *REFUSED]:
            typed = command.replace("{folder}", folder).replace("{prefix}", prefix)
            done = subprocess.run(
                [*asadm, typed], cwd=folder, capture_output=True, text=True, timeout=120, check=False
            )
            printed = COLOUR.sub("", done.stdout + done.stderr)
            log.write(f"=== {typed} (exit code {done.returncode})\n{printed}\n")
            log.flush()
            found = complaints(printed, command.startswith("manage"))
            if command in REFUSED:
                found = [] if REFUSED[command] in printed else found or ["no refusal"]
            elif done.returncode != 0:
                found = found or [f"exit code {done.returncode}"]
            if found:
                complaining += 1
                print(f"{typed}\n    {found[0].strip()}")
    for collected in pathlib.Path("/tmp").glob(f"{prefix}*"):
        if collected.resolve() != pathlib.Path(folder).parent.resolve():
            shutil.rmtree(collected) if collected.is_dir() else collected.unlink()
    print(f"{len(commands) + len(REFUSED)} commands, {complaining} not as they should be")
    return complaining > 0


if __name__ == "__main__":
    sys.exit(main())
