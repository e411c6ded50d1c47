"""The worker: what the router hands on without waiting, done message by message."""
