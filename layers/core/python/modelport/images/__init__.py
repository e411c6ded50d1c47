"""Container images of model versions, built and pushed without Docker.

From a base image, locked wheels, our own sources and a version's files to a deterministic image,
in a registry or an OCI layout folder. Never shipped to functions; it must not know AWS.
"""
