"""The embedded historian. This folder is the only door to duckdb."""

from hub.historian.duck.engine import DuckHistorian

__all__ = ["DuckHistorian"]
