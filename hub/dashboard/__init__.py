"""The page for people: a built front end, served from memory.

`web/` is the source of the page, `static/` what the build makes of it (see `hatch_build.py`),
`design/` its words, colours and icons.
"""

from hub.dashboard.page import STATIC, Page, build_id, dashboard_routes

__all__ = ["STATIC", "Page", "build_id", "dashboard_routes"]
