"""`python -m tests.bench [NAME…]`: how fast it is, beside what it could be."""

import tempfile
from pathlib import Path

import click

from tests.bench import alerts, door, ingest, lanes, reading, renewal, rescore
from tests.bench.measure import facts, table
from tests.bench.world import world

BENCHMARKS = {
    "door": door.run,
    "ingest": ingest.run,
    "lanes": lanes.run,
    "rescore": rescore.run,
    "renewal": renewal.run,
    "alerts": alerts.run,
    "reading": reading.run,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1), help="Medians of how many rounds.")
@click.option("--long", is_flag=True, help="Fill a database with millions of events as well.")
def main(names: tuple[str, ...], rounds: int, long: bool) -> None:
    """Measure the benchmarks NAME…, or all of them, on servers of their own."""
    with tempfile.TemporaryDirectory(prefix="windback-bench-") as folder, world(Path(folder), rounds, long) as made:
        click.echo(facts(made))
        for name in names or BENCHMARKS:
            click.echo(table(BENCHMARKS[name](made)) + "\n")


if __name__ == "__main__":
    main()
