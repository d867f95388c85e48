"""The machine as a Modbus server, over TCP or on a serial line."""

from simulators.modbus_server.line import ModbusDevice, ModbusLine, Over
from simulators.modbus_server.registers import Register, encode, registers_of

__all__ = ["ModbusDevice", "ModbusLine", "Over", "Register", "encode", "registers_of"]
