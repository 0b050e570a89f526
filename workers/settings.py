"""One frozen object from the environment, read once at the start of a process."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from scoring.levels import Levels

PREFIX = "WINDBACK_"
USUAL_NAMES = ("database_url", "redis_url", "port")

Port = Annotated[int, Meta(ge=1, le=65535)]
Percent = Annotated[float, Meta(gt=0, lt=100)]


class SettingsError(Exception):
    """A setting in the environment is wrong. The message names it; correct it and start again."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that can be set. A field `x` is read from `WINDBACK_X` (the usual names excepted), or from the file
    that `WINDBACK_X_FILE` names."""

    database_url: str | None = None
    redis_url: str | None = None
    port: Port = 8000
    host: str = "0.0.0.0"  # noqa: S104  a service in a container is reached from outside; `windback up` binds loopback
    web_processes: Annotated[int, Meta(ge=1, le=64)] = 1
    grace_seconds: Annotated[float, Meta(ge=0, le=300)] = 5.0
    data_dir: Path = Path(".windback")
    log_level: Annotated[str, Meta(pattern="^(?i:debug|info|warning|error)$")] = "info"
    log_format: Literal["auto", "text", "json"] = "auto"
    horizon_days: Annotated[int, Meta(ge=1, le=365)] | None = None
    level_medium: Percent = 20.0
    level_high: Percent = 50.0
    level_critical: Percent = 75.0
    buffer_events: Annotated[int, Meta(ge=1)] = 1_000_000
    buffer_bytes: Annotated[int, Meta(ge=1)] = 1 << 30
    batch_events: Annotated[int, Meta(ge=1, le=50_000)] = 5_000
    claim_seconds: Annotated[float, Meta(ge=1)] = 60.0
    rescore_seconds: Annotated[float, Meta(ge=0)] = 5.0
    event_id_days: Annotated[int, Meta(ge=1)] = 35
    retention_days: Annotated[int, Meta(ge=1)] | None = None
    rollup_retention_days: Annotated[int, Meta(ge=400)] | None = None  # training and rescoring look back a year

    @property
    def levels(self) -> Levels:
        return Levels(self.level_medium / 100, self.level_high / 100, self.level_critical / 100)

    def needs(self, *names: str) -> None:
        """Raise SettingsError unless each of these is set."""
        for name in names:
            if not getattr(self, name):
                raise SettingsError(f"{variable(name)} is not set; set it, or let `windback up` bring its own server")


def variable(field: str) -> str:
    """The name of a field's environment variable."""
    return field.upper() if field in USUAL_NAMES else PREFIX + field.upper()


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the environment; an empty value counts as unset. Raises SettingsError."""
    given = {field: value for field in Settings.__struct_fields__ if (value := _read(environ, variable(field)))}
    try:
        settings = msgspec.convert(given, Settings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$.")
        raise SettingsError(f"{variable(where.rstrip('`'))} is wrong: {message}") from None
    if not settings.level_medium < settings.level_high < settings.level_critical:
        names = "WINDBACK_LEVEL_MEDIUM, WINDBACK_LEVEL_HIGH and WINDBACK_LEVEL_CRITICAL"
        raise SettingsError(f"{names} must rise in this order")
    _check_retention(settings)
    _check_url(settings.database_url, "DATABASE_URL", ("postgresql://", "postgres://"))
    _check_url(settings.redis_url, "REDIS_URL", ("redis://", "rediss://", "unix://"))
    return settings


def _check_retention(settings: Settings) -> None:
    events, rollups = settings.retention_days, settings.rollup_retention_days
    if rollups is not None and (events is None or events > rollups):
        raise SettingsError(f"WINDBACK_RETENTION_DAYS must be set, and at most {rollups}: no event outlives its count")


def _path(kind: type, value: str) -> Path:
    return Path(value)


def _read(environ: Mapping[str, str], name: str) -> str | None:
    if path := environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text().strip()
        except OSError as error:
            raise SettingsError(f"{name}_FILE can't be read: {error.strerror}: {path}") from None
    return environ.get(name) or None


def _check_url(url: str | None, name: str, schemes: tuple[str, ...]) -> None:
    if url is not None and not url.startswith(schemes):
        raise SettingsError(f"{name} is wrong: it must begin with {' or '.join(schemes)}")
