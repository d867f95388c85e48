"""Holding capacity: all or nothing, with an end in sight, and never twice."""
