"""Profiles as files: found, checked, and laid under the stanzas of machines that name them."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway import settings
from gateway.model import ID_PATTERN
from gateway.settings import Document, MistakeError, SettingsError

FOLDER: Final = Path(__file__).parent
SUFFIXES: Final = (".yaml", ".yml")

Text = Annotated[str, StringConstraints(min_length=1, max_length=400)]


class Title(BaseModel):
    """What people call the device."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    en: Text
    ja: Text


class Identity(BaseModel):
    """A register by which the device can be told from others; reading it changes nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    register_: Annotated[str, Field(alias="register")]
    type: str = "uint16"
    length: int | None = None
    is_: Annotated[int | str | None, Field(alias="is")] = None
    """The value that it must hold (a text must begin with it)."""
    between: tuple[float, float] | None = None
    """Or the range in which its value must lie."""


class Profile(BaseModel):
    """One device as its file tells it. `signals` and `modbus` are as in a machine's stanza."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slug: Annotated[str, Field(exclude=True)] = ""
    title: Title
    kind: Text
    maker: Text
    model: Text
    source: Text
    """The document that the addresses come from: publisher, title, section."""
    checked: Literal["document", "device"] = "document"
    """Whether the register dump was written from the document or recorded from a device."""
    notes: Text | None = None
    """What must be set on the device, and what is known to go wrong."""
    identify: Annotated[tuple[Identity, ...], Field(max_length=8)] = ()
    """All of these must hold for `scan` to name the device."""
    modbus: dict[str, Any] | None = None
    opcua: dict[str, Any] | None = None
    signals: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    state: tuple[dict[str, Any], ...] | dict[str, Any] = ()

    @property
    def protocol(self) -> Literal["modbus", "opcua"]:
        """How the device is spoken to."""
        return "opcua" if self.opcua is not None else "modbus"

    def stanza(self) -> dict[str, Any]:
        """Give what a machine's stanza takes over from the profile."""
        stanza: dict[str, Any] = {"kind": self.kind, "maker": self.maker, "model": self.model}
        stanza[self.protocol] = dict((self.opcua if self.opcua is not None else self.modbus) or {})
        stanza["signals"] = {name: dict(told) for name, told in self.signals.items()}
        return {**stanza, "state": self.state} if self.state else stanza


def profiles() -> dict[str, Path]:
    """Name the profiles that come with the agent, with their files."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def read_profile(path: Path) -> Profile:
    """Read one profile.

    Raises:
        SettingsError: the file cannot be read, or is no profile.
    """
    profile = settings.validate(settings.read(path), Profile)
    return profile.model_copy(update={"slug": path.stem})


def fill_in(document: Document) -> tuple[Path, ...]:
    """Lay profiles under the machines of a settings document that name one.

    Returns the files of profiles that do not come with the agent, whether they can be read or not.

    What the machine says itself wins, key by key; a signal set to null is left out. A profile
    that cannot be had stands in the document as the mistake it is, so that it is told once, at
    the machine's place, and stops only that machine.
    """
    machines = document.find(("machines",))
    known: dict[str, Profile | MistakeError] = {}
    for at, machine in enumerate(machines if isinstance(machines, list) else ()):
        if not isinstance(machine, dict) or "profile" not in machine:
            continue
        name = str(machine["profile"])
        if name not in known:
            known[name] = _look_up(name, document.path.parent)
        profile = known[name]
        if isinstance(profile, MistakeError):
            machines[at] = {**machine, "profile": profile}
        else:
            machines[at] = _over(profile.stanza(), machine)
    return tuple(own for name in known if (own := _own_file(name, document.path.parent)))


def _own_file(name: str, folder: Path) -> Path | None:
    return folder / name if name.endswith(SUFFIXES) and name not in profiles() else None


def _look_up(name: str, folder: Path) -> Profile | MistakeError:
    path = profiles().get(name) or _own_file(name, folder)
    if path is None:
        return _unknown(name)
    try:
        return read_profile(path)
    except SettingsError as error:
        first = error.problems[0]
        return MistakeError(f"the profile {first.place} is wrong: {first.cause}", first.remedy)


def _unknown(name: str) -> MistakeError:
    near = difflib.get_close_matches(name, list(profiles()), n=1, cutoff=0.5)
    hint = f"Did you mean `{near[0]}`? " if near else ""
    shown = repr(name) if ID_PATTERN.fullmatch(name) else "this name"
    return MistakeError(
        f"there is no profile {shown}",
        f"{hint}`machikoba agent profiles` lists them; a file of your own is named by its path",
    )


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another; signals are merged one by one, null takes one away."""
    merged = {**below, **above}
    way = "modbus" if "modbus" in below else "opcua"
    if isinstance(above.get(way), dict):
        merged[way] = {**below[way], **above[way]}
    elif way not in above:
        # The way to the machine is the one thing that no profile can know.
        del merged[way]
    if isinstance(above.get("signals"), dict):
        merged["signals"] = _signals(below["signals"], above["signals"])
    return merged


def _signals(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(below)
    for name, told in above.items():
        if told is None:
            both.pop(name, None)
        elif isinstance(told, dict) and isinstance(below.get(name), dict):
            both[name] = {**below[name], **told}
        else:
            both[name] = told
    return both
