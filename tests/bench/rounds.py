"""A round of a benchmark for each name on standard input, its lines as JSON: `python -m tests.bench.rounds [--long]`.

compare.py runs it in two checkouts; the servers of both stay up, so that their rounds can take turns.
"""

import sys
import tempfile
from pathlib import Path

import msgspec

from tests.bench.benchmarks import run
from tests.bench.world import world


def main() -> None:
    """Measure until standard input ends."""
    long = "--long" in sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="windback-bench-") as folder, world(Path(folder), 1, long) as made:
        for name in sys.stdin:
            answer = msgspec.json.encode(run(name.strip(), made))
            sys.stdout.write(answer.decode() + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
