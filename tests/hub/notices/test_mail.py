"""People are told by mail what they must know: once, together, in their hours and language.

A real store, real events and a real SMTP server; only time is turned by hand.
"""

import subprocess
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from hub.coordination.events import Events
from hub.live import Alarms
from hub.notice_settings import Notices, Recipient, Smtp
from hub.notices.mail import Mail, Post, load_wording, reader_of
from hub.store import events
from tests.hub.notices.smtp_server import SmtpServer
from tests.hub.scenes import Clock

TOKYO = ZoneInfo("Asia/Tokyo")
MINUTE, HOUR = 60_000, 3_600_000
NIGHT = {"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": "22:00", "to": "06:00"}


def at(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=TOKYO).timestamp() * 1000)


class Office:
    """Mail around a store and an SMTP server."""

    def __init__(self, store, server, *recipients):
        self.store = store
        self.clock = Clock(at("2026-11-24T10:00:00"))
        self.alarms = Alarms(now_ms=self.clock)
        self.server = server
        self.recipients = recipients
        self.restart()

    def restart(self):
        """Begin anew with nothing but the store."""
        self.log = Events(self.store, now_ms=self.clock)
        settings = Smtp(
            host="127.0.0.1", port=self.server.port, security="none", sender="hub@hub.example"
        )
        self.mail = Mail(
            self.store,
            self.log,
            self.alarms,
            readers=[reader_of(Recipient(**told)) for told in self.recipients],
            send=Post(settings, None).send,
            sender=settings.sender,
            now_ms=self.clock,
            jitter=lambda: 0.0,
        )

    def happen(self, type_, site="ota", **data):
        with self.store.write() as tx:
            events.append(
                tx,
                type=type_,
                site=site,
                machine="mc-1",
                subject="r1",
                data=data,
                now_ms=self.clock(),
            )

    async def look(self, after_ms=0):
        self.clock.now_ms += after_ms
        self.log.look()
        before = len(self.server.mails)
        await self.mail.look()
        return self.server.mails[before:]


def lines(mail):
    return [line for line in mail.get_content().splitlines() if line.startswith("- ")]


@pytest.fixture
def server():
    with SmtpServer() as found:
        yield found


@pytest.fixture
def office(store, server):
    return Office(store, server, {"address": "a@shop.example", "language": "en"})


async def test_an_alarm_is_told_once_with_what_a_person_needs(office):
    await office.look()
    office.alarms.raise_("machine-down", "ota/mc-1", "ota/mc-1 is down (spindle)")
    [mail] = await office.look()

    assert mail["To"] == "a@shop.example"
    assert mail["Subject"].startswith("[Machikoba] ota/mc-1: machine down")
    assert lines(mail) == [
        "- ota/mc-1: machine down (since 2026-11-24 10:00) ota/mc-1 is down (spindle)"
    ]
    assert mail["Auto-Submitted"] == "auto-generated"
    assert await office.look(HOUR) == []


async def test_a_reservation_at_risk_reaches_people(office):
    await office.look()
    office.happen("reservation.at_risk", text="ends 3 h late")
    office.happen("reservation.held")
    [mail] = await office.look()

    assert lines(mail) == ["- ota/mc-1: a reservation is at risk (2026-11-24 10:00) ends 3 h late"]
    assert await office.look(HOUR) == []


async def test_what_happens_within_a_minute_comes_together(office):
    await office.look()
    office.alarms.raise_("machine-down", "ota/mc-1", "")
    assert len(await office.look()) == 1
    for n in range(70):
        office.alarms.raise_("machine-down", f"ota/m{n}", "")
    assert await office.look(30_000) == []
    [mail] = await office.look(30_000)

    assert len(lines(mail)) == 50
    assert "And 20 more." in mail.get_content()
    assert mail["Subject"].endswith("and 69 more")


async def test_an_alarm_that_flaps_is_told_once(office):
    await office.look()
    told = []
    for _ in range(30):
        office.alarms.raise_("agent-offline", "ota/line-1", "")
        told += await office.look(2 * MINUTE)
        office.alarms.clear("agent-offline", "ota/line-1")
        told += await office.look(2 * MINUTE)

    assert len(told) == 1


async def test_one_that_lasts_is_told_again_until_somebody_takes_note(office):
    await office.look()
    office.alarms.raise_("machine-down", "ota/mc-1", "")
    await office.look()
    assert await office.look(4 * HOUR - 1) == []
    [mail] = await office.look(1)
    assert "Alarms that nobody has taken note of" in mail.get_content()
    [alarm] = office.alarms.active()
    office.alarms.acknowledge(alarm.id, who="w", note=None, ends=False)
    assert await office.look(24 * HOUR) == []


async def test_at_night_only_what_is_urgent_is_told_and_the_rest_in_the_morning(store, server):
    office = Office(
        store,
        server,
        {
            "address": "a@shop.example",
            "language": "en",
            "quiet": [NIGHT],
            "urgent": ["disk-filling", "job.held"],
            "types": ["alarm", "reservation.at_risk", "job"],
        },
    )
    await office.look()
    office.clock.now_ms = at("2026-11-24T23:00:00")
    office.alarms.raise_("machine-down", "ota/mc-1", "")
    office.alarms.raise_("machine-down", "ota/mc-2", "")
    office.happen("reservation.at_risk")
    assert await office.look() == []
    office.alarms.raise_("disk-filling", "disk", "")
    office.happen("job.held")
    [urgent] = await office.look(HOUR)
    assert [line.split(" (")[0] for line in lines(urgent)] == [
        "- the hub's disk is filling",
        "- ota/mc-1: job.held",
    ]
    office.restart()
    office.alarms.clear("machine-down", "ota/mc-2")
    office.alarms.clear("disk-filling", "disk")
    office.clock.now_ms = at("2026-11-25T05:59:00")
    assert await office.look() == []
    [rest] = await office.look(MINUTE)

    assert [line.split(" (")[0] for line in lines(rest)] == [
        "- ota/mc-1: machine down",
        "- ota/mc-1: a reservation is at risk",
    ]


async def test_matters_escalate_when_nobody_takes_note(store, server):
    office = Office(
        store,
        server,
        {"address": "a@shop.example", "language": "en"},
        {"address": "boss@shop.example", "language": "ja", "after_s": 1800},
    )
    await office.look()
    office.alarms.raise_("machine-down", "ota/mc-1", "")
    office.happen("reservation.at_risk")
    assert [m["To"] for m in await office.look()] == ["a@shop.example"]
    assert await office.look(29 * MINUTE) == []
    [mail] = await office.look(MINUTE)

    assert mail["To"] == "boss@shop.example"
    assert mail["Subject"].startswith("[Machikoba] ota/mc-1: 機械停止")


async def test_a_reader_hears_of_its_sites_only(store, server):
    told = {"address": "a@shop.example", "language": "en", "sites": ["ota"]}
    office = Office(store, server, told)
    await office.look()
    for subject in ("ota/mc-1", "suwa/p-1", "disk"):
        office.alarms.raise_("machine-down", subject, "")
    office.happen("reservation.at_risk", site="suwa")
    [mail] = await office.look()

    assert len(lines(mail)) == 1


@pytest.mark.parametrize("refusal", [{"MAIL": b"451 later\r\n"}, {"RCPT": b"550 who?\r\n"}])
async def test_a_server_that_does_not_take_it_is_asked_again_and_complained_of(office, refusal):
    await office.look()
    office.server.refuse = dict(refusal)
    office.alarms.raise_("machine-down", "ota/mc-1", "")
    office.happen("reservation.at_risk")
    for _ in range(8):
        assert await office.look(2 * MINUTE) == []
    assert {a.code for a in office.alarms.active()} == {"machine-down", "mail-failing"}
    office.server.refuse = {}
    [mail] = await office.look(20 * MINUTE)

    assert len(lines(mail)) == 3
    assert {a.code for a in office.alarms.active()} == {"machine-down"}


async def test_a_hub_that_died_forgets_nothing_and_repeats_nothing(office):
    await office.look()
    office.happen("reservation.at_risk", text="first")
    await office.look()
    office.restart()
    office.happen("reservation.at_risk", text="second")
    [mail] = await office.look(2 * MINUTE)

    assert [line.rpartition(" ")[2] for line in lines(mail)] == ["second"]


async def test_a_hub_that_died_before_it_noted_a_mail_repeats_it_under_the_same_id(
    office, monkeypatch
):
    await office.look()
    office.happen("reservation.at_risk")
    with monkeypatch.context() as patch:
        patch.setattr(office.mail, "_write", lambda *_: None)  # killed in between
        [first] = await office.look()
    office.restart()
    [again] = await office.look()

    assert first["Message-ID"] == again["Message-ID"]


async def test_no_name_of_a_machine_becomes_a_header_or_another_line(office):
    await office.look()
    odd = "ota/x\r\nBcc: evil@evil.example\r\n\r\n\u2028.\r\nQUIT\ud83d"
    office.alarms.raise_("machine-down", odd, odd)
    office.alarms.raise_(odd, odd, "=?utf-8?q?x?= " + "y" * 5000)
    [mail] = await office.look()

    assert mail["Bcc"] is None
    assert len(lines(mail)) == 2
    assert len(mail["Subject"]) < 300


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-nodes", "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-days", "2"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(list(map(str, words)), check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize(
    ("host", "trusted", "password", "taken"),
    [
        ("localhost", True, "secret", True),
        ("localhost", False, "secret", False),
        ("127.0.0.1", True, "secret", False),
        ("localhost", True, "wrong", False),
    ],
)
def test_mail_goes_over_verified_tls_with_a_password(certificate, host, trusted, password, taken):
    with SmtpServer(certificate, "secret") as server:
        settings = Smtp(
            host=host,
            port=server.port,
            security="starttls",
            username="hub",
            ca_file=certificate[0] if trusted else None,
            sender="hub@hub.example",
        )
        message = _message()
        if taken:
            Post(settings, password).send(message)
            assert server.secure == [True]
        else:
            with pytest.raises(OSError, match=r"(?i)certificate|535"):
                Post(settings, password).send(message)
            assert server.mails == []


def test_a_server_without_tls_gets_nothing_when_tls_is_asked_for():
    with SmtpServer() as server:
        settings = Smtp(host="127.0.0.1", port=server.port, sender="hub@hub.example")
        with pytest.raises(OSError, match="STARTTLS"):
            Post(settings, None).send(_message())
        assert server.mails == []


def _message():
    from email.message import EmailMessage  # noqa: PLC0415 (used here only)

    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@b.example", "c@d.example", "x"
    message.set_content("x")
    return message


def test_both_languages_have_the_same_words():
    words = load_wording()

    assert set(words["ja"]) == set(words["en"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": "no address"},
        {"address": "a@b\r\nBcc: x@y"},
        {"address": "a@b.example", "quiet": [{"from": "25:00", "to": "06:00"}]},
        {"address": "a@b.example", "quiet": [{"from": 1440, "to": 0}]},
        {"address": "a@b.example", "time_zone": "Mars/Base"},
        {"address": "a@b.example", "surprise": 1},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        Notices.model_validate({"mail": {"recipients": [wrong]}})
