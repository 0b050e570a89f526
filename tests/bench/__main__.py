"""`python -m tests.bench [NAME…]`: how fast it is, beside what it could be; `--compare REF`: beside another commit."""

import tempfile
from pathlib import Path

import click

from tests.bench.benchmarks import MODULES, run
from tests.bench.compare import compare
from tests.bench.measure import facts, table
from tests.bench.world import world


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(MODULES)))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1), help="Medians of how many rounds.")
@click.option("--long", is_flag=True, help="Fill a database with millions of events as well.")
@click.option("--compare", "reference", metavar="REF", help="Measure this commit as well, in turn, and print ratios.")
def main(names: tuple[str, ...], rounds: int, long: bool, reference: str | None) -> None:
    """Measure the benchmarks NAME…, or all of them, on servers of their own."""
    chosen = names or tuple(MODULES)
    if reference:
        compare(reference, chosen, rounds, long)
        return
    with tempfile.TemporaryDirectory(prefix="windback-bench-") as folder, world(Path(folder), rounds, long) as made:
        click.echo(facts(made))
        for name in chosen:
            click.echo(table(run(name, made)) + "\n")


if __name__ == "__main__":
    main()
