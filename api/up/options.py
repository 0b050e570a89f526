"""The option that names the folder of `windback up`."""

from pathlib import Path

import click

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="WINDBACK_DATA_DIR",
    default=".windback",
    show_default=True,
    help="The data folder of `windback up`: its key, and its servers unless DATABASE_URL and REDIS_URL are set.",
)
