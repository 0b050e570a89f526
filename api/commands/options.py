"""What the commands share: where their servers are, and how trouble with these is told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import psycopg
from redis.exceptions import RedisError

from api.up.embedded import EmbeddedError, Servers, servers
from workers import settings
from workers.logs import first_line
from workers.store.migrate import Blocked, migrate

F = TypeVar("F", bound=Callable[..., Any])


def data_dir_option(command: F) -> F:
    """`--data-dir`, for a command that may use the embedded servers."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="WINDBACK_DATA_DIR",
        default=".windback",
        show_default=True,
        help="Folder of the embedded servers, where DATABASE_URL or REDIS_URL is unset.",
    )(command)


@contextmanager
def found_servers(data_dir: Path) -> Iterator[Servers]:
    """The servers that a command is to work on, at the current schema; what is wrong with them is said in one line."""
    try:
        configured = settings.load()
        if not (configured.database_url and configured.redis_url) and not data_dir.exists():
            raise EmbeddedError(f"There is no Windback in {data_dir}; `windback up` makes one, or name it: --data-dir")
        with servers(data_dir, configured.database_url, configured.redis_url) as found:
            migrate(found.database_url)
            yield found
    except (settings.SettingsError, EmbeddedError, Blocked) as error:
        raise click.ClickException(str(error)) from None
    except psycopg.OperationalError as error:
        raise click.ClickException(f"DATABASE_URL: Postgres doesn't answer: {first_line(error)}") from None
    except RedisError as error:
        raise click.ClickException(f"REDIS_URL: Redis doesn't answer: {first_line(error)}") from None
