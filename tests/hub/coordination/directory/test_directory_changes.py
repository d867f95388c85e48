"""Whatever people change is stored, told, audited and seen at once, or not at all.

On every engine of the store: what was written is read back as it was, a refused change leaves
nothing, a moved machine takes all that belongs to it along, and an erased one leaves nothing but
the note that it was erased.
"""

import pytest
from sqlalchemy import insert, select

from hub.coordination.directory.directory import (
    Capability,
    Certification,
    Directory,
    MachineEdit,
    Organisation,
    SiteEdit,
)
from hub.coordination.directory.directory_changes import DirectoryChanges, DirectoryError
from hub.coordination.directory.taxonomy import load_taxonomy
from hub.historian import HistorianUnavailableError
from hub.registry import MachineRecord, Registry
from hub.store import audit, directory, erasure, events, schema
from hub.store.tables import metadata

NOW = 1_795_000_000_000
MC = ("ota", "mc-1")
FULL = Capability(
    process="milling-5axis",
    materials=("A5052", "stainless"),
    envelope_mm=(600.0, 400.0, 500.5),
    tolerance_it=6,
    lot_min=2,
    lot_max=500,
    setup_min=45.0,
    cycle_s=90.5,
    certifications=(Certification("ISO 9001", "Q-1", NOW), Certification("JIS Q 9100")),
    evidence="proven",
    attended=False,
)
FACTS = MachineEdit(
    *MC,
    name={"ja": "五軸", "en": "Five axes"},
    kind="machining-centre",
    maker="Ota",
    model="V5",
    capacity_units=2,
    rated_power_kw=22.0,
    envelope_mm=(600.0, 400.0, 500.0),
)


class Erasing:
    """A historian that only remembers what it was asked to delete."""

    def __init__(self):
        self.erased = []
        self.trouble = None

    def erase(self, site, machine):
        """Delete, or be away."""
        if self.trouble:
            raise self.trouble
        self.erased.append((site, machine))


@pytest.fixture
def registry():
    registry = Registry({})
    registry.record(MachineRecord(*MC, "line-1", kind="mill", processes=("milling-3axis",)))
    return registry


@pytest.fixture
def told(registry):
    return Directory(registry, load_taxonomy())


@pytest.fixture
def historian():
    return Erasing()


@pytest.fixture
def moved():
    return []


@pytest.fixture
def changes(store, told, registry, historian, moved):
    return DirectoryChanges(
        store,
        told,
        registry,
        historian=historian,
        now_ms=lambda: NOW,
        followers=[lambda: moved.append(True)],
    )


def fine(_):
    """Check nothing."""


def read(store, what, *words, **named):
    with store.read() as tx:
        return what(tx, *words, **named)


def actions(store):
    with store.read() as tx:
        return list(tx.connection.scalars(select(audit.entry.c.action).order_by("seq")))


def test_what_is_written_is_read_back_as_it_was(store, told, changes):
    company = Organisation(
        "ota-kk", {"ja": "大田精密株式会社"}, "manufacturer", "7000012050002", "03-0000-0000"
    )
    site = SiteEdit(
        "ota",
        organisation="ota-kk",
        name={"ja": "大田"},
        time_zone="Asia/Tokyo",
        location=(35.5, 139.7),
        municipality="13111",
        groups=("nakama", "kamata"),
        day_start_min=480,
        grid_factor_kg_per_kwh=0.438,
    )
    changes.put_organisation(company, who="me", check=fine)
    changes.put_site(site, who="me", check=fine)
    changes.put_machine(FACTS, who="me", check=fine)
    changes.put_capabilities(MC, (FULL, Capability("drilling")), who="me", check=fine)

    edits = read(store, directory.load)

    assert edits == told.edits
    assert edits.organisations == {"ota-kk": company}
    assert edits.sites == {"ota": site}
    held = edits.machines[MC]
    assert held.capabilities == (FULL, Capability("drilling"))
    assert (held.name, held.envelope_mm, held.capacity_units) == (
        FACTS.name, FACTS.envelope_mm, 2
    )  # fmt: skip
    assert told.machine(*MC).processes == ("milling-5axis", "drilling")
    assert actions(store) == [
        "organisation.changed", "site.changed", "machine.changed", "capabilities.changed"
    ]  # fmt: skip
    assert [e.type for e in read(store, events.after, 0, limit=9)] == ["directory.changed"] * 4


def test_facts_and_capabilities_are_written_apart(changes, told):
    changes.put_capabilities(MC, (FULL,), who="me", check=fine)
    changes.put_machine(FACTS, who="me", check=fine)
    assert told.machine(*MC).capabilities == (FULL,)
    changes.put_capabilities(MC, None, who="me", check=fine)

    assert told.machine(*MC).maker == "Ota"
    assert told.machine(*MC).processes == ("milling-3axis",), "its birth speaks again"


def test_a_check_that_fails_leaves_nothing(store, changes, told):
    class StaleError(Exception):
        pass

    def stale(present):
        assert present.machine(*MC) is not None
        raise StaleError

    with pytest.raises(StaleError):
        changes.put_machine(FACTS, who="me", check=stale)

    assert read(store, directory.load).machines == told.edits.machines == {}
    assert actions(store) == []


def test_the_check_sees_what_another_change_has_just_written(changes):
    changes.put_machine(FACTS, who="me", check=fine)

    changes.put_machine(
        MachineEdit(*MC),
        who="me",
        check=lambda present: pytest.fail("old") if present.machine(*MC).maker != "Ota" else None,
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda c: c.put_site(SiteEdit("ota", organisation="x"), who="", check=fine),
         "unknown-organisation"),
        (lambda c: c.put_machine(MachineEdit("mars", "m"), who="", check=fine), "unknown-site"),
        (lambda c: c.move(MC, ("mars", "m"), who="", check=fine), "unknown-site"),
        (lambda c: c.move(MC, MC, who="", check=fine), "id-in-use"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_a_stable_code(changes, change, code):
    with pytest.raises(DirectoryError) as refusal:
        change(changes)

    assert refusal.value.code == code


def test_an_organisation_with_sites_cannot_be_deleted(changes, told):
    changes.put_organisation(Organisation("kk", {"en": "K"}), who="me", check=fine)
    changes.put_site(SiteEdit("ota", organisation="kk"), who="me", check=fine)
    with pytest.raises(DirectoryError):
        changes.delete_organisation("kk", who="me", check=fine)

    changes.put_site(SiteEdit("ota"), who="me", check=fine)
    changes.delete_organisation("kk", who="me", check=fine)

    assert told.organisations() == []


def test_a_retired_machine_comes_back_as_it_was(changes, told):
    changes.put_machine(FACTS, who="me", check=fine)
    before = told.machine(*MC)

    changes.retire(MC, retired=True, who="me", check=fine)
    changes.retire(MC, retired=True, who="me", check=fine)
    assert told.machine(*MC).retired_ms == NOW
    changes.retire(MC, retired=False, who="me", check=fine)

    assert told.machine(*MC) == before


def test_a_moved_machine_takes_everything_along(store, changes, told, moved):
    changes.put_machine(FACTS, who="me", check=fine)
    changes.put_capabilities(MC, (FULL,), who="me", check=fine)

    changes.move(MC, ("ota", "mc-9"), who="me", check=fine)

    entry = told.machine("ota", "mc-9")
    assert (entry.maker, entry.processes) == ("Ota", ("milling-5axis",))
    assert told.moved_to(*MC) == ("ota", "mc-9")
    assert not read(store, erasure.mentions, MC)
    assert moved == [True]


def test_a_machine_that_nobody_edited_keeps_what_its_birth_said(changes, told):
    changes.move(MC, ("ota", "mc-9"), who="me", check=fine)

    entry = told.machine("ota", "mc-9")
    assert (entry.kind, entry.processes) == ("mill", ("milling-3axis",))


def test_moving_twice_leads_from_both_former_ids_to_the_present_one(changes, told):
    changes.move(MC, ("ota", "mc-2"), who="me", check=fine)
    changes.move(("ota", "mc-2"), ("ota", "mc-3"), who="me", check=fine)

    assert told.moved_to(*MC) == told.moved_to("ota", "mc-2") == ("ota", "mc-3")
    assert set(told.former_ids("ota", "mc-3")) == {MC, ("ota", "mc-2")}


def test_moving_back_makes_the_old_id_the_present_one(changes, told):
    changes.move(MC, ("ota", "mc-2"), who="me", check=fine)
    changes.move(("ota", "mc-2"), MC, who="me", check=fine)

    assert told.machine(*MC) is not None
    assert told.moved_to(*MC) is None
    assert told.former_ids(*MC) == [("ota", "mc-2")]


def test_an_agent_may_be_told_the_new_id_first(changes, told, registry):
    registry.record(MachineRecord("ota", "mc-9", "line-1", maker="Newest"))

    changes.move(MC, ("ota", "mc-9"), who="me", check=fine)

    assert told.machine("ota", "mc-9").maker == "Newest"


def test_a_machine_cannot_take_the_id_of_another_that_somebody_wrote_of(changes):
    changes.put_machine(MachineEdit("ota", "mc-9", kind="lathe"), who="me", check=fine)

    with pytest.raises(DirectoryError, match="Another machine"):
        changes.move(MC, ("ota", "mc-9"), who="me", check=fine)


def test_nothing_is_written_under_an_id_that_has_moved(changes):
    changes.move(MC, ("ota", "mc-9"), who="me", check=fine)

    with pytest.raises(DirectoryError) as refusal:
        changes.put_machine(FACTS, who="me", check=fine)

    assert refusal.value.code == "moved"


def test_an_erased_machine_leaves_nothing_but_the_note(store, changes, told, historian):
    changes.put_machine(FACTS, who="me", check=fine)
    changes.move(MC, ("ota", "mc-9"), who="me", check=fine)

    changes.erase("ota", "mc-9", who="owner", check=fine)

    assert historian.erased == [("ota", "mc-9"), MC]
    assert told.machines() == []
    assert told.hidden("ota", "mc-9")
    for key in (MC, ("ota", "mc-9")):
        assert read(store, directory.load).machines[key] == MachineEdit(*key, retired_ms=NOW)
    assert actions(store)[-1] == "machine.erased"
    assert "Five axes" not in everything(store)


def test_an_erased_site_leaves_its_neighbour_alone(store, changes, told, historian, registry):
    registry.record(MachineRecord("suwa", "mc-1", "line-1"))
    changes.put_site(SiteEdit("ota", name={"en": "Secret place"}), who="me", check=fine)
    changes.put_site(SiteEdit("suwa", name={"en": "Suwa"}), who="me", check=fine)
    changes.put_machine(FACTS, who="me", check=fine)

    gone = changes.erase("ota", None, who="owner", check=fine)

    assert historian.erased == [("ota", None), MC]
    assert gone.machines == (MC,)
    assert gone.rows >= 2
    assert [entry.site for entry in told.machines()] == ["suwa"]
    assert told.site("suwa").name == {"en": "Suwa"}
    assert "Secret place" not in everything(store)


def test_when_the_historian_is_away_nothing_is_erased(store, changes, historian):
    changes.put_machine(FACTS, who="me", check=fine)
    historian.trouble = HistorianUnavailableError("away")

    with pytest.raises(HistorianUnavailableError):
        changes.erase(*MC, who="owner", check=fine)

    assert read(store, directory.load).machines[MC].maker == "Ota"


def test_events_keep_their_numbers_and_lose_their_content(store, changes):
    changes.put_machine(FACTS, who="me", check=fine)
    changes.erase(*MC, who="owner", check=fine)

    told = read(store, events.after, 0, limit=10)

    assert [event.seq for event in told] == [1, 2]
    assert (told[0].machine, dict(told[0].data)) == (None, {})


def test_alarms_and_undelivered_messages_of_an_erased_site_go_too(store, changes):
    changes.put_machine(FACTS, who="me", check=fine)
    alarm, letter, hook = (
        metadata.tables[name] for name in ("alarm", "webhook_dead_letter", "webhook")
    )
    with store.write() as tx:
        for place, subject in enumerate(("ota/mc-1", "ota", "otaku/mc-1")):
            tx.connection.execute(
                insert(alarm).values(**filled(alarm, subject=subject, id=str(place)))
            )
        tx.connection.execute(insert(hook).values(**filled(hook, id="h")))
        for seq in (1, 77):
            row = filled(letter, webhook="h", seq=seq, id=seq)
            tx.connection.execute(insert(letter).values(**row))

    changes.erase("ota", None, who="owner", check=fine)

    with store.read() as tx:
        assert list(tx.connection.scalars(select(alarm.c.subject))) == ["otaku/mc-1"]
        assert list(tx.connection.scalars(select(letter.c.seq))) == [77]


def filled(table, **told):
    """Fill a row with something of the right type."""
    empty = {c.name: 0 if c.type.python_type in (int, float, bool) else "x" for c in table.c}
    return {name: told.get(name, value) for name, value in empty.items()}


def everything(store):
    """Give every value of every table as one text."""
    with store.read() as tx:
        rows = [tx.connection.execute(select(table)).all() for table in metadata.sorted_tables]
    return str(rows)


def test_every_table_says_whose_its_rows_are_or_is_known_to_belong_to_nobody():
    """A new table without a `site` must be looked at: can it hold what an owner may delete?"""
    assert schema.DOMAINS
    of_nobody = {
        "meta", "organisation", "api_key", "person", "session", "idempotency_key", "webhook",
        "mail_place",
    }  # fmt: skip
    sums = {"region_publication"}  # nothing in them is one site's, that is their point
    children = {"reservation", "job", "webhook_dead_letter"}
    with_site = {table.name for table in metadata.sorted_tables if "site" in table.c}

    heads = {name for name in metadata.tables if name.endswith("_head")}  # counters, one row each
    known = with_site | of_nobody | sums | children | erasure.BY_SUBJECT | heads
    assert set(metadata.tables) - known == set()
