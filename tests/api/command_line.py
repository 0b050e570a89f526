"""Running `windback` in this process."""

import shlex
from collections.abc import Callable

from click.testing import CliRunner, Result

from api.cli import main

Run = Callable[..., Result]


def windback(servers: dict[str, str]) -> Run:
    """A function that runs a command line with these servers: more arguments, what is typed in, other variables."""

    def run(line: str, *arguments: str, answer: str = "", **environment: str) -> Result:
        return CliRunner().invoke(main, [*shlex.split(line), *arguments], env=servers | environment, input=answer)

    return run
