"""Server-sent events as bytes, plain and deflated, each made once for all viewers.

The deflated form is a block of its own that ends on a byte boundary (`Z_FULL_FLUSH`), so the same
bytes continue the gzip stream of every connection (RFC 1951, section 3.2.4; RFC 1952).
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""What every deflated connection begins with: no name, no time, system unknown."""
RETRY_MS: Final = 2000
_LEVEL: Final = 6


@dataclass(slots=True)
class Frame:
    """One event. `seq` is 0 for what does not count as a tick (hello)."""

    seq: int
    plain: bytes
    _deflated: bytes | None = field(default=None, repr=False)

    @property
    def deflated(self) -> bytes:
        """The event as an independent deflate block; made when first asked for."""
        if self._deflated is None:
            press = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
            self._deflated = press.compress(self.plain) + press.flush(zlib.Z_FULL_FLUSH)
        return self._deflated


def frame(event: str, data: dict[str, Any], *, boot: str = "", seq: int = 0) -> Frame:
    """Encode an event; `boot` and `seq` make its id."""
    head = f"id: {boot}-{seq}\n" if seq else f"retry: {RETRY_MS}\n"
    return Frame(seq, f"{head}event: {event}\ndata: ".encode() + to_json(data) + b"\n\n")


def joined(frames: Sequence[Frame]) -> Frame:
    """Put the events of one tick together: each viewer costs one send, however many there are."""
    if len(frames) == 1:
        return frames[0]
    return Frame(frames[0].seq, b"".join(each.plain for each in frames))


def to_json(data: dict[str, Any]) -> bytes:
    """Write JSON on one line, whatever machines call themselves.

    A description may hold half of a surrogate pair, which UTF-8 cannot write. It becomes a
    question mark: one machine's odd name must not silence all others.
    """
    try:
        return orjson.dumps(data)
    except TypeError:
        return json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")
