"""Random things that let somebody in, and what is kept of them.

API keys are ``mk_<id>_<secret>``: the id is shown and logged, the secret has 256 bits and is shown
once. Codes are for people to type: Crockford's base 32 (no I, L, O, U) in groups of four, the last
sign a check by Luhn's method modulo 32, which finds every single wrong sign and nearly every pair
that changed places.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
KEY_PREFIX: Final = "mk_"
TOKEN_MAX: Final = 200
"""No token of ours is longer; what is, is none."""
_ID_SIGNS: Final = 10
_ID_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
_LOOKALIKES: Final = str.maketrans("ILO", "110", " -\t")

RandomBytes = Callable[[int], bytes]


def new_id(random_bytes: RandomBytes = secrets.token_bytes) -> str:
    """Make a name for something: fifty bits that nobody need keep to themselves."""
    return "".join(_ID_ALPHABET[byte % 32] for byte in random_bytes(_ID_SIGNS))


def new_token(random_bytes: RandomBytes = secrets.token_bytes) -> str:
    """Make a secret of 256 bits."""
    return base64.urlsafe_b64encode(random_bytes(32)).rstrip(b"=").decode()


def new_key(random_bytes: RandomBytes = secrets.token_bytes) -> tuple[str, str]:
    """Make an API key; give its id and the whole key."""
    key_id = new_id(random_bytes)
    return key_id, f"{KEY_PREFIX}{key_id}_{new_token(random_bytes)}"


def key_id_of(key: str) -> str | None:
    """Read the id out of an API key; None when it is none."""
    rest = key.removeprefix(KEY_PREFIX)
    key_id, mark, secret = rest.partition("_")
    known = len(key_id) == _ID_SIGNS and all(sign in _ID_ALPHABET for sign in key_id)
    return key_id if rest != key and known and mark and secret else None


def digest(token: str) -> bytes:
    """Give what is kept of a token: SHA-256, enough for what is random."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def same(left: bytes, right: bytes) -> bool:
    """Compare without telling by the time taken where they differ."""
    return hmac.compare_digest(left, right)


def csrf_of(session_token: str) -> str:
    """Derive the token that a page must send with every change from its session's token.

    The page gets it by asking; another site's page can neither read the answer nor compute it.
    """
    found = hashlib.sha256(b"machikoba-csrf:" + session_token.encode("utf-8", "replace")).digest()
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode()


def new_code(groups: int = 4, random_bytes: RandomBytes = secrets.token_bytes) -> str:
    """Make a code of groups of four signs; four groups hold 75 random bits."""
    signs = "".join(ALPHABET[byte % 32] for byte in random_bytes(groups * 4 - 1))
    whole = signs + check_sign(signs)
    return "-".join(whole[i : i + 4] for i in range(0, len(whole), 4))


def read_code(typed: str) -> str | None:
    """Read a code as people type it, in capitals without hyphens; None when a sign is wrong."""
    signs = typed[:TOKEN_MAX].upper().translate(_LOOKALIKES)
    if len(signs) < 2 or any(sign not in ALPHABET for sign in signs):  # noqa: PLR2004 (no code)
        return None
    return signs if check_sign(signs[:-1]) == signs[-1] else None


def check_sign(signs: str) -> str:
    """Compute the check sign: Luhn's method, modulo 32."""
    total = 0
    for place, sign in enumerate(reversed(signs)):
        value = ALPHABET.index(sign) * (2 - place % 2)
        total += value // 32 + value % 32
    return ALPHABET[-total % 32]
