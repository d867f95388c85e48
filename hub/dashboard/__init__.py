"""The pages for people: a built front end served from memory, and one that needs no script.

`web/` is the source of the page, `static/` what the build makes of it (see `hatch_build.py`),
`design/` the words, colours and icons that both pages share.
"""

from hub.dashboard.lite import lite_routes
from hub.dashboard.page import STATIC, Page, build_id, dashboard_routes

__all__ = ["STATIC", "Page", "build_id", "dashboard_routes", "lite_routes"]
