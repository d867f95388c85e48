"""Accounts: nobody hands on more than they have, what ends ends at once, and all of it is noted."""

import pytest

from hub.access import LOCAL, Caller, Credential, Role
from hub.access.refusals import (
    ForbiddenError,
    InvalidError,
    NotKnownError,
    SlowDownError,
    StaleError,
    TakenError,
    UnprovenError,
)
from hub.store import audit
from hub.store.accounts import Scope
from tests.hub.callers import PASSWORD, new_access
from tests.hub.scenes import Clock

HOUR_MS = 3_600_000
OTA = Scope(("operator",), ("ota",))
OWNER = Caller(
    "person:owner", "session", roles=frozenset({Role.SITE_ADMIN}), sites=frozenset({"ota"})
)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def access(store, clock):
    return new_access(store, clock)


def shown(access, token, kind="key"):
    """Tell who a token is, as the gate does."""
    credential = Credential(kind, token)
    return access.recognition.known(credential) or access.recognition.find(credential)


def actions(store):
    with store.read() as tx:
        assert audit.verify(tx) is None
        return [entry.action for entry in reversed(audit.before(tx, None, limit=99))]


# -- keys ------------------------------------------------------------------------------------------


def test_a_key_is_its_caller_until_it_is_revoked(access, store):
    key, token = access.accounts.create_key(LOCAL, "erp", OTA, None)
    assert shown(access, token).id == f"key:{key.id}"
    assert shown(access, token).sites == {"ota"}
    assert access.recognition.known(Credential("key", token)) is not None

    access.accounts.revoke_key(LOCAL, key.id)

    assert access.recognition.known(Credential("key", token)) is None
    assert shown(access, token) is None
    assert actions(store) == ["key.created", "key.revoked"]


def test_no_secret_is_kept_anywhere(access, store):
    key, token = access.accounts.create_key(LOCAL, "erp", OTA, None)
    log_in = new_person_logged_in(access)
    with store.read() as tx:
        raw = repr(
            [
                tx.connection.exec_driver_sql(f"SELECT * FROM {name}").fetchall()  # noqa: S608 (our own names)
                for name in ("api_key", "person", "session", "one_time_code", "audit")
            ]
        )

    assert key.id in raw
    for secret in (token, token.rpartition("_")[2], log_in.token, PASSWORD):
        assert secret not in raw


def test_a_key_ends_by_itself(access, clock):
    _, token = access.accounts.create_key(LOCAL, "visit", OTA, clock() + HOUR_MS)
    assert shown(access, token)

    clock.now_ms += HOUR_MS

    assert shown(access, token) is None


def test_a_key_that_would_have_ended_already_is_not_made(access, clock):
    with pytest.raises(InvalidError):
        access.accounts.create_key(LOCAL, "late", OTA, clock())


def test_another_programs_revocation_is_noticed_within_ten_seconds(access, store, clock):
    key, token = access.accounts.create_key(LOCAL, "erp", OTA, None)
    assert shown(access, token)
    new_access(store, clock).accounts.revoke_key(LOCAL, key.id)

    clock.now_ms += 10_000

    assert shown(access, token) is None


def test_when_a_key_was_last_used_is_written_down(access, clock):
    key, token = access.accounts.create_key(LOCAL, "erp", OTA, None)
    shown(access, token)
    access.recognition.flush()

    assert access.accounts.keys(LOCAL)[0].last_used_ms == clock()
    assert key.last_used_ms is None


TOO_MUCH = (
    Scope(("hub-admin",), ("ota",)),
    Scope(("region-viewer",), ("ota",)),
    Scope(("operator",), ("suwa",)),
    Scope(("operator",), ("ota", "suwa")),
    Scope(("operator",), ()),
    Scope((), ("ota",), None, ("municipality",)),
    Scope((), ("ota",), None, ("group:other",)),
    Scope(("operator",), ("ota",), "somebody-else"),
)


def test_a_sites_admin_hands_on_no_more_than_its_own_site(access):
    for scope in TOO_MUCH:
        with pytest.raises(ForbiddenError):
            access.accounts.create_key(OWNER, "more", scope, None)
        with pytest.raises(ForbiddenError):
            access.accounts.create_person(OWNER, "more", "More", PASSWORD, scope)
    for scope in (Scope((), ("suwa",)), Scope(), Scope((), ("ota",), None, ("municipality",))):
        with pytest.raises(ForbiddenError):
            access.sessions.new_pairing(OWNER, "wall", scope, 1)


def test_only_admins_hand_anything_on(access):
    for role in Role:
        by = Caller("key:x", "key", roles=frozenset({role}), sites=frozenset({"ota"}))
        if role in {Role.SITE_ADMIN, Role.HUB_ADMIN}:
            access.accounts.create_key(by, "fine", OTA, None)
        else:
            with pytest.raises(ForbiddenError):
                access.accounts.create_key(by, "more", OTA, None)


def test_nobody_sees_or_ends_what_they_could_not_have_given(access):
    key, _ = access.accounts.create_key(LOCAL, "hub", Scope(("hub-admin",)), None)
    person = access.accounts.create_person(LOCAL, "suwa", "S", PASSWORD, Scope((), ("suwa",)))

    assert access.accounts.keys(OWNER) == []
    assert access.accounts.people(OWNER) == []
    for act in (
        lambda: access.accounts.revoke_key(OWNER, key.id),
        lambda: access.accounts.person(OWNER, person.id),
        lambda: access.accounts.remove_person(OWNER, person.id),
    ):
        with pytest.raises(NotKnownError):
            act()


# -- people and sessions ---------------------------------------------------------------------------


def new_person_logged_in(access, login="tanaka", scope=OTA):
    access.accounts.create_person(LOCAL, login, "", PASSWORD, scope)
    return access.sessions.log_in(login, PASSWORD, "192.0.2.1")


def test_a_person_logs_in_and_out(access, store):
    log_in = new_person_logged_in(access)
    assert shown(access, log_in.token, "session").name == "tanaka"

    access.sessions.log_out(log_in.token)

    assert shown(access, log_in.token, "session") is None
    assert actions(store) == ["user.created", "session.begun"]


def test_every_log_in_has_a_token_that_nobody_knew(access):
    tokens = {new_person_logged_in(access, f"p{i}").token for i in range(5)}
    tokens |= {access.sessions.log_in("p0", PASSWORD, "192.0.2.1").token for _ in range(5)}

    assert len(tokens) == 10


def test_a_session_ends_after_half_a_day_unused_and_after_a_week_in_any_case(access, clock):
    idle = new_person_logged_in(access).token
    clock.now_ms += 12 * HOUR_MS
    assert shown(access, idle, "session") is None

    busy = access.sessions.log_in("tanaka", PASSWORD, "192.0.2.1").token
    for _ in range(13):
        assert shown(access, busy, "session")
        access.recognition.flush()
        clock.now_ms += 12 * HOUR_MS - 60_000
    assert shown(access, busy, "session")
    clock.now_ms += 12 * HOUR_MS - 60_000
    assert shown(access, busy, "session")
    clock.now_ms += 15 * 60_000
    assert shown(access, busy, "session") is None


def test_logging_out_everywhere_ends_every_session_of_that_person_only(access):
    tokens = [new_person_logged_in(access).token]
    tokens += [access.sessions.log_in("tanaka", PASSWORD, "192.0.2.1").token]
    other = new_person_logged_in(access, "suzuki").token

    access.sessions.log_out_everywhere(shown(access, tokens[0], "session"))

    assert [shown(access, token, "session") for token in tokens] == [None, None]
    assert shown(access, other, "session")


def test_a_changed_or_disabled_person_is_logged_out_at_once(access):
    for disabled in (False, True):
        log_in = new_person_logged_in(access, f"p-{disabled}".lower())
        person_id = log_in.caller.id.removeprefix("person:")
        assert shown(access, log_in.token, "session")
        access.accounts.change_person(
            LOCAL, person_id, 1, name="x", scope=OTA, disabled=disabled, password=None
        )
        assert shown(access, log_in.token, "session") is None
        if disabled:
            with pytest.raises(UnprovenError):
                access.sessions.log_in("p-true", PASSWORD, "192.0.2.1")


def test_a_change_to_what_has_changed_meanwhile_is_refused(access):
    person = access.accounts.create_person(LOCAL, "tanaka", "T", PASSWORD, OTA)
    words = {"name": "x", "scope": OTA, "disabled": False, "password": None}
    access.accounts.change_person(LOCAL, person.id, 1, **words)

    with pytest.raises(StaleError):
        access.accounts.change_person(LOCAL, person.id, 1, **words)


def test_a_login_belongs_to_one_person(access):
    access.accounts.create_person(LOCAL, "tanaka", "T", PASSWORD, OTA)

    with pytest.raises(TakenError):
        access.accounts.create_person(LOCAL, "tanaka", "U", PASSWORD, OTA)


def test_ones_own_password_is_changed_by_who_knows_it(access):
    log_in = new_person_logged_in(access)
    with pytest.raises(ForbiddenError):
        access.accounts.change_password(log_in.caller, "not the password at all", PASSWORD + "x")

    access.accounts.change_password(log_in.caller, PASSWORD, "another phrase of length 8")

    assert shown(access, log_in.token, "session") is None
    with pytest.raises(UnprovenError):
        access.sessions.log_in("tanaka", PASSWORD, "192.0.2.1")
    assert access.sessions.log_in("tanaka", "another phrase of length 8", "192.0.2.1")


def test_the_hub_never_loses_its_last_admin(access):
    admin = access.accounts.create_person(LOCAL, "boss", "B", PASSWORD, Scope(("hub-admin",)))
    for act in (
        lambda: access.accounts.remove_person(LOCAL, admin.id),
        lambda: access.accounts.change_person(
            LOCAL, admin.id, None, name="B", scope=OTA, disabled=False, password=None
        ),
        lambda: access.accounts.change_person(
            LOCAL, admin.id, None, name="B", scope=admin.scope, disabled=True, password=None
        ),
    ):
        with pytest.raises(ForbiddenError, match="run the hub"):
            act()
    access.accounts.create_person(LOCAL, "vice", "V", PASSWORD, Scope(("hub-admin",)))
    access.accounts.remove_person(LOCAL, admin.id)


# -- guessing --------------------------------------------------------------------------------------


def test_guessing_one_account_is_slowed_down_from_wherever_it_is_tried(access, clock):
    access.accounts.create_person(LOCAL, "tanaka", "T", PASSWORD, OTA)
    tried = 0
    for i in range(100):
        with pytest.raises((UnprovenError, SlowDownError)) as caught:
            access.sessions.log_in("tanaka", f"guess number {i}", f"198.51.100.{i}")
        tried += caught.type is UnprovenError
        assert getattr(caught.value, "retry_after_s", 1) <= 60
    assert tried <= 5

    clock.now_ms += 60_000
    assert access.sessions.log_in("tanaka", PASSWORD, "192.0.2.1")


def test_guessing_many_accounts_from_one_address_is_slowed_down(access):
    tried = 0
    for i in range(100):
        with pytest.raises((UnprovenError, SlowDownError)) as caught:
            access.sessions.log_in(f"user{i}", "a common password 1", "192.0.2.1")
        tried += caught.type is UnprovenError
    assert tried <= 5


def test_who_is_not_there_fails_like_who_mistypes(access):
    access.accounts.create_person(LOCAL, "tanaka", "T", PASSWORD, OTA)
    told = []
    for login in ("tanaka", "nobody"):
        with pytest.raises(UnprovenError) as caught:
            access.sessions.log_in(login, "a wrong phrase entirely", "192.0.2.1")
        told.append((caught.value.code, str(caught.value)))

    assert told[0] == told[1]


# -- the first admin -------------------------------------------------------------------------------


def test_the_first_secret_makes_one_admin_once(access):
    secret = access.sessions.first_secret()
    log_in = access.sessions.set_up(secret, "boss", PASSWORD, "192.0.2.1")

    assert log_in.caller.roles == {Role.HUB_ADMIN}
    with pytest.raises(UnprovenError):
        access.sessions.set_up(secret, "other", PASSWORD, "192.0.2.1")
    assert access.sessions.first_secret() is None


def test_each_start_ends_the_secret_of_the_one_before(access):
    old, new = access.sessions.first_secret(), access.sessions.first_secret()

    with pytest.raises(UnprovenError):
        access.sessions.set_up(old, "boss", PASSWORD, "192.0.2.1")
    assert access.sessions.set_up(new.lower().replace("-", " "), "boss", PASSWORD, "192.0.2.1")


def test_a_weak_password_does_not_use_the_secret_up(access):
    secret = access.sessions.first_secret()
    with pytest.raises(InvalidError):
        access.sessions.set_up(secret, "boss", "boss", "192.0.2.1")

    assert access.sessions.set_up(secret, "boss", PASSWORD, "192.0.2.1")


def test_there_is_no_account_before_the_first_one(access):
    for login, password in (("admin", "admin"), ("admin", "machikoba"), ("", "")):
        with pytest.raises((UnprovenError, SlowDownError)):
            access.sessions.log_in(login, password, "192.0.2.1")


# -- wall screens ----------------------------------------------------------------------------------


def test_a_screen_looks_for_as_long_as_it_was_given_and_does_nothing(access, clock):
    code, _ = access.sessions.new_pairing(OWNER, "hall", Scope((), ("ota",)), days=2)
    log_in = access.sessions.pair(code, "192.0.2.7")

    assert log_in.caller.kind == "screen"
    assert (log_in.caller.roles, log_in.caller.sites) == (frozenset(), {"ota"})
    clock.now_ms += 47 * HOUR_MS
    assert shown(access, log_in.token, "session")
    clock.now_ms += HOUR_MS
    assert shown(access, log_in.token, "session") is None


def test_a_pairing_code_works_once_and_for_a_quarter_of_an_hour(access, clock):
    code, expires_ms = access.sessions.new_pairing(OWNER, "hall", Scope((), ("ota",)), days=2)
    access.sessions.pair(code, "192.0.2.7")
    late, _ = access.sessions.new_pairing(OWNER, "hall", Scope((), ("ota",)), days=2)
    clock.now_ms = expires_ms

    for each in (code, late):
        with pytest.raises(UnprovenError):
            access.sessions.pair(each, "192.0.2.7")


def test_a_screen_is_logged_out_from_afar(access):
    code, _ = access.sessions.new_pairing(OWNER, "hall", Scope((), ("ota",)), days=2)
    log_in = access.sessions.pair(code, "192.0.2.7")
    screen = access.sessions.screens(OWNER)[0]

    access.sessions.end_screen(OWNER, screen.id)

    assert shown(access, log_in.token, "session") is None
    assert access.sessions.screens(OWNER) == []


def test_pairing_codes_cannot_be_guessed_without_waiting(access):
    tried = 0
    for _ in range(50):
        with pytest.raises((UnprovenError, SlowDownError)) as caught:
            access.sessions.pair("AAAA-AAAA-AAAA-AAAA", "192.0.2.7")
        tried += caught.type is UnprovenError
    assert tried <= 5
