"""What people decide about webhooks: who is told, of what, and with which secret."""

import ipaddress
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from hub.access import Caller, Role
from hub.notices.signing import Secrets
from hub.notices.target import Reach, TargetError, read_target
from hub.notices.webhooks import TEST
from hub.store import Store, Tx, audit, events
from hub.store import webhooks as rows
from hub.store.webhooks import DeadLetter, Webhook

HOOKS_MAX: Final = 200
HOOKS_PER_SITE_MAX: Final = 20
PAUSED: Final = "paused by a person"


class UnknownWebhookError(Exception):
    """There is no such webhook, or it is not the caller's."""


class NotYourSiteError(Exception):
    """A webhook is asked for that is told of sites which are not the caller's."""


class TooManyWebhooksError(Exception):
    """There are as many as there may be."""


class StaleWebhookError(Exception):
    """It has changed since the caller read it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a person says of a webhook."""

    url: str
    sites: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    description: str = ""


class Subscriptions:
    """Webhooks as their owners keep them. One belongs to its sites, not to who made it."""

    def __init__(
        self,
        store: Store,
        *,
        secrets: Secrets,
        reach: Reach,
        now_ms: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._secrets = secrets
        self._reach = reach
        self._now_ms = now_ms
        self._new_id = new_id

    def every(self, caller: Caller) -> list[Webhook]:
        """Give the caller's webhooks, oldest first."""
        with self._store.read() as tx:
            return [hook for hook in rows.every(tx) if _owns(caller, hook.sites)]

    def get(self, caller: Caller, id_: str) -> Webhook:
        """Give one of the caller's webhooks.

        Raises:
            UnknownWebhookError: there is none.
        """
        with self._store.read() as tx:
            return _found(tx, caller, id_)

    def create(self, caller: Caller, facts: Facts) -> tuple[Webhook, str]:
        """Add a webhook, told of what happens from now on; gives its secret, this once.

        Raises:
            TargetError, NotYourSiteError, TooManyWebhooksError: see there.
        """
        self._check(caller, facts)
        with self._store.write() as tx:
            there = rows.every(tx)
            _see_room(there, facts)
            hook = Webhook(
                id=self._new_id(),
                url=facts.url,
                sites=facts.sites,
                types=facts.types,
                description=facts.description,
                key=self._secrets.fingerprint,
                created_ms=self._now_ms(),
                cursor=events.newest(tx),
            )
            rows.add(tx, hook)
            self._audit(tx, caller, hook, "created")
        return hook, self._secrets.secret(hook.id, hook.generation)

    def change(self, caller: Caller, id_: str, facts: Facts, version: int) -> Webhook:
        """Give a webhook other facts.

        Raises:
            UnknownWebhookError, StaleWebhookError, TargetError, NotYourSiteError: see there.
        """
        self._check(caller, facts)
        with self._changing(caller, id_, "changed") as (tx, hook):
            if hook.version != version:
                raise StaleWebhookError
            changed = replace(
                hook,
                url=facts.url,
                sites=facts.sites,
                types=facts.types,
                description=facts.description,
                version=hook.version + 1,
            )
            rows.replace_facts(tx, changed)
            rows.try_now(tx, id_)
        return changed

    def remove(self, caller: Caller, id_: str) -> None:
        """Remove a webhook, with what could not be delivered."""
        with self._changing(caller, id_, "removed") as (tx, hook):
            rows.remove(tx, hook.id)

    def pause(self, caller: Caller, id_: str) -> Webhook:
        """Send nothing until `resume`; what happens meanwhile is kept as long as events are."""
        with self._changing(caller, id_, "paused") as (tx, hook):
            paused = replace(hook, paused=hook.paused or PAUSED, version=hook.version + 1)
            rows.replace_facts(tx, paused)
        return paused

    def resume(self, caller: Caller, id_: str) -> Webhook:
        """Send again, at once, from where it stopped."""
        with self._changing(caller, id_, "resumed") as (tx, hook):
            resumed = replace(hook, paused=None, version=hook.version + 1)
            rows.replace_facts(tx, resumed)
            rows.try_now(tx, id_)
        return resumed

    def rotate(self, caller: Caller, id_: str) -> tuple[Webhook, str]:
        """Make a new secret, which signs from now on; gives it, this once."""
        with self._changing(caller, id_, "secret-rotated") as (tx, hook):
            rotated = replace(
                hook,
                generation=hook.generation + 1,
                key=self._secrets.fingerprint,
                paused=None,
                version=hook.version + 1,
            )
            rows.replace_facts(tx, rotated)
        return rotated, self._secrets.secret(rotated.id, rotated.generation)

    def test(self, caller: Caller, id_: str) -> int:
        """Have a test event sent, in its turn; gives its number."""
        with self._changing(caller, id_, "tested") as (tx, hook):
            return events.append(
                tx,
                type=TEST,
                site=hook.sites[0] if hook.sites else "",
                machine=None,
                subject=hook.id,
                data={"webhook": hook.id},
                now_ms=self._now_ms(),
            )

    def letters(self, caller: Caller, id_: str, *, after: int, limit: int) -> list[DeadLetter]:
        """Give what could not be delivered, oldest first."""
        with self._store.read() as tx:
            _found(tx, caller, id_)
            return rows.letters(tx, id_, after=after, limit=limit)

    def send_again(self, caller: Caller, id_: str, letters: Collection[int] | None) -> int:
        """Have dead letters sent once more, all without ids; gives how many."""
        with self._changing(caller, id_, "letters-sent-again") as (tx, hook):
            return rows.want_again(tx, hook.id, letters)

    def discard(self, caller: Caller, id_: str, letters: Collection[int] | None) -> int:
        """Delete dead letters, all without ids; gives how many."""
        with self._changing(caller, id_, "letters-discarded") as (tx, hook):
            return rows.discard(tx, hook.id, letters)

    def counts(self) -> dict[str, int]:
        """Tell how many dead letters each webhook has."""
        with self._store.read() as tx:
            return rows.count_letters(tx)

    @contextmanager
    def _changing(self, caller: Caller, id_: str, done: str) -> Iterator[tuple[Tx, Webhook]]:
        with self._store.write() as tx:
            hook = _found(tx, caller, id_)
            yield tx, hook
            self._audit(tx, caller, hook, done)

    def _check(self, caller: Caller, facts: Facts) -> None:
        """See that the target may be reached, as far as its name tells, and the sites are own."""
        target = read_target(facts.url)
        try:
            literal = ipaddress.ip_address(target.host)
        except ValueError:
            literal = None
        if literal is not None and (refusal := self._reach.refusal(target, literal)) is not None:
            raise TargetError(refusal)
        if not _owns(caller, facts.sites):
            raise NotYourSiteError

    def _audit(self, tx: Tx, caller: Caller, hook: Webhook, done: str) -> None:
        # A URL often holds a token: the audit names the host only.
        detail: dict[str, Any] = {"host": urlsplit(hook.url).hostname, "sites": list(hook.sites)}
        audit.append(
            tx,
            who=caller.id,
            action=f"webhook.{done}",
            subject=hook.id,
            site=hook.sites[0] if hook.sites else None,
            detail=detail,
            now_ms=self._now_ms(),
        )


def _owns(caller: Caller, sites: Collection[str]) -> bool:
    """Tell whether all these sites are the caller's to decide for; no sites is the whole hub."""
    if not sites:
        return caller.is_hub_admin
    return all(caller.acts_at(site, Role.SITE_ADMIN) for site in sites)


def _found(tx: Tx, caller: Caller, id_: str) -> Webhook:
    hook = rows.get(tx, id_)
    if hook is None or not _owns(caller, hook.sites):
        raise UnknownWebhookError
    return hook


def _see_room(there: list[Webhook], facts: Facts) -> None:
    if len(there) >= HOOKS_MAX:
        raise TooManyWebhooksError(f"there are {HOOKS_MAX} webhooks, the most there may be")
    for site in facts.sites:
        if sum(site in hook.sites for hook in there) >= HOOKS_PER_SITE_MAX:
            raise TooManyWebhooksError(f"{site} has {HOOKS_PER_SITE_MAX} webhooks already")
