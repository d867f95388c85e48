"""Live changes for everybody who watches: each frame encoded once, the same bytes to all.

`docs/stream.md` is the contract. This room reads the live state and knows nothing of HTTP.
"""

from hub.stream.fanout import LiveStream, Scope, ScopeError, TooManyScopesError, Viewer
from hub.stream.frames import GZIP_HEADER, Frame, to_json

__all__ = [
    "GZIP_HEADER",
    "Frame",
    "LiveStream",
    "Scope",
    "ScopeError",
    "TooManyScopesError",
    "Viewer",
    "to_json",
]
