"""What an operator writes is checked, and every mistake has its place and its reason."""

from pathlib import Path

import pytest

from gateway.settings import Document, SettingsError, parse, read, validate
from hub.config import HubConfig

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "hub.yaml"


def settings(text):
    return validate(parse(text, Path("hub.yaml")), HubConfig)


def test_the_example_is_valid_and_says_what_it_seems_to():
    config = validate(read(EXAMPLE), HubConfig)

    assert config.listen.is_loopback
    assert config.sites["ota-precision"].name.ja == "大田精密"
    assert config.sites["kamata-press"].time_zone == "Asia/Tokyo"


def test_an_empty_file_is_a_hub_that_nobody_else_can_reach():
    config = validate(Document(Path("x"), {}), HubConfig)

    assert (config.listen.host, config.listen.port) == ("127.0.0.1", 8080)
    assert config.historian.engine == "duckdb"


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("':9000'", "127.0.0.1", 9000),
        ("9000", "127.0.0.1", 9000),
        ("'[::1]:80'", "::1", 80),
        ("localhost:80", "localhost", 80),
    ],
)
def test_an_address_to_listen_on_has_several_spellings(listen, host, port):
    config = settings(f"listen: {listen}")

    assert (config.listen.host, config.listen.port) == (host, port)
    assert config.listen.is_loopback


def test_listening_beyond_this_box_must_be_said_twice():
    with pytest.raises(SettingsError, match="allow_remote: true"):
        settings("listen: 0.0.0.0:8080")
    assert settings("{listen: '0.0.0.0:8080', allow_remote: true}").listen.host == "0.0.0.0"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("listen: nowhere", "listen"),
        ("listen: 127.0.0.1:70000", "listen.port"),
        ("broker: {url: 'http://x'}", "broker.url"),
        ("broker: {url: 'mqtt://me:secret@x'}", "broker.url"),
        ("host: Not An Id", "host"),
        ("historian: {engine: sqlite}", "historian.engine"),
        ("sites: {a: {name: {}}}", "sites.a.name"),
        ("sites: {a: {name: {en: A}, time_zone: Mars/Base}}", "sites.a.time_zone"),
        ("sites: {a: {name: {en: A}, location: {lat: 91, lon: 0}}}", "sites.a.location.lat"),
        ("sites: {'a/b': {name: {en: A}}}", "sites.a/b"),
        ("retention: {raw_days: 0}", "retention.raw_days"),
        ("limits: {queue: 5}", "limits.queue"),
        ("store: {url: 'mysql://h/db'}", "store.url"),
        ("store: {url: 'postgresql://db.example'}", "store.url"),
        ("store: {url: 'sqlite://'}", "store.url"),
        ("store: {url: 'postgresql://hub:secret@db.example/machikoba'}", "store.url"),
        ("store: {url: 'postgresql://db.example/machikoba?password=secret'}", "store.url"),
    ],
)
def test_a_mistake_is_told_with_its_key_and_line(text, key):
    with pytest.raises(SettingsError) as refused:
        settings(text)
    [problem] = refused.value.problems
    assert "secret" not in str(problem) or "broker" in text
    assert problem.key.startswith(key)
    assert problem.place.startswith("hub.yaml:1:")


def test_times_of_day_may_be_written_without_quotes():
    hours = "rules: [{kind: work, start: 22:00, end: 06:00, weekdays: [mon]}]"
    text = f"sites: {{x: {{name: {{en: X}}, calendar: {{production_day_start: 09:00, {hours}}}}}}}"
    told = settings(text).sites["x"].calendar
    assert (told.rules[0].start, told.rules[0].end) == ("22:00", "06:00")
    assert told.production_day_start == "09:00"
