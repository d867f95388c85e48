"""Device profiles: what is known of a maker's equipment, so that a person writes only the address.

One YAML file per device, named as `profile:` names it. It holds what a machine's stanza would hold
(kind, maker, model, the manner of the conversation, signals, maybe state rules), the document it
was written from, and what must be set on the device. Each has a register dump and the values that
the dump must give in ``tests/edge_agents/profiles``.
"""

from edge_agents.profiles.library import Profile, fill_in, profiles, read_profile

__all__ = ["Profile", "fill_in", "profiles", "read_profile"]
