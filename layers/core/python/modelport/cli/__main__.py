"""``python -m modelport.cli``: the command where no console script is installed."""

from __future__ import annotations

from modelport.cli.app import main

main()
