"""The image and the compose file, as far as they can be tried without Docker: CI builds and installs the wheel in the
same steps."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from api.cli import main

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / ".docker" / "compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "windback"}
PROCFILE = dict(line.split(": ") for line in (ROOT / "Procfile").read_text().splitlines())


def test_every_process_of_the_procfile_has_a_service() -> None:
    assert set(OURS) - {"migrate"} == set(PROCFILE)
    for name, command in PROCFILE.items():
        _, _, module, *arguments = shlex.split(command)
        words = OURS[name]["command"]
        assert words[0] == "windback"
        assert (
            words[1:] == {"api": ["web"], "workers": arguments if name == "clock" else ["worker", *arguments]}[module]
        )


@pytest.mark.parametrize("name", OURS)
def test_a_service_runs_a_command_that_exists(name: str) -> None:
    result = CliRunner().invoke(main, [*OURS[name]["command"][1:], "--help"])
    assert result.exit_code == 0, result.output


def test_the_buffer_is_kept_and_never_evicted() -> None:
    words = SERVICES["valkey"]["command"]
    settings = dict(zip(words[1::2], words[2::2], strict=True))
    assert settings["--appendonly"] == "yes"
    assert settings["--maxmemory-policy"] == "noeviction"
    assert SERVICES["valkey"]["volumes"] == ["valkey:/data"]


def test_nobody_starts_before_the_schema_is_current() -> None:
    for name in PROCFILE:
        assert OURS[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert OURS["migrate"]["restart"] == "no"


def test_what_the_build_needs_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept == {"api", "workers", "scoring", ".licenses", "Procfile", "README.md", "pyproject.toml"}
