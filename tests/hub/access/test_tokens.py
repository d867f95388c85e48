"""What lets somebody in is random and long enough, and a mistyped code is noticed."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.access import tokens
from hub.access.passwords import Passwords, weakness

CODES = st.binary(min_size=15, max_size=15).map(lambda raw: tokens.new_code(4, lambda _n: raw))


def test_a_key_has_256_random_bits_and_an_id_that_may_be_shown():
    seen = []

    def random_bytes(count):
        seen.append(count)
        return bytes(range(count))

    key_id, key = tokens.new_key(random_bytes)

    assert seen[-1] == 32
    assert key.startswith(f"mk_{key_id}_")
    assert tokens.key_id_of(key) == key_id
    assert len({tokens.new_key()[1] for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "text", ["", "mk_", "mk__", "mk_a_b", "mk_AAAAAAAAAA_x", "xx_aaaaaaaaaa_x"]
)
def test_what_is_no_key_has_no_id(text):
    assert tokens.key_id_of(text) is None


def test_what_is_kept_of_a_token_is_its_sha256():
    assert tokens.digest("abc") == hashlib.sha256(b"abc").digest()


def test_the_csrf_token_differs_for_every_session_and_is_not_its_token():
    one, other = tokens.new_token(), tokens.new_token()

    assert tokens.csrf_of(one) == tokens.csrf_of(one)
    assert tokens.csrf_of(one) not in {tokens.csrf_of(other), one}


@given(CODES)
def test_a_code_is_read_however_it_is_typed(code):
    plain = code.replace("-", "")

    assert len(code) == 19
    typed = (code, code.lower(), plain, f" {code} ", code.replace("-", " "))
    assert {tokens.read_code(each) for each in typed} == {plain}
    assert tokens.read_code(code.replace("1", "l").replace("0", "o")) == plain


@given(CODES, st.integers(0, 15), st.sampled_from(tokens.ALPHABET))
def test_one_wrong_sign_is_always_noticed(code, place, sign):
    plain = list(code.replace("-", ""))
    if plain[place] == sign:
        return
    plain[place] = sign

    assert tokens.read_code("".join(plain)) is None


@given(CODES)
def test_nearly_every_pair_that_changed_places_is_noticed(code):
    plain = code.replace("-", "")
    for i in range(15):
        left, right = plain[i], plain[i + 1]
        if left == right or {left, right} == {tokens.ALPHABET[0], tokens.ALPHABET[-1]}:
            continue  # Luhn's one blind spot: the first and the last sign.
        swapped = plain[:i] + right + left + plain[i + 2 :]
        assert tokens.read_code(swapped) is None


@given(st.text(max_size=300))
def test_any_other_text_is_no_code_or_a_sound_one(text):
    found = tokens.read_code(text)

    assert found is None or tokens.check_sign(found[:-1]) == found[-1]


# -- passwords -------------------------------------------------------------------------------------

QUICK = Passwords(log_n=4)


def test_a_password_fits_its_own_hash_only():
    kept = QUICK.hash("a phrase of some length")

    assert QUICK.fits("a phrase of some length", kept)
    assert not QUICK.fits("a phrase of some lengtH", kept)
    assert QUICK.hash("a phrase of some length") != kept


def test_the_same_letters_fit_however_the_keyboard_composed_them():
    assert QUICK.fits(
        "パスワードは長いほど良い", QUICK.hash("ハ\u309aスワート\u3099は長いほと\u3099良い")
    )


def test_nobody_has_a_password():
    assert not QUICK.fits("", None)
    assert not QUICK.fits("a phrase of some length", None)


def test_hashes_of_another_cost_stay_good_but_not_of_any_cost():
    kept = Passwords(log_n=5).hash("a phrase of some length")

    assert QUICK.fits("a phrase of some length", kept)
    assert not QUICK.fits("x", kept.replace("scrypt$5$", "scrypt$40$"))


def test_the_hash_is_scrypt_of_rfc_7914():
    kept = QUICK.hash("pleaseletmein")
    _, log_n, r, p, _, _ = kept.split("$")

    assert (log_n, r, p) == ("4", "8", "3")


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "x" * 300,
        "aaaaaaaaaaaaaaaa",
        "password123456",
        "tanaka-tanaka-1",
        "machikoba-admin1",
    ],
)
def test_what_everybody_tries_first_is_no_password(password):
    assert weakness(password, "tanaka")


@pytest.mark.parametrize(
    "password", ["correct horse battery", "桜が咲いたら旋盤を磨こう", "k9!xQ2 vb7Lm"]
)
def test_a_phrase_of_ones_own_is(password):
    assert weakness(password, "tanaka") is None
