"""One POST ends in an answer or a reason, in bounded time and bytes, whoever the other end is.

The connection goes to the address that was judged; a certificate must be the host's.
"""

import asyncio
import ipaddress
import ssl
import subprocess
import time

import pytest

from hub.notices.post import Poster, UnreachableError
from hub.notices.target import Allowed, Reach, TargetError
from tests.hub.notices import receiver as part
from tests.hub.notices.receiver import Receiver, response

LOOPBACK = ipaddress.ip_address("127.0.0.1")
TIMEOUT_S = 0.7


def reach(*ports):
    return Reach(allowed=(Allowed(ipaddress.ip_network("127.0.0.0/8"), frozenset(ports)),))


def poster(*ports, context=None, resolve=None):
    trusted = context or ssl.create_default_context()
    return Poster(reach(*ports), context=trusted, resolve=resolve, timeout_s=TIMEOUT_S)


@pytest.fixture
def receiver():
    with Receiver() as found:
        yield found


async def post(receiver, **others):
    return await poster(receiver.port, **others).post(receiver.url, {"X-A": "b"}, b'{"a":1}')


async def test_what_is_posted_arrives_as_it_is(receiver):
    answer = await post(receiver)

    [request] = receiver.requests
    assert answer.status == 204
    assert (request.path, request.body) == ("/hook?x=1", b'{"a":1}')
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["x-a"] == "b"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("120", 120), ("0", 0), ("9" * 9, 604_800), ("9" * 30, None), ("-1", None), ("Fri", None)],
)
async def test_the_time_to_wait_is_read(receiver, written, seconds):
    receiver.answers = [response(429, f"Retry-After: {written}", body=b"slow\x00 \x1b[1mdown")]

    answer = await post(receiver)

    assert (answer.status, answer.retry_after_s) == (429, seconds)
    assert answer.excerpt == "slow   [1mdown"


async def test_a_redirect_is_an_answer_and_is_not_followed(receiver):
    with Receiver() as other:
        receiver.answers = [response(302, f"Location: {other.url}")]
        assert (await post(receiver)).status == 302
        assert other.requests == []


async def test_an_announcement_is_not_the_answer(receiver):
    receiver.answers = [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + response(201)]

    assert (await post(receiver)).status == 201


@pytest.mark.parametrize(
    "answer",
    [
        part.closes,
        part.drips,
        part.silent,
        part.endless_head,
        part.endless_line,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10,
        bytes(range(256)) * 100,
    ],
    ids=lambda answer: getattr(answer, "__name__", str(answer)[:20]),
)
async def test_whatever_is_no_answer_is_given_up_in_time(receiver, answer):
    receiver.answers = [answer]
    began = time.monotonic()

    with pytest.raises(UnreachableError):
        await post(receiver)
    assert time.monotonic() - began < TIMEOUT_S + 1
    receiver._ended.set()


async def test_an_answer_with_an_endless_body_is_an_answer(receiver):
    receiver.answers = [part.endless_body]

    answer = await post(receiver)

    assert answer.status == 200
    assert len(answer.excerpt) <= 200


async def test_nobody_there_is_told(receiver):
    receiver.down()

    with pytest.raises(UnreachableError):
        await post(receiver)


async def test_a_name_is_judged_by_its_addresses_and_connected_to_the_judged_one(receiver):
    asked = []

    async def resolve(host, port):
        asked.append((host, port))
        return [LOOPBACK]

    url = f"http://receiver.example:{receiver.port}/"
    answer = await poster(receiver.port, resolve=resolve).post(url, {}, b"{}")

    assert answer.status == 204
    assert asked == [("receiver.example", receiver.port)]
    assert receiver.requests[0].headers["host"] == f"receiver.example:{receiver.port}"


@pytest.mark.parametrize("other", ["10.0.0.1", "::1", "169.254.169.254", "::ffff:127.0.0.1"])
async def test_one_bad_address_of_a_name_keeps_all_from_being_connected_to(receiver, other):
    async def resolve(_host, _port):
        return [LOOPBACK, ipaddress.ip_address(other)]

    url = f"http://receiver.example:{receiver.port}/"
    with pytest.raises(TargetError):
        await poster(receiver.port, resolve=resolve).post(url, {}, b"{}")
    assert receiver.requests == []


async def test_a_name_that_changes_its_mind_between_looks_is_looked_up_once(receiver):
    answers = [[LOOPBACK], [ipaddress.ip_address("10.0.0.1")]]

    async def resolve(_host, _port):
        return answers.pop(0)

    url = f"http://receiver.example:{receiver.port}/"
    assert (await poster(receiver.port, resolve=resolve).post(url, {}, b"{}")).status == 204
    assert len(answers) == 1


async def test_a_name_server_that_does_not_answer_is_given_up_in_time():
    async def resolve(_host, _port):
        await asyncio.Event().wait()

    with pytest.raises(UnreachableError, match="no answer within"):
        await poster(443, resolve=resolve).post("https://receiver.example/", {}, b"{}")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Make a certificate for receiver.example that signs itself."""
    folder = tmp_path_factory.mktemp("tls")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-nodes", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    words += ["-days", "2", "-subj", "/CN=receiver.example"]
    words += ["-addext", "subjectAltName=DNS:receiver.example"]
    subprocess.run(list(map(str, words)), check=True, capture_output=True)
    return folder


async def test_tls_is_verified_against_the_name(certificate):
    async def resolve(_host, _port):
        return [LOOPBACK]

    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    trusting = ssl.create_default_context(cafile=certificate / "cert.pem")
    with Receiver(context=serving) as receiver:
        for host, context, good in (
            ("receiver.example", trusting, True),
            ("other.example", trusting, False),
            ("receiver.example", ssl.create_default_context(), False),
        ):
            url = f"https://{host}:{receiver.port}/"
            sending = poster(receiver.port, context=context, resolve=resolve)
            if good:
                assert (await sending.post(url, {}, b"{}")).status == 204
            else:
                with pytest.raises(UnreachableError, match="no secure connection"):
                    await sending.post(url, {}, b"{}")
        assert len(receiver.requests) == 1
