"""Starts MiniStack with our resource types in its tables: run by path, as MiniStack's process.

By path, because the interpreter's module path must stay what MiniStack's own functions inherit.
It adds; it changes no behaviour of a type that MiniStack has.
"""

import asyncio
import sys
from pathlib import Path

import uvloop

# At the end: nothing of ours may stand before a package that MiniStack imports.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from engines.ministack_plugin.registration import register
from ministack.app import main  # type: ignore[import-untyped]

if __name__ == "__main__":
    register()
    # Everything of the local cloud waits for this process; its sockets cost it less this way.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    main()
