"""What an operator writes about notices: how far they may go, who gets mail, and when not."""

import ipaddress
import re
import zoneinfo
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
PORT_MAX: Final = 65535
_CLOCK: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,190}")

Port = Annotated[int, Field(ge=1, le=PORT_MAX)]


Audience = Annotated[
    str, Field(pattern=r"^(public|coordinator|municipality|group:.{1,64})$", max_length=80)
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _minutes(raw: object) -> object:
    """Read a wall clock into minutes after midnight; YAML 1.1 reads 22:00 as base sixty."""
    if isinstance(raw, str):
        found = _CLOCK.fullmatch(raw.strip())
        if found is None:
            raise ValueError("expected a time such as 22:00, in quotes")
        return int(found[1]) * 60 + int(found[2])
    return raw


Clock = Annotated[int, BeforeValidator(_minutes), Field(ge=0, lt=24 * 60)]


def _is_mail(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise ValueError("expected an e-mail address")
    return text


Mail = Annotated[str, BeforeValidator(_is_mail)]


class Network(_Strict):
    """A network of one's own that webhooks may reach, by http too."""

    network: str
    """For example 192.168.10.0/24."""
    ports: list[Port] = [80, 443]

    @field_validator("network")
    @classmethod
    def _is_a_network(cls, text: str) -> str:
        try:
            return str(ipaddress.ip_network(text))
        except ValueError as error:
            raise ValueError(f"expected a network such as 192.168.10.0/24 ({error})") from error


class Webhooks(_Strict):
    """How far webhooks may go."""

    ports: list[Port] = [443]
    """On the public internet, always by https."""
    allow_private: list[Network] = []
    ca_file: Path | None = None
    """Certificate authority that receivers may be signed by, beside the system's."""


class Smtp(_Strict):
    """The server that takes mail."""

    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Port | None = None
    """587 with starttls, 465 with tls, 25 with none, unless said otherwise."""
    security: Annotated[str, Field(pattern="^(starttls|tls|none)$")] = "starttls"
    username: Annotated[str | None, Field(max_length=200)] = None
    password_file: Path | None = None
    ca_file: Path | None = None
    sender: Mail
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 20.0


class Quiet(_Strict):
    """A window of the day in which only what is urgent is told."""

    days: list[Annotated[str, Field(pattern=f"^({'|'.join(DAYS)})$")]] = list(DAYS)
    """On which it begins."""
    from_: Annotated[Clock, Field(alias="from")]
    to: Clock


class Recipient(_Strict):
    """A person, or a list of them, who is told by mail."""

    address: Mail
    language: Annotated[str, Field(pattern="^(ja|en)$")] = "ja"
    time_zone: str = "Asia/Tokyo"
    sites: list[Annotated[str, Field(min_length=1, max_length=128)]] = []
    """Without, all sites and the hub itself."""
    types: list[Annotated[str, Field(pattern=r"^[a-z_]+(\.[a-z_]+)?$")]] = [
        "alarm.raised",
        "reservation.at_risk",
    ]
    quiet: list[Quiet] = []
    urgent: list[Annotated[str, Field(min_length=1, max_length=64)]] = []
    """Codes of alarms, and types of events, that are told in quiet hours too."""
    gather_s: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    """At most one mail in so many seconds; what happens meanwhile comes together."""
    remind_s: Annotated[float, Field(ge=0, le=30 * 86_400)] = 4 * 3600.0
    """After so long an alarm that nobody acknowledged is told again; 0 never."""
    after_s: Annotated[float, Field(ge=0, le=7 * 86_400)] = 0.0
    """For whom matters escalate to: told only of alarms that are on, unacknowledged, so long."""

    @field_validator("time_zone")
    @classmethod
    def _exists(cls, name: str) -> str:
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("not an IANA time zone, for example Asia/Tokyo") from error
        return name


class MailSettings(_Strict):
    """Mail to people. Without `smtp` none is sent."""

    smtp: Smtp | None = None
    recipients: Annotated[list[Recipient], Field(max_length=200)] = []


class MqttTopics(_Strict):
    """Events as JSON on the hub's own broker. Off unless switched on."""

    enabled: bool = False
    audience: Audience = "public"
    """Only what the sites share with this audience is published."""


class AlarmRules(_Strict):
    """When the hub itself raises an alarm."""

    machine_down_after_s: Annotated[float, Field(ge=0, le=86_400)] = 120.0
    """A machine must be down so long; shorter stops are nobody's alarm."""
    agent_gone_after_s: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    """An agent must be gone so long before people are told."""
    disk_free_percent: Annotated[float, Field(ge=0, le=90)] = 10.0
    certificate_days: Annotated[int, Field(ge=0, le=365)] = 30
    certificates: Annotated[list[Path], Field(max_length=50)] = []
    """Further certificates to watch, PEM; the broker's authority is watched anyhow."""
    inbox_percent: Annotated[float, Field(gt=0, lt=100)] = 80.0
    """How full the inbox may be before people are told; full, the hub acknowledges nothing."""


class Notices(_Strict):
    """Telling others what happened."""

    key_file: Path | None = None
    """The key that webhook secrets are made from; without, a file in the data directory."""
    webhooks: Webhooks = Webhooks()
    mail: MailSettings = MailSettings()
    mqtt: MqttTopics = MqttTopics()
    alarms: AlarmRules = AlarmRules()
