"""The names that Machikoba and Sparkplug reserve for metrics and their properties.

A signal set up by a user may not begin with `RESERVED`. What each metric means is written in the
wire contract.
"""

from typing import Final

RESERVED: Final = "Machikoba/"

BDSEQ: Final = "bdSeq"
REBIRTH: Final = "Node Control/Rebirth"

PROTOCOL: Final = "Machikoba/Protocol"
PROTOCOL_NUMBER: Final = 1
VERSION: Final = "Machikoba/Version"
EPOCH: Final = "Machikoba/Epoch"
FIRST: Final = "Machikoba/First"
NEXT: Final = "Machikoba/Next"

ACK_HOST: Final = "Machikoba/Ack/Host"
ACK_SESSION: Final = "Machikoba/Ack/Session"
ACK_EPOCH: Final = "Machikoba/Ack/Epoch"
ACK_OFFSET: Final = "Machikoba/Ack/Offset"
ACK_RANGES: Final = "Machikoba/Ack/Ranges"

ENTRY: Final = "Machikoba/Entry"
MACHINE: Final = "Machikoba/Machine"
STATE: Final = "Machikoba/State"
STATE_REASON: Final = "Machikoba/State/Reason"
STATE_EVIDENCE: Final = "Machikoba/State/Evidence"
LINK: Final = "Machikoba/Link"
READ_AT: Final = "Machikoba/Read At"
MAX_AGE: Final = "Machikoba/Max Age"
CLOCK: Final = "Machikoba/Clock"
DROPPED: Final = "Machikoba/Dropped"
DROPPED_CAUSE: Final = "Machikoba/Dropped/Cause"

# Properties of metrics.
QUALITY: Final = "Quality"
QUALITY_REASON: Final = "Machikoba/Quality"
UNIT: Final = "engUnit"
COUNTS: Final = "Machikoba/Counts"
RETIRED: Final = "Machikoba/Retired"
