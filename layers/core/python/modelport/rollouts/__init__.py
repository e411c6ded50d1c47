"""Rollouts that decide for themselves: guards, evidence, and the steps a candidate takes.

Runs in the controller function and in the command line, never in a router or a model image.
"""
