"""Stand-ins for hardware: machine physics behind real Modbus TCP and OPC UA servers.

From left to right: a machine's life, what can go wrong with its link, the servers that show it,
the port to order faults, a whole region, and the demo that runs everything. This room imports
nothing of the project, so that a mistake shared by both ends cannot hide.
"""
