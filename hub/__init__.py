"""One process at the centre: ingest, inbox, live state, historian, HTTP API, stream, dashboard.

Here lives what receives the sites' streams, stores them exactly once and tells people and other
systems what every machine is doing. This room imports `gateway` only.
"""
