"""Who can make this, when and where, and how it is held: calendars, states, figures, promises.

Everything here is free of HTTP and of SQL. Pure middles (`intervals`, `calendar_rules`, `axes`,
`buckets`, `kpis`) take plain values; the classes around them hold the store and the clock.
"""
