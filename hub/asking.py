"""`machikoba hub capacity …` and the like: asking a running hub from the command line."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hub.client import MachikobaClient, ProblemError, UnreachableError
from hub.client.words import HoldRequest, Place, SearchRequest, Step

GOOD: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
NOTHING: Final = 3
NOT_ALLOWED: Final = 4
TAKEN: Final = 5
EXIT_CODES: Final = (
    "exit codes: 0 good, 1 the hub does not answer or failed, 2 wrong use, 3 nothing was found, "
    "4 not allowed or not there, 5 taken, expired or changed meanwhile"
)
_CODES: Final = {
    400: WRONG_USE,
    422: WRONG_USE,
    401: NOT_ALLOWED,
    403: NOT_ALLOWED,
    404: NOT_ALLOWED,
    409: TAKEN,
    410: TAKEN,
    412: TAKEN,
}
Asked = Callable[[MachikobaClient, argparse.Namespace], int]


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add what can be asked to the parser of `machikoba hub`."""
    live = _command(commands, "availability", "what machines do now, and which are free", _live)
    live.add_argument("--site")
    live.add_argument("--process")
    live.add_argument("--state")
    live.add_argument("--free", action="store_true", help="only machines that are free now")
    capacity = commands.add_parser("capacity", help="who has free capacity", epilog=EXIT_CODES)
    kinds = capacity.add_subparsers(dest="kind", required=True)
    _search_options(_command(kinds, "search", "who can make this, when and where", _search))
    show = _command(kinds, "show", "free hours of one machine", _show)
    show.add_argument("machine", metavar="SITE/MACHINE", type=_machine)
    show.add_argument("--from", dest="from_", metavar="TIME")
    show.add_argument("--to", metavar="TIME")
    show.add_argument("--bucket", choices=["hour", "shift", "day"], default="day")
    _booking_commands(commands)


def run(words: argparse.Namespace) -> int:
    """Ask, print and give the exit code."""
    try:
        client = MachikobaClient.from_environment(url=words.url)
    except (ValueError, OSError) as error:
        return _complain(f"{error}", WRONG_USE)
    ask: Asked = words.ask
    try:
        return ask(client, words)
    except UnreachableError as error:
        return _complain(f"{error}", FAILED)
    except ProblemError as error:
        lines = [error.detail or error.code]
        lines += [f"  {each.get('pointer')}: {each.get('detail')}" for each in error.errors]
        lines += [f"  taken: {_where(each)}" for each in error.conflicts]
        lines += [
            f"  instead: {', '.join(_step(step) for step in each['steps'])}"
            for each in error.alternatives
        ]
        return _complain("\n".join(lines), _CODES.get(error.status, FAILED))


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    text: str,
    ask: Asked,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, epilog=EXIT_CODES)
    parser.add_argument("--url", help="of the hub; else MACHIKOBA_HUB_URL, else this box")
    parser.add_argument("--json", action="store_true", help="the hub's answer as it is")
    parser.set_defaults(ask=ask)
    return parser


def _search_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--order", type=Path, help="the whole request as a JSON file, - for stdin")
    parser.add_argument("--process", help="slug or name, for example milling-3axis or フライス加工")
    parser.add_argument("--quantity", type=int)
    parser.add_argument("--material")
    parser.add_argument("--cycle-s", type=float, help="seconds for one part")
    parser.add_argument("--setup-min", type=float)
    parser.add_argument("--envelope-mm", type=_envelope, metavar="XxYxZ")
    parser.add_argument("--tolerance-it", type=int, help="coarsest ISO 286 grade that will do")
    parser.add_argument("--certification", action="append", default=[], metavar="SCHEME")
    parser.add_argument("--mass-kg", type=float, help="of one part")
    parser.add_argument("--splittable", action="store_true", help="the lot may pause")
    parser.add_argument("--max-lots", type=int, help="share it out over so many machines")
    parser.add_argument("--earliest", metavar="TIME")
    parser.add_argument("--due", metavar="TIME", help="RFC 3339, for example 2026-12-01T08:00:00Z")
    parser.add_argument("--deliver-to", type=_place, metavar="LAT,LON")
    parser.add_argument("--radius-km", type=float)
    parser.add_argument("--max-offers", type=int, default=10)
    parser.add_argument("--why", action="store_true", help="also who is not offered, and why")


def _booking_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    reserve = _command(commands, "reserve", "hold an offer, or times of a machine", _reserve)
    reserve.add_argument("what", metavar="OFFER|SITE/MACHINE")
    reserve.add_argument(
        "--segment", action="append", type=_segment, metavar="START/END", help="for a machine"
    )
    reserve.add_argument("--ttl-s", type=int, default=900, help="how long it is held")
    reserve.add_argument("--reference", help="what it is for")
    reserve.add_argument("--key", help="idempotency key: the same one never holds twice")
    told = _command(commands, "reservations", "what is held and booked", _reservations)
    told.add_argument("--mine", action="store_true")
    told.add_argument("--status")
    told.add_argument("--site")
    for name, text in (("confirm", "make a hold a booking"), ("release", "give it back")):
        parser = _command(commands, name, text, _change(name))
        parser.add_argument("reservation")
    extend = _command(commands, "extend", "let a hold last longer", _change("extend"))
    extend.add_argument("reservation")
    extend.add_argument("--ttl-s", type=int, default=900, help="seconds from now")


# -- commands --------------------------------------------------------------------------------------


def _live(client: MachikobaClient, words: argparse.Namespace) -> int:
    found = client.availability(site=words.site, process=words.process, state=words.state)
    if words.free:
        found["items"] = [item for item in found["items"] if item["free_now"]]
    rows = [
        [
            f"{item['site']}/{item['machine']}",
            item["state"],
            _yes(value=item["free_now"]),
            _minute(item["next_free_at"]),
            _number(item["free_hours"] and item["free_hours"]["h24"]),
            _number(item["free_hours"] and item["free_hours"]["d7"]),
        ]
        for item in found["items"]
    ]
    _print(words, found, ["machine", "state", "free", "next free", "24 h", "7 d"], rows)
    return GOOD if found["items"] else NOTHING


def _search(client: MachikobaClient, words: argparse.Namespace) -> int:
    try:
        request = _order(words)
    except (OSError, ValueError) as error:
        return _complain(f"{error}", WRONG_USE)
    found = client.search(request)
    rows = [
        [
            offer["offer_id"],
            ", ".join(
                f"{lot['site']}/{lot['machine']} ({lot['quantity']})"
                for stage in offer["steps"]
                for lot in stage["lots"]
            ),
            _minute(offer["start"]),
            _minute(offer["end_p50"]),
            _minute(offer["end_p90"]),
            _number(offer["distance_km"]),
            _number(offer["co2_kg"]),
            f"{offer['confidence']:.0%}",
        ]
        for offer in found["offers"]
    ]
    heads = ["offer", "machines", "start", "likely done", "surely done", "km", "kg CO2", "trust"]
    _print(words, found, heads, rows)
    if words.why and not words.json:
        why = [[f"{r['site']}/{r['machine']}", r["code"], r["detail"]] for r in found["rejected"]]
        sys.stdout.write("\n" + _table(["not offered", "code", "why"], why))
    return GOOD if found["offers"] else NOTHING


def _show(client: MachikobaClient, words: argparse.Namespace) -> int:
    site, machine = words.machine
    found = client.capacity(site, machine, from_=words.from_, to=words.to, bucket=words.bucket)
    names = ("available_h", "reserved_h", "held_h", "free_h")
    rows = [
        [_minute(b["start"]), _minute(b["end"]), *(_number(b[name]) for name in names)]  # type: ignore[literal-required]
        for b in found["buckets"]
    ]
    _print(words, found, ["from", "to", "works h", "reserved h", "held h", "free h"], rows)
    return GOOD


def _reserve(client: MachikobaClient, words: argparse.Namespace) -> int:
    request: HoldRequest = {"ttl_s": words.ttl_s}
    if words.reference:
        request["reference"] = words.reference
    if words.segment:
        try:
            site, machine = _machine(words.what)
        except argparse.ArgumentTypeError as error:
            return _complain(f"{error}", WRONG_USE)
        request |= {"site": site, "machine": machine, "segments": words.segment}
    else:
        request["offer_id"] = words.what
    _print_reservations(words, client.hold(request, words.key))
    return GOOD


def _reservations(client: MachikobaClient, words: argparse.Namespace) -> int:
    mine = True if words.mine else None
    found = client.reservations(mine=mine, status=words.status, site=words.site)
    if words.json:
        _print(words, found, [], [])
    else:
        _print_reservations(words, *found["items"])
    return GOOD if found["items"] else NOTHING


def _change(name: str) -> Asked:
    def ask(client: MachikobaClient, words: argparse.Namespace) -> int:
        if name == "extend":
            changed = client.extend(words.reservation, words.ttl_s)
        elif name == "confirm":
            changed = client.confirm(words.reservation)
        else:
            changed = client.release(words.reservation)
        _print_reservations(words, changed)
        return GOOD

    return ask


# -- reading words ---------------------------------------------------------------------------------


def _order(words: argparse.Namespace) -> SearchRequest:
    """Make the request of a file, or of one step told by options."""
    if words.order is not None:
        text = sys.stdin.read() if str(words.order) == "-" else words.order.read_text("utf-8")
        told: SearchRequest = json.loads(text)
        if not isinstance(told, dict):
            raise ValueError(f"{words.order} holds no request: expected an object with steps")
        return told
    if words.process is None or words.quantity is None:
        raise ValueError("say --process and --quantity, or --order FILE")
    step: Step = {"process": words.process, "quantity": words.quantity}
    optional: Mapping[str, Any] = {
        "material": words.material,
        "cycle_s": words.cycle_s,
        "setup_min": words.setup_min,
        "envelope_mm": words.envelope_mm,
        "tolerance_it": words.tolerance_it,
        "certifications": words.certification or None,
        "part_mass_kg": words.mass_kg,
        "splittable": words.splittable or bool(words.max_lots) or None,
        "max_lots": words.max_lots,
    }
    step.update({k: v for k, v in optional.items() if v is not None})  # type: ignore[typeddict-item]
    request: SearchRequest = {"steps": [step], "max_offers": words.max_offers}
    more: Mapping[str, Any] = {
        "earliest": words.earliest,
        "due": words.due,
        "deliver_to": words.deliver_to,
        "radius_km": words.radius_km,
    }
    request.update({k: v for k, v in more.items() if v is not None})  # type: ignore[typeddict-item]
    return request


def _machine(text: str) -> tuple[str, str]:
    site, slash, machine = text.partition("/")
    if not (site and slash and machine):
        raise argparse.ArgumentTypeError(f"{text!r} is no SITE/MACHINE")
    return site, machine


def _place(text: str) -> Place:
    try:
        lat, lon = (float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no LAT,LON in degrees") from error
    return {"lat": lat, "lon": lon}


def _envelope(text: str) -> list[float]:
    try:
        x, y, z = (float(part) for part in text.lower().split("x"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no XxYxZ in millimetres") from error
    return [x, y, z]


def _segment(text: str) -> dict[str, str]:
    start, slash, end = text.partition("/")
    if not (start and slash and end):
        raise argparse.ArgumentTypeError(f"{text!r} is no START/END")
    return {"start": start, "end": end}


# -- printing --------------------------------------------------------------------------------------


def _print(
    words: argparse.Namespace, found: object, heads: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    if words.json:
        sys.stdout.write(json.dumps(found, ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write(_table(heads, rows))


def _print_reservations(words: argparse.Namespace, *found: Any) -> None:
    rows = [
        [
            each["id"],
            each["status"],
            _minute(each["hold_expires"]),
            ", ".join(_step(step) for step in each["steps"]),
            each["reference"] or "",
        ]
        for each in found
    ]
    content = found[0] if len(found) == 1 else list(found)
    _print(words, content, ["reservation", "status", "held until", "what", "for"], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    written = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return "\n".join(written) + "\n"


def _step(step: Mapping[str, Any]) -> str:
    first, last = step["segments"][0]["start"], step["segments"][-1]["end"]
    return f"{step['site']}/{step['machine']} {_minute(first)} to {_minute(last)}"


def _where(told: Mapping[str, Any]) -> str:
    place = f"{told['site']}/{told['machine']}"
    return f"{place} {_minute(told['start'])} to {_minute(told['end'])}"


def _minute(time: str | None) -> str:
    """Write an instant shortly: 2026-11-19 00:10Z."""
    return "-" if time is None else f"{time[:10]} {time[11:16]}Z"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _yes(*, value: bool | None) -> str:
    return "?" if value is None else "yes" if value else "no"


def _complain(text: str, code: int) -> int:
    sys.stderr.write(f"machikoba hub: {text}\n")
    return code
