"""The registrar: the custom resource that verifies a deployed version and registers it."""
