"""`python -m tests.acceptance.chaos`: a storm, by hand: as long as you like, and with any seed."""

import logging
import random
import sys
import tempfile
from pathlib import Path

import click

from tests.acceptance.chaos import storm


@click.command()
@click.option("--minutes", default=0.0, help="How long the storm lasts.  [default: each trouble once]")
@click.option("--seed", type=int, help="Of a storm that is to be had again.  [default: any]")
@click.option("--keep", type=click.Path(path_type=Path), help="A folder for the servers and logs, which stays.")
def main(minutes: float, seed: int | None, keep: Path | None) -> None:
    """Kill everything at random under load, on servers of its own, and audit what is left."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with tempfile.TemporaryDirectory(prefix="windback-chaos-") as folder:
        chosen = random.randrange(10**6) if seed is None else seed
        report = storm.run(keep or Path(folder), chosen, minutes)
    click.echo(report)
    sys.exit(bool(report.findings))


if __name__ == "__main__":
    main()
