"""What importing the package and asking for help cost, beside pandas and Python itself (medians over fresh processes).

Bars: ``import alliance_stats`` with a name of its schema at most 1.25 times ``import pandas``;
``alliance-stats --help`` at most 4 times ``python -c pass``. Exit status 1 if one is missed.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

REPEATS = 15
PYTHON = sys.executable
SCRIPT = str(Path(PYTHON).with_name("alliance-stats"))
COMMANDS = {
    "python -c pass": [PYTHON, "-c", "pass"],
    "alliance-stats --help": [SCRIPT, "--help"],
    "import pandas": [PYTHON, "-c", "import pandas"],
    "import alliance_stats": [PYTHON, "-c", "import alliance_stats; alliance_stats.DataError"],
}
BARS = [("import alliance_stats", "import pandas", 1.25), ("alliance-stats --help", "python -c pass", 4.0)]


def main() -> int:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(REPEATS):  # in turn, so that a busy moment falls on all of them
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        print(f"{name:<24}{1000 * value:8.1f} ms")
    missed = 0
    for name, reference, bar in BARS:
        ratio = median[name] / median[reference]
        missed += ratio > bar
        print(f"{name} / {reference} = {ratio:.2f} (bar {bar}): {'ok' if ratio <= bar else 'MISSED'}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
