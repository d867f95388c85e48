"""The first settings file, with a comment for every line that a newcomer would ask about (pure)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

EXAMPLE: Final = """\
  - id: mc-100                          # a-z, 0-9 and hyphens; never change it once it is in use
    name: {en: "Machining centre 100", ja: "立形MC 100"}
    processes: [milling-3axis]          # what it can do, for those who look for free machines
    modbus: {tcp: 192.168.10.21, device_id: 1}
    signals:
      # table and address, counted from 0 as on the wire: input, holding, coil or discrete
      spindle_rpm: {register: input 30, type: uint16, unit: rpm, every: 1s, deadband: 5}
      part_count:  {register: holding 100, type: uint32, counts: good, counter: true}
      alarm:       {register: coil 7}
    state:                              # the first rule that holds says what the machine is doing
      - {when: "alarm", is: down, reason: machine-alarm}
      - {when: "spindle_rpm > 50", is: running, hold: 5s}
      - {otherwise: idle}
"""


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """A device that answered: the mapping by which it is reached, and what it says of itself."""

    way: dict[str, object]
    protocol: str = "modbus"
    profiles: tuple[str, ...] = ()
    """Profiles that fit it; more than one where devices are alike."""
    said: str = ""


def starting_file(
    site: str, agent: str, broker_url: str, devices: Sequence[FoundDevice] = ()
) -> str:
    """Write a settings file that `check` accepts, for the devices found or with an example."""
    head = f"""\
# Settings of a Machikoba agent. `machikoba agent check --config <this file>` judges it.
site: {site}                            # your workshop; also the MQTT user that may speak for it
agent: {agent}                          # this computer
broker:
  url: {broker_url}                     # mqtts:// encrypts; ask whoever runs the hub
  # username: {site}
  # password_file: /etc/machikoba/password   # never write a password here
# data: /var/lib/machikoba              # the outbox: what the hub has not confirmed yet
machines:
"""
    known = [device for device in devices if device.profiles]
    strange = [device for device in devices if not device.profiles]
    ids = _ids(known)
    stanzas = [_stanza(name, device) for name, device in zip(ids, known, strict=True)]
    if not stanzas:
        stanzas = [EXAMPLE]
    return head + "".join(stanzas) + "".join(_comment(device) for device in strange)


def _ids(devices: Sequence[FoundDevice]) -> list[str]:
    counted: dict[str, int] = {}
    ids = []
    for device in devices:
        slug = device.profiles[0].split("-")[0]
        counted[slug] = counted.get(slug, 0) + 1
        ids.append(f"{slug}-{counted[slug]}")
    return ids


def _stanza(name: str, device: FoundDevice) -> str:
    said = f"    # it says: {device.said}\n" if device.said else ""
    others = ", ".join(device.profiles[1:])
    other = f"    # or {others}: they look alike" if others else ""
    return (
        f"  - id: {name}                          # rename it before its first start\n{said}"
        f"    profile: {device.profiles[0]}{other}\n    {device.protocol}: {_flow(device.way)}\n"
    )


def _comment(device: FoundDevice) -> str:
    said = f"; it says: {device.said}" if device.said else ""
    way = _flow(device.way)
    return (
        f"  # Something else answers at {way}{said}.\n"
        "  # `machikoba agent probe` shows its registers in every type and order:\n"
        f"  # - id: device\n  #   {device.protocol}: {way}\n  #   signals: {{}}\n"
    )


def _flow(mapping: dict[str, object]) -> str:
    """Write a mapping on one line of YAML; JSON's strings are YAML's."""
    pairs = (f"{key}: {_scalar(value)}" for key, value in mapping.items())
    return "{" + ", ".join(pairs) + "}"


def _scalar(value: object) -> str:
    text = str(value)
    plain = isinstance(value, int | float) or all(sign.isalnum() or sign in "./-_" for sign in text)
    return text if plain else json.dumps(text, ensure_ascii=False)
