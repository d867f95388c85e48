"""The directory goes out as YAML, JSON or a table and comes back; mistakes are told where.

A document with any mistake writes nothing. What is written is all or none, and can be looked at
before.
"""

import json
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.access import Caller, Role, View
from hub.api import create_app
from hub.api.directory_file import (
    YAML_BYTES_MAX,
    MistakesError,
    decode,
    edits_of,
    encode,
    written,
)
from hub.api.directory_models import TEXT_MAX
from hub.coordination.directory.directory import Directory
from hub.coordination.directory.taxonomy import load_taxonomy
from hub.historian import open_historian
from hub.registry import Registry
from hub.store import Store
from hub.store.entries import (
    Capability,
    Certification,
    Edits,
    MachineEdit,
    Organisation,
    SiteEdit,
)
from tests.hub.contexts import new_context
from tests.hub.scenes import Scene

TAXONOMY = load_taxonomy()
FORMATS = ["application/json", "application/yaml", "text/csv"]
DOCS = Path(__file__).parents[3] / "docs"

# -- what anybody might write --------------------------------------------------------------

risky = st.sampled_from(
    ["=1+1", "+GF+", "-", "'", "off", "null", "1e5", "0x1f", "~", "a;b", "a|b", "a,b", '"', "日本",
     "2026-01-01", "yes", "#x", "- a", "k: v", "1_000", "12:30", "é\u0301"]
)  # fmt: skip
readable = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cf"]), min_size=1, max_size=30
).filter(lambda text: text == text.strip())
texts = risky | readable
ids = st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True)
numbers = st.floats(0.001, 90_000, allow_nan=False).map(lambda x: float(f"{x:.6g}"))
names = st.fixed_dictionaries({}, optional={"ja": texts, "en": texts}).filter(bool)
boxes = st.tuples(numbers, numbers, numbers)
words = texts.filter(lambda text: not set(text) & set(";|,"))
days = st.integers(11_000, 40_000).map(lambda day: day * 86_400_000)
certifications = st.builds(Certification, words, st.just("") | words, st.none() | days)
capabilities = st.builds(
    Capability,
    process=st.sampled_from([term.slug for term in TAXONOMY.processes.terms]),
    materials=st.lists(
        st.sampled_from([term.slug for term in TAXONOMY.materials.terms]), max_size=3, unique=True
    ).map(tuple),
    envelope_mm=st.none() | boxes,
    tolerance_it=st.none() | st.integers(1, 18),
    lot_min=st.integers(1, 5),
    lot_max=st.none() | st.integers(5, 10**7),
    setup_min=st.none() | numbers,
    cycle_s=st.none() | numbers,
    certifications=st.lists(certifications, max_size=2).map(tuple),
    evidence=st.sampled_from(["declared", "proven"]),
    attended=st.booleans(),
)


@st.composite
def directories(draw):
    """Anything that the directory can hold."""
    organisations = {
        name: Organisation(
            name, draw(names), draw(st.sampled_from(["manufacturer", "buyer"])),
            draw(st.sampled_from([None, "7000012050002"])), draw(st.none() | texts),
        )
        for name in draw(st.lists(ids, max_size=2, unique=True))
    }  # fmt: skip
    sites, machines = {}, {}
    for site in draw(st.lists(ids, max_size=3, unique=True)):
        sites[site] = SiteEdit(
            site,
            organisation=draw(st.sampled_from([None, *organisations])),
            name=draw(st.none() | names),
            time_zone=draw(st.sampled_from([None, "Asia/Tokyo", "UTC"])),
            location=draw(st.none() | st.tuples(st.floats(-90, 90), st.floats(-180, 180))),
            municipality=draw(st.sampled_from([None, "13111", "01101"])),
            groups=draw(st.none() | st.lists(ids, min_size=1, max_size=2, unique=True).map(tuple)),
            day_start_min=draw(st.none() | st.integers(0, 1439)),
            grid_factor_kg_per_kwh=draw(st.none() | st.floats(0, 5)),
        )
        for machine in draw(st.lists(ids, max_size=3, unique=True)):
            machines[site, machine] = MachineEdit(
                site,
                machine,
                name=draw(st.none() | names),
                kind=draw(st.none() | texts),
                maker=draw(st.none() | texts),
                model=draw(st.none() | texts),
                capacity_units=draw(st.none() | st.integers(1, 1000)),
                rated_power_kw=draw(st.none() | numbers),
                envelope_mm=draw(st.none() | boxes),
                capabilities=draw(st.none() | st.lists(capabilities, max_size=2).map(tuple)),
                retired_ms=draw(st.none() | st.integers(10**12, 3 * 10**12)),
            )
    return Edits(organisations, sites, machines)


@pytest.mark.parametrize("media_type", FORMATS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(edits=directories())
def test_what_goes_out_comes_back_as_it_was(media_type, edits):
    raw = encode(written(edits, lambda _: True), media_type)

    again = edits_of(decode(raw, media_type, TAXONOMY), Directory(Registry({}), TAXONOMY))

    assert again == edits


def test_no_cell_of_a_table_is_a_formula():
    machine = MachineEdit("ota", "mc-1", kind="=1+1", maker="+GF+", model="-2+3", name={"en": "@x"})

    table = encode(written(Edits(machines={("ota", "mc-1"): machine}), lambda _: True), "text/csv")

    row = table.decode().splitlines()[-1]
    assert {"'=1+1", "'+GF+", "'-2+3", "'@x"} <= set(row.split(","))


@pytest.mark.parametrize("media_type", FORMATS)
@settings(max_examples=150, deadline=2000)
@given(raw=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_garbage_is_refused_and_nothing_else(media_type, raw):
    assert mistakes_of(raw, media_type) != []


@settings(max_examples=100, deadline=2000)
@given(st.lists(st.lists(st.sampled_from(
    ["record", "site", "machine", "capability", "organisation", "mc-1", "ota", "process", "lat",
     "35.5", "turning", "capabilities", "listed", "", "=x", "name_en", "groups", "a;b"]
), max_size=6), max_size=6))  # fmt: skip
def test_any_table_is_read_or_refused(rows):
    raw = "\n".join(",".join(row) for row in rows).encode()
    assert mistakes_of(raw, "text/csv") != []


def mistakes_of(raw, media_type):
    """Give the mistakes of a text; None when it has none. Nothing else may come of it."""
    try:
        decode(raw, media_type, TAXONOMY)
    except MistakesError as error:
        return error.mistakes
    return None


# -- over HTTP -----------------------------------------------------------------------------


@pytest.fixture
def context(tmp_path):
    scene = Scene()
    scene.add("mc-1")
    scene.add("press-1", site="suwa")
    store = Store.open(f"sqlite:///{tmp_path}/coordination.sqlite")
    historian = open_historian(tmp_path, scene.index, memory_mib=64, raw_days=30, rollup_days=400)
    yield new_context(
        live=scene.live,
        registry=scene.registry,
        historian=historian,
        store=store,
        now_ms=scene.clock,
    )
    historian.close()
    store.close()


@pytest.fixture
async def client(context):
    transport = httpx.ASGITransport(create_app(context), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
        yield client


async def send(client, text, media_type="application/yaml", **query):
    raw = text if isinstance(text, bytes) else text.encode()
    return await client.post(
        "/api/v1/directory", content=raw, params=query, headers={"Content-Type": media_type}
    )


GOOD = """
machikoba_directory: 1
organisations:
  kk: {name: {ja: 大田精密株式会社}}
sites:
  ota:
    organisation: kk
    municipality: "131113"
    machines:
      mc-1:
        maker: Ota Seiki
        capabilities:
          - {process: milling-5axis, materials: [A5052, ステンレス鋼], tolerance_it: 7}
      vice-1: {kind: bench}
"""


async def test_a_dry_run_tells_what_would_change_and_changes_nothing(client):
    answer = await send(client, GOOD, dry_run=True)

    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["added"], told["changed"], told["unchanged"]) == (4, 0, 0)
    assert {each["id"] for each in told["changes"]} == {"kk", "ota", "ota/mc-1", "ota/vice-1"}
    assert (await client.get("/api/v1/directory")).json()["sites"] == {}


@pytest.mark.parametrize("media_type", FORMATS)
async def test_what_was_taken_is_given_out_and_taken_again_without_a_change(client, media_type):
    assert (await send(client, GOOD)).json()["added"] == 4
    out = await client.get("/api/v1/directory", headers={"Accept": media_type})
    assert out.headers["Content-Type"].startswith(media_type)

    again = await send(client, out.content, media_type)

    assert again.json() | {"changes": []} == {
        "dry_run": False, "added": 0, "changed": 0, "unchanged": 4, "changes": []
    }  # fmt: skip
    entry = (await client.get("/api/v1/machines/ota/mc-1/capabilities")).json()
    assert entry["capabilities"][0]["materials"] == ["A5052", "stainless"]


async def test_one_mistake_anywhere_and_nothing_is_written(client):
    bad = GOOD.replace("kind: bench", "capacity_units: none")

    answer = await send(client, bad)

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "sites/ota/machines/vice-1/capacity_units"
    assert (error["line"], error["column"]) == ("14", "16")
    assert (await client.get("/api/v1/directory")).json()["organisations"] == {}


TABLE = """record,site,machine,process,tolerance_it,capabilities,lat,lon
site,ota,,,,,35.5,139.7
machine,ota,mc-1,,,listed,,
capability,ota,mc-1,turning,6,,,
"""


@pytest.mark.parametrize(
    ("old", "new", "row", "column", "detail"),
    [
        ("turning,6", "turning,77", "4", "tolerance_it", "less than or equal to 18"),
        ("turning,6", "turnin,6", "4", "process", "turning"),
        ("35.5", "north", "2", "lat", "no number"),
        ("listed", "some", "3", "capabilities", "expected listed"),
        ("site,ota,,", "plant,ota,,", "2", "record", "expected organisation"),
        ("machine,ota,mc-1", "machine,ota,", "3", "machine", "missing"),
        ("record,site", "record,sites", "1", "sites", "no column"),
        ("site,ota,,,,", "site,ota,,turning,,", "2", "process", "does not belong"),
        ("capability,ota,mc-1,turning", "machine,ota,mc-1,", "4", "", "stood in row 3"),
    ],
)
async def test_a_mistake_in_a_table_is_told_by_row_and_column(
    client, *, old, new, row, column, detail
):
    assert old in TABLE
    answer = await send(client, TABLE.replace(old, new), "text/csv")

    assert answer.status_code == 422, answer.text
    found = answer.json()["errors"]
    assert any(
        (e.get("line"), e.get("column", "")) == (row, column) and detail in e["detail"]
        for e in found
    ), found


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("sites: {Big One: {}}", "sites/Big One"),
        ("sites: {ota: {machines: {M 1: {}}}}", "sites/ota/machines/M 1"),
        ("sites: {ota: {secret: 1}}", "sites/ota/secret"),
        ("machikoba_directory: 2", "machikoba_directory"),
        ("sites: {ota: {machines: {m: {retired: 1999-01-01T00:00:00Z}}}}",
         "sites/ota/machines/m/retired"),
        (f"organisations: {{kk: {{name: {{en: {'x' * (TEXT_MAX + 1)}}}}}}}",
         "organisations/kk/name/en"),
    ],
)  # fmt: skip
async def test_mistakes_are_pointed_at(client, text, pointer):
    answer = await send(client, text)

    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_an_organisation_that_nobody_has_heard_of_refuses_the_whole(client):
    answer = await send(client, "sites: {ota: {organisation: nobody}, new: {}}")

    assert answer.json()["code"] == "unknown-organisation"
    assert (await client.get("/api/v1/sites/new")).status_code == 404


async def test_a_document_too_large_is_refused_before_it_is_read(client):
    assert (await send(client, b"x" * (2 * 1024 * 1024 + 1))).status_code == 413
    answer = await send(client, "#" * (YAML_BYTES_MAX + 1))
    assert answer.status_code == 422
    assert (await send(client, "{}", "text/html")).status_code == 415
    odd = await client.get("/api/v1/directory", headers={"Accept": "image/png"})
    assert odd.status_code == 406


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x]\nb: *a\n" * 3,
        "[" * 5000,
        "&x " * 1000,
        "? [1]\n: 2",
        "a: b: c",
        "\x00",
        "{a: 1, a: 2}",
    ],
)
async def test_yaml_that_means_harm_is_refused(client, text):
    assert (await send(client, text)).status_code == 422


async def test_others_sites_are_neither_written_nor_given_out(client, context):
    await send(client, GOOD)
    owner = Caller("k", "key", roles=frozenset({Role.SITE_ADMIN}), sites=frozenset({"suwa"}))
    context.access.anonymous = lambda: owner
    context.access.view = lambda *_: View.of({"suwa"}, {}, 0)

    assert (await client.get("/api/v1/directory")).json()["sites"] == {}
    answer = await send(client, GOOD)
    assert answer.status_code == 403
    assert {e["pointer"] for e in answer.json()["errors"]} == {"sites/ota", "organisations/kk"}
    proof = "{process: turning, evidence: proven}"
    told = f"sites: {{suwa: {{machines: {{press-1: {{capabilities: [{proof}]}}}}}}}}"
    assert (await send(client, told)).status_code == 422
    assert (await send(client, told.replace("proven", "declared"))).status_code == 200


async def test_an_import_can_insist_that_nothing_has_changed(client):
    tag = (await client.get("/api/v1/directory")).headers["ETag"]
    headers = {"Content-Type": "application/yaml", "If-Match": tag}
    assert (
        await client.post("/api/v1/directory", content=GOOD.encode(), headers=headers)
    ).is_success

    again = await client.post("/api/v1/directory", content=GOOD.encode(), headers=headers)

    assert again.status_code == 412


async def test_the_example_of_the_documentation_is_taken(client):
    text = (DOCS / "registry.md").read_text("utf-8")
    example = text.split("```yaml\n", 1)[1].split("```", 1)[0]

    answer = await send(client, example)

    assert answer.status_code == 200, json.dumps(answer.json(), indent=2)
    assert answer.json()["added"] >= 4
