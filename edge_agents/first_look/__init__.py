"""The first five minutes beside a machine: find it, look into it, write the first settings.

Everything here reads, politely, and sends nothing to anybody. What it finds is written the way
the settings want it, ready to be pasted.
"""
