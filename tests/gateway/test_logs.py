"""Logs are readable on a terminal, JSON elsewhere, and no foreign text can forge a line."""

import io
import json
import logging

import pytest

from gateway import logs


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _restored():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_a_terminal_gets_one_readable_line():
    out = Terminal()
    logs.configure("hub", stream=out)

    logging.getLogger("hub.ingest").warning("machine %s fell silent", "mc-1")

    assert out.getvalue().endswith("WARNING hub.ingest: machine mc-1 fell silent\n")


def test_a_file_gets_json():
    out = io.StringIO()
    logs.configure("agent", stream=out)

    try:
        int("no")
    except ValueError:
        logging.getLogger("x").exception("failed")

    record = json.loads(out.getvalue())
    assert (record["program"], record["level"], record["message"]) == ("agent", "error", "failed")
    assert "ValueError: invalid literal" in record["traceback"]
    assert record["time"].endswith("+00:00")


@pytest.mark.parametrize("out", [Terminal(), io.StringIO()])
def test_foreign_text_cannot_forge_a_line_or_paint_the_terminal(out):
    logs.configure("hub", stream=out)

    logging.getLogger("x").warning("%s", "a\n12:00:00 ERROR root: \x1b[31mforged\x9b")

    assert out.getvalue().count("\n") == 1
    assert "\x1b" not in out.getvalue()


def test_chatter_of_third_parties_is_kept_out():
    out = io.StringIO()
    logs.configure("agent", stream=out)

    logging.getLogger("asyncua.client").warning("chatter")
    logging.getLogger("pymodbus").error("trouble")

    assert [json.loads(line)["message"] for line in out.getvalue().splitlines()] == ["trouble"]
