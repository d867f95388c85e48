"""What several tests of the HTTP side begin with."""

import pytest

from hub.store import Store


@pytest.fixture
def small_store(tmp_path):
    """Give a store on SQLite: what is tested here does not depend on the engine."""
    opened = Store.open(f"sqlite:///{tmp_path}/coordination.sqlite")
    yield opened
    opened.close()
