"""Whatever is asked by whomever, every route answers as its document says, and never breaks.

Every operation of the document is asked the same odd things by every kind of caller, where nobody
is let in unproven: what is refused to one must not be a server error for another.
"""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi import checks as promises

from hub.api import create_app
from hub.historian import open_historian
from hub.store import Store
from tests.hub.callers import SCOPES, bearer, new_access, new_keys
from tests.hub.contexts import new_context
from tests.hub.scenes import Scene

PROMISES = [
    schemathesis.checks.not_a_server_error,
    promises.status_code_conformance,
    promises.content_type_conformance,
    promises.response_schema_conformance,
]
ENDLESS = {"/api/v1/stream"}
"""Answers that last; `test_hostile` asks for them over a real socket."""
KNOWN = {"site": "ota", "machine": "mc-1", "signal": "rpm"}
EXAMPLES = 4


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Give (application, keys by kind of caller)."""
    folder = tmp_path_factory.mktemp("roles")
    scene = Scene()
    for site in ("ota", "suwa"):
        scene.add("mc-1", site=site)
        scene.read("mc-1", "running", site=site, rpm=1200.0)
    store = Store.open(f"sqlite:///{folder}/coordination.sqlite")
    historian = open_historian(folder, scene.index, memory_mib=64, raw_days=30, rollup_days=400)
    access = new_access(store, scene.clock)
    context = new_context(
        live=scene.live,
        registry=scene.registry,
        historian=historian,
        store=store,
        now_ms=scene.clock,
        access=access,
    )
    yield create_app(context), new_keys(access)
    historian.close()
    store.close()


@pytest.fixture(scope="module")
def operations(hub):
    app, keys = hub
    generation = {"mode": "all", "deterministic": True, "database": "none"}
    config = SchemathesisConfig.from_dict({"generation": generation})
    admin = bearer(keys["hub-admin"])
    schema = schemathesis.openapi.from_asgi(
        "/api/v1/openapi.json", app, config=config, headers=admin
    )
    return [each.ok() for each in schema.get_all_operations()]


def attack(operation, keys):
    """Ask one operation the same things as everybody; every other time of what exists."""
    asked = 0

    @seed(20_261_122)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case):
        nonlocal asked
        if asked % 2 and case.path_parameters:
            case.path_parameters = {
                name: KNOWN.get(name, value) for name, value in case.path_parameters.items()
            }
        for caller in ("anonymous", *SCOPES):
            headers = {} if caller == "anonymous" else bearer(keys[caller])
            case.call_and_validate(
                checks=PROMISES, headers={**headers, "Accept": "application/json"}
            )
        asked += 1

    ask()
    return asked


def test_every_caller_is_answered_as_the_document_says(operations, hub):
    _, keys = hub
    broken, asked = {}, 0
    for operation in operations:
        if operation.path in ENDLESS:
            continue
        try:
            asked += attack(operation, keys)
        except Exception as error:  # noqa: BLE001 (whatever breaks is told with its operation)
            broken[f"{operation.method.upper()} {operation.path}"] = str(error)[:1500]

    assert broken == {}
    assert asked >= len(operations) - len(ENDLESS)


def test_every_operation_says_who_may_use_it(operations):
    for operation in operations:
        raw = operation.definition.raw
        told = set(raw["responses"])
        assert "429" in told, operation.path
        if "security" in raw:
            assert {"401"} <= told, operation.path
