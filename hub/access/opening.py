"""Access as the settings want it."""

from collections.abc import Callable
from typing import TextIO

from hub.access.access import Access
from hub.access.enrolment import BrokerPlace
from hub.access.first_admin import show
from hub.config import HubConfig
from hub.store import Store


def open_access(
    config: HubConfig,
    store: Store,
    *,
    now_ms: Callable[[], int],
    broker_password: str | None,
    terminal: TextIO,
) -> Access:
    """Put access together, and show the secret of the first start when there is no admin yet.

    Raises:
        OSError: a certificate cannot be read, or the broker's files cannot be written.
        StoreError: the store does not answer.
    """
    access = Access(
        store,
        now_ms=now_ms,
        is_open=config.access == "open",
        public_view=config.public_view,
        broker=_broker_place(config, broker_password),
    )
    access.enrolments.write_files()
    if not access.is_open:
        show(access.sessions.first_secret(), config.data, terminal)
    return access


def _broker_place(config: HubConfig, password: str | None) -> BrokerPlace | None:
    """Say where agents find the broker; None when nobody told the hub."""
    told, username = config.enrolment, config.broker.username
    if told.broker_url is None:
        return None
    return BrokerPlace(
        told.broker_url,
        ca_pem=None if told.ca_file is None else told.ca_file.read_text(),
        folder=config.data / "broker",
        host=config.host,
        hub_login=(username, password) if username and password else None,
    )
