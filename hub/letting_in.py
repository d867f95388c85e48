"""`machikoba hub setup | key | audit`: who may come in, and whether the audit still holds."""

import argparse
import getpass
import http.client
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

from gateway import settings
from hub.client import ProblemError, UnreachableError
from hub.client.client import KEY_FILE_VARIABLE, KEY_VARIABLE, URL, URL_VARIABLE
from hub.config import HubConfig
from hub.store import Store, StoreError, audit

GOOD: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
NOT_ALLOWED: Final = 4
TIMEOUT_S: Final = 30.0
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
PASSWORD_VARIABLE: Final = "MACHIKOBA_HUB_STORE_PASSWORD"  # noqa: S105 (a name, no secret)
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
Parsers = argparse._SubParsersAction  # noqa: SLF001 (the type that argparse hands out)
ReadConfig = Callable[[Path | None], HubConfig]


class _Answer(NamedTuple):
    content: dict[str, Any]
    cookie: str


def add_commands(commands: "Parsers[argparse.ArgumentParser]", read_config: ReadConfig) -> None:
    """Add what lets people and programs in to the parser of `machikoba hub`."""
    setup = _asking(commands, "setup", "make the first admin, with the secret of the first start")
    setup.add_argument("--login", default="admin")
    setup.add_argument("--key-file", type=Path, help="also make an admin's key, written there")
    setup.set_defaults(act=_setup)
    kinds = commands.add_parser("key", help="API keys").add_subparsers(dest="kind", required=True)
    create = _asking(kinds, "create", "make a key; its text is shown this once")
    create.add_argument("name")
    create.add_argument("--role", action="append", default=[])
    create.add_argument("--site", action="append", default=[])
    create.add_argument("--audience", action="append", default=[])
    create.add_argument("--organisation")
    create.add_argument("--expires", metavar="TIME", help="RFC 3339; without it, when revoked")
    create.set_defaults(act=_create)
    _asking(kinds, "list", "the keys you look after").set_defaults(act=_list)
    revoke = _asking(kinds, "revoke", "end a key at once, for good")
    revoke.add_argument("key", help="its id, or the first part of its text")
    revoke.set_defaults(act=_revoke)
    audits = commands.add_parser("audit", help="who changed what")
    verify = audits.add_subparsers(dest="kind", required=True).add_parser(
        "verify", help="see whether any row was edited, removed, added or moved"
    )
    verify.add_argument("--config", type=Path, help="the hub's settings")
    verify.add_argument("--expect", metavar="N:HASH", help="a row noted earlier, elsewhere")
    verify.set_defaults(act=lambda words: _verify(words, read_config))


def run(words: argparse.Namespace) -> int:
    """Do what was asked and give the exit code."""
    try:
        code: int = words.act(words)
    except ProblemError as error:
        return _complain(error.detail or error.code, NOT_ALLOWED)
    except UnreachableError as error:
        return _complain(str(error), FAILED)
    except (settings.SettingsError, ValueError) as error:
        return _complain(str(error), WRONG_USE)
    except (StoreError, OSError) as error:
        return _complain(str(error), FAILED)
    else:
        return code


# -- commands --------------------------------------------------------------------------------------


def _setup(words: argparse.Namespace) -> int:
    secret = _typed("secret of the first start: ")
    password = _typed("new password: ")
    body = {"secret": secret, "login": words.login, "password": password}
    told = _ask(words, "POST", "/api/v1/setup", body)
    sys.stdout.write(f"{words.login} runs this hub from now on\n")
    if words.key_file is not None:
        headers = {"Cookie": told.cookie, "X-CSRF-Token": str(told.content["csrf_token"])}
        key = {"name": f"{words.login} at the command line", "roles": ["hub-admin"]}
        made = _ask(words, "POST", "/api/v1/keys", key, headers).content
        _keep(words.key_file, made["secret"])
        sys.stdout.write(f"key {made['key']} is in {words.key_file}\n")
    return GOOD


def _create(words: argparse.Namespace) -> int:
    body = {
        "name": words.name,
        "roles": words.role,
        "sites": words.site,
        "audiences": words.audience,
        "organisation": words.organisation,
        "expires": words.expires,
    }
    made = _ask(words, "POST", "/api/v1/keys", body, _own_key()).content
    sys.stdout.write(f"{made['secret']}\n")
    sys.stderr.write("This is shown only now. Whoever has it can do what it may do.\n")
    return GOOD


def _list(words: argparse.Namespace) -> int:
    cursor = ""
    while True:
        page = _ask(words, "GET", f"/api/v1/keys?limit=500{cursor}", None, _own_key()).content
        for key in page["items"]:
            ended = "revoked" if key["revoked"] else key["expires"] or "no end"
            may = ",".join(key["roles"]) or "reads"
            where = ",".join(key["sites"]) or "-"
            used = key["last_used"] or "never used"
            sys.stdout.write(f"{key['key']}  {may}  {where}  {ended}  {used}  {key['name']}\n")
        if page["next"] is None:
            return GOOD
        cursor = f"&cursor={page['next']}"


def _revoke(words: argparse.Namespace) -> int:
    key_id = words.key.removeprefix("mk_").partition("_")[0]
    _ask(words, "DELETE", f"/api/v1/keys/{key_id}", None, _own_key())
    sys.stdout.write(f"key {key_id} opens nothing any more\n")
    return GOOD


def _verify(words: argparse.Namespace, read_config: ReadConfig) -> int:
    config = read_config(words.config)
    url = config.store.url or f"sqlite:///{config.data / 'coordination.sqlite'}"
    if config.store.url is None and not (config.data / "coordination.sqlite").exists():
        return _complain(f"there is no store in {config.data}", FAILED)
    password = settings.secret(config.store.password_file, PASSWORD_VARIABLE)
    store = Store.open(url, password=password, ca_file=config.store.ca_file)
    try:
        with store.read() as tx:
            found, head = audit.verify(tx), audit.head(tx)
            noted = _noted(words.expect)
            row = audit.before(tx, noted[0] + 1, limit=1) if noted else []
    finally:
        store.close()
    if found is not None:
        return _complain(f"the audit does not hold: row {found.seq}: {found.why}", FAILED)
    if noted and [(each.seq, each.hash) for each in row] != [noted]:
        return _complain(f"the audit was written anew: row {noted[0]} is another one", FAILED)
    sys.stdout.write(f"the audit holds: {head[0]} rows, {head[0]}:{head[1]}\n")
    return GOOD


# -- inside ----------------------------------------------------------------------------------------


def _asking(
    commands: "Parsers[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text)
    parser.add_argument("--url", help=f"of the hub; else {URL_VARIABLE}, else this box")
    return parser


def _ask(
    words: argparse.Namespace,
    method: str,
    path: str,
    body: Mapping[str, Any] | None,
    headers: Mapping[str, str] | None = None,
) -> _Answer:
    """Ask the hub once.

    Raises:
        UnreachableError: it does not answer, or a secret would cross the network in clear.
        ProblemError: it refuses.
    """
    url = words.url or os.environ.get(URL_VARIABLE) or URL
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not host:
        raise UnreachableError(f"{url!r} is no address of a hub. Write it like https://hub.example")
    if parts.scheme == "http" and host not in LOOPBACK:
        raise UnreachableError("a secret would cross the network in clear: use https://")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    link = kind(host, parts.port, timeout=TIMEOUT_S)
    sent = None if body is None else json.dumps(body).encode()
    told = {"Content-Type": "application/json", **(headers or {})}
    try:
        link.request(method, path, sent, told)
        answer = link.getresponse()
        text = answer.read(ANSWER_BYTES_MAX)
        content = json.loads(text) if text else {}
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UnreachableError(f"{url} does not answer ({error})") from error
    finally:
        link.close()
    if answer.status >= http.client.BAD_REQUEST:
        raise ProblemError(answer.status, cast("Mapping[str, Any]", content))
    return _Answer(content, (answer.getheader("Set-Cookie") or "").partition(";")[0])


def _own_key() -> dict[str, str]:
    """Show the key that the environment names, if it names one; an open hub needs none."""
    file = os.environ.get(KEY_FILE_VARIABLE)
    key = Path(file).read_text().strip() if file else os.environ.get(KEY_VARIABLE, "")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _typed(prompt: str) -> str:
    """Read a secret from the terminal without showing it, or a line from a pipe."""
    return getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")


def _keep(path: Path, secret: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123 (with a mode)
        file.write(f"{secret}\n")


def _noted(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    seq, _, found = text.partition(":")
    if not seq.isdecimal() or len(found) != len(audit.FIRST_HASH):
        raise ValueError(f"{text!r} is not what `audit verify` printed: N:HASH")
    return int(seq), found


def _complain(text: str, code: int) -> int:
    sys.stderr.write(f"machikoba hub: {text}\n")
    return code
