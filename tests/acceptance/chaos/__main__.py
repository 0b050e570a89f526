"""`python -m tests.acceptance.chaos`: a storm, by hand: as long as you like, and with any seed."""

import logging
import random
import sys
import tempfile
from pathlib import Path

import click

from tests.acceptance.chaos import storm
from tests.acceptance.chaos.servers import Buffers, Shape


@click.command()
@click.option("--minutes", default=0.0, help="How long the storm lasts.  [default: each trouble once]")
@click.option("--seed", type=int, help="Of a storm that is to be had again.  [default: any]")
@click.option("--keep", type=click.Path(path_type=Path), help="A folder for the servers and logs, which stays.")
@click.option("--cells", default=1, help="How many cells there are.", show_default=True)
@click.option(
    "--buffers",
    type=click.Choice(["one", "several", "cluster"]),
    default="one",
    show_default=True,
    help="Of several cells: in home's Redis, in several of their own, or in a Valkey Cluster.",
)
@click.option("--replicas", default=1, show_default=True, help="How many confirm a write to the cluster.")
@click.option("--failovers", default=0, help="Only kill masters of the cluster, so many times.")
def main(
    minutes: float, seed: int | None, keep: Path | None, cells: int, buffers: Buffers, replicas: int, failovers: int
) -> None:
    """Kill everything at random under load, on servers of its own, and audit what is left."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with tempfile.TemporaryDirectory(prefix="windback-chaos-") as folder:
        chosen = random.randrange(10**6) if seed is None else seed
        report = storm.run(keep or Path(folder), chosen, minutes, Shape(cells, buffers, replicas), failovers)
    click.echo(report)
    sys.exit(bool(report.findings))


if __name__ == "__main__":
    main()
