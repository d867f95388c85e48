"""The machine as a Modbus TCP server."""

from simulators.modbus_server.line import ModbusDevice, ModbusLine
from simulators.modbus_server.registers import Register, encode, registers_of

__all__ = ["ModbusDevice", "ModbusLine", "Register", "encode", "registers_of"]
