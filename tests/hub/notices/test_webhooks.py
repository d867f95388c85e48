"""Every receiver gets what it may know, in order, at least once, whatever happens in between.

A real store, a real log of events and real sockets; only time is turned by hand.
"""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
import random
import ssl

import pytest

from hub.access import EVERYTHING, Caller, Role, View
from hub.coordination.events import Events
from hub.live import Alarms
from hub.notices.post import Poster
from hub.notices.retry import FAILURES_MAX, KEPT_MS, REFUSALS_MAX
from hub.notices.signing import Secrets
from hub.notices.subscriptions import (
    HOOKS_PER_SITE_MAX,
    Facts,
    NotYourSiteError,
    StaleWebhookError,
    Subscriptions,
    TooManyWebhooksError,
    UnknownWebhookError,
)
from hub.notices.target import Allowed, Reach, TargetError
from hub.notices.webhooks import Webhooks
from hub.store import audit, events
from tests.hub.notices import receiver as part
from tests.hub.notices.receiver import Receiver, response
from tests.hub.scenes import Clock

ADMIN = Caller("root", "key", roles=frozenset({Role.HUB_ADMIN}))
OTA = Caller("ota", "key", roles=frozenset({Role.SITE_ADMIN}), sites=frozenset({"ota"}))
SUWA = Caller("suwa", "key", roles=frozenset({Role.SITE_ADMIN}), sites=frozenset({"suwa"}))


class Office:
    """Subscriptions and the sender around one store."""

    def __init__(self, store, *ports):
        self.store = store
        self.clock = Clock()
        self.secrets = Secrets(bytes(32))
        network = ipaddress.ip_network("127.0.0.0/8")
        self.reach = Reach(allowed=(Allowed(network, frozenset(ports)),))
        self.alarms = Alarms(now_ms=self.clock)
        numbers = iter(range(1, 1000))
        self.hooks = Subscriptions(
            store,
            secrets=self.secrets,
            reach=self.reach,
            now_ms=self.clock,
            new_id=lambda: f"hook{next(numbers)}",
        )
        self.restart()

    def restart(self):
        """Begin anew with nothing but the store, as after a kill."""
        self.log = Events(self.store, now_ms=self.clock)
        self.sender = Webhooks(
            self.store,
            self.log,
            poster=Poster(self.reach, context=ssl.create_default_context(), timeout_s=0.5),
            secrets=self.secrets,
            view_of=lambda hook: View.of(hook.sites, {}, 0) if hook.sites else EVERYTHING,
            alarms=self.alarms,
            source="/machikoba/test",
            now_ms=self.clock,
            rng=random.Random(7),
        )

    def happen(self, *types, site="ota", machine="mc-1", **data):
        with self.store.write() as tx:
            for type_ in types:
                events.append(
                    tx,
                    type=type_,
                    site=site,
                    machine=machine,
                    subject="x",
                    data=data,
                    now_ms=self.clock(),
                )

    async def send(self, *, rounds=1):
        for _ in range(rounds):
            while self.log.look():
                pass
            await self.sender.look()
            await self.sender.settled()

    async def wait_and_send(self, times=1):
        for _ in range(times):
            self.clock.now_ms += 15 * 60_000
            await self.send()

    def hook(self, id_="hook1"):
        return self.hooks.get(ADMIN, id_)

    def letters(self, id_="hook1"):
        return self.hooks.letters(ADMIN, id_, after=0, limit=100)


@pytest.fixture
def receiver():
    with Receiver() as found:
        yield found


@pytest.fixture
def office(store, receiver):
    return Office(store, receiver.port)


def types(receiver):
    return [json.loads(request.body)["type"] for request in receiver.requests]


def numbers(receiver):
    return [json.loads(request.body)["id"] for request in receiver.requests]


async def test_a_receiver_gets_what_happens_after_it_was_added_in_order(office, receiver):
    office.happen("job.created")
    office.hooks.create(ADMIN, Facts(receiver.url))
    office.happen("job.started", "alarm.raised", "reservation.at_risk", at="now")
    await office.send()

    assert types(receiver) == ["job.started", "alarm.raised", "reservation.at_risk"]
    assert json.loads(receiver.requests[0].body) == {
        "specversion": "1.0",
        "id": "2",
        "source": "/machikoba/test",
        "type": "job.started",
        "time": "2026-11-18T11:06:40.000Z",
        "subject": "x",
        "datacontenttype": "application/json",
        "sequence": "2",
        "site": "ota",
        "machine": "mc-1",
        "data": {"at": "now"},
    }
    assert (office.hook().delivered, office.hook().cursor) == (3, 4)


async def test_each_notice_is_signed_with_the_secret_that_was_told_once(office, receiver):
    _, secret = office.hooks.create(ADMIN, Facts(receiver.url))
    office.happen("job.started")
    await office.send()
    _, newer = office.hooks.rotate(ADMIN, "hook1")
    office.happen("job.held")
    await office.send()

    for request, key in zip(receiver.requests, (secret, newer), strict=True):
        head = request.headers
        signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + request.body
        raw = base64.b64decode(key.removeprefix("whsec_"))
        mac = base64.b64encode(hmac.new(raw, signed, hashlib.sha256).digest()).decode()
        assert head["webhook-signature"] == f"v1,{mac}"
        assert int(head["webhook-timestamp"]) == office.clock() // 1000
    assert secret != newer
    with office.store.read() as tx:
        told = json.dumps([entry.detail for entry in audit.before(tx, None, limit=100)])
    assert secret not in told
    assert "hook?x=1" not in told


async def test_a_receiver_that_was_down_gets_everything_in_order_when_it_is_back(office, receiver):
    office.hooks.create(ADMIN, Facts(receiver.url))
    receiver.down()
    office.happen(*["job.started", "job.held"] * 60)
    await office.send()
    await office.wait_and_send(4)
    assert office.hook().tries == 5
    assert [alarm.code for alarm in office.alarms.active()] == ["webhook-failing"]
    receiver.up()
    await office.wait_and_send()
    await office.send(rounds=3)

    assert numbers(receiver) == [str(n) for n in range(1, 121)]
    assert office.alarms.active() == []
    assert office.letters() == []


async def test_it_is_not_asked_again_before_its_time(office, receiver):
    office.hooks.create(ADMIN, Facts(receiver.url))
    receiver.answers = [response(429, "Retry-After: 3600"), 204]
    office.happen("job.started", "job.held")
    await office.send(rounds=3)
    assert len(receiver.requests) == 1
    office.clock.now_ms += 3_599_000
    await office.send()
    assert len(receiver.requests) == 1
    office.clock.now_ms += 1_000
    await office.send()

    assert types(receiver) == ["job.started", "job.started", "job.held"]
    assert receiver.requests[0].headers["webhook-id"] == receiver.requests[1].headers["webhook-id"]


@pytest.mark.parametrize(
    ("answer", "tries"),
    [
        (400, REFUSALS_MAX),
        (404, REFUSALS_MAX),
        (response(302, "Location: http://127.0.0.1:1/"), REFUSALS_MAX),
        (500, FAILURES_MAX),
    ],
)
async def test_a_notice_that_is_refused_is_set_aside_and_the_next_one_goes(
    office, receiver, answer, tries
):
    office.hooks.create(ADMIN, Facts(receiver.url))
    receiver.answers = [answer] * tries
    office.happen("job.started", "job.held", reason="日本")
    await office.send()
    await office.wait_and_send(tries)

    assert types(receiver) == ["job.started"] * tries + ["job.held"]
    [letter] = office.letters()
    assert letter.body.encode() == receiver.requests[0].body
    assert (letter.tries, letter.seq, letter.type) == (tries, 1, "job.started")
    assert (office.hook().delivered, office.hook().failing_since_ms) == (1, None)


async def test_dead_letters_go_out_again_when_somebody_says_so(office, receiver):
    office.hooks.create(ADMIN, Facts(receiver.url))
    receiver.answers = [400] * REFUSALS_MAX
    office.happen("job.started")
    await office.send()
    await office.wait_and_send(REFUSALS_MAX)
    [letter] = office.letters()
    receiver.answers = [500]

    assert office.hooks.send_again(ADMIN, "hook1", [letter.id, 999]) == 1
    await office.send()
    [again] = office.letters()
    assert (again.again, again.tries, again.status) == (False, REFUSALS_MAX + 1, 500)
    assert office.hooks.send_again(ADMIN, "hook1", None) == 1
    await office.send()
    assert office.letters() == []
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


async def test_what_is_three_days_old_is_set_aside_even_if_nobody_was_there(office, receiver):
    office.hooks.create(ADMIN, Facts(receiver.url))
    receiver.down()
    office.happen("job.started")
    await office.send()
    office.clock.now_ms += KEPT_MS
    office.happen("job.held")
    await office.send()
    receiver.up()
    await office.wait_and_send(2)

    assert [letter.type for letter in office.letters()] == ["job.started"]
    assert types(receiver) == ["job.held"]


async def test_gone_means_nothing_more_until_a_person_says_so(office, receiver):
    office.hooks.create(ADMIN, Facts(receiver.url))
    receiver.answers = [410]
    office.happen("job.started")
    await office.send()
    await office.wait_and_send(2)
    assert office.hook().paused == "the receiver answered 410 Gone"
    assert len(receiver.requests) == 1
    office.hooks.resume(ADMIN, "hook1")
    await office.send()

    assert types(receiver) == ["job.started"] * 2
    assert office.hook().delivered == 1


async def test_a_slow_receiver_holds_no_other_one_up(office, receiver, store):
    with Receiver() as slow:
        office = Office(store, receiver.port, slow.port)
        slow.answers = [part.silent]
        office.hooks.create(ADMIN, Facts(slow.url))
        office.hooks.create(ADMIN, Facts(receiver.url))
        office.happen("job.started", "job.held")
        while office.log.look():
            pass
        await office.sender.look()
        async with asyncio.timeout(0.4):  # the slow one takes half a second to be given up
            while len(receiver.requests) < 2:  # noqa: ASYNC110 (another thread receives)
                await asyncio.sleep(0.01)
        await office.sender.settled()

        assert office.hook("hook1").tries == 1
        slow._ended.set()


@pytest.mark.parametrize("answer", [part.closes, part.endless_line, part.endless_head, b"no HTTP"])
async def test_a_hostile_receiver_is_one_that_is_away(office, receiver, answer):
    office.hooks.create(ADMIN, Facts(receiver.url))
    receiver.answers = [answer]
    office.happen("job.started")
    await office.send()
    receiver._ended.set()

    assert (office.hook().tries, office.hook().delivered) == (1, 0)
    assert office.hook().last_error


async def test_a_hub_that_died_goes_on_where_it_was(office, receiver):
    office.hooks.create(ADMIN, Facts(receiver.url))
    office.happen("job.started", "job.held", "job.finished")
    receiver.answers = [204, 503]
    await office.send()
    office.restart()
    await office.wait_and_send()

    assert numbers(receiver) == ["1", "2", "2", "3"]


async def test_a_hub_that_died_before_it_noted_a_delivery_repeats_it_under_the_same_id(
    office, receiver, monkeypatch
):
    office.hooks.create(ADMIN, Facts(receiver.url))
    office.happen("job.started")
    with monkeypatch.context() as patch:
        patch.setattr(office.sender, "_note", lambda *_: None)  # killed in between
        await office.send()
    office.restart()
    await office.send()

    assert numbers(receiver) == ["1", "1"]
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


async def test_a_receiver_is_told_of_its_sites_and_types_only(office, receiver):
    office.hooks.create(OTA, Facts(receiver.url, sites=("ota",), types=("job", "alarm.raised")))
    office.happen("job.started", "alarm.raised", "alarm.cleared", "reservation.held")
    office.happen("job.held", "alarm.raised", site="suwa")
    office.happen("job.finished", site="suwa", job_site="ota")
    office.happen("alarm.raised", site="", machine=None)
    await office.send()

    assert types(receiver) == ["job.started", "alarm.raised", "job.finished"]


async def test_events_that_are_forgotten_are_counted_and_told(office, receiver):
    office.hooks.create(ADMIN, Facts(receiver.url))
    office.hooks.pause(ADMIN, "hook1")
    office.happen(*["job.started"] * 9)
    with office.store.write() as tx:
        events.forget(tx, before_ms=0, rows_max=3, at_most=100)
    office.restart()
    office.hooks.resume(ADMIN, "hook1")
    await office.send(rounds=2)

    assert numbers(receiver) == ["7", "8", "9"]
    assert office.hook().missed == 6
    assert [alarm.code for alarm in office.alarms.active()] == ["webhook-missed"]


async def test_a_test_goes_to_its_own_receiver(office, receiver):
    office.hooks.create(ADMIN, Facts(receiver.url, types=("alarm",)))
    office.hooks.create(ADMIN, Facts(receiver.url))
    assert office.hooks.test(ADMIN, "hook1") == 1
    await office.send()

    assert [json.loads(r.body)["data"] for r in receiver.requests] == [{"webhook": "hook1"}]


async def test_another_key_signs_nothing_until_the_secret_is_rotated(office, receiver):
    office.hooks.create(ADMIN, Facts(receiver.url))
    office.secrets = Secrets(bytes([1]) * 32)
    office.restart()
    office.happen("job.started")
    await office.send()

    assert receiver.requests == []
    assert office.hook().paused == "its secret is lost: rotate it"


def test_nobody_makes_or_sees_a_webhook_of_somebody_else(office, receiver):
    office.hooks.create(OTA, Facts(receiver.url, sites=("ota",)))

    for sites in ((), ("suwa",), ("ota", "suwa")):
        with pytest.raises(NotYourSiteError):
            office.hooks.create(OTA, Facts(receiver.url, sites=sites))
    assert office.hooks.every(SUWA) == []
    for attempt in (
        lambda: office.hooks.get(SUWA, "hook1"),
        lambda: office.hooks.remove(SUWA, "hook1"),
        lambda: office.hooks.rotate(SUWA, "hook1"),
        lambda: office.hooks.letters(SUWA, "hook1", after=0, limit=1),
        lambda: office.hooks.change(SUWA, "hook1", Facts(receiver.url, sites=("suwa",)), 1),
    ):
        with pytest.raises(UnknownWebhookError):
            attempt()
    assert len(office.hooks.every(ADMIN)) == 1


def test_an_address_inside_is_refused_when_it_is_written(office):
    for url in ("http://10.0.0.1/", "https://[::1]/", "https://169.254.169.254/", "ftp://a/"):
        with pytest.raises(TargetError):
            office.hooks.create(ADMIN, Facts(url))


def test_a_site_has_so_many_webhooks_and_no_more(office, receiver):
    for _ in range(HOOKS_PER_SITE_MAX):
        office.hooks.create(OTA, Facts(receiver.url, sites=("ota",)))
    with pytest.raises(TooManyWebhooksError):
        office.hooks.create(OTA, Facts(receiver.url, sites=("ota",)))
    office.hooks.remove(OTA, "hook1")
    office.hooks.create(OTA, Facts(receiver.url, sites=("ota",)))


def test_a_change_is_made_to_what_was_read(office, receiver):
    hook, _ = office.hooks.create(ADMIN, Facts(receiver.url))
    changed = office.hooks.change(ADMIN, hook.id, Facts(receiver.url, types=("job",)), 1)

    assert (changed.version, changed.types) == (2, ("job",))
    with pytest.raises(StaleWebhookError):
        office.hooks.change(ADMIN, hook.id, Facts(receiver.url), 1)
