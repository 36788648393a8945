"""A plugin of pytest that prints, for each file of a suite, how its tests fared, and writes why each failed.

python-suite loads it. The reasons go to the file that KARST_SUITE_REASONS names, a line each.
"""

import collections
import os

KINDS = ["passed", "failed", "error", "skipped", "xfailed", "xpassed"]


def kind_of(report):
    """What a report counts as; None where a test has only been set up or torn down."""
    expected = hasattr(report, "wasxfail")
    if report.when == "call":
        if expected:
            return "xpassed" if report.passed else "xfailed"
        return report.outcome
    if report.skipped:
        return "xfailed" if expected else "skipped"
    return "error" if report.failed else None


class Table:
    def __init__(self):
        self.files = collections.defaultdict(collections.Counter)
        self.reasons = []

    def pytest_runtest_logreport(self, report):
        kind = kind_of(report)
        if kind is None:
            return
        self.files[report.location[0].split("/")[-1]][kind] += 1
        if kind in ("failed", "error"):
            lines = str(report.longrepr).strip().splitlines()
            causes = [line for line in lines if line.startswith("E ")]
            self.reasons.append(f"{report.nodeid}\t{(causes or lines or ['?'])[-1].strip()}")

    def pytest_terminal_summary(self, terminalreporter):
        write = terminalreporter.write_line
        write("".join(["file".ljust(44)] + [kind.rjust(9) for kind in KINDS]))
        total = collections.Counter()
        for name, counts in sorted(self.files.items()):
            total.update(counts)
            write(row(name, counts))
        write(row("all", total))
        path = os.environ.get("KARST_SUITE_REASONS")
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(reason + "\n" for reason in self.reasons)


def row(name, counts):
    return name.ljust(44) + "".join(str(counts[kind]).rjust(9) for kind in KINDS)


def pytest_configure(config):
    config.pluginmanager.register(Table(), "karst-table")
