"""The one client of Redis or Valkey, and what its failures mean to us."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

import redis.exceptions
from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from ingest.errors import SettingsError, StateError, StateRefused, StateUnavailable

OLDEST_VERSION = (6, 2)  # ZMSCORE, XAUTOCLAIM
CONNECT_SECONDS = 5
ANSWER_SECONDS = 10  # longer than any blocking read (see outbox.BLOCK_MS_MAX)
ATTEMPTS = 3

_SCHEMES = ("redis", "rediss", "unix")

# What the first word of an error reply means: (class, sentence, remedy). Redis 6 wraps an error
# inside a script into a longer text, so the word is searched, not compared.
_REPLIES: tuple[tuple[str, type[StateError], str, str], ...] = (
    ("OOM", StateRefused, "Redis is out of memory", "raise maxmemory, or find what fills it"),
    ("MISCONF", StateRefused, "Redis can't write to its disk", "free its disk, read its log"),
    ("NOAUTH", StateRefused, "Redis wants a password", "put it into the Redis URL"),
    ("WRONGPASS", StateRefused, "Redis refuses the password", "correct it in the Redis URL"),
    ("NOPERM", StateRefused, "Redis denies a right", "allow its user all of ~mail-ingest:*"),
    ("READONLY", StateRefused, "this Redis is a replica", "give the primary's URL"),
    ("WRONGTYPE", StateRefused, "another program uses our keys", "give us a Redis of our own"),
    ("LOADING", StateUnavailable, "Redis is loading its data", "wait until it has"),
    ("BUSY", StateUnavailable, "Redis runs a long script", "see what else uses this Redis"),
    ("MASTERDOWN", StateUnavailable, "Redis has lost its primary", "wait for the failover"),
    ("CLUSTERDOWN", StateUnavailable, "the Redis cluster is down", "wait for the failover"),
    ("NOREPLICAS", StateUnavailable, "Redis lacks replicas", "wait for them to come back"),
    ("TRYAGAIN", StateUnavailable, "Redis is moving its data", "wait until it has"),
    ("unknown command", StateRefused, "this Redis is too old", "use Redis 6.2, Valkey, or newer"),
)


def connect(url: str) -> Redis:
    """A client for a redis://, rediss:// or unix:// URL. Nothing is sent before the first command.

    Raises:
        SettingsError: the URL is not one of those.
    """
    _checked(url)
    options: dict[str, Any] = {
        "decode_responses": False,
        "protocol": 2,  # one shape of reply, whatever the server speaks
        "socket_timeout": ANSWER_SECONDS,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=1), ATTEMPTS),
        "retry_on_error": [
            redis.exceptions.ConnectionError,
            redis.exceptions.TimeoutError,
            ConnectionError,
            # After a failover: a new connection is one to the new primary.
            redis.exceptions.ReadOnlyError,
        ],
        "health_check_interval": 30,
    }
    if not url.startswith("unix:"):
        options |= {"socket_connect_timeout": CONNECT_SECONDS, "socket_keepalive": True}
    try:
        return Redis.from_url(url, **options)
    except (ValueError, TypeError):
        raise SettingsError(
            "the Redis URL has a part that does not fit", remedy="redis://HOST:6379/0"
        ) from None


def broker_url(url: str) -> str:
    """The same server as Celery wants it named.

    Raises:
        SettingsError: the URL is not redis://, rediss:// or unix://.
    """
    parts = _checked(url)
    options = dict(parse_qsl(parts.query))
    if parts.scheme == "unix":
        virtual_host = options.pop("db", "0")
        query = urlencode({"virtual_host": virtual_host} | options)
        return f"redis+socket://{parts.netloc}{parts.path}?{query}"
    if parts.scheme == "rediss":
        # Without it, kombu does not verify the server's certificate.
        query = urlencode({"ssl_cert_reqs": "required"} | options)
        return urlunsplit(parts._replace(query=query))
    return url


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of the client and of the server into ours.

    Raises:
        StateUnavailable: it can't be reached, is loading or failing over.
        StateRefused: credentials, rights, version, or memory.
    """
    try:
        yield
    except redis.exceptions.RedisError as error:
        raise _meaning(error) from error
    except OSError as error:
        raise StateUnavailable(
            f"the connection to Redis failed: {error.strerror or type(error).__name__}",
            remedy="check that it runs and can be reached",
        ) from error


class Persistence(NamedTuple):
    """What a server keeps through its own death, and what follows from that."""

    version: str
    run_id: str  # another one after every restart
    kind: str  # "always", "everysec", "no" (AOF), "aof" (fsync unknown), "rdb" (at most), "none"
    sentence: str
    warnings: tuple[str, ...]


def persistence(client: Redis) -> Persistence:
    """Ask the server what it keeps.

    Raises:
        StateRefused: it is older than 6.2.
        StateError: as everywhere.
    """
    with translated():
        info: Mapping[str, Any] = client.info()
        fsync = _setting(client, "appendfsync")
        saves = _setting(client, "save")
    version = str(info["redis_version"])
    if tuple(int(number) for number in version.split(".")[:2]) < OLDEST_VERSION:
        raise StateRefused(f"Redis {version} is too old", remedy="use Redis 6.2, Valkey, or newer")
    kind = (fsync or "aof") if info.get("aof_enabled") else "none" if saves == "" else "rdb"
    policy = str(info.get("maxmemory_policy", "noeviction"))
    warnings = []
    if kind == "none":
        warnings.append("this Redis keeps nothing through a restart: turn on appendonly")
    if policy != "noeviction":
        warnings.append(f"maxmemory-policy is {policy}, so our keys may vanish: set noeviction")
    return Persistence(
        version=str(info.get("valkey_version", version)),
        run_id=str(info["run_id"]),
        kind=kind,
        sentence=_SENTENCES[kind],
        warnings=tuple(warnings),
    )


_READ_BACK = "what is lost is read back from the object store"
_SENTENCES = {
    "always": "Redis has written every change to its disk before it answers",
    "everysec": f"Redis may lose its last second when it dies: {_READ_BACK}",
    "no": f"Redis may lose its last half minute when its machine dies: {_READ_BACK}",
    "aof": f"Redis writes its changes to disk, how soon it does not say: {_READ_BACK}",
    "rdb": f"Redis may lose everything since its last snapshot: {_READ_BACK}",
    "none": f"Redis loses everything when it restarts: {_READ_BACK}, which can take long",
}


def _setting(client: Redis, name: str) -> str | None:
    """One configuration value; None where the server doesn't tell (managed services don't)."""
    try:
        answer: Mapping[str, str] = client.config_get(name)  # type: ignore[assignment]  # sync
    except redis.exceptions.ResponseError:
        return None
    return answer.get(name)


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        named = bool(parts.path.strip("/")) if parts.scheme == "unix" else bool(parts.hostname)
    except ValueError:
        parts, named = SplitResult("", "", "", "", ""), False
    if parts.scheme not in _SCHEMES or not named:
        raise SettingsError(
            "the Redis URL names no server",
            remedy="use redis://HOST:6379/0, rediss://HOST:6379/0 or unix:///path/to/socket",
        )
    return parts


# The client strips the first word of these and keeps it as the class.
_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (redis.exceptions.OutOfMemoryError, "OOM"),
    (redis.exceptions.BusyLoadingError, "LOADING"),
    (redis.exceptions.ReadOnlyError, "READONLY"),
    (redis.exceptions.NoPermissionError, "NOPERM"),
    (redis.exceptions.MasterDownError, "MASTERDOWN"),
    (redis.exceptions.ClusterDownError, "CLUSTERDOWN"),
    (redis.exceptions.TryAgainError, "TRYAGAIN"),
    (redis.exceptions.AuthenticationError, "WRONGPASS"),
)


def _meaning(error: redis.exceptions.RedisError) -> StateError:
    text = str(error)
    if "Authentication required" in text:
        text = "NOAUTH"
    else:
        text = next((word for kind, word in _WORDS if isinstance(error, kind)), text)
    for word, kind, sentence, remedy in _REPLIES:
        if re.search(rf"(?<![A-Z]){word}(?![A-Z])", text):
            return kind(sentence, remedy=remedy)
    if isinstance(error, redis.exceptions.TimeoutError):
        return StateUnavailable("Redis did not answer in time", remedy="see how busy it is")
    if isinstance(error, redis.exceptions.ConnectionError):
        return StateUnavailable("Redis can't be reached", remedy="check its URL, and that it runs")
    return StateRefused(f"Redis refused a command: {text[:200]!r}")
