"""Cut the power at every write of a journal: record its I/O, then rebuild what may be on the disk.

A VFS under SQLite records every write, truncation, sync, creation and deletion. What was written
to a file after its last sync may be there or not, in any combination and torn at 512 bytes; the
same goes for directory entries. Every prefix of the record times every such model is one image.
"""

import itertools
import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import apsw

SECTOR_BYTES = 512


@dataclass(frozen=True)
class Event:
    """One call of SQLite to its VFS; `at` is an offset, or the new size of a truncation."""

    kind: Literal["create", "write", "truncate", "sync", "delete"]
    name: str
    at: int = 0
    data: bytes = b""


@dataclass(frozen=True)
class Survival:
    """What becomes of writes that no sync covers: the chance of each, and whether it may tear."""

    name: str
    chance: float
    torn: bool


SURVIVALS = (
    Survival("none", 0.0, torn=False),
    Survival("all", 1.0, torn=False),
    Survival("all torn", 1.0, torn=True),
    Survival("half", 0.5, torn=False),
    Survival("half torn", 0.5, torn=True),
)


class RecordingVfs(apsw.VFS):
    """Passes everything on to the real file system, and remembers it."""

    _numbers = itertools.count()

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.name = f"recording-{next(self._numbers)}"
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> "RecordingFile":  # noqa: N802 - apsw's name
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)
        if flags[0] & apsw.SQLITE_OPEN_CREATE and not path.exists():
            self.events.append(Event("create", path.name))
        return RecordingFile(name, flags, path.name, self.events)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - apsw's name
        super().xDelete(filename, syncdir)
        self.events.append(Event("delete", Path(filename).name, int(syncdir)))

    def connect(self, path: Path) -> "ApswConnection":
        """Open a connection over this VFS, as `Journal.open` takes it."""
        return ApswConnection(path, self.name)


class RecordingFile(apsw.VFSFile):
    """One open file under `RecordingVfs`."""

    def __init__(self, name: Any, flags: list[int], label: str, events: list[Event]) -> None:
        self._label = label
        self._events = events
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        super().xWrite(data, offset)
        self._events.append(Event("write", self._label, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - apsw's name
        super().xTruncate(newsize)
        self._events.append(Event("truncate", self._label, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        super().xSync(flags)
        self._events.append(Event("sync", self._label))


class ApswConnection:
    """A connection of apsw whose errors are those of sqlite3, as the journal expects."""

    def __init__(self, path: Path, vfs: str) -> None:
        self._connection = apsw.Connection(str(path), vfs=vfs)

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        return self._explained(self._connection.execute, sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        return self._explained(self._connection.executemany, sql, parameters)

    def close(self) -> None:
        self._connection.close()

    def _explained(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except apsw.Error as error:
            told = sqlite3.OperationalError(str(error))
            told.sqlite_errorcode = getattr(error, "extendedresult", 0)
            raise told from error


@dataclass
class Inode:
    """A file's content as of its last sync, and what was done to it since."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Event] = field(default_factory=list)
    synced: bool = False

    def sync(self) -> None:
        for event in self.pending:
            _apply(self.durable, event, None)
        self.pending = []
        self.synced = True


class Disk:
    """The disk while the record is played; `image` says what a power cut would leave."""

    def __init__(self) -> None:
        self._names: dict[str, Inode] = {}
        self._durable_names: dict[str, Inode] = {}

    def play(self, event: Event) -> None:
        if event.kind == "create":
            self._names[event.name] = Inode()
        elif event.kind == "delete":
            del self._names[event.name]
            if event.at:
                self._durable_names = dict(self._names)
        elif event.kind == "sync":
            self._sync(event.name)
        else:
            self._names[event.name].pending.append(event)

    def image(self, survival: Survival, rng: random.Random) -> dict[str, bytes]:
        """Give the files after a power cut now."""
        files = {}
        for name in sorted(self._names.keys() | self._durable_names.keys()):
            names = self._names if rng.random() < survival.chance else self._durable_names
            if (inode := names.get(name)) is not None:
                files[name] = _remains(inode, survival, rng)
        return files

    def _sync(self, name: str) -> None:
        inode = self._names[name]
        first_time = not inode.synced
        inode.sync()
        # On Unix SQLite syncs the directory with the first sync of a new journal or WAL.
        if first_time and name.endswith(("-wal", "-journal")):
            self._durable_names = dict(self._names)


def images(
    events: list[Event], seed: int, every: int = 1
) -> Iterator[tuple[int, Survival, dict[str, bytes]]]:
    """Yield (number of events played, model, files) for every prefix and every model."""
    disk = Disk()
    for played, event in enumerate(events, start=1):
        disk.play(event)
        if played % every == 0:
            for survival in SURVIVALS:
                rng = random.Random(f"{seed} {played} {survival.name}")
                yield played, survival, disk.image(survival, rng)


def _remains(inode: Inode, survival: Survival, rng: random.Random) -> bytes:
    content = bytearray(inode.durable)
    for event in inode.pending:
        if rng.random() < survival.chance:
            _apply(content, event, rng if survival.torn else None)
    return bytes(content)


def _apply(content: bytearray, event: Event, tearing: random.Random | None) -> None:
    if event.kind == "truncate":
        del content[event.at :]
        return
    end = event.at + len(event.data)
    content.extend(bytes(max(end - len(content), 0)))
    if tearing is None:
        content[event.at : end] = event.data
        return
    # Sectors are those of the disk, not of the write.
    start = event.at
    while start < end:
        stop = min((start // SECTOR_BYTES + 1) * SECTOR_BYTES, end)
        if tearing.random() < 0.5:
            content[start:stop] = event.data[start - event.at : stop - event.at]
        start = stop
