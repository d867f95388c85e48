"""The words and the wire: everything that both ends must agree on.

Here live the domain model, the Sparkplug B codec, the journal (a durable queue), the delivery
protocol, the only door to the MQTT client, settings, logging and the command-line entry.
This room imports nothing else of the project.
"""
