"""People over HTTP: cookies out of scripts' reach, changes only by the page itself, no guessing."""

import pytest

from hub.access import LOCAL
from hub.api import create_app
from hub.store.accounts import Scope
from tests.hub.callers import PASSWORD, bearer, http_client, new_access, new_keys
from tests.hub.contexts import new_context
from tests.hub.scenes import Scene


@pytest.fixture
def scene():
    scene = Scene()
    scene.add("mc-1")
    scene.add("press-1", site="suwa")
    scene.read("mc-1")
    return scene


@pytest.fixture
def access(small_store, scene):
    return new_access(small_store, scene.clock)


@pytest.fixture
def app(scene, small_store, access):
    context = new_context(
        live=scene.live,
        registry=scene.registry,
        historian=None,
        store=small_store,
        now_ms=scene.clock,
        access=access,
    )
    return create_app(context)


@pytest.fixture
async def client(app):
    async with http_client(app) as client:
        yield client


@pytest.fixture
def tanaka(access):
    scope = Scope(("site-admin",), ("ota",))
    return access.accounts.create_person(LOCAL, "tanaka", "田中", PASSWORD, scope)


async def log_in(client, login="tanaka", password=PASSWORD):
    answer = await client.post("/api/v1/session", json={"login": login, "password": password})
    if answer.status_code == 201:
        client.headers["X-CSRF-Token"] = answer.json()["csrf_token"]
    return answer


async def test_a_log_in_sets_a_cookie_that_scripts_and_other_sites_never_get(client, tanaka):
    answer = await log_in(client)
    cookie = answer.headers["set-cookie"].lower()

    assert answer.status_code == 201
    assert answer.json()["caller"]["sites"] == ["ota"]
    for word in ("httponly", "samesite=strict", "path=/", "max-age=604800"):
        assert word in cookie
    assert "domain" not in cookie
    assert tanaka.id in answer.json()["caller"]["id"]
    assert answer.headers["cache-control"] == "no-store"


async def test_over_tls_the_cookie_is_for_tls_only(app, tanaka):
    assert tanaka
    async with http_client(app) as client:
        client.base_url = "https://hub"
        answer = await log_in(client)

    assert answer.headers["set-cookie"].startswith("__Host-machikoba=")
    assert "secure" in answer.headers["set-cookie"].lower()
    assert "max-age" in answer.headers["strict-transport-security"]


async def test_changes_need_the_token_that_only_the_page_itself_can_know(client, tanaka):
    assert tanaka
    await log_in(client)
    right = client.headers.pop("X-CSRF-Token")
    body = {"name": "erp", "roles": ["planner"], "sites": ["ota"]}

    for wrong in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": right[:-1]}, {"X-CSRF-Token": "é"}):
        raw = {name: value.encode("latin-1") for name, value in wrong.items()}
        answer = await client.post("/api/v1/keys", json=body, headers=raw)
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf")
    assert (await client.get("/api/v1/keys")).json()["items"] == []
    done = await client.post("/api/v1/keys", json=body, headers={"X-CSRF-Token": right})
    assert done.status_code == 201


async def test_the_token_of_another_session_does_not_do(app, access, tanaka):
    assert tanaka
    async with http_client(app) as one, http_client(app) as other:
        await log_in(one)
        await log_in(other)
        one.headers["X-CSRF-Token"] = other.headers["X-CSRF-Token"]
        answer = await one.post("/api/v1/keys", json={"name": "x"})

    assert answer.json()["code"] == "csrf"
    assert access.accounts.keys(LOCAL) == []


async def test_a_page_may_learn_its_token_and_who_it_is(client, tanaka):
    assert tanaka
    before = (await client.get("/api/v1/session")).json()
    await log_in(client)
    after = (await client.get("/api/v1/session")).json()

    assert (before["caller"], before["csrf_token"], before["access"]) == (None, None, "required")
    assert after["caller"]["name"] == "tanaka"
    assert after["csrf_token"] == client.headers["X-CSRF-Token"]


async def test_a_log_in_never_takes_over_a_session_that_somebody_planted(client, access, tanaka):
    """Session fixation: the token before the log-in is worth nothing after it."""
    access.accounts.create_person(LOCAL, "mallory", "M", PASSWORD, Scope((), ("suwa",)))
    await log_in(client, "mallory")
    planted = dict(client.cookies)
    answer = await log_in(client)

    assert answer.json()["caller"]["name"] == "tanaka"
    assert tanaka
    assert dict(client.cookies) != planted
    client.cookies.clear()
    client.cookies.update(planted)
    assert (await client.get("/api/v1/session")).json()["caller"] is None


async def test_a_cookie_of_ones_own_invention_is_nobodys(client):
    for value in ("x" * 43, "", "\x7f", "a;b", "x" * 4000):
        headers = {"Cookie": f"machikoba={value}"}
        answer = await client.get("/api/v1/availability", headers=headers)
        assert answer.status_code == 401


async def test_two_cookies_of_one_name_are_nobodys(client, tanaka):
    assert tanaka
    await log_in(client)
    token = client.cookies["machikoba"]
    client.cookies.clear()

    one = await client.get("/api/v1/alarms", headers={"Cookie": f"machikoba={token}"})
    two = await client.get(
        "/api/v1/alarms", headers={"Cookie": f"machikoba={token}; machikoba=planted"}
    )

    assert (one.status_code, two.status_code) == (200, 401)


async def test_logging_out_ends_the_session_and_not_only_the_cookie(client, tanaka):
    assert tanaka
    await log_in(client)
    kept = dict(client.cookies)

    answer = await client.delete("/api/v1/session")

    assert answer.status_code == 204
    assert "max-age=0" in answer.headers["set-cookie"].lower()
    client.cookies.update(kept)
    assert (await client.get("/api/v1/alarms")).status_code == 401


async def test_logging_out_everywhere_ends_the_other_devices_sessions(app, tanaka):
    assert tanaka
    async with http_client(app) as phone, http_client(app) as desk:
        await log_in(phone)
        await log_in(desk)
        assert (await desk.delete("/api/v1/sessions")).status_code == 204
        assert (await phone.get("/api/v1/alarms")).status_code == 401


async def test_a_key_that_is_revoked_opens_nothing_from_that_moment(client, access):
    keys = new_keys(access)
    admin, operator = bearer(keys["hub-admin"]), bearer(keys["operator"])
    assert (await client.get("/api/v1/alarms", headers=operator)).status_code == 200
    key_id = keys["operator"].split("_")[1]

    assert (await client.delete(f"/api/v1/keys/{key_id}", headers=admin)).status_code == 204

    assert (await client.get("/api/v1/alarms", headers=operator)).status_code == 401


async def test_guessing_passwords_meets_429_and_how_long_to_wait(client, tanaka):
    assert tanaka
    answers = [await log_in(client, password=f"wrong guess no {i}") for i in range(8)]

    assert {answer.status_code for answer in answers} == {401, 429}
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert answers[-1].json()["code"] == "too-many-tries"


async def test_asking_too_often_meets_429(scene, small_store):
    access = new_access(small_store, scene.clock, caller_per_s=2, address_per_s=1000)
    keys = new_keys(access)
    context = new_context(
        live=scene.live,
        registry=scene.registry,
        historian=None,
        store=small_store,
        now_ms=scene.clock,
        access=access,
    )
    async with http_client(create_app(context)) as client:
        one, other = bearer(keys["operator"]), bearer(keys["planner"])
        statuses = [(await client.get("/api/v1/alarms", headers=one)).status_code for _ in range(9)]
        assert statuses == [200] * 8 + [429]
        assert (await client.get("/api/v1/alarms", headers=other)).status_code == 200
        scene.clock.now_ms += 500
        assert (await client.get("/api/v1/alarms", headers=one)).status_code == 200


async def test_one_address_cannot_ask_without_end_either(scene, small_store):
    access = new_access(small_store, scene.clock, address_per_s=2)
    context = new_context(
        live=scene.live,
        registry=scene.registry,
        historian=None,
        store=small_store,
        now_ms=scene.clock,
        access=access,
    )
    async with http_client(create_app(context)) as client:
        statuses = [(await client.get("/healthz")).status_code for _ in range(10)]

    assert statuses == [200] * 8 + [429] * 2


async def test_the_first_admin_comes_in_over_http(client, access):
    secret = access.sessions.first_secret()
    body = {"secret": secret, "login": "boss", "password": PASSWORD}

    first = await client.post("/api/v1/setup", json=body)
    again = await client.post(
        "/api/v1/setup", json=body, headers={"X-CSRF-Token": first.json()["csrf_token"]}
    )

    assert (first.status_code, again.status_code) == (201, 401)
    assert (await client.get("/api/v1/keys")).status_code == 200


async def test_a_wall_screen_is_paired_looks_and_cannot_touch_anything(app, access):
    keys = new_keys(access)
    async with http_client(app) as admin, http_client(app) as screen:
        admin.headers.update(bearer(keys["site-admin"]))
        made = await admin.post("/api/v1/screens", json={"name": "Hall", "sites": ["ota"]})
        paired = await screen.post("/api/v1/session/pair", json={"code": made.json()["code"]})
        screen.headers["X-CSRF-Token"] = paired.json()["csrf_token"]
        seen = (await screen.get("/api/v1/availability")).json()["items"]
        assert {item["site"] for item in seen} == {"ota"}
        for method, path in (
            ("POST", "/api/v1/keys"),
            ("GET", "/api/v1/keys"),
            ("POST", "/api/v1/reservations"),
            ("POST", "/api/v1/jobs"),
            ("PUT", "/api/v1/sites/ota/sharing"),
            ("DELETE", "/api/v1/sessions"),
            ("PUT", "/api/v1/session/password"),
        ):
            answer = await screen.request(method, path, json={})
            assert answer.status_code in {403, 422}, path
        listed = (await admin.get("/api/v1/screens")).json()["items"]
        await admin.delete(f"/api/v1/screens/{listed[0]['screen']}")
        assert (await screen.get("/api/v1/availability")).status_code == 401


async def test_users_are_looked_after_by_entity_tags(client, access):
    client.headers.update(bearer(new_keys(access)["site-admin"]))
    body = {"login": "sato", "name": "佐藤", "password": PASSWORD, "sites": ["ota"]}
    made = await client.post("/api/v1/users", json=body)
    path = f"/api/v1/users/{made.json()['user']}"
    change = {"name": "佐藤 花子", "sites": ["ota"], "roles": ["operator"]}

    assert "password" not in made.text
    assert (await client.put(path, json=change)).status_code == 428
    tag = {"If-Match": made.headers["etag"]}
    assert (await client.put(path, json=change, headers=tag)).json()["roles"] == ["operator"]
    assert (await client.put(path, json=change, headers=tag)).status_code == 412
    more = change | {"roles": ["hub-admin"]}
    tag = {"If-Match": '"v2"'}
    assert (await client.put(path, json=more, headers=tag)).status_code == 403
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404


async def test_an_open_hub_asks_nobody_for_anything(scene, small_store):
    context = new_context(
        live=scene.live,
        registry=scene.registry,
        historian=None,
        store=small_store,
        now_ms=scene.clock,
    )
    async with http_client(create_app(context)) as client:
        told = (await client.get("/api/v1/session")).json()
        seen = (await client.get("/api/v1/availability")).json()["items"]
        foreign = await client.post(
            "/api/v1/keys", json={"name": "x"}, headers={"Sec-Fetch-Site": "cross-site"}
        )

    assert (told["access"], told["caller"]["kind"]) == ("open", "local")
    assert len(seen) == 2
    assert foreign.status_code == 403, "a page of another site must not change an open hub either"
