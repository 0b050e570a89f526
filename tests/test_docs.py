"""Docs that can't rot: what the service is, the README names."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from starlette.routing import Route

from api.app import create_app
from api.cli import main
from api.errors import CODES
from scoring.events import RECOGNISED
from tests.api.health.test_metrics import TYPES as METRICS
from workers.settings import Settings, variable

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def commands(group: click.Group, prefix: str = "windback") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}"


def routes() -> Iterator[str]:
    app = create_app(Settings(database_url="postgresql://x", redis_url="redis://x"))
    for route in app.routes:
        if isinstance(route, Route):  # not the mounts of static files
            yield re.sub(r":\w+}", "}", route.path)


@pytest.mark.parametrize("route", list(routes()))
def test_every_route_is_in_the_readme(route: str) -> None:
    assert re.search(rf"\b(GET|POST|PUT|PATCH|DELETE) {re.escape(route)}`", README)


@pytest.mark.parametrize("name", [variable(field) for field in Settings.__struct_fields__])
def test_every_setting_is_in_the_readme(name: str) -> None:
    assert f"`{name}`" in README


@pytest.mark.parametrize("command", list(commands(main)))
def test_every_command_is_in_the_readme(command: str) -> None:
    assert command in README


def mentions() -> Iterator[str]:
    """The command lines of the README, without `windback` itself."""
    yield from re.findall(r"`windback ([^`]+)`", README)
    yield from re.findall(r"^    .*?(?:^|[ /])windback ([a-z].*)$", README, re.MULTILINE)


@pytest.mark.parametrize("line", sorted(set(mentions())))
def test_a_command_in_the_readme_exists_with_its_options(line: str) -> None:
    words = re.findall(r"--?[a-z-]+|[\w-]+", line)
    command: click.Command | None = main
    while isinstance(command, click.Group) and words:
        command = command.get_command(click.Context(command), words.pop(0))
    assert command
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options


@pytest.mark.parametrize("metric", list(METRICS))
def test_every_metric_is_in_the_readme(metric: str) -> None:
    assert re.search(rf"`{metric}(_total)?[`{{]", README)


@pytest.mark.parametrize("code", list(CODES))
def test_every_error_code_is_in_the_readme(code: str) -> None:
    assert f"`{code}`" in README


@pytest.mark.parametrize("event", list(RECOGNISED))
def test_every_recognised_event_is_in_the_readme(event: str) -> None:
    assert f"`{event}`" in README


@pytest.mark.parametrize("process", [line.partition(":")[0] for line in (ROOT / "Procfile").read_text().splitlines()])
def test_every_process_is_in_the_readme(process: str) -> None:
    assert f"| `{process}` |" in README


@pytest.mark.parametrize(
    "room",
    [
        f"{package}/{path.parent.name}"
        for package in ("api", "workers")
        for path in sorted((ROOT / package).glob("*/__init__.py"))
    ],
)
def test_every_room_is_on_the_readmes_map(room: str) -> None:
    assert f"`{room}`" in README


@pytest.mark.parametrize("path", sorted(p for p in ROOT.iterdir() if not p.name.startswith(".")))
def test_the_top_level_holds_what_was_asked_for(path: Path) -> None:
    allowed = {"pyproject.toml", "api", "workers", "scoring", "tests", "Procfile", "README.md"}
    assert path.name in allowed or path.suffix == ".egg-info"
