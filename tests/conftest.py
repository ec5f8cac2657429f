"""The end of the test report names the real data sets that were not here: no test is skipped silently."""

from shared_data import ABSENT


def pytest_terminal_summary(terminalreporter):
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", []) if len(report.longrepr) == 3]
    absent = [reason.partition(ABSENT)[2] for reason in reasons if ABSENT in reason]
    if absent:
        names = ", ".join(sorted(set(absent)))
        terminalreporter.write_line(
            f"{len(absent)} comparisons with published results were skipped: real data not here ({names}). "
            "Simulated twins ran in their place."
        )
