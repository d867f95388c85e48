"""Whatever is sent to the routes of reservations, they answer as the OpenAPI document says."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi import checks as promises

from hub.api import create_app
from hub.store import Store
from tests.hub.contexts import new_context
from tests.hub.scenes import Scene

PROMISES = [
    schemathesis.checks.not_a_server_error,
    promises.status_code_conformance,
    promises.content_type_conformance,
    promises.response_headers_conformance,
    promises.response_schema_conformance,
]
ONE = "/api/v1/reservations/{reservation}"
OPERATIONS = [
    ("/api/v1/reservations", "GET"),
    ("/api/v1/reservations", "POST"),
    (ONE, "GET"),
    *((f"{ONE}/{action}", "POST") for action in ("confirm", "extend", "release", "cancel")),
    ("/api/v1/machines/{site}/{machine}/busy", "GET"),
]


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    scene = Scene()
    scene.add("mc-1")
    store = Store.open(f"sqlite:///{tmp_path_factory.mktemp('store')}/coordination.sqlite")
    parts = {"live": scene.live, "registry": scene.registry, "now_ms": scene.clock}
    app = create_app(new_context(historian=None, store=store, **parts))
    generation = {"mode": "all", "deterministic": True, "database": "none"}
    config = SchemathesisConfig.from_dict({"generation": generation})
    yield schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, config=config)
    store.close()


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
@pytest.mark.parametrize(
    "mode", [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
)
def test_every_answer_is_one_that_the_document_knows(schema, path, method, mode):
    @seed(20_261_122)
    @settings(
        max_examples=25,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    def attack(case):
        if "site" in (case.path_parameters or {}):
            case.path_parameters = {"site": "ota", "machine": "mc-1"}
        case.call_and_validate(checks=PROMISES)

    attack()
