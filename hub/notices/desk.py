"""Everything about notices, put together from the settings."""

import ipaddress
import random
import secrets
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.settings import secret
from hub.access import EVERYTHING, Caller, View
from hub.coordination.events import Events
from hub.live import Alarms
from hub.notice_settings import Notices
from hub.notice_settings import Webhooks as WebhookSettings
from hub.notices.errands import Errands
from hub.notices.mail import Mail, Post, reader_of
from hub.notices.post import Poster
from hub.notices.signing import Secrets, open_key
from hub.notices.subscriptions import Subscriptions
from hub.notices.target import Allowed, Reach
from hub.notices.topics import Publish, Topics
from hub.notices.webhooks import Webhooks
from hub.store import Store
from hub.store.webhooks import Webhook

KEY_FILE: Final = "notices.key"
SMTP_PASSWORD_VARIABLE: Final = "MACHIKOBA_HUB_SMTP_PASSWORD"  # noqa: S105 (a name, no secret)


@dataclass(frozen=True, slots=True)
class Desk:
    """What people keep webhooks with, and the thread that sends."""

    subscriptions: Subscriptions
    errands: Errands


def open_desk(
    settings: Notices,
    data: Path,
    *,
    store: Store,
    events: Events,
    shared_with: Callable[[Caller], View],
    alarms: Alarms,
    publish: Publish,
    source: str,
    now_ms: Callable[[], int],
) -> Desk:
    """Make the parts. `shared_with` tells what a caller is shown, on an open hub too.

    `publish` hands a topic and a payload to the broker, and says whether it went.

    Raises:
        SettingsError: the password of the mail server cannot be read.
        KeyFileError: the key of the webhooks' secrets cannot be read or made.
        OSError: the certificate authority cannot be read.
    """
    sealed = Secrets(open_key(settings.key_file or data / KEY_FILE))
    reach = reach_of(settings.webhooks)
    webhooks = Webhooks(
        store,
        events,
        poster=Poster(reach, context=_trust(settings.webhooks.ca_file)),
        secrets=sealed,
        view_of=lambda hook: shared_with(_as_caller(hook)) if hook.sites else EVERYTHING,
        alarms=alarms,
        source=source,
        now_ms=now_ms,
        rng=random.Random(secrets.randbits(64)),  # noqa: S311 (jitter, not secrets)
    )
    subscriptions = Subscriptions(
        store,
        secrets=sealed,
        reach=reach,
        now_ms=now_ms,
        new_id=lambda: secrets.token_hex(8),
    )
    errands: dict[str, Callable[[], Awaitable[None]]] = {"webhooks": webhooks.run}
    mail = _open_mail(settings, store=store, events=events, alarms=alarms, now_ms=now_ms)
    if mail is not None:
        errands["mail"] = mail.run
    if settings.mqtt.enabled:
        reader = _as_audience(settings.mqtt.audience)
        topics = Topics(
            events,
            publish=publish,
            view=lambda: shared_with(reader),
            source=source,
            now_ms=now_ms,
        )
        errands["topics"] = topics.run
    return Desk(subscriptions, Errands(errands))


def _open_mail(
    settings: Notices,
    *,
    store: Store,
    events: Events,
    alarms: Alarms,
    now_ms: Callable[[], int],
) -> Mail | None:
    told = settings.mail
    if told.smtp is None or not told.recipients:
        return None
    password = secret(told.smtp.password_file, SMTP_PASSWORD_VARIABLE)
    return Mail(
        store,
        events,
        alarms,
        readers=[reader_of(each) for each in told.recipients],
        send=Post(told.smtp, password).send,
        sender=told.smtp.sender,
        now_ms=now_ms,
        jitter=random.Random(secrets.randbits(64)).random,  # noqa: S311 (jitter, not secrets)
    )


def reach_of(settings: WebhookSettings) -> Reach:
    """Read how far webhooks may go."""
    allowed = (
        Allowed(ipaddress.ip_network(each.network), frozenset(each.ports))
        for each in settings.allow_private
    )
    return Reach(frozenset(settings.ports), tuple(allowed))


def _as_audience(audience: str) -> Caller:
    """Who reads the broker sees what is shared with one audience; with the public, everybody."""
    return Caller("mqtt", "key", audiences=frozenset({audience} - {"public"}))


def _as_caller(hook: Webhook) -> Caller:
    """A webhook sees what its sites see."""
    return Caller(f"webhook:{hook.id}", "key", sites=frozenset(hook.sites))


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context
