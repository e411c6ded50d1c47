"""Looking after a registry: finding, comparing, moving, checking and removing versions.

Runs in the command line with an operator's rights, never in a function: what serves or registers
versions may neither list nor remove anything.
"""
