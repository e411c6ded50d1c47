"""Calls that outlive their connection, and bodies that no event carries: jobs, uploads, answers.

A job is one document in the payloads bucket, changed only on condition, and one message in a queue
that says nothing but its id. So whoever dies, the message comes again and the document says how far
it got. Shared by router, worker and command line; no model image carries it.
"""
