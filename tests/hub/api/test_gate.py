"""Every route has a rule, every rule is held for every kind of caller, and nothing goes around it.

The matrix is made from the routes of the application as the hub serves it. What it expects is
worked out here from the words of the rule, not by the gate; for what must never go wrong there is a
table written by hand, and real requests.
"""

import re

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from hub.access import LOCAL, RULES, At, Door
from hub.api import create_app
from hub.api.gate import Gate
from hub.api.table import Found, Table
from hub.dashboard import dashboard_routes, lite_routes
from hub.historian import open_historian
from hub.store import Store
from hub.store.sharing import Terms
from tests.hub.callers import OTHER, OWN, bearer, http_client, new_access, new_keys
from tests.hub.contexts import new_context
from tests.hub.scenes import Scene

CALLERS = ("anonymous", "operator", "planner", "site-admin", "region-viewer", "hub-admin")
HIDDEN = "suwa"
PUBLIC_ROUTES = {
    ("GET", "/"),
    ("GET", "/wall"),
    ("GET", "/m/{site}/{machine}"),
    ("GET", "/assets/{name}"),
    ("GET", "/favicon.svg"),
    ("GET", "/third-party-notices.txt"),
    ("GET", "/lite.css"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/api/v1/processes"),
    ("GET", "/api/v1/materials"),
    ("GET", "/api/v1/session"),
    ("POST", "/api/v1/session"),
    ("DELETE", "/api/v1/session"),
    ("POST", "/api/v1/session/pair"),
    ("POST", "/api/v1/setup"),
    ("POST", "/api/v1/enrol"),
}
"""All that anybody may use without credentials. Whoever adds to this list has thought about it."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Give (context, keys, application with all its pages), required."""
    folder = tmp_path_factory.mktemp("gate")
    scene = Scene()
    for site in (OWN, OTHER):
        scene.add("mc-1", site=site)
        scene.read("mc-1", "running", site=site, rpm=1200.0)
    store = Store.open(f"sqlite:///{folder}/coordination.sqlite")
    historian = open_historian(folder, scene.index, memory_mib=64, raw_days=30, rollup_days=400)
    access = new_access(store, scene.clock)
    context = new_context(
        live=scene.live,
        registry=scene.registry,
        historian=historian,
        store=store,
        now_ms=scene.clock,
        access=access,
    )
    pages = [*dashboard_routes(), *lite_routes(scene.live, scene.registry, scene.clock)]
    yield context, new_keys(access), create_app(context, pages)
    historian.close()
    store.close()


@pytest.fixture
async def client(hub):
    async with http_client(hub[2]) as client:
        yield client


def probes(app):
    """Give (method, template, path at our own site, path at the other one) of every route."""
    for entry in Table(app.routes).entries:
        for method in entry.rules:
            paths = [
                re.sub(
                    r"\{(\w+)(:\w+)?\}", lambda m, s=site: s if m[1] == "site" else "x1", template
                )
                for site in (OWN, OTHER)
                for template in [entry.template]
            ]
            yield method, entry.template, *paths


async def decision(app, access, method, path, headers):
    """Ask the gate alone: the status of its refusal, or 0 when it lets the request in."""
    told = {}

    async def inside(_scope, _receive, send):
        told["inside"] = True
        await PlainTextResponse("in")(_scope, _receive, send)

    async def send(message):
        if message["type"] == "http.response.start":
            told["status"] = message["status"]

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        "client": ("192.0.2.1", 1),
    }
    await Gate(inside, table=Table(app.routes), access=access)(scope, None, send)
    return 0 if "inside" in told else told["status"]


def expected(rule, caller, site):
    """Work out what the words of a rule mean for a caller at a site."""
    if caller == "hub-admin":
        return 0
    if caller == "anonymous":
        return 0 if rule.door is Door.ANYONE else 401
    owner = caller != "region-viewer" and site == OWN
    if site is not None and rule.at is not At.ANYWHERE and not owner:
        return 404
    if rule.roles and caller not in {role.value for role in rule.roles}:
        return 403
    return 0


async def test_every_route_lets_in_whom_its_rule_names_and_nobody_else(hub):
    context, keys, app = hub
    wrong, asked = [], 0
    for method, template, own_path, other_path in probes(app):
        rule = RULES["GET" if method == "HEAD" else method, template]
        for caller in CALLERS:
            headers = {} if caller == "anonymous" else bearer(keys[caller])
            for site, path in ((OWN, own_path), (OTHER, other_path)):
                named = site if "{site}" in template else None
                found = await decision(app, context.access, method, path, headers)
                asked += 1
                if found != expected(rule, caller, named):
                    wrong.append((method, path, caller, found, expected(rule, caller, named)))

    assert wrong == []
    assert asked >= 12 * len(RULES) - 200


def test_every_route_has_a_rule_and_every_rule_a_route(hub):
    entries = Table(hub[2].routes).entries
    there = {(method, entry.template) for entry in entries for method in entry.rules}
    nowhere = {f"/{name}" for name in ("favicon.svg", "third-party-notices.txt")}

    without = [(m, e.template) for e in entries for m, rule in e.rules.items() if rule is None]
    unused = {
        (method, template)
        for method, template in RULES
        if (method, template) not in there and template not in nowhere
    }

    assert without == []
    assert unused == set()


def test_only_what_is_listed_here_can_be_used_without_credentials():
    assert {place for place, rule in RULES.items() if rule.door is Door.ANYONE} == PUBLIC_ROUTES


async def test_a_route_that_nobody_gave_a_rule_is_refused_to_everybody(hub):
    context, keys, _ = hub
    secret = Route("/api/v1/new-idea", lambda _request: PlainTextResponse("secret"))
    app = create_app(context, [secret])

    async with http_client(app) as client:
        answer = await client.get("/api/v1/new-idea", headers=bearer(keys["hub-admin"]))

    assert (answer.status_code, answer.json()["code"]) == (403, "no-rule")


async def test_a_route_added_behind_the_gates_back_is_not_there(hub):
    context, keys, _ = hub
    app = create_app(context)
    app.router.routes.insert(0, Route("/back-door", lambda _request: PlainTextResponse("secret")))

    async with http_client(app) as client:
        answer = await client.get("/back-door", headers=bearer(keys["hub-admin"]))

    assert answer.status_code == 404


def test_what_the_gate_cannot_see_into_is_no_part_of_an_application(hub):
    with pytest.raises(ValueError, match="cannot be guarded"):
        create_app(hub[0], [Mount("/files", routes=[])])


# -- by hand: what must never go wrong -------------------------------------------------------------

NO, HIDE, WHO = 403, 404, 401
SENSITIVE = [
    # method, path, {caller: status}, everybody else being let in by nobody
    ("GET", "/metrics", {"hub-admin": 200}),
    ("GET", "/api/v1/audit", {"hub-admin": 200, "site-admin": 200}),
    ("GET", "/api/v1/keys", {"hub-admin": 200, "site-admin": 200}),
    ("GET", "/api/v1/users", {"hub-admin": 200, "site-admin": 200}),
    ("POST", "/api/v1/keys", {"hub-admin": 422, "site-admin": 422}),
    ("POST", "/api/v1/users", {"hub-admin": 422, "site-admin": 422}),
    ("DELETE", "/api/v1/keys/aaaa", {"hub-admin": 404, "site-admin": 404}),
    ("DELETE", "/api/v1/users/aaaa", {"hub-admin": 404, "site-admin": 404}),
    ("POST", "/api/v1/screens", {"hub-admin": 422, "site-admin": 422}),
    ("GET", "/api/v1/sites/ota/sharing", {"hub-admin": 200, "site-admin": 200}),
    ("PUT", "/api/v1/sites/ota/sharing", {"hub-admin": 422, "site-admin": 422}),
    ("GET", "/api/v1/sites/ota/views", {"hub-admin": 200, "site-admin": 200}),
    ("POST", "/api/v1/sites/ota/enrolments", {"hub-admin": 409, "site-admin": 409}),
    ("DELETE", "/api/v1/sites/ota", {"hub-admin": 428, "site-admin": 428}),
    ("POST", "/api/v1/reservations", {"hub-admin": 422, "site-admin": 422, "planner": 422}),
    ("POST", "/api/v1/webhooks", {"hub-admin": 422, "site-admin": 422}),
    ("GET", "/api/v1/sites/suwa", {"hub-admin": 200}),
    ("GET", "/api/v1/sites/suwa/sharing", {"hub-admin": 200}),
    ("PUT", "/api/v1/sites/suwa/sharing", {"hub-admin": 422}),
    ("GET", "/api/v1/sites/suwa/views", {"hub-admin": 200}),
    ("POST", "/api/v1/sites/suwa/enrolments", {"hub-admin": 409}),
    ("DELETE", "/api/v1/sites/suwa", {"hub-admin": 428}),
    ("GET", "/api/v1/machines/suwa/mc-1", {"hub-admin": 200}),
    ("GET", "/api/v1/machines/suwa/mc-1/timeline", {"hub-admin": 200}),
    ("GET", "/api/v1/machines/suwa/mc-1/signals/rpm/history", {"hub-admin": 200}),
    ("GET", "/api/v1/machines/suwa/mc-1/capacity", {"hub-admin": 200}),
]


@pytest.mark.parametrize(("method", "path", "let_in"), SENSITIVE)
async def test_what_matters_most_is_open_to_few(client, hub, method, path, let_in):
    for caller in (*CALLERS, "roleless"):
        headers = {} if caller == "anonymous" else bearer(hub[1][caller])
        answer = await client.request(method, path, headers=headers)
        refused = {WHO} if caller == "anonymous" else {NO, HIDE}
        wanted = {let_in[caller]} if caller in let_in else refused
        assert answer.status_code in wanted, (caller, answer.status_code, answer.text)
        if HIDDEN in path and caller not in let_in and caller != "anonymous":
            assert answer.status_code == HIDE, caller


async def test_what_is_hidden_answers_exactly_like_what_is_not_there(client, hub):
    for tail in ("", "/sharing", "/views", "/enrolments"):
        for caller in ("planner", "site-admin", "region-viewer"):
            headers = bearer(hub[1][caller])
            hidden = await client.get(f"/api/v1/sites/suwa{tail}", headers=headers)
            absent = await client.get(f"/api/v1/sites/never{tail}", headers=headers)

            assert (hidden.status_code, hidden.json()) == (absent.status_code, absent.json())
            assert hidden.status_code == 404


async def test_the_live_lists_hold_only_what_is_shown(client, hub):
    for path in ("/api/v1/availability", "/api/v1/availability?limit=9", "/api/v1/machines"):
        for caller, sites in (
            ("planner", {OWN}),
            ("hub-admin", {OWN, OTHER}),
            ("region-viewer", set()),
        ):
            answer = await client.get(path, headers=bearer(hub[1][caller]))
            assert {item["site"] for item in answer.json()["items"]} == sites, (path, caller)


async def test_a_site_that_is_shown_but_not_ones_own_cannot_be_changed(client, hub):
    context, keys, _ = hub
    context.access.sharing.put(LOCAL, OTHER, None, [Terms("municipality", {"presence": 3})])
    try:
        seen = await client.get("/api/v1/sites/suwa", headers=bearer(keys["region-viewer"]))
        change = await client.put(
            "/api/v1/sites/suwa/sharing",
            json={"audiences": []},
            headers=bearer(keys["region-viewer"]),
        )
        assert (seen.status_code, change.status_code) == (200, 403)
    finally:
        context.access.sharing.put(LOCAL, OTHER, None, [])


# -- how callers show who they are -----------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        "Bearer",
        "Bearer ",
        "Bearer mk_",
        "Bearer mk_aaaaaaaaaa_x",
        "Bearer \xff\xfe",
        "Bearer " + "x" * 5000,
        "Bearer mk_" + "a" * 5000,
        "bearer nonsense",
    ],
)
async def test_a_key_that_is_none_is_refused_even_where_none_is_needed(client, told):
    headers = {"Authorization": told.encode("latin-1")}

    answer = await client.get("/api/v1/availability", headers=headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_another_key_with_the_same_id_opens_nothing(client, hub):
    key = hub[1]["hub-admin"]
    forged = key[:-1] + ("A" if key[-1] != "A" else "B")

    assert (await client.get("/metrics", headers=bearer(key))).status_code == 200
    assert (await client.get("/metrics", headers=bearer(forged))).status_code == 401


async def test_changes_are_not_taken_from_pages_of_other_sites(client, hub):
    key = bearer(hub[1]["site-admin"])
    for told in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ):
        answer = await client.delete("/api/v1/keys/aaaa", headers=key | told)
        assert (answer.status_code, answer.json()["code"]) == (403, "cross-site"), told
    own = await client.delete("/api/v1/keys/aaaa", headers=key | {"Origin": "http://hub"})
    assert own.status_code == 404


async def test_every_answer_has_a_policy_and_no_other_site_may_read_it(client, hub):
    key = bearer(hub[1]["hub-admin"])
    for path in ("/", "/lite", "/healthz", "/api/v1/availability", "/nothing", "/api/v1/session"):
        answer = await client.get(path, headers=key | {"Origin": "https://evil.example"})
        assert "default-src 'none'" in answer.headers["content-security-policy"], path
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"], path
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert not [name for name in answer.headers if name.startswith("access-control")], path


async def test_who_does_not_run_the_hub_is_not_told_its_troubles(hub):
    context, keys, app = hub
    trouble = context.ready
    object.__setattr__(context, "ready", lambda: ["the disk of db7 is gone"])
    try:
        async with http_client(app) as client:
            anybody = await client.get("/readyz")
            admin = await client.get("/readyz", headers=bearer(keys["hub-admin"]))
    finally:
        object.__setattr__(context, "ready", trouble)

    assert (anybody.status_code, anybody.json()["trouble"]) == (503, [])
    assert admin.json()["trouble"] == ["the disk of db7 is gone"]


def test_a_path_finds_the_route_that_the_router_would_take(hub):
    table = Table(hub[2].routes)

    found = table.find("GET", "/api/v1/machines/ota/mc-1/signals/a/b/c/history")
    assert isinstance(found, Found)
    assert found.site == "ota"
    assert table.find("GET", "/api/v1/availability/") == frozenset()
    assert table.find("BREW", "/api/v1/availability") >= {"GET"}
    assert table.find("GET", "/" + "x" * 100_000) == frozenset()
