"""The transports of Modbus: how one question travels to a unit and its answer comes back.

The only door to pymodbus. What the library does well is used (framing, transaction ids, sockets).
Pacing, retrying, reconnecting and decoding are ours, so its own are switched off: it would drop
the connection of all units because one is silent, and convert registers one by one.

Only function codes 1 to 4 are ever sent: nothing is written to a machine.
"""

import logging
from typing import Final

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from edge_agents.drivers.decoder import GarbledError
from edge_agents.drivers.line import Disconnected, Refusal
from edge_agents.drivers.registers import Block, Table

_REQUESTS: Final[dict[Table, type[ModbusPDU]]] = {
    Table.COIL: ReadCoilsRequest,
    Table.DISCRETE: ReadDiscreteInputsRequest,
    Table.HOLDING: ReadHoldingRegistersRequest,
    Table.INPUT: ReadInputRegistersRequest,
}
_NEVER: Final = 2**62
BUFFER_BYTES_MAX: Final = 2_048
"""Room for late answers that arrive together with the one that is waited for."""


class _RawAnswer(ModbusPDU):
    """An answer left as bytes: our decoder reads them all at once."""

    data = b""

    def decode(self, data: bytes) -> None:
        """Keep what follows the byte count; a wrong count keeps nothing."""
        self.data = data[1:] if data and data[0] == len(data) - 1 else b""


class _RawCoils(_RawAnswer):
    function_code = 1


class _RawDiscretes(_RawAnswer):
    function_code = 2


class _RawHoldings(_RawAnswer):
    function_code = 3


class _RawInputs(_RawAnswer):
    function_code = 4


class _Framer(FramerSocket):
    """Frames that no one can read become an answer without data, instead of a closed socket."""

    def handleFrame(  # noqa: N802 (the library's name)
        self, data: bytes, exp_devid: int, exp_tid: int
    ) -> tuple[int, ModbusPDU | None]:
        """Return how many bytes were used, and the answer once it is complete."""
        try:
            return super().handleFrame(data, exp_devid, exp_tid)
        except ModbusException:
            return len(data), ModbusPDU(dev_id=exp_devid, transaction_id=exp_tid)


def raw_framer() -> FramerSocket:
    """Make a framer of Modbus TCP that leaves the data of answers as bytes and never raises."""
    decoder = DecodePDU(is_server=False)
    for answer in (_RawCoils, _RawDiscretes, _RawHoldings, _RawInputs):
        decoder.register(answer)
    return _Framer(decoder)


def understood(function_code: int, answer: ModbusPDU) -> bytes | Refusal:
    """Return the data or the refusal in an answer; raise GarbledError if it is neither."""
    if answer.function_code == function_code | 0x80:
        return Refusal(answer.exception_code)
    if answer.function_code != function_code or not isinstance(answer, _RawAnswer):
        raise GarbledError("the answer belongs to another question")
    return answer.data


class TcpTransport:
    """Modbus TCP; a fresh client for each connection, so that nothing is left of the last one."""

    def __init__(self, host: str, port: int) -> None:
        self.name = f"modbus {host}:{port}"
        self._host = host
        self._port = port
        self._client: AsyncModbusTcpClient | None = None
        self._asking = False
        # Every time-out would be an error in the library's log; a line says it once per loss.
        logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as this end knows."""
        return self._client is not None and self._client.connected

    async def connect(self, timeout_s: float) -> None:
        """Open a new connection; raise Disconnected if there is none within the time."""
        self.close()
        client = AsyncModbusTcpClient(
            self._host,
            port=self._port,
            timeout=timeout_s,
            retries=0,
            reconnect_delay=0,
            trace_connect=self._on_connect,
        )
        client.set_max_no_responses(_NEVER)
        client.ctx.framer = raw_framer()
        client.ctx.max_buffer_size = BUFFER_BYTES_MAX
        self._client = client
        if not await client.connect():
            self.close()
            raise Disconnected(f"no connection to {self._host}:{self._port}")

    async def read(self, device_id: int, block: Block, timeout_s: float) -> bytes | Refusal:
        """Ask a unit once; return the bytes of its answer, or its refusal.

        Raises TimeoutError without an answer, Disconnected, or GarbledError.
        """
        client = self._client
        if client is None or not client.connected:
            raise Disconnected("the connection was closed")
        request = _REQUESTS[block.table](dev_id=device_id, address=block.address, count=block.count)
        client.ctx.comm_params.timeout_connect = timeout_s
        self._asking = True
        try:
            answer = await client.execute(no_response_expected=False, request=request)
        except ModbusException as error:
            if isinstance(error, ConnectionException) or not client.connected:
                raise Disconnected("the machine closed the connection") from error
            raise TimeoutError from error
        finally:
            self._asking = False
        return understood(request.function_code, answer)

    def close(self) -> None:
        """End the connection; safe at any time."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _on_connect(self, connected: bool) -> None:
        """Let a question that is on its way fail at once when its connection ends."""
        if connected or not self._asking or self._client is None:
            return
        waiting = self._client.ctx.response_future
        if not waiting.done():
            waiting.set_exception(ConnectionException("closed"))
