"""The built page is small, honest about other people's work, and served safely from memory."""

import gzip
import json
import re
import subprocess
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

import hub.dashboard
from hub.dashboard import STATIC, Page, build_id, dashboard_routes

WEB = Path(hub.dashboard.__file__).parent / "web"
KB = 1000


def packed(*patterns):
    paths = {path for pattern in patterns for path in STATIC.glob(pattern)}
    assert paths
    return sum(len(gzip.compress(path.read_bytes(), 9)) for path in paths)


def visit(folder=STATIC):
    transport = httpx.ASGITransport(Starlette(routes=dashboard_routes(folder)))
    return httpx.AsyncClient(transport=transport, base_url="http://hub")


@pytest.fixture
async def client():
    async with visit() as client:
        yield client


def test_the_wall_needs_at_most_25_kb_of_script_in_the_larger_language():
    language = max(packed("assets/en-*.js"), packed("assets/ja-*.js"))
    assert packed("assets/index-*.js", "assets/worker-*.js") + language <= 25 * KB


def test_all_styles_are_at_most_10_kb_and_all_routes_together_120_kb():
    assert packed("assets/*.css") <= 10 * KB
    assert packed("assets/*", "index.html") <= 120 * KB


def test_charts_are_loaded_only_by_the_page_that_draws_them():
    (entry,) = STATIC.glob("assets/index-*.js")
    assert "uPlot" not in entry.read_text("utf-8")
    assert "uplot" in "".join(p.read_text("utf-8") for p in STATIC.glob("assets/machine-*"))


def test_nothing_in_the_page_is_inline_or_from_elsewhere():
    index = (STATIC / "index.html").read_text("utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)", index) == []
    assert "<style" not in index
    assert re.findall(r'\b(?:src|href)="(?!/)', index) == []
    scripts = "".join(path.read_text("utf-8") for path in STATIC.glob("assets/*.js"))
    assert re.findall(r"\beval\(|new Function\(", scripts) == []
    assert set(re.findall(r"https?://[^\s\"'`]+", scripts)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1998/Math/MathML",
        "http://www.w3.org/1999/xhtml",
        "http://www.w3.org/1999/xlink",
    }


def test_whose_code_is_inside_is_said_with_its_licence():
    notices = (STATIC / "third-party-notices.txt").read_text("utf-8")
    for name in ("preact", "@preact/signals", "@preact/signals-core", "uplot"):
        assert re.search(rf"^{name} \d", notices, re.MULTILINE), name
    assert notices.count("Permission is hereby granted") >= 4


def test_the_lock_file_holds_hashes_and_no_address():
    text = (WEB / "package-lock.json").read_text("utf-8")
    lock = json.loads(text)
    named = {name: each for name, each in lock["packages"].items() if name}
    assert len(named) > 20
    for name, each in named.items():
        assert "resolved" not in each, name
        assert each["integrity"].startswith("sha512-"), name
    assert "omit-lockfile-registry-resolved=true" in (WEB / ".npmrc").read_text()
    assert "ignore-scripts=true" in (WEB / ".npmrc").read_text()


def test_no_third_party_code_is_in_the_repository():
    listed = subprocess.run(
        ["git", "ls-files", str(WEB.parent)], cwd=WEB, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    assert "node_modules" not in listed.stdout
    assert "static/" not in listed.stdout


@pytest.mark.parametrize("path", ["/", "/wall", "/wall?site=ota&lang=ja", "/m/ota/mc-1"])
async def test_every_view_is_the_one_page_and_is_never_taken_from_a_cache_unasked(client, path):
    answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["cache-control"] == "no-cache"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    again = await client.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""


async def test_assets_are_cached_for_ever_and_come_compressed_only_to_who_can_read_it(client):
    (entry,) = STATIC.glob("assets/index-*.js")
    answer = await client.get(f"/assets/{entry.name}")
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.content == entry.read_bytes()
    plain = await client.get(f"/assets/{entry.name}", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == entry.read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../index.html",
        "/assets/..%2f..%2fpage.py",
        "/assets/%2e%2e/page.py",
        "/assets/none.js",
        "/page.py",
        "/index.html",
    ],
)
async def test_no_address_reaches_a_file_that_the_build_did_not_name(client, path):
    assert (await client.get(path)).status_code == 404


def test_the_page_names_its_build_and_another_page_has_another_name(tmp_path):
    name = build_id()
    assert name is not None
    assert f'content="{name}"' in (STATIC / "index.html").read_text("utf-8")
    (tmp_path / "index.html").write_text('<meta name="build" content="abc123" />')
    assert build_id(tmp_path) == "abc123"


async def test_a_hub_without_a_built_page_says_how_to_build_it(tmp_path):
    assert Page(tmp_path).build is None
    async with visit(tmp_path) as client:
        answer = await client.get("/")
        assert answer.status_code == 503
        assert "hatch_build.py" in answer.text
        assert "ビルド" in answer.text
        assert (await client.get("/assets/index.js")).status_code == 404
