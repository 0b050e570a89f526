"""The same benchmarks of this checkout and of another commit, round by round in turn, and the ratios of their figures.

The other commit is checked out into a temporary folder, with our benchmarks laid over its own: both are measured by the
same code. Wall-clock figures of a busy machine say little. The CPU time an event, and ratios of rounds that ran one
after the other, say more.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import click
import msgspec

from tests.bench.measure import Line, aligned, number

ROOT = Path(__file__).parents[2]

Figures = dict[str, list[float]]  # by the name of a figure, one value a round


class Checkout:
    """A checkout whose benchmarks wait for their turn."""

    def __init__(self, folder: Path, long: bool) -> None:
        argv = [sys.executable, "-m", "tests.bench.rounds", *(["--long"] if long else [])]
        self._folder = folder
        self._process = subprocess.Popen(
            argv,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, name: str) -> list[Line]:
        """Returns the lines of one round. Raises click.ClickException."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        if not (answer := self._process.stdout.readline()):
            raise click.ClickException(f"the benchmark {name} fails in {self._folder}; see above")
        return msgspec.json.decode(answer, type=list[Line])

    def close(self) -> None:
        """End it; its servers end with it."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def compare(reference: str, names: Sequence[str], rounds: int, long: bool) -> None:
    """Measure, and print a table for each benchmark. Raises click.ClickException."""
    with check_out(reference) as folder:
        ours, theirs = Checkout(ROOT, long), Checkout(folder, long)
        try:
            for name in names:
                turns = [(ours.measure(name), theirs.measure(name)) for _ in range(rounds)]
                figures = gather(pair[0] for pair in turns), gather(pair[1] for pair in turns)
                click.echo(compare_figures(*figures, reference) + "\n")
        finally:
            for checkout in (ours, theirs):
                checkout.close()


@contextmanager
def check_out(reference: str) -> Iterator[Path]:
    """Yields a folder with the commit, our benchmarks over its own."""
    with tempfile.TemporaryDirectory(prefix="windback-ref-") as temporary:
        folder = Path(temporary) / "checkout"
        try:
            subprocess.run(["git", "worktree", "add", "--quiet", "--detach", folder, reference], cwd=ROOT, check=True)
        except subprocess.CalledProcessError:
            raise click.ClickException(f"{reference} can't be checked out") from None
        try:
            shutil.copytree(ROOT / "tests" / "bench", folder / "tests" / "bench", dirs_exist_ok=True)
            yield folder
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", folder], cwd=ROOT, check=False)


def gather(rounds: Iterator[list[Line]]) -> Figures:
    """Returns each figure's values, and where a line has a baseline the ratio to it."""
    figures: Figures = {}
    heading = ""
    for lines in rounds:
        for line in lines:
            heading = heading if line.figure.startswith(" ") else line.figure
            name = line.figure if heading == line.figure else f"{heading}:{line.figure[1:]}"
            figures.setdefault(f"{name}, {line.unit}", []).append(line.value)
            if line.baseline is not None:
                figures.setdefault(f"{name}, of baseline", []).append(line.value / line.baseline)
    return figures


def compare_figures(ours: Mapping[str, list[float]], theirs: Mapping[str, list[float]], reference: str) -> str:
    """Returns a table of medians, and of the medians of the rounds' own ratios."""
    rows = [["", "here", reference[:12], "ratio", ""]]
    for name, values in ours.items():
        if others := theirs.get(name):
            ratio = median(a / b for a, b in zip(values, others, strict=True) if b)
            rows.append([name, number(median(values)), number(median(others)), f"{ratio:.2f}", ""])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(aligned(row, widths) for row in rows)
