"""Every deployable program: one folder each, none of which imports another."""
