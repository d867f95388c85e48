"""Owners write what their machines can do; others see as much of it as is shared with them."""

import json

import httpx
import pytest

from hub.access import EVERYTHING, Caller, Grant, Group, Level, Role, View
from hub.api import create_app
from hub.historian import open_historian
from hub.store import Store
from tests.hub.contexts import new_context
from tests.hub.scenes import Scene

MC = "/api/v1/machines/ota/mc-1"
NEW = {"If-None-Match": "*"}
MILL = {
    "process": "milling-5axis",
    "materials": ["A5052", "stainless"],
    "envelope_mm": [600, 400, 500],
    "tolerance_it": 6,
    "lot_min": 1,
    "lot_max": 500,
    "setup_min": 45,
    "cycle_s": 90.5,
    "certifications": [{"scheme": "ISO 9001", "number": "Q-1", "valid_until": "2027-03-31"}],
    "evidence": "declared",
    "attended": False,
}


@pytest.fixture
def scene():
    scene = Scene()
    scene.add("mc-1", processes=["milling-3axis", "chanting"])
    scene.add("press-1", site="suwa", processes=["stamping"], kind="press")
    return scene


@pytest.fixture
def historian(scene, tmp_path):
    engine = open_historian(tmp_path, scene.index, memory_mib=64, raw_days=30, rollup_days=400)
    yield engine
    engine.close()


@pytest.fixture
def context(scene, historian, tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/coordination.sqlite")
    yield new_context(
        live=scene.live,
        registry=scene.registry,
        historian=historian,
        store=store,
        now_ms=scene.clock,
    )
    store.close()


@pytest.fixture
async def client(context):
    transport = httpx.ASGITransport(create_app(context), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
        yield client


async def put(client, path, body, *, tag=None, new=False):
    if tag is None and not new:
        tag = (await client.get(path)).headers["ETag"]
    told = {"If-None-Match": "*"} if new else {"If-Match": tag}
    told |= {"Content-Type": "application/json"}
    return await client.put(path, content=json.dumps(body), headers=told)


async def test_capabilities_are_written_and_read_back(client):
    assert (await client.get(f"{MC}/capabilities")).json()["source"] == "birth"

    answer = await put(client, f"{MC}/capabilities", {"capabilities": [MILL]})

    assert answer.status_code == 200, answer.text
    assert answer.json() == {"capabilities": [MILL], "source": "owner"}
    again = await client.get(f"{MC}/capabilities")
    assert again.json() == answer.json()
    assert again.headers["ETag"] == answer.headers["ETag"]
    assert (await client.get(f"{MC}/entry")).json()["processes"] == ["milling-5axis"]


async def test_words_are_kept_as_the_slugs_that_they_mean(client):
    told = {"process": "ワイヤ放電加工", "materials": ["アルミ", "1.4301"]}

    answer = await put(client, f"{MC}/capabilities", {"capabilities": [told]})

    found = answer.json()["capabilities"][0]
    assert (found["process"], found["materials"]) == ("wire-edm", ["aluminium", "SUS304"])


async def test_an_unknown_process_is_refused_with_what_was_meant(client):
    told = {"process": "wiredm", "materials": ["unobtainium"]}

    answer = await put(client, f"{MC}/capabilities", {"capabilities": [MILL, told]})

    assert answer.status_code == 422
    pointers = {each["pointer"]: each["detail"] for each in answer.json()["errors"]}
    assert set(pointers) == {"body/capabilities/1/process", "body/capabilities/1/materials"}
    assert "wire-edm" in pointers["body/capabilities/1/process"]
    assert (await client.get(f"{MC}/capabilities")).json()["source"] == "birth", "nothing is stored"


async def test_a_birth_with_an_unknown_process_is_kept_and_flagged(client):
    entry = (await client.get(f"{MC}/entry")).json()

    assert entry["processes"] == ["milling-3axis"]
    assert entry["unknown_processes"] == ["chanting"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tolerance_it", 0),
        ("tolerance_it", 19),
        ("tolerance_it", "7"),
        ("tolerance_it", True),
        ("lot_min", 0),
        ("lot_max", -1),
        ("setup_min", -1),
        ("setup_min", 1e308),
        ("cycle_s", 0),
        ("envelope_mm", [1, 2]),
        ("envelope_mm", [0, 1, 1]),
        ("envelope_mm", {"x": 1}),
        ("materials", ["A5052"] * 65),
        ("materials", [""]),
        ("materials", [7]),
        ("process", "x" * 1000),
        ("process", None),
        ("process", "a\u0000b"),
        ("evidence", "guessed"),
        ("attended", "no"),
        ("certifications", [{"scheme": "a;b"}]),
        ("certifications", [{"scheme": "ISO", "valid_until": "yesterday"}]),
        ("certifications", [{"scheme": "ISO", "valid_until": 1700000000}]),
        ("certifications", [{"scheme": "ISO", "valid_until": "1700000000"}]),
        ("certifications", [{"scheme": "ISO", "valid_until": "9999-12-31"}]),
        ("certifications", [{"scheme": "ISO"}] * 21),
        ("colour", "red"),
    ],
)
async def test_a_capability_that_cannot_be_is_refused_by_name_and_not_stored(client, field, value):
    answer = await put(client, f"{MC}/capabilities", {"capabilities": [MILL | {field: value}]})

    assert answer.status_code == 422, answer.text
    pointers = [each["pointer"] for each in answer.json()["errors"]]
    assert all(pointer.startswith("body/capabilities/0") for pointer in pointers)
    assert any(pointer.split("/")[3] == field for pointer in pointers)
    assert (await client.get(f"{MC}/capabilities")).json()["source"] == "birth"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", {}),
        ("name", {"en": "a\u202eb"}),
        ("name", {"en": "a\nb"}),
        ("name", {"en": " "}),
        ("name", {"fr": "x"}),
        ("kind", "x" * 201),
        ("kind", "\ud800"),
        ("capacity_units", 0),
        ("capacity_units", 1001),
        ("capacity_units", 1.5),
        ("rated_power_kw", 0),
        ("rated_power_kw", "7"),
        ("envelope_mm", [1, 2, 1e9]),
        ("retired", "2026-01-01"),
    ],
)
async def test_facts_that_cannot_be_are_refused_by_name_and_not_stored(client, field, value):
    answer = await put(client, f"{MC}/entry", {field: value})

    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"].startswith(f"body/{field}")
    assert (await client.get(f"{MC}/entry")).json()["edited"] is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("municipality", "131112"),
        ("municipality", "99111"),
        ("municipality", "ota"),
        ("municipality", 13111),
        ("time_zone", "Mars/Olympus"),
        ("time_zone", "../../etc/passwd"),
        ("location", {"lat": 91, "lon": 0}),
        ("location", {"lat": "35", "lon": 0}),
        ("location", {"lat": 35}),
        ("production_day_start", "24:00"),
        ("production_day_start", "8:00"),
        ("groups", ["Nakama"]),
        ("groups", ["a"] * 33),
        ("grid_factor_kg_per_kwh", -0.1),
        ("organisation", "no/such"),
        ("organisation", "nobody"),
    ],
)
async def test_a_site_that_cannot_be_is_refused_and_not_stored(client, field, value):
    answer = await put(client, "/api/v1/sites/ota", {field: value})

    assert answer.status_code == 422, answer.text
    assert (await client.get("/api/v1/sites/ota")).json()["edited"] is None


async def test_a_site_is_written_and_a_check_digit_is_understood(client):
    told = {
        "name": {"ja": "大田", "en": "Ota"},
        "time_zone": "Asia/Tokyo",
        "location": {"lat": 35.5, "lon": 139.7},
        "municipality": "131113",
        "groups": ["nakama"],
        "production_day_start": "08:30",
        "grid_factor_kg_per_kwh": 0.438,
    }
    answer = await put(client, "/api/v1/sites/ota", told)

    assert answer.status_code == 200, answer.text
    assert answer.json()["edited"] == told | {"municipality": "13111"}
    assert answer.json()["production_day_start"] == "08:30"


async def test_a_machine_without_a_sensor_is_made_and_found(client):
    path = "/api/v1/machines/ota/vice-1"
    answer = await put(client, f"{path}/entry", {"kind": "bench", "capacity_units": 2}, new=True)

    assert answer.status_code == 200, answer.text
    assert answer.json()["announced"] is False
    assert (await put(client, f"{path}/entry", {}, new=True)).status_code == 412, "it is there"


async def test_new_ids_fit_a_topic(client):
    for path in ("/api/v1/sites/Oh No", "/api/v1/machines/ota/Big%20One/entry"):
        answer = await client.put(path, json={}, headers=NEW)
        assert answer.status_code == 422, answer.text
    answer = await client.put("/api/v1/machines/mars/m-1/entry", json={}, headers=NEW)
    assert answer.json()["code"] == "unknown-site"


@pytest.mark.parametrize("path", ["/api/v1/sites/ota", f"{MC}/entry", f"{MC}/capabilities"])
async def test_a_change_names_what_it_changes(client, path):
    body = {"capabilities": []} if path.endswith("capabilities") else {}

    assert (await client.put(path, json=body)).status_code == 428
    assert (await put(client, path, body, tag='"old"')).status_code == 412
    tag = (await client.get(path)).headers["ETag"]
    body = body or {"name": {"en": "New"}}
    assert (await put(client, path, body, tag=tag)).status_code == 200
    assert (await put(client, path, body, tag=tag)).status_code == 412, "it has changed since"


async def test_organisations_come_and_go(client):
    path = "/api/v1/organisations/ota-kk"
    told = {"name": {"ja": "大田"}, "corporate_number": "7000012050002"}
    assert (await put(client, path, told, new=True)).status_code == 200
    await put(client, "/api/v1/sites/ota", {"organisation": "ota-kk"})

    found = (await client.get("/api/v1/organisations")).json()["items"]
    assert [(item["organisation"], item["sites"]) for item in found] == [("ota-kk", ["ota"])]
    tag = {"If-Match": (await client.get(path)).headers["ETag"]}
    assert (await client.delete(path, headers=tag)).json()["code"] == "has-sites"
    await put(client, "/api/v1/sites/ota", {})
    tag = {"If-Match": (await client.get(path)).headers["ETag"]}
    assert (await client.delete(path, headers=tag)).status_code == 204
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize("number", ["6000012050002", "700001205000", "\uff17000012050002", "x"])
async def test_a_corporate_number_with_a_wrong_digit_is_refused(client, number):
    told = {"name": {"en": "K"}, "corporate_number": number}

    answer = await put(client, "/api/v1/organisations/kk", told, new=True)

    assert answer.json()["errors"][0]["pointer"] == "body/corporate_number"


async def test_a_retired_machine_is_seen_by_its_owner_only(client, context):
    assert (await client.post(f"{MC}/retire")).json()["retired"] is not None
    assert (await client.get(f"{MC}/entry")).status_code == 200

    context.access.view = lambda *_: View.of((), {"ota": [Grant({Group.PRESENCE: Level.FULL})]}, 0)
    assert (await client.get(f"{MC}/entry")).status_code == 404


async def test_a_machine_moves_with_its_entry(client):
    await put(client, f"{MC}/capabilities", {"capabilities": [MILL]})

    answer = await client.post(f"{MC}/move", json={"site": "suwa", "machine": "mc-7"})

    assert answer.json() == {"site": "suwa", "machine": "mc-7"}
    found = await client.get("/api/v1/machines/suwa/mc-7/capabilities")
    assert found.json()["capabilities"] == [MILL]


async def test_erasing_says_what_went(client):
    entry = await client.get(f"{MC}/entry")

    assert (await client.delete(MC)).status_code == 428
    answer = await client.delete(MC, headers={"If-Match": entry.headers["ETag"]})

    assert answer.json()["machines"] == ["mc-1"]
    site = await client.get("/api/v1/sites/suwa")
    answer = await client.delete("/api/v1/sites/suwa", headers={"If-Match": site.headers["ETag"]})
    assert answer.json()["machines"] == ["press-1"]


def seen_with(levels):
    return lambda *_: View.of((), {"ota": [Grant(levels)]}, 0)


async def test_others_see_as_much_as_is_shared(client, context):
    await put(client, f"{MC}/capabilities", {"capabilities": [MILL]})
    await put(client, f"{MC}/entry", {"rated_power_kw": 20})
    site = "/api/v1/sites/ota"

    context.access.view = seen_with({Group.PRESENCE: Level.COARSE})
    assert (await client.get(f"{MC}/capabilities")).json()["capabilities"] is None
    entry = (await client.get(f"{MC}/entry")).json()
    assert (entry["processes"], entry["rated_power_kw"], entry["edited"]) == (None, None, None)
    near = (await client.get(site)).json()
    assert near["location"] == {"lat": 35.5625, "lon": 139.71875}
    assert not near["location_exact"]
    assert (await client.get("/api/v1/sites/suwa")).status_code == 404
    assert [each["site"] for each in (await client.get("/api/v1/sites")).json()["items"]] == ["ota"]

    context.access.view = seen_with(
        {Group.CAPABILITY: Level.FULL, Group.LOCATION_EXACT: Level.FULL}
    )
    shown = (await client.get(f"{MC}/capabilities")).json()["capabilities"][0]
    assert shown == MILL | {"cycle_s": None, "setup_min": None}
    assert (await client.get(site)).json()["location"]["lat"] == 35.561

    context.access.view = seen_with({Group.CAPABILITY: Level.FULL, Group.RATES: Level.FULL})
    assert (await client.get(f"{MC}/capabilities")).json()["capabilities"] == [MILL]


async def test_nobody_proves_a_capability_of_his_own(client, context):
    owner = Caller("k1", "key", roles=frozenset({Role.SITE_ADMIN}), sites=frozenset({"ota"}))
    context.access.anonymous = lambda: owner
    context.access.view = lambda *_: EVERYTHING

    answer = await put(
        client, f"{MC}/capabilities", {"capabilities": [MILL | {"evidence": "proven"}]}
    )

    assert answer.json()["errors"][0]["pointer"] == "body/capabilities/0/evidence"


@pytest.mark.parametrize("path", ["/api/v1/processes", "/api/v1/materials"])
async def test_taxonomies_are_given_once_and_then_known(client, path):
    first = await client.get(path)

    again = await client.get(path, headers={"If-None-Match": first.headers["ETag"]})

    assert {"slug", "parent", "name"} <= set(first.json()["items"][0])
    assert again.status_code == 304


async def test_a_former_id_leads_to_the_present_one(client):
    await client.post(f"{MC}/move", json={"site": "suwa", "machine": "mc-7"})

    for path, query in (("", ""), ("/entry", ""), ("/signals/rpm/x/history", "?max_points=9")):
        answer = await client.get(f"{MC}{path}{query}")
        assert answer.status_code == 308, answer.text
        assert answer.headers["Location"] == f"/api/v1/machines/suwa/mc-7{path}{query}"
        assert answer.json()["errors"][0]["moved_to"] == "suwa/mc-7"


async def test_a_former_id_tells_nothing_to_whom_the_machine_is_not_shown(client, context):
    await client.post(f"{MC}/move", json={"site": "suwa", "machine": "mc-7"})
    context.access.view = seen_with({Group.PRESENCE: Level.FULL})

    answer = await client.get(f"{MC}/entry")

    assert answer.status_code == 404
    assert "suwa" not in answer.text


async def test_a_retired_machine_vanishes_from_every_list_and_its_births_are_counted(
    client, context, scene
):
    scene.read("mc-1")
    await client.post(f"{MC}/retire")
    scene.add("mc-1")
    scene.read("mc-1")

    found = (await client.get("/api/v1/availability")).json()["items"]
    assert [item["machine"] for item in found] == ["press-1"]
    assert (await client.get(MC)).status_code == 404
    assert "machikoba_hub_hidden_births_total 1.0" in (await client.get("/metrics")).text

    await client.post(f"{MC}/return")
    found = (await client.get("/api/v1/availability?site=ota")).json()["items"]
    assert [item["machine"] for item in found] == ["mc-1"]
    assert context.live.machine("ota", "mc-1").read_at_ms is not None, "it was kept up all along"


async def test_regions_are_told_over_http_with_chi(client):
    for number in range(3):
        path = f"/api/v1/sites/s{number}"
        await put(client, path, {"municipality": "13111"}, new=True)
        machine = f"/api/v1/machines/s{number}/m1"
        await put(client, f"{machine}/entry", {}, new=True)
        able = [{"process": "turning" if number else "wire-edm"}]
        await put(client, f"{machine}/capabilities", {"capabilities": able})

    assert (await client.get("/api/v1/regions")).json()["items"] == [
        {"code": "13", "level": "prefecture", "establishments": 3},
        {"code": "13111", "level": "municipality", "establishments": 3},
    ]
    told = (await client.get("/api/v1/regions/13111/summary")).json()
    assert told["machines"] == 3
    assert told["machines_by_process"]["edm"] == {"suppressed": "χ"}
    assert told["machines_by_state"]["running"] == 3
    assert (await client.get("/api/v1/regions/47/summary")).status_code == 404
    assert (await client.get("/api/v1/regions/1x/summary")).status_code == 422


async def test_live_lists_show_what_people_wrote_and_machines_without_sensors(client, scene):
    scene.read("mc-1")
    await put(client, f"{MC}/entry", {"name": {"en": "Old Faithful"}})
    await put(client, f"{MC}/capabilities", {"capabilities": [{"process": "turning"}]})
    await put(client, "/api/v1/machines/ota/vice-1/entry", {"kind": "bench"}, new=True)

    found = (await client.get("/api/v1/availability?site=ota")).json()["items"]

    assert [(i["machine"], i["kind"], i["processes"]) for i in found] == [
        ("mc-1", "machining-centre", ["turning"]),
        ("vice-1", "bench", []),
    ]
    assert found[0]["name"] == {"en": "Old Faithful"}
    assert (found[1]["state"], found[1]["connectivity"]) == ("unknown", "never-seen")

    scene.add("mc-1")  # the agent starts again
    scene.clock.now_ms += 1000
    await put(client, f"{MC}/capabilities", {"capabilities": None})
    found = (await client.get("/api/v1/availability?site=ota")).json()["items"]
    assert found[0]["name"] == {"en": "Old Faithful"}
    assert found[0]["processes"] == ["milling-3axis"]
