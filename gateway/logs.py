"""One logging set-up for all programs: readable on a terminal, JSON lines otherwise.

Control characters from outside are escaped, so no foreign text can forge a line.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

_CONTROL: Final = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160))}
"""Everything a terminal could obey; line feeds included."""


class ReadableFormatter(logging.Formatter):
    """For people: time, level, who, what."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, followed by the traceback when there is one."""
        clock = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        message = record.getMessage().translate(_CONTROL)
        line = f"{clock} {record.levelname:<7} {record.name}: {message}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """For machines: one JSON object a line."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON with an RFC 3339 time in UTC."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "program": self._program,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def configure(program: str, *, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send the log of this process to `stream` (standard error by default)."""
    out = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(out)
    handler.setFormatter(ReadableFormatter() if out.isatty() else JsonFormatter(program))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Third parties speak only when something is wrong: their chatter would bury our own lines.
    for noisy in ("asyncua", "pymodbus", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
