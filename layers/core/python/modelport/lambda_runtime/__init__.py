"""Lambda's Runtime API, spoken by ourselves: the loop around a handler, from init to its answers.

`loop` is the way through, `api` the calls it makes on one `connection`; everything else is for
what few requests need and is imported then. What a handler can tell from awslambdaric is what is
kept the same; what it costs is what differs. It must not know envelopes or models.
"""
