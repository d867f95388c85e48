"""Jobs from a table, as an office program writes it: one row per step (pure).

The rows of a job follow each other; only the first needs the job's own cells. Japanese office
programs write Shift_JIS as often as UTF-8: what is no UTF-8 is read as that (code page 932).
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from hub.store.jobs import Job, JobStatus, Step

ROWS_MAX: Final = 10_000
JOBS_MAX: Final = 2_000
STEPS_MAX: Final = 50
ERRORS_MAX: Final = 100
QUANTITY_MAX: Final = 1_000_000_000
TEXT_MAX: Final = 200
NOTE_MAX: Final = 2000
NUMBER_MAX: Final = 64
YEARS: Final = (2000, 2100)

JOB_COLUMNS: Final = ("number", "part", "quantity", "due", "external_ref", "note", "status")
STEP_COLUMNS: Final = ("process", "site", "machine", "cycle_s", "setup_min", "transport_min")
REQUIRED: Final = ("number", "part", "quantity")
STATUSES: Final = frozenset({JobStatus.DRAFT, JobStatus.PLANNED, JobStatus.QUEUED})
"""What a job may be when it is new."""
SLUG: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_NUMBERS: Final[Mapping[str, float]] = {
    "cycle_s": 1e7,
    "setup_min": 1e5,
    "transport_min": 1e5,
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong, and where: the line of the file, counted from 1, and the column's name."""

    line: int
    column: str
    detail: str


class UnreadableError(Exception):
    """The table cannot be taken over; `mistakes` says why, in order."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__(f"{len(mistakes)} mistakes")
        self.mistakes = mistakes


@dataclass(slots=True)
class _Reading:
    """What is being read, and what was found wrong so far."""

    site: str
    zone: ZoneInfo
    jobs: list[tuple[int, Job]] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)

    def wrong(self, line: int, column: str, detail: str) -> None:
        self.mistakes.append(Mistake(line, column, detail))
        if len(self.mistakes) >= ERRORS_MAX:
            raise UnreadableError(self.mistakes)


def read_jobs(raw: bytes, site: str, zone: ZoneInfo) -> list[tuple[int, Job]]:
    """Read a table into new jobs of a site, each with the line that it begins at.

    A `due` without an offset is a wall clock in `zone`; one without a time is the end of that day.

    Raises:
        UnreadableError: with every mistake found, at most 100.
    """
    reading = _Reading(site, zone)
    for line, row in _rows(raw, reading):
        _take(reading, line, row)
    if not reading.jobs and not reading.mistakes:
        reading.wrong(1, "", "there are no jobs in it")
    if reading.mistakes:
        raise UnreadableError(reading.mistakes)
    return [(line, _finished(job)) for line, job in reading.jobs]


def _rows(raw: bytes, reading: _Reading) -> Iterator[tuple[int, dict[str, str]]]:
    """Give the rows under the head with their line numbers; empty ones are left out."""
    table = csv.reader(io.StringIO(_text(raw, reading), newline=""), strict=True)
    try:
        head = [cell.strip().lower() for cell in next(table, [])]
        _check_head(head, reading)
        last, count = table.line_num, 0
        for cells in table:
            line, last = last + 1, table.line_num
            if not any(cell.strip() for cell in cells):
                continue
            count += 1
            if count > ROWS_MAX:
                reading.wrong(line, "", f"more than {ROWS_MAX} rows: split the file")
                return
            if len(cells) > len(head):
                reading.wrong(line, "", f"{len(cells)} cells under {len(head)} headings")
                continue
            told = zip(head, map(str.strip, cells), strict=False)
            yield line, dict.fromkeys(head, "") | dict(told)
    except csv.Error as error:
        reading.wrong(table.line_num, "", f"is no CSV ({error})")


def _text(raw: bytes, reading: _Reading) -> str:
    for encoding in ("utf-8-sig", "cp932"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    reading.wrong(1, "", "is neither UTF-8 nor Shift_JIS")
    raise UnreadableError(reading.mistakes)


def _check_head(head: list[str], reading: _Reading) -> None:
    known = (*JOB_COLUMNS, *STEP_COLUMNS)
    for name in head:
        if name not in known:
            reading.wrong(1, name[:TEXT_MAX], f"unknown; known are {', '.join(known)}")
        elif head.count(name) > 1:
            reading.wrong(1, name, "is there twice")
    for name in REQUIRED:
        if name not in head:
            reading.wrong(1, name, "is missing")
    if reading.mistakes:
        raise UnreadableError(reading.mistakes)


def _take(reading: _Reading, line: int, row: dict[str, str]) -> None:
    """Take a row: a new job, or a further step of the last one."""
    number = row["number"]
    before = reading.jobs[-1][1] if reading.jobs else None
    if before is None or (number and number != before.number):
        if any(job.number == number for _, job in reading.jobs):
            reading.wrong(line, "number", "its rows do not follow each other")
        if len(reading.jobs) == JOBS_MAX:
            reading.wrong(line, "", f"more than {JOBS_MAX} jobs: split the file")
            raise UnreadableError(reading.mistakes)
        job = _job(reading, line, row)
        reading.jobs.append((line, job))
    else:
        job = before
        for name in JOB_COLUMNS[1:]:
            if row.get(name):
                reading.wrong(line, name, "belongs into the first row of the job")
    step = _step(reading, line, row, len(job.steps) + 1)
    if step is not None:
        reading.jobs[-1] = (reading.jobs[-1][0], replace(job, steps=(*job.steps, step)))


def _job(reading: _Reading, line: int, row: dict[str, str]) -> Job:
    status = row.get("status") or JobStatus.PLANNED.value
    if status not in STATUSES:
        reading.wrong(line, "status", f"must be one of {', '.join(sorted(STATUSES))}")
        status = JobStatus.PLANNED.value
    return Job(
        id="",
        site=reading.site,
        number=_words(reading, line, "number", row, NUMBER_MAX) or "",
        part=_words(reading, line, "part", row, TEXT_MAX) or "",
        quantity=_quantity(reading, line, row["quantity"]),
        status=JobStatus(status),
        due_ms=_due(reading, line, row.get("due", "")),
        external_ref=_words(reading, line, "external_ref", row, TEXT_MAX),
        note=_words(reading, line, "note", row, NOTE_MAX),
    )


def _step(reading: _Reading, line: int, row: dict[str, str], seq: int) -> Step | None:
    if not any(row.get(name) for name in STEP_COLUMNS):
        return None
    if seq > STEPS_MAX:
        reading.wrong(line, "", f"more than {STEPS_MAX} steps")
        return None
    process = row.get("process", "")
    if not SLUG.fullmatch(process):
        reading.wrong(line, "process", "must name a process, for example milling-3axis")
    return Step(
        seq=seq,
        process=process,
        site=_words(reading, line, "site", row, 128) or reading.site,
        machine=_words(reading, line, "machine", row, 128),
        cycle_s=_amount(reading, line, "cycle_s", row),
        setup_min=_amount(reading, line, "setup_min", row),
        transport_min=_amount(reading, line, "transport_min", row),
    )


def _words(reading: _Reading, line: int, name: str, row: dict[str, str], length: int) -> str | None:
    text = row.get(name, "")
    if not text and name in REQUIRED:
        reading.wrong(line, name, "is missing")
    elif len(text) > length:
        reading.wrong(line, name, f"is longer than {length} characters")
    elif any(ord(sign) < ord(" ") and (sign != "\n" or name != "note") for sign in text):
        reading.wrong(line, name, "holds control characters")
    else:
        return text or None
    return None


def _quantity(reading: _Reading, line: int, text: str) -> int:
    digits = text.isascii() and text.isdecimal() and len(text) <= len(str(QUANTITY_MAX))
    if digits and 1 <= int(text) <= QUANTITY_MAX:
        return int(text)
    reading.wrong(line, "quantity", f"must be a whole number from 1 to {QUANTITY_MAX}")
    return 1


def _amount(reading: _Reading, line: int, name: str, row: dict[str, str]) -> float | None:
    text = row.get(name, "")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= _NUMBERS[name]:
        reading.wrong(line, name, f"must be a number from 0 to {_NUMBERS[name]:g}")
        return None
    return number


def _due(reading: _Reading, line: int, text: str) -> int | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        moment = None
    if moment is None or not YEARS[0] <= moment.year < YEARS[1]:
        reading.wrong(line, "due", "must be a date such as 2026-12-24 or 2026-12-24T17:00")
        return None
    if len(text) <= len("2026-12-24"):
        moment = moment.replace(hour=23, minute=59, second=59)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=reading.zone)
    return round(aware.astimezone(UTC).timestamp() * 1000)


def _finished(job: Job) -> Job:
    """A job without steps cannot be planned yet."""
    return job if job.steps else replace(job, status=JobStatus.DRAFT)
