"""A store for every test of the hub that wants one: SQLite always, PostgreSQL in the system run."""

import pytest

from hub.store import Store
from tests.postgres import available, running_cluster

ENGINES = [
    "sqlite",
    pytest.param(
        "postgresql",
        marks=[
            pytest.mark.system,
            pytest.mark.skipif(not available(), reason="PostgreSQL is not installed"),
        ],
    ),
]


@pytest.fixture(scope="session")
def cluster():
    """Give one PostgreSQL server to all tests."""
    # Durability of the server itself is not ours to test; without it a test takes a tenth.
    with running_cluster("fsync=off", "full_page_writes=off") as server:
        yield server


@pytest.fixture(params=ENGINES)
def store_url(request, tmp_path):
    """Give the URL of an empty store, once for each engine."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/coordination.sqlite"
        return
    cluster = request.getfixturevalue("cluster")
    url = cluster.new_database()
    yield url
    cluster.drop(url)


@pytest.fixture
def store(store_url):
    """Give an open store, once for each engine."""
    opened = Store.open(store_url)
    yield opened
    opened.close()


@pytest.fixture
def small_store(tmp_path):
    """Give an open store on SQLite, for what does not depend on the engine."""
    opened = Store.open(f"sqlite:///{tmp_path}/coordination.sqlite")
    yield opened
    opened.close()
