"""The only door to paho: one connection to one broker that comes back by itself.

paho's own network thread is not used. Its back-off doubles to minutes, it keeps the first will for
ever, and its ``select`` fails in a process that holds more than a thousand sockets, as a hub with
many viewers does. Here one thread per link connects with a fresh client each time, so no message,
will or acknowledgement of an earlier connection can leak into the next one.
"""

import contextlib
import logging
import random
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

log = logging.getLogger(__name__)

PAYLOAD_BYTES_MAX: Final = 262_144
QUEUE_MESSAGES_MAX: Final = 4_096
QUEUE_BYTES_MAX: Final = 16 * 1024 * 1024
"""What may wait for the socket, births of a large site included; beyond it publish says no."""

KEEPALIVE_S: Final = 15
CONNECT_TIMEOUT_S: Final = 3.0
"""For each of: TCP connect, TLS handshake, CONNACK and SUBACK."""
TCP_USER_TIMEOUT_MS: Final = 15_000
"""Sent data that nobody confirms for this long ends the connection (Linux)."""
BACK_OFF_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)
"""The last one repeats: with connect and subscribe, sending resumes within 2 s."""
FLUSH_S: Final = 2.0
TICK_S: Final = 1.0
READS_PER_TURN: Final = 256
RECEIVE_BYTES: Final = 65_536

PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


class Message(Protocol):
    """What can be published. ``token``, when there is one, is told when the publish completed."""

    @property
    def topic(self) -> str: ...  # noqa: D102 -- the names are those of MQTT

    @property
    def payload(self) -> bytes: ...  # noqa: D102

    @property
    def qos(self) -> int: ...  # noqa: D102

    @property
    def retain(self) -> bool: ...  # noqa: D102

    @property
    def token(self) -> int | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Tls:
    """How to trust the broker and to be trusted by it. Without ``ca_file`` the system's roots."""

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None


class _TidySocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho would leave it to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except (OSError, ValueError):
            self.close()
            raise


class _Broker:
    """Where and how to connect."""

    def __init__(self, url: str, tls: Tls | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise ValueError(f"not a broker: {url!r}; write mqtt://host:port or mqtts://host:port")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a broker's URL must not hold a password; use a password file")
        self.host = parts.hostname
        self.port = parts.port or PORTS[parts.scheme]
        self.name = f"{parts.scheme}://{self.host}:{self.port}"
        self._tls = (tls or Tls()) if parts.scheme == "mqtts" else None

    def context(self) -> ssl.SSLContext | None:
        """Make the TLS context anew for each connection, so that renewed files are read."""
        if self._tls is None:
            return None
        context = ssl.create_default_context(cafile=self._tls.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = _TidySocket
        if self._tls.certificate_file is not None:
            context.load_cert_chain(self._tls.certificate_file, self._tls.key_file)
        return context


class _Queue:
    """Messages handed to paho that are not completed yet: bounded, and told when they are."""

    def __init__(self, on_published: Callable[[int], None] | None) -> None:
        self._on_published = on_published
        self._lock = threading.Lock()
        self._messages = 0
        self._bytes = 0
        self._waiting: dict[int, tuple[int, int | None]] = {}
        self._early: set[int] = set()

    @property
    def empty(self) -> bool:
        """Tell whether all is on its way (QoS 0) or acknowledged by the broker (QoS 1)."""
        return self._messages == 0

    def reserve(self, size: int) -> bool:
        """Make room for a message, or say that there is none."""
        with self._lock:
            if self._messages >= QUEUE_MESSAGES_MAX or self._bytes + size > QUEUE_BYTES_MAX:
                return False
            self._messages += 1
            self._bytes += size
            return True

    def handed_over(self, mid: int, size: int, token: int | None) -> None:
        """Paho took the message; its completion may have come before this call."""
        with self._lock:
            if mid not in self._early:
                self._waiting[mid] = (size, token)
                return
            self._early.discard(mid)
        self._complete(size, token)

    def completed(self, mid: int) -> None:
        """Paho reports that a message is written (QoS 0) or acknowledged (QoS 1)."""
        with self._lock:
            waiting = self._waiting.pop(mid, None)
            if waiting is None:
                self._early.add(mid)
                return
        self._complete(*waiting)

    def _complete(self, size: int, token: int | None) -> None:
        with self._lock:
            self._messages -= 1
            self._bytes -= size
        if token is not None and self._on_published is not None:
            self._on_published(token)


class _BufferedClient(Client):
    """paho reads a packet in three small receives; here they come out of one large one.

    Each receive lets another thread run, and in a busy hub it takes milliseconds to get back.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._received = b""
        self._taken = 0

    @property
    def has_buffered(self) -> bool:
        """Tell whether there is something to read although the socket may be silent."""
        return self._taken < len(self._received)

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self.has_buffered:
            self._received, self._taken = super()._sock_recv(RECEIVE_BYTES), 0
        part = self._received[self._taken : self._taken + bufsize]
        self._taken += len(part)
        return part


class _Connection:
    """One paho client from CONNECT to its end; its methods run in the link's thread."""

    def __init__(self, client: _BufferedClient, queue: _Queue) -> None:
        self.client = client
        self.queue = queue
        self.ready = False
        self.refusal: str | None = None
        self.pending_subscriptions: set[int] = set()
        self.finish_by: float | None = None
        self.received = 0


class MqttLink:
    """One link to one broker: MQTT 3.1.1, clean session, reconnecting until stopped.

    ``will`` is asked for anew before each CONNECT. ``on_connected`` follows the SUBACKs,
    ``on_disconnected`` every connection that had got so far; these, ``on_message`` and
    ``on_published`` (token of a message whose publish completed) are called in the link's own
    thread and must return soon. A broker that is not there is waited for.
    """

    def __init__(
        self,
        *,
        url: str,
        client_id: str,
        on_connected: Callable[[], None],
        on_disconnected: Callable[[], None],
        on_message: Callable[[str, bytes], None],
        on_published: Callable[[int], None] | None = None,
        will: Callable[[], Message] | None = None,
        subscriptions: Sequence[tuple[str, int]] = (),
        username: str | None = None,
        password: str | None = None,
        tls: Tls | None = None,
        keepalive_s: int = KEEPALIVE_S,
        rng: random.Random | None = None,
    ) -> None:
        """Prepare the link; raise ValueError for a URL that names no broker."""
        self._broker = _Broker(url, tls)
        self._client_id = client_id
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._on_message = on_message
        self._on_published = on_published
        self._will = will
        self._subscriptions = list(subscriptions)
        self._username = username
        self._password = password
        self._keepalive_s = keepalive_s
        self._rng = rng or random.SystemRandom()
        self._connection: _Connection | None = None
        self._stopping = threading.Event()
        self._woken: socket.socket | None = None
        self._waker: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._lost_logged = False
        self._oversize_logged = False

    @property
    def connected(self) -> bool:
        """Tell whether messages can be published now."""
        connection = self._connection
        return connection is not None and connection.ready and connection.finish_by is None

    def start(self) -> None:
        """Begin to connect, in the link's own thread."""
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.settimeout(0)
        self._thread = threading.Thread(
            target=self._run, args=(self._woken,), name=f"mqtt-{self._client_id}", daemon=True
        )
        self._thread.start()

    def publish(self, message: Message) -> bool:
        """Hand a message over, from any thread; False when it cannot go out now.

        True promises nothing about its arrival.
        """
        connection = self._connection
        size = len(message.payload)
        if size > PAYLOAD_BYTES_MAX:
            self._log_oversize("not published", message.topic, size)
            return False
        if connection is None or not connection.ready or connection.finish_by is not None:
            return False
        return self._hand_over(connection, message)

    def reconnect(self, last: Sequence[Message] = ()) -> None:
        """Publish the last messages, disconnect in order and connect again; does not wait."""
        connection = self._connection
        if connection is not None and connection.finish_by is None:
            self._finish(connection, last)

    def stop(self, last: Sequence[Message] = ()) -> None:
        """Publish the last messages, disconnect in order and end; takes a few seconds at most."""
        self._stopping.set()
        connection = self._connection
        if connection is not None:
            self._finish(connection, last)
        self._wake()
        if self._thread is None:
            return
        self._thread.join(timeout=FLUSH_S + CONNECT_TIMEOUT_S * 2)
        for end in (self._woken, self._waker):
            if end is not None and not self._thread.is_alive():
                end.close()

    # In any thread ------------------------------------------------------------------------

    def _hand_over(self, connection: _Connection, message: Message) -> bool:
        size = len(message.payload)
        if not connection.queue.reserve(size):
            return False
        info = connection.client.publish(
            message.topic, message.payload, message.qos, message.retain
        )
        connection.queue.handed_over(info.mid, size, message.token)
        self._wake()
        return True

    def _finish(self, connection: _Connection, last: Sequence[Message]) -> None:
        if connection.ready:
            for message in last:
                self._hand_over(connection, message)
        connection.finish_by = time.monotonic() + FLUSH_S
        self._wake()

    def _wake(self) -> None:
        """Have the link's thread look for work; a full pipe wakes it just as well."""
        if self._waker is not None:
            with contextlib.suppress(BlockingIOError, OSError):
                self._waker.send(b"\0")

    # In the link's thread -----------------------------------------------------------------

    def _run(self, woken: socket.socket) -> None:
        failures = 0
        while not self._stopping.is_set():
            ready = False
            try:
                ready = self._connect_once(woken)
            except (OSError, ValueError) as error:
                self._log_lost(str(error) or type(error).__name__)
            except Exception:
                log.exception("the link to %s failed and starts over", self._broker.name)
            failures = 0 if ready else failures + 1
            pause_s = BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)]
            self._stopping.wait(pause_s * self._rng.uniform(0.5, 1.0))

    def _connect_once(self, woken: socket.socket) -> bool:
        """Live through one connection; tell whether it ever was ready to publish."""
        connection = self._new_connection()
        client = connection.client
        client.connect(self._broker.host, self._broker.port, keepalive=self._keepalive_s)
        self._connection = connection
        try:
            cause = self._serve(connection, woken)
        finally:
            self._connection = None
            was_ready, connection.ready = connection.ready, False
            if was_ready:
                self._on_disconnected()
            _close(client)
        if connection.finish_by is None:
            self._log_lost(connection.refusal or cause)
        return was_ready

    def _new_connection(self) -> _Connection:
        client = _BufferedClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=True,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        connection = _Connection(client, _Queue(self._on_published))
        context = self._broker.context()
        if context is not None:
            client.tls_set_context(context)
        if self._username is not None:
            client.username_pw_set(self._username, self._password)
        if self._will is not None:
            will = self._will()
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        self._set_callbacks(connection)
        return connection

    def _set_callbacks(self, connection: _Connection) -> None:
        """Tie paho's callbacks to this connection, so that none can speak for another."""
        client = connection.client

        def on_connect(
            _client: Client, _data: Any, _flags: ConnectFlags, code: ReasonCode, _p: Any
        ) -> None:
            if code.is_failure:
                connection.refusal = f"the broker refuses the connection: {code}"
                return
            self._subscribe(connection)

        def on_subscribe(
            _client: Client, _data: Any, mid: int, codes: list[ReasonCode], _p: Any
        ) -> None:
            if any(code.is_failure for code in codes):
                log.warning("%s refuses a subscription: %s", self._broker.name, codes)
            connection.pending_subscriptions.discard(mid)
            self._become_ready(connection)

        def on_message(_client: Client, _data: Any, message: MQTTMessage) -> None:
            connection.received += 1
            if len(message.payload) > PAYLOAD_BYTES_MAX:
                self._log_oversize("ignored", message.topic, len(message.payload))
                return
            self._on_message(message.topic, bytes(message.payload))

        def on_publish(
            _client: Client, _data: Any, mid: int, _code: ReasonCode, _p: Properties
        ) -> None:
            connection.queue.completed(mid)

        def on_disconnect(
            _client: Client, _data: Any, _flags: DisconnectFlags, code: ReasonCode, _p: Any
        ) -> None:
            connection.refusal = connection.refusal or f"connection lost ({code})"

        client.on_connect = on_connect
        client.on_subscribe = on_subscribe
        client.on_message = on_message
        client.on_publish = on_publish
        client.on_disconnect = on_disconnect
        client.on_socket_open = _prepare_socket
        # With this callback set, paho leaves all writing to the link's thread.
        client.on_socket_register_write = lambda _client, _data, _sock: self._wake()

    def _subscribe(self, connection: _Connection) -> None:
        for topic, qos in self._subscriptions:
            _, mid = connection.client.subscribe(topic, qos)
            if mid is not None:
                connection.pending_subscriptions.add(mid)
        self._become_ready(connection)

    def _become_ready(self, connection: _Connection) -> None:
        if connection.ready or connection.pending_subscriptions:
            return
        connection.ready = True
        self._lost_logged = False
        log.info("connected to %s", self._broker.name)
        self._on_connected()

    def _serve(self, connection: _Connection, woken: socket.socket) -> str:
        """Read and write until the connection ends; return why, if paho did not say."""
        client = connection.client
        ready_by = time.monotonic() + 2 * CONNECT_TIMEOUT_S
        with selectors.DefaultSelector() as selector:
            selector.register(woken, selectors.EVENT_READ)
            while (sock := client.socket()) is not None:
                self._turn(connection, selector, sock, woken)
                if client.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                    return "the broker does not answer"
                if not connection.ready and time.monotonic() > ready_by:
                    return "the broker does not answer the CONNECT"
                self._finish_when_flushed(connection)
        return "connection closed"

    def _turn(
        self,
        connection: _Connection,
        selector: selectors.BaseSelector,
        sock: Any,
        woken: socket.socket,
    ) -> None:
        """Wait for the socket or a wake-up, then read and write what can be."""
        client = connection.client
        events = selectors.EVENT_READ
        if client.want_write():
            events |= selectors.EVENT_WRITE
        selector.register(sock, events)
        try:
            buffered = client.has_buffered or (
                isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
            )
            timeout_s = 0.0 if buffered else 0.05 if connection.finish_by else TICK_S
            happened = {key.fileobj: mask for key, mask in selector.select(timeout_s)}
        finally:
            selector.unregister(sock)
        if woken in happened:
            with contextlib.suppress(BlockingIOError):
                woken.recv(4096)
        if buffered or happened.get(sock, 0) & selectors.EVENT_READ:
            self._read(connection)
        if client.socket() is not None and client.want_write():
            client.loop_write()

    def _read(self, connection: _Connection) -> None:
        """Read packets while there are messages: paho itself reads one per turn."""
        for _ in range(READS_PER_TURN):
            before = connection.received
            connection.client.loop_read()
            if connection.received == before or connection.client.socket() is None:
                return

    def _finish_when_flushed(self, connection: _Connection) -> None:
        finish_by = connection.finish_by
        if self._stopping.is_set() and finish_by is None:
            finish_by = connection.finish_by = time.monotonic()
        if finish_by is None:
            return
        if connection.queue.empty or time.monotonic() >= finish_by:
            connection.client.disconnect()

    # Said once ----------------------------------------------------------------------------

    def _log_lost(self, cause: str) -> None:
        if not self._lost_logged and not self._stopping.is_set():
            log.warning("no connection to %s: %s; trying again", self._broker.name, cause)
            self._lost_logged = True

    def _log_oversize(self, fate: str, topic: str, size: int) -> None:
        if not self._oversize_logged:
            log.error(
                "%s: a message of %d bytes on %r exceeds the limit of %d; said once",
                fate,
                size,
                topic,
                PAYLOAD_BYTES_MAX,
            )
            self._oversize_logged = True


def _prepare_socket(_client: Client, _data: Any, sock: Any) -> None:
    """Send small messages at once, and notice a dead peer where the platform can."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)


def _close(client: Client) -> None:
    """Close a socket that paho has left open, without any more words to the broker."""
    sock = client.socket()
    if sock is not None:
        sock.close()
