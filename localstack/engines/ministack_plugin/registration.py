"""Puts our resource types into the tables from which MiniStack's CloudFormation works.

MiniStack has no plugin interface; these tables are where its own types stand. What is needed
of it is named here and checked at the start, so that a version without it is refused with words
and does not fail in the middle of a deploy.
"""

import ministack.services.cloudformation.provisioners as provisioners  # type: ignore[import-untyped]
import ministack.services.cloudformation.stacks as stacks  # type: ignore[import-untyped]
from engines.resource_types import sagemaker_types, scaling_types

TYPES = {**sagemaker_types.TYPES, **scaling_types.TYPES}
TABLES = (
    "_RESOURCE_HANDLERS",
    "_REPLACING_PROPERTIES",
    "_CUSTOM_NAME_REPLACEMENT",
    "_STACK_TAG_PROPERTY",
)
BLOCKING = "_runs_on_worker_thread"


def register() -> None:
    """Add every type; ends the process when this MiniStack has not what is needed."""
    missing = [name for name in TABLES if not isinstance(getattr(provisioners, name, None), dict)]
    missing += [BLOCKING] * (not callable(getattr(stacks, BLOCKING, None)))
    if missing:
        raise SystemExit(f"this MiniStack has no {', '.join(missing)}: install the locked version")
    for name, each in TYPES.items():
        provisioners._RESOURCE_HANDLERS[name] = each.operations
        provisioners._REPLACING_PROPERTIES[name] = each.replacing
        if each.name_property:
            provisioners._CUSTOM_NAME_REPLACEMENT[name] = {"name": each.name_property}
        if each.tagged:
            provisioners._STACK_TAG_PROPERTY[name] = ("Tags", "list")
    _let_block()


def _let_block() -> None:
    """Let our types wait for an endpoint, which itself asks MiniStack for its files meanwhile.

    Which types run on a thread of their own is a function in MiniStack, not a table: this one
    asks it first and adds ours.
    """
    known = stacks._runs_on_worker_thread

    def runs_on_worker_thread(resource_type: str) -> bool:
        return resource_type in TYPES or bool(known(resource_type))

    stacks._runs_on_worker_thread = runs_on_worker_thread
