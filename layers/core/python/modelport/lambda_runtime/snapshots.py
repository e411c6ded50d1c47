"""SnapStart: what runs before a snapshot is taken, the wait for its restore, what runs after.

Hooks are registered with AWS's ``snapshot_restore_py``; without it there are none. Only for
functions that Lambda starts to be snapshotted.
"""

from __future__ import annotations

import sys

from modelport.lambda_runtime import faults
from modelport.lambda_runtime.api import RuntimeApi
from modelport.lambda_runtime.log_lines import LogLines

#: Exit statuses that Lambda knows.
_BEFORE, _AFTER = 64, 65


def snapshot(api: RuntimeApi, log: LogLines) -> None:
    """Return in a restored process, its hooks run; a hook that fails ends it."""
    try:
        _before()
        api.restore_next()
    except BaseException as error:
        report = _reported(error, log)
        api.init_error(faults.written(report), "Runtime.BeforeSnapshotError")
        sys.exit(_BEFORE)
    try:
        _after()
    except BaseException as error:
        report = _reported(error, log)
        api.restore_error(faults.written(report), "Runtime.AfterRestoreError")
        sys.exit(_AFTER)


def _before() -> None:
    try:
        from snapshot_restore_py import get_before_snapshot  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        return
    hooks = get_before_snapshot()
    while hooks:
        hook, arguments, named = hooks.pop()  # the last registered runs first
        hook(*arguments, **named)


def _after() -> None:
    try:
        from snapshot_restore_py import get_after_restore
    except ModuleNotFoundError:
        return
    for hook, arguments, named in get_after_restore():
        hook(*arguments, **named)


def _reported(error: BaseException, log: LogLines) -> faults.Report:
    report, _ = faults.told(error)
    log.fault(report, faults.lines(report))
    return report
