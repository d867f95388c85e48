"""A receiver can prove who sent a notice; a copy of the database proves nothing."""

import base64
import hashlib
import hmac
import json
import stat
import threading

import pytest

from hub.notices.signing import KeyFileError, Secrets, open_key

KEY = bytes(range(32))


def verify(secret, headers, body):
    """Check a signature as Standard Webhooks 1.0 says, written apart from what is tested."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = [each.partition(",")[2] for each in headers["webhook-signature"].split(" ")]
    return any(hmac.compare_digest(expected, each) for each in given)


def test_the_published_example_of_the_scheme_is_met():
    """The example of the specification: secret, id, time, body and signature are from there."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }

    assert verify(secret, headers, body)


def test_a_signature_holds_for_its_body_its_time_and_its_id_only():
    secrets = Secrets(KEY)
    secret = secrets.secret("hook1", 1)
    body = json.dumps({"a": "日本"}).encode()
    headers = secrets.headers("hook1", 1, message="7-abc", time_s=1_795_000_000, body=body)

    assert verify(secret, headers, body)
    assert not verify(secret, headers, body + b" ")
    assert not verify(secret, headers | {"webhook-timestamp": "1795000001"}, body)
    assert not verify(secret, headers | {"webhook-id": "8-abc"}, body)


def test_each_webhook_each_generation_and_each_key_has_a_secret_of_its_own():
    told = {
        Secrets(key).secret(hook, generation)
        for key in (KEY, bytes(32))
        for hook in ("hook1", "hook11", "hook1:1")
        for generation in (1, 11, 2)
    }

    assert len(told) == 18
    assert all(len(base64.b64decode(secret.removeprefix("whsec_"))) == 32 for secret in told)
    assert Secrets(KEY).fingerprint != Secrets(bytes(32)).fingerprint
    assert KEY.hex() not in repr(vars(Secrets(KEY))["fingerprint"])


def test_a_key_is_made_once_and_is_for_this_user_only(tmp_path):
    path = tmp_path / "deep" / "notices.key"
    keys, start = [], threading.Barrier(4)

    def work():
        start.wait()
        keys.append(open_key(path))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(keys)) == 1
    assert len(keys) == 4
    assert open_key(path) == keys[0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "content", [b"", b"short", b"!" * 44, base64.b64encode(bytes(31)), b"\xff"]
)
def test_a_file_that_holds_no_key_is_not_replaced(tmp_path, content):
    path = tmp_path / "notices.key"
    path.write_bytes(content)

    with pytest.raises(KeyFileError, match="holds no key"):
        open_key(path)
    assert path.read_bytes() == content
