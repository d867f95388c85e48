"""A table of jobs is taken over whole, or every mistake in it is told by line and column."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.coordination.jobs.job_import import JOBS_MAX, STEPS_MAX, UnreadableError, read_jobs
from hub.store.jobs import JobStatus

TOKYO = ZoneInfo("Asia/Tokyo")
HEAD = "number,part,quantity,due,process,machine,cycle_s\n"


def read(text, encoding="utf-8"):
    raw = text if isinstance(text, bytes) else text.encode(encoding)
    return read_jobs(raw, "ota", TOKYO)


def mistakes(text):
    with pytest.raises(UnreadableError) as caught:
        read(text)
    return [(m.line, m.column) for m in caught.value.mistakes]


def local(ms):
    return datetime.fromtimestamp(ms / 1000, TOKYO).strftime("%Y-%m-%d %H:%M:%S")


TABLE = """\
number,part,quantity,due,process,site,machine,cycle_s,transport_min,note
A-1,ブラケット,200,2026-12-24,milling-3axis,,mc-1,90,30,"two
lines"
,,,,plating,suwa,,,,

B-2,軸,5,2026/12/25 17:00,,,,,,
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
def test_rows_become_jobs_and_steps(encoding):
    (line_a, a), (line_b, b) = read(TABLE, encoding)

    assert (line_a, a.number, a.part, a.quantity, a.status) == (
        2,
        "A-1",
        "ブラケット",
        200,
        JobStatus.PLANNED,
    )
    assert local(a.due_ms) == "2026-12-24 23:59:59"
    assert a.note == "two\nlines"
    assert [(s.seq, s.process, s.site, s.machine, s.cycle_s, s.transport_min) for s in a.steps] == [
        (1, "milling-3axis", "ota", "mc-1", 90.0, 30.0),
        (2, "plating", "suwa", None, None, None),
    ]
    assert (line_b, b.part, b.status, local(b.due_ms)) == (
        6,
        "軸",
        JobStatus.DRAFT,
        "2026-12-25 17:00:00",
    )


@pytest.mark.parametrize(
    ("table", "places"),
    [
        ("", [(1, "number"), (1, "part"), (1, "quantity")]),
        ("number,part,quantity\n", [(1, "")]),
        ("number,part,quantity,colour\n", [(1, "colour")]),
        ("number,part,quantity,part\n", [(1, "part"), (1, "part")]),
        (HEAD + "A,x,0,,,,\n", [(2, "quantity")]),
        (
            HEAD + "A,x,1.5,,,,\nB,y,-1,,,,\nC,z,٣,,,,\n",
            [(2, "quantity"), (3, "quantity"), (4, "quantity")],
        ),
        (HEAD + "A,,1,,,,\n", [(2, "part")]),
        (HEAD + ",x,1,,,,\n", [(2, "number")]),
        (HEAD + "A,x,1,soon,,,\n", [(2, "due")]),
        (HEAD + "A,x,1,1999-01-01,,,\n", [(2, "due")]),
        (HEAD + "A,x,1,,Milling!,,\n", [(2, "process")]),
        (HEAD + "A,x,1,,,mc-1,\n", [(2, "process")]),
        (HEAD + "A,x,1,,milling,,nan\n", [(2, "cycle_s")]),
        (HEAD + "A,x,1,,milling,,1e999\n", [(2, "cycle_s")]),
        (HEAD + "A,x,1,,milling,,-1\n", [(2, "cycle_s")]),
        (HEAD + "A,x,1,,,,,,,\n", [(2, "")]),
        (HEAD + "A,x,1,,m,,\nB,y,1,,m,,\nA,x,1,,m,,\n", [(4, "number")]),
        (HEAD + "A,x,1,,m,,\n,z,,,m,,\n", [(3, "part")]),
        (HEAD + 'A,"x\n', [(2, "")]),
        (HEAD + "A,a\tb,1,,,,\n", [(2, "part")]),
        (HEAD + "A," + "x" * 201 + ",1,,,,\n", [(2, "part")]),
        (HEAD + "A,x,1,,m,,\n" + ",,,,m,,\n" * STEPS_MAX, [(STEPS_MAX + 2, "")]),
        (b"\x81\x20\xff", [(1, "")]),
    ],
)
def test_every_mistake_is_told_by_line_and_column(table, places):
    assert mistakes(table) == places


def test_mistakes_and_jobs_are_bounded():
    assert len(mistakes(HEAD + "A,,x,,,,\n" * 500)) == 100
    many = HEAD + "".join(f"{n},x,1,,,,\n" for n in range(JOBS_MAX + 1))
    assert mistakes(many) == [(JOBS_MAX + 2, "")]


def found_or_told(raw):
    """Give the jobs, or what was wrong."""
    try:
        return read(raw), []
    except UnreadableError as error:
        return [], error.mistakes


@given(st.binary(max_size=300))
def test_any_bytes_end_in_jobs_or_in_mistakes(raw):
    jobs, told = found_or_told(raw)

    assert bool(jobs) != bool(told)


@given(st.text(alphabet='Ax1,"\n\r é日-', max_size=120))
def test_so_does_any_table_under_a_good_head(rows):
    jobs, told = found_or_told(HEAD + rows)

    assert bool(jobs) != bool(told)
    assert all(m.line >= 1 for m in told)
    assert len({job.number for _, job in jobs}) == len(jobs)
