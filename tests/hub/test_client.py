"""The client asks what the hub's document says, reads what it says, and repeats without harm."""

import socket
import threading
import types
import typing

import pytest

from hub.api import create_app
from hub.client import OPERATIONS, MachikobaClient, ProblemError, UnreachableError
from hub.coordination.directory.directory import Capability
from hub.store import Store
from tests.hub.coordination.towns import Region, lunch, north_of_home, shift
from tests.hub.serving import LossyLink, served

STEP = {"process": "milling-3axis", "quantity": 100}


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    folder = tmp_path_factory.mktemp("region")
    store = Store.open(f"sqlite:///{folder}/coordination.sqlite")
    made = Region(store, folder / "history")
    made.site("a", north_of_home(1), shift(), lunch())
    made.machine("a", "mc-1", Capability("milling-3axis", cycle_s=60.0))
    made.context.capacity.board.refresh()
    yield made
    made.close()
    store.close()


@pytest.fixture(scope="module")
def port(region):
    with served(create_app(region.context)) as port:
        yield port


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def client(port, pauses):
    return MachikobaClient(f"http://127.0.0.1:{port}", sleep=pauses.append)


@pytest.fixture
def link(port):
    with LossyLink(port) as link:
        yield link


@pytest.fixture
def shaky(link, pauses):
    """Give a client whose answers get lost when the link is told so."""
    return MachikobaClient(f"http://127.0.0.1:{link.port}", sleep=pauses.append)


def offer_of(client):
    return client.search({"steps": [dict(STEP)]})["offers"][0]


# -- the document ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def document(region):
    return create_app(region.context).openapi()


def resolved(document, schema):
    """Give a schema without references, and without "or null"."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    some = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    return resolved(document, some[0]) if some else schema


def bare(annotation):
    """Give a type without "or None", NotRequired and such."""
    origin = typing.get_origin(annotation)
    if origin is typing.NotRequired:
        return bare(typing.get_args(annotation)[0])
    if origin in {typing.Union, types.UnionType}:
        return bare(next(a for a in typing.get_args(annotation) if a is not type(None)))
    return annotation


def nullable(annotation):
    if typing.get_origin(annotation) is typing.NotRequired:
        return nullable(typing.get_args(annotation)[0])
    return type(None) in typing.get_args(annotation)


KINDS = {str: "string", int: "integer", float: "number", bool: "boolean"}


def compare(document, schema, words, at):
    """Hold a TypedDict against a schema, both ways and down to the leaves."""
    told = resolved(document, schema)
    hints = typing.get_type_hints(words, include_extras=True)
    assert set(told["properties"]) == set(hints), at
    assert set(told.get("required", ())) <= words.__required_keys__, at
    for name, annotation in hints.items():
        raw = told["properties"][name]
        assert {"type": "null"} not in raw.get("anyOf", []) or nullable(annotation), f"{at}.{name}"
        compare_value(document, raw, bare(annotation), f"{at}.{name}")


def compare_value(document, schema, kind, at):
    told = resolved(document, schema)
    if typing.is_typeddict(kind):
        compare(document, told, kind, at)
    elif typing.get_origin(kind) is list:
        assert told["type"] == "array", at
        compare_value(document, told["items"], bare(typing.get_args(kind)[0]), f"{at}[]")
    elif typing.get_origin(kind) is dict:
        assert told["type"] == "object", at
    else:
        assert told["type"] == KINDS[kind], at


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_the_client_and_the_document_say_the_same(document, name):
    operation = OPERATIONS[name]
    told = document["paths"][operation.path][operation.method.lower()]
    query = {p["name"] for p in told.get("parameters", ()) if p["in"] == "query"}

    assert set(operation.query) == query
    good = next(told["responses"][code] for code in ("200", "201") if code in told["responses"])
    compare(document, good["content"]["application/json"]["schema"], operation.answer, name)
    assert ("requestBody" in told) == (operation.body is not None)
    if operation.body is not None:
        schema = told["requestBody"]["content"]["application/json"]["schema"]
        compare(document, schema, operation.body, f"{name} body")


def test_every_operation_has_its_method():
    assert all(callable(getattr(MachikobaClient, name)) for name in OPERATIONS)


# -- asking ------------------------------------------------------------------------------------


def test_from_a_search_to_a_booking_and_back(client):
    offer = offer_of(client)

    held = client.hold({"offer_id": offer["offer_id"], "ttl_s": 600, "reference": "lot 7"})
    longer = client.extend(held["id"], 1200)
    booked = client.confirm(held["id"])
    mine = client.reservations(mine=True, status="confirmed")["items"]
    given_back = client.release(held["id"])

    assert held["steps"][0]["segments"] == offer["steps"][0]["lots"][0]["segments"]
    assert longer["hold_expires"] > held["hold_expires"]
    assert (held["status"], booked["status"]) == ("held", "confirmed")
    assert [each["id"] for each in mine] == [held["id"]]
    assert given_back["status"] == client.reservation(held["id"])["status"] == "released"


def test_the_live_list_and_a_machine_over_time(client):
    (item,) = client.availability(site="a")["items"]
    found = client.capacity("a", "mc-1", bucket="shift")

    assert (item["free_now"], item["machine"]) == (True, "mc-1")
    assert found["buckets"][0]["free_h"] > 0


def test_names_with_slashes_and_spaces_stay_in_their_place(client):
    with pytest.raises(ProblemError) as refused:
        client.capacity("a/b c", "ä?#%2F")

    assert (refused.value.status, refused.value.code) == (404, "not-found")


def test_a_refusal_tells_which_field_is_wrong(client):
    with pytest.raises(ProblemError) as refused:
        client.search({"steps": [{"process": "milling", "quantity": 0}]})

    assert refused.value.errors[0]["pointer"] == "body/steps/0/quantity"


def test_a_conflict_brings_what_could_be_had_instead(client):
    offer = offer_of(client)
    held = client.hold({"offer_id": offer["offer_id"]})

    with pytest.raises(ProblemError) as refused:
        client.hold({"offer_id": offer["offer_id"]})
    (other, *_) = refused.value.alternatives
    instead = client.hold({"steps": other["steps"]})

    assert (refused.value.status, refused.value.code) == (409, "capacity-conflict")
    assert len(refused.value.conflicts) == 1
    assert instead["status"] == "held"
    for each in (held, instead):
        client.release(each["id"])


def test_a_word_that_the_hub_does_not_know_is_a_mistake_of_the_program(client):
    with pytest.raises(TypeError, match="colour"):
        client.availability(colour="red")


# -- when answers get lost ---------------------------------------------------------------------


def test_a_question_is_asked_again_with_growing_pauses(shaky, link, pauses):
    link.lose = 3

    assert shaky.availability()["items"]
    assert len(pauses) == 3
    assert all(0 < pause <= 1.0 for pause in pauses)


def test_a_hub_that_never_answers_is_unreachable(shaky, link, pauses):
    link.lose = 99

    with pytest.raises(UnreachableError, match=str(link.port)):
        shaky.availability()
    assert len(pauses) == 3


def test_a_hold_whose_answer_got_lost_is_held_once(shaky, link, client):
    offer = offer_of(shaky)
    link.lose = 2

    held = shaky.hold({"offer_id": offer["offer_id"]})

    assert [line for line in link.passed if line.startswith("POST /api/v1/reservations")] == [
        "POST /api/v1/reservations HTTP/1.1"
    ] * 3
    assert [each["id"] for each in client.reservations(status="held")["items"]] == [held["id"]]
    client.release(held["id"])


def test_a_change_whose_answer_got_lost_is_looked_up_and_not_refused(shaky, link, client):
    held = client.hold({"offer_id": offer_of(client)["offer_id"]})
    tag = '"v1"'
    link.lose = 1

    booked = shaky.confirm(held["id"], tag)

    assert booked["status"] == "confirmed"
    assert sum("confirm" in line for line in link.passed) == 1
    client.release(held["id"])


def test_a_change_under_an_old_tag_is_refused(client):
    held = client.hold({"offer_id": offer_of(client)["offer_id"]})
    client.extend(held["id"], 1800)

    with pytest.raises(ProblemError) as refused:
        client.confirm(held["id"], '"v1"')

    assert refused.value.status == 412
    client.release(held["id"])


def test_what_answers_in_something_else_than_json_is_no_hub():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet():
            link, _ = listener.accept()
            with link:
                link.recv(65_536)
                link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

        other = threading.Thread(target=greet)
        other.start()
        client = MachikobaClient(f"http://127.0.0.1:{listener.getsockname()[1]}", tries=1)
        with pytest.raises(UnreachableError, match="Is it a hub"):
            client.availability()
        other.join(5)


# -- by the environment ------------------------------------------------------------------------


def test_address_and_key_come_from_the_environment(tmp_path):
    secret = tmp_path / "key"
    secret.write_text("mk_from_file\n")

    by_file = MachikobaClient.from_environment(
        {"MACHIKOBA_HUB_URL": "https://hub.example", "MACHIKOBA_HUB_KEY_FILE": str(secret)}
    )
    by_word = MachikobaClient.from_environment({"MACHIKOBA_HUB_KEY": "mk_word"}, "http://[::1]:1")

    assert (by_file.url, by_file.key) == ("https://hub.example", "mk_from_file")
    assert (by_word.url, by_word.key) == ("http://[::1]:1", "mk_word")
    assert "mk_" not in repr(by_file)


@pytest.mark.parametrize("url", ["hub:8080", "ftp://hub", "http://", ""])
def test_what_is_no_address_is_refused_at_once(url):
    with pytest.raises(ValueError, match="no address of a hub"):
        MachikobaClient(url)
