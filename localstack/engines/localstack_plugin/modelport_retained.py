"""Keeps what a template says to keep, in LocalStack core.

Its engine knows the deletion policy ``Retain`` alone, and deletes under ``RetainExceptOnCreate``
too, even after an update that failed: the published version that callers are still sent to. It
never takes back a creation, so the two mean the same here. Runs inside LocalStack.
"""

from localstack.runtime import hooks
from localstack.services.cloudformation.engine.v2 import change_set_model_executor as engine


class _Kept(str):
    """Equals every policy under which a resource outlives its place in the template."""

    def __eq__(self, other: object) -> bool:
        return other in ("Retain", "RetainExceptOnCreate")

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


class DeletionPolicy:
    """What the engine compares a resource's policy with."""

    Retain = _Kept("Retain")


@hooks.on_infra_start()
def keep_what_is_retained() -> None:
    """Have the engine compare with ours."""
    engine.DeletionPolicy = DeletionPolicy
