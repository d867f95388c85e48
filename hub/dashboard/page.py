"""Serves the built page: every file is read once, held in memory and sent whole.

Nothing is looked up on the disk by a name that came over the network, so no request can leave the
folder. Files under ``assets/`` carry a hash of their content in their name and never change.
"""

import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

STATIC: Final = Path(__file__).parent / "static"
PAGES: Final = ("/", "/wall", "/m/{site}/{machine}")
"""Addresses of views: all of them are the one page, which reads the address itself."""

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "x-frame-options": "DENY",
}
"""What every file of the page carries. The API's own headers are added to all answers alike."""

FOREVER: Final = "public, max-age=31536000, immutable"
ASK_FIRST: Final = "no-cache"
_COMPRESSIBLE: Final = ("text/", "image/svg", "application/json")
_BUILD: Final = re.compile(rb'<meta name="build" content="([0-9a-f]{1,64})"')

NOT_BUILT: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Machikoba</title></head><body>
<h1>The dashboard is not built</h1>
<p>This hub runs from a source tree. Build the page once with <code>make demo</code> or
<code>python hatch_build.py</code>, then start the hub again.</p>
<p>Meanwhile there is <a href="/lite">a page without script</a>, and the API answers as always.</p>
<h1 lang="ja">画面がビルドされていません</h1>
<p lang="ja"><code>python hatch_build.py</code> を一度実行し、ハブを再起動してください。
<a href="/lite">スクリプトなしの表示</a>はそのまま使えます。</p>
</body></html>
"""


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    packed: bytes | None
    media_type: str
    cache: str
    tag: str

    def respond(self, request: Request) -> Response:
        headers = {**HEADERS, "cache-control": self.cache, "etag": self.tag}
        if self.packed is not None:
            headers["vary"] = "accept-encoding"
        if self.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        body = self.body
        if self.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
            body = self.packed
        return Response(body, headers=headers, media_type=self.media_type)


def _read(folder: Path, path: Path) -> _File:
    body = path.read_bytes()
    name = path.relative_to(folder).as_posix()
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    packed = gzip.compress(body, mtime=0) if media_type.startswith(_COMPRESSIBLE) else None
    if packed is not None and len(packed) >= len(body):
        packed = None
    cache = FOREVER if name.startswith("assets/") else ASK_FIRST
    tag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    return _File(body, packed, media_type, cache, tag)


class Page:
    """The files of one build, by their path; empty when nothing was built."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(path for path in folder.glob("**/*") if path.is_file())
        self._files = {path.relative_to(folder).as_posix(): _read(folder, path) for path in paths}

    @property
    def build(self) -> str | None:
        """The name of this build, as the page itself knows it; None when nothing was built."""
        index = self._files.get("index.html")
        found = _BUILD.search(index.body) if index else None
        return found[1].decode() if found else None

    async def index(self, request: Request) -> Response:
        """Answer a view."""
        index = self._files.get("index.html")
        if index is None:
            headers = {**HEADERS, "cache-control": "no-store"}
            return Response(NOT_BUILT, 503, headers, "text/html; charset=utf-8")
        return index.respond(request)

    async def file(self, request: Request) -> Response:
        """Answer a file by its path; 404 when the build has none of this name."""
        file = self._files.get(request.url.path.lstrip("/"))
        if file is None:
            return Response("Not found\n", 404, HEADERS, "text/plain")
        return file.respond(request)

    def routes(self) -> list[BaseRoute]:
        """Give the routes of all views and files."""
        views: list[BaseRoute] = [Route(path, self.index, methods=["GET"]) for path in PAGES]
        single = [f"/{name}" for name in self._files if "/" not in name and name != "index.html"]
        files = [Route(path, self.file, methods=["GET"]) for path in single]
        return [*views, Route("/assets/{name}", self.file, methods=["GET"]), *files]


def dashboard_routes(folder: Path = STATIC) -> list[BaseRoute]:
    """Give the routes of the page built into `folder`, to be matched after the API's."""
    return Page(folder).routes()


def build_id(folder: Path = STATIC) -> str | None:
    """Name the build in `folder`: what the stream tells wall screens, so that they reload."""
    return Page(folder).build
