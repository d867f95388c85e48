"""What an operator writes about a hub, and nothing else."""

import ipaddress
import zoneinfo
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from gateway.model import ID_PATTERN
from gateway.settings import MistakeError
from hub.notice_settings import Notices
from hub.schedule import Calendar

BROKER_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
"""Schemes a broker may be reached by, with the ports registered for them."""

STORE_SCHEMES: Final = frozenset({"sqlite", "postgresql", "postgresql+psycopg"})

LOOPBACK_NAMES: Final = frozenset({"localhost", "ip6-localhost"})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Listen(_Strict):
    """Where the HTTP server listens. Port 0 asks the system for a free one."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)

    @property
    def is_loopback(self) -> bool:
        """Tell whether only programs on this box can reach it."""
        if self.host in LOOPBACK_NAMES:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def _split_listen(raw: object) -> object:
    """Read "host:port", "[v6]:port", ":port" or a bare port; leave mappings alone."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        return {"port": raw}
    if not isinstance(raw, str):
        return raw
    host, colon, port = raw.rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError("expected host:port, for example 127.0.0.1:8080")
    return {"host": host.strip("[]") or "127.0.0.1", "port": int(port)}


def _broker_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in BROKER_PORTS or not parts.hostname:
        raise ValueError("expected mqtt://host[:port] or mqtts://host[:port]")
    if parts.username or parts.password:
        raise ValueError("credentials do not belong in the URL: use username and password_file")
    return url


class Broker(_Strict):
    """How the hub reaches its MQTT broker."""

    url: str = "mqtt://127.0.0.1:1883"
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    """Certificate authority to trust, PEM; without it the system's."""

    @field_validator("url")
    @classmethod
    def _is_a_broker(cls, url: str) -> str:
        return _broker_url(url)


class Historian(_Strict):
    """Which engine keeps the history. DuckDB is built in and needs nothing installed."""

    engine: Annotated[str, Field(pattern="^duckdb$")] = "duckdb"
    memory_mib: int = Field(default=256, ge=64)
    """Upper limit of the engine's working memory."""


class Retention(_Strict):
    """How long history stays, in days. Roll-ups outlive raw samples."""

    raw_days: int = Field(default=90, ge=1)
    rollup_days: int = Field(default=3650, ge=1)
    event_days: int = Field(default=90, ge=1)
    """How long events can be read and are kept for receivers that are away."""


class Store(_Strict):
    """Where coordination keeps its rows. Without a URL: SQLite in the data directory."""

    url: str | None = None
    """``sqlite:///file`` or ``postgresql://user@host/database``, never with a password."""
    password_file: Path | None = None
    ca_file: Path | None = None
    """Certificate authority of the server, PEM; without it the system's."""

    @field_validator("url")
    @classmethod
    def _is_a_store(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in STORE_SCHEMES or not parts.path.strip("/"):
            raise ValueError("expected sqlite:///file or postgresql://user@host/database")
        if parts.password or "password" in parse_qs(parts.query):
            # A mistake of this kind is told without showing what was found.
            raise MistakeError("holds a password", "Write the password into `password_file`")
        return url


class Limits(_Strict):
    """Bounds of everything that could grow. The defaults suit one box with 2 GiB."""

    queue_messages: int = Field(default=50_000, ge=100)
    """Messages received and not yet stored; beyond it they are dropped and sent again."""
    queue_mib: int = Field(default=64, ge=1)
    payload_kib: int = Field(default=256, ge=1, le=16_384)
    inbox_mib: int = Field(default=4096, ge=16)
    """Stored and not yet in the historian; when full the hub stops acknowledging."""
    inbox_keep_s: float = Field(default=0.0, ge=0)
    """How long entries stay after they reached the historian."""
    quarantine_messages: int = Field(default=1000, ge=0)
    alarms: int = Field(default=1000, ge=10)
    signals: int = Field(default=1_000_000, ge=1)
    open_holds: int = Field(default=500, ge=1)
    """Holds that one caller may have open at once."""
    idempotency_keys: int = Field(default=20_000, ge=1)
    """Requests to hold that one caller may make in a day; their answers are kept so long."""
    reorder_s: float = Field(default=2.0, ge=0)
    """How long a gap in a foreign node's sequence may stay open before a rebirth is asked."""


class Names(_Strict):
    """A name in the languages of the dashboard; one is enough."""

    ja: str | None = None
    en: str | None = None

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if not self.ja and not self.en:
            raise ValueError("give the name in at least one of ja, en")
        return self


class Location(_Strict):
    """Degrees, WGS 84."""

    lat: float = Field(ge=-90, le=90)
    lon: float = Field(ge=-180, le=180)


class Site(_Strict):
    """What nobody but a person knows about a factory."""

    name: Names
    time_zone: str = "UTC"
    location: Location | None = None
    municipality: str | None = Field(default=None, max_length=64)
    calendar: Calendar | None = None
    """Its hours, until somebody writes others over HTTP."""

    @field_validator("time_zone")
    @classmethod
    def _exists(cls, name: str) -> str:
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("not an IANA time zone, for example Asia/Tokyo") from error
        return name


def _known_everywhere(site: str) -> str:
    if not 1 <= len(site) <= 128 or any(sign in site for sign in "+#/"):  # noqa: PLR2004 - a cap
        raise ValueError("a site id is a Sparkplug group id: 1 to 128 characters, none of + # /")
    return site


SiteId = Annotated[str, BeforeValidator(_known_everywhere)]


class Enrolment(_Strict):
    """How agents that bring a code reach the broker. Without a URL nobody can join by code."""

    broker_url: str | None = None
    """As agents are to write it: mqtts://host[:port]."""
    ca_file: Path | None = None
    """Certificate authority of the broker, PEM, handed to the agents; without it the system's."""

    @field_validator("broker_url")
    @classmethod
    def _is_a_broker(cls, url: str | None) -> str | None:
        return None if url is None else _broker_url(url)


class HubConfig(_Strict):
    """The whole file."""

    listen: Annotated[Listen, BeforeValidator(_split_listen)] = Listen()
    allow_remote: bool = False
    """Must be said before the HTTP server may listen beyond this box."""
    access: Literal["open", "required"] = "required"
    """Open lets everybody on this box see and do everything, and nobody else in."""
    public_view: bool = False
    """Whether callers without credentials see what sites share with the public."""
    broker: Broker = Broker()
    enrolment: Enrolment = Enrolment()
    host: str = "machikoba"
    """Sparkplug host id: the last level of the STATE topic, and whom the agents obey."""
    data: Path = Path("data")
    """Directory of the inbox, the historian and the stores."""
    historian: Historian = Historian()
    store: Store = Store()
    retention: Retention = Retention()
    limits: Limits = Limits()
    notices: Notices = Notices()
    job_signals: dict[str, str] = Field(default={}, max_length=1000)
    """Signal that holds the number of the job on a machine, by ``site/machine``; ``*`` matches."""
    sites: dict[SiteId, Site] = {}

    @field_validator("host")
    @classmethod
    def _is_an_id(cls, host: str) -> str:
        if not ID_PATTERN.fullmatch(host):
            raise ValueError("expected 1 to 48 of a-z, 0-9 and -")
        return host

    @model_validator(mode="after")
    def _stays_on_this_box(self) -> Self:
        if not self.listen.is_loopback and not self.allow_remote:
            raise ValueError(
                f"listen {self.listen.host} can be reached from other boxes: put a proxy with "
                "TLS in front and say allow_remote: true, or listen on 127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _is_open_to_this_box_only(self) -> Self:
        if self.access == "open" and not self.listen.is_loopback:
            raise ValueError(
                f"access: open lets everybody do everything, and listen {self.listen.host} can "
                "be reached from other boxes: say access: required"
            )
        return self
