"""The URLs of the servers, checked before anything uses them: a library's own error would show the password."""

from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from redis import ConnectionPool
from redis.exceptions import RedisError

ENCODE = "percent-encode special characters of user and password (@ is %40, : is %3A, / is %2F, % is %25)"

OPTIONS = "an option after its ? is unknown or has a wrong value; redis-py's documentation of Redis.from_url lists them"


class SettingsError(Exception):
    """A setting in the environment is wrong. The message names it; correct it and start again."""


def check_postgres(url: str | None, name: str = "DATABASE_URL") -> None:
    """Raises SettingsError unless this can be the URL of a Postgres, or None; `name` is the setting."""
    if url is None:
        return
    _check_scheme(name, url, ("postgresql://", "postgres://"))
    _check_authority(name, url)
    hosts = url.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]
    if any(port and not port.isdecimal() for port in map(_port_of, hosts.split(","))):
        raise SettingsError(f"{name} is wrong: its port is not a number; {ENCODE}")
    try:
        conninfo_to_dict(url)
    except psycopg.Error as error:
        reason = str(error).partition('"')[0].partition("\n")[0].strip(" :")
        raise SettingsError(f"{name} is wrong: {reason}; {ENCODE}") from None
    except UnicodeError:
        raise SettingsError(f"{name} is wrong: a percent-encoded character is not UTF-8; {ENCODE}") from None


def check_redis(url: str | None, name: str = "REDIS_URL") -> None:
    """Raises SettingsError unless this can be the URL of a Redis, or None; `name` is the setting."""
    if url is None:
        return
    _check_scheme(name, url, ("redis://", "rediss://", "unix://"))
    if not url.startswith("unix://"):
        _check_authority(name, url)
        try:
            _ = urlsplit(url).port
        except ValueError:
            raise SettingsError(f"{name} is wrong: its port is not a number; {ENCODE}") from None
    try:
        ConnectionPool.from_url(url).make_connection()  # which connects to nothing yet
    except (ValueError, TypeError, RedisError):
        raise SettingsError(f"{name} is wrong: {OPTIONS}") from None


def check_public(url: str | None) -> None:
    """Raises SettingsError unless people can follow this URL, or None."""
    if url is not None:
        _check_scheme("WINDBACK_PUBLIC_URL", url, ("http://", "https://"))


def _port_of(host: str) -> str:
    return host.rpartition("]")[2].partition(":")[2]


def _check_scheme(name: str, url: str, schemes: tuple[str, ...]) -> None:
    if not url.startswith(schemes):
        raise SettingsError(f"{name} is wrong: it must begin with {' or '.join(schemes)}")


def _check_authority(name: str, url: str) -> None:
    """Raises SettingsError where it isn't clear at which @ or / the password ends: it would be taken for the host."""
    before_query = url.partition("://")[2].partition("?")[0]
    authority = before_query.partition("/")[0]
    if before_query.count("@") > 1 or "#" in before_query or ("@" in before_query and "@" not in authority):
        raise SettingsError(f"{name} is wrong: it isn't clear where user and password end; {ENCODE}")
    try:
        urlsplit(url)
    except ValueError:
        raise SettingsError(f"{name} is wrong: host and port can't be read; {ENCODE}") from None
