"""Stand-ins for hardware: machine physics behind real Modbus TCP and OPC UA servers.

This room imports nothing of the project, so that a mistake shared by both ends cannot hide.
"""
