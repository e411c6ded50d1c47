"""The test tiers: unit, contract, infra, local, bench. Folder = tier."""
