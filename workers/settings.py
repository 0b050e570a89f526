"""One frozen object from the environment, read once at the start of a process."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import msgspec.inspect
from msgspec import Meta, Struct

from scoring.levels import LevelBounds
from workers import urls
from workers.cells import MOST_CELLS, Cell, lead_to_slot
from workers.redis import PREFIX_PATTERN
from workers.urls import SettingsError as SettingsError

PREFIX = "WINDBACK_"
USUAL_NAMES = ("database_url", "redis_url", "port")
LOWER_CASE = ("log_level", "log_format")

Port = Annotated[int, Meta(ge=1, le=65535)]
Percent = Annotated[float, Meta(gt=0, lt=100)]


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that can be set. A field `x` is read from `WINDBACK_X` (the usual names excepted), or from the file
    that `WINDBACK_X_FILE` names."""

    database_url: str | None = None
    redis_url: str | None = None
    url: str | None = None
    api_key: str | None = None
    port: Port = 8000
    host: str = "0.0.0.0"  # noqa: S104  a service in a container is reached from outside; `windback up` binds loopback
    web_processes: Annotated[int, Meta(ge=1, le=64)] = 1
    keep_alive_seconds: Annotated[int, Meta(ge=1, le=3600)] = 75  # load balancers keep idle connections for 60
    forwarded_allow_ips: str | None = None
    grace_seconds: Annotated[float, Meta(ge=0, le=300)] = 5.0
    data_dir: Path = Path(".windback")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "text", "json"] = "auto"
    horizon_days: Annotated[int, Meta(ge=1, le=365)] | None = None
    level_medium: Percent = 20.0
    level_high: Percent = 50.0
    level_critical: Percent = 75.0
    buffer_events: Annotated[int, Meta(ge=1)] | None = None
    buffer_bytes: Annotated[int, Meta(ge=1)] = 1 << 30
    disk_free_bytes: Annotated[int, Meta(ge=0)] = 500_000_000
    batch_events: Annotated[int, Meta(ge=1, le=50_000)] = 20_000
    claim_seconds: Annotated[float, Meta(ge=1)] = 60.0
    rescore_seconds: Annotated[float, Meta(ge=0)] = 5.0
    event_id_days: Annotated[int, Meta(ge=1)] = 35
    retention_days: Annotated[int, Meta(ge=1)] | None = None
    rollup_retention_days: Annotated[int, Meta(ge=400)] | None = None  # training and rescoring look back a year
    redis_prefix: Annotated[str, Meta(pattern=f"^{PREFIX_PATTERN}$")] = "windback"
    alerts_per_hour: Annotated[int, Meta(ge=1)] = 100
    webhook_private_addresses: bool = False
    public_url: str | None = None
    upload_bytes: Annotated[int, Meta(ge=1)] = 1 << 30
    upload_dir: Path | None = None
    cells: Annotated[int, Meta(ge=1, le=MOST_CELLS)] = 1
    buffer_url: str | None = None
    buffer_replicas: Annotated[int, Meta(ge=0, le=5)] = 0
    cell_database_urls: str | None = None
    cell_buffer_urls: str | None = None

    @property
    def home(self) -> Cell:
        """The place of accounts, keys and models; of the customers and the buffer too, if there is a single cell."""
        buffer_url = self.buffer_url if self.cells == 1 else None
        return Cell(self.database_url or "", buffer_url or self.redis_url or "", cells=self.cells)

    @property
    def all_cells(self) -> tuple[Cell, ...]:
        """All cells, by their number."""
        if self.cells == 1:
            return (self.home,)
        databases = _places(self.cell_database_urls) or [self.home.database_url] * self.cells
        buffers = _places(self.cell_buffer_urls) or [self.buffer_url or self.home.buffer_url] * self.cells
        cells = map(Cell, databases, buffers, range(self.cells), [self.cells] * self.cells)
        return tuple(map(lead_to_slot, cells) if self.buffer_url and not self.cell_buffer_urls else cells)

    def changed(self, **values: Any) -> "Settings":
        """Returns these settings with other values."""
        return msgspec.structs.replace(self, **values)

    @property
    def address(self) -> str:
        """The address of the dashboard as far as it is known, for links in messages."""
        return (self.public_url or f"http://127.0.0.1:{self.port}").rstrip("/")

    @property
    def levels(self) -> LevelBounds:
        return LevelBounds(self.level_medium / 100, self.level_high / 100, self.level_critical / 100)

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
    values = {field: value for field in Settings.__struct_fields__ if (value := _read(environ, variable(field)))}
    values |= {field: values[field].lower() for field in LOWER_CASE if field in values}
    try:
        settings = msgspec.convert(values, Settings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        field = str(error).partition(" - at `$.")[2].rstrip("`")
        raise SettingsError(
            f"{variable(field)} is wrong: it must be {_describe(field)}, not {values[field]!r}"
        ) from None
    if not settings.level_medium < settings.level_high < settings.level_critical:
        names = "WINDBACK_LEVEL_MEDIUM, WINDBACK_LEVEL_HIGH and WINDBACK_LEVEL_CRITICAL"
        raise SettingsError(f"{names} must rise in this order")
    _check_retention(settings)
    _check_cells(settings)
    urls.check_postgres(settings.database_url)
    urls.check_redis(settings.redis_url)
    urls.check_public(settings.public_url)
    return settings


def is_set(field: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Returns True if the environment sets a field. Raises SettingsError."""
    return _read(environ, variable(field)) is not None


def explain_unknown(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables that begin like a setting of ours and are none, each with a sentence that says so."""
    names = [variable(field) for field in Settings.__struct_fields__]
    variables = {*names, *(f"{name}_FILE" for name in names)}
    return {
        name: f"{name} is not a setting and is ignored{_suggest(name, names)}"
        for name in environ
        if name.startswith(PREFIX) and name not in variables
    }


def _suggest(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, n=1, cutoff=0.8)
    return f"; did you mean {near[0]}?" if near else ""


def _describe(field: str) -> str:
    """Describes the values that a field may hold."""
    (setting,) = (candidate for candidate in _FIELDS if candidate.name == field)
    return describe_values(setting.type)


def describe_values(kind: msgspec.inspect.Type) -> str:
    """Returns the values in words: "json or slack", "a whole number from 1 to 65535"."""
    if isinstance(kind, msgspec.inspect.Metadata):
        examples = (kind.extra_json_schema or {}).get("examples")
        return f"like {examples[0]}" if examples else describe_values(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return describe_values(next(part for part in kind.types if not isinstance(part, msgspec.inspect.NoneType)))
    if isinstance(kind, msgspec.inspect.LiteralType):
        *most, last = map(str, kind.values)
        return f"{', '.join(most)} or {last}" if most else last
    if isinstance(kind, msgspec.inspect.BoolType):
        return "true or false"
    if isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        noun = "a whole number" if isinstance(kind, msgspec.inspect.IntType) else "a number"
        return noun + _describe_range(kind)
    if isinstance(kind, msgspec.inspect.StrType):
        return _describe_text(kind)
    return "a list" if isinstance(kind, msgspec.inspect.ListType) else "an object"


def _describe_text(kind: msgspec.inspect.StrType) -> str:
    length = f" of at most {kind.max_length} characters" if kind.max_length else ""
    if kind.pattern and "\0" in kind.pattern:
        return f"text{length} without the character NUL"
    return f"text{length}" if length or not kind.pattern else "text of another form"


def _describe_range(kind: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> str:
    if kind.gt is not None and kind.lt is not None:
        return f" between {kind.gt:g} and {kind.lt:g}"
    if kind.ge is not None and kind.le is not None:
        return f" from {kind.ge} to {kind.le}"
    return f" of at least {kind.ge:g}" if kind.ge is not None else ""


def _check_retention(settings: Settings) -> None:
    events, rollups = settings.retention_days, settings.rollup_retention_days
    if rollups is not None and (events is None or events > rollups):
        raise SettingsError(f"WINDBACK_RETENTION_DAYS must be set, and at most {rollups}: no event outlives its count")


def _check_cells(settings: Settings) -> None:
    """Raises SettingsError unless each cell has a place, if places are listed."""
    for field, check in (("cell_database_urls", urls.check_postgres), ("cell_buffer_urls", urls.check_redis)):
        places = _places(getattr(settings, field))
        if places and (len(places) != settings.cells or settings.cells == 1):
            raise SettingsError(
                f"{variable(field)} lists {len(places)} URLs, and WINDBACK_CELLS is {settings.cells}: list one for each"
                " of several cells, with blanks between"
            )
        for place in places:
            check(place, variable(field))
    for node in _places(settings.buffer_url):
        urls.check_redis(node, variable("buffer_url"))
    if settings.cells == 1 and len(_places(settings.buffer_url)) > 1:
        raise SettingsError(
            "WINDBACK_BUFFER_URL lists several URLs, the nodes of a cluster, and a cluster takes several cells: set"
            " WINDBACK_CELLS, or a single URL"
        )


def _places(urls_of_cells: str | None) -> list[str]:
    return (urls_of_cells or "").split()


def _path(kind: type, value: str) -> Path:
    return Path(value)


def _read(environ: Mapping[str, str], name: str) -> str | None:
    if path := environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text().strip()
        except OSError as error:
            raise SettingsError(f"{name}_FILE can't be read: {error.strerror}: {path}") from None
    return environ.get(name) or None


_FIELDS = msgspec.inspect.type_info(Settings).fields  # type: ignore[attr-defined]
