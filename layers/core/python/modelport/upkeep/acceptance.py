"""Whether a record that comes from elsewhere could have been published here.

Its digest says nothing of that: whoever makes a record up computes the digest, too.
"""

from __future__ import annotations

from datetime import datetime
from math import isfinite

from modelport.errors import IntegrityError, InvalidInputError
from modelport.evaluation.conditions import checked_baseline, checked_condition
from modelport.images.tar import check_path
from modelport.manifest import Manifest
from modelport.refs import check_name, check_version
from modelport.registry import keys
from modelport.registry.errors import InvalidArchiveError
from modelport.routes import STABLE


def check_manifest(manifest: Manifest) -> Manifest:
    """``manifest`` if all in it could have been published here; raises `InvalidArchiveError`."""
    content, what = manifest.content, "record of a version"
    try:
        check_name(manifest.model)
        check_version(manifest.version)
        datetime.fromisoformat(manifest.created)
        paths = [check_path(file.path) for file in manifest.files]
        for file in manifest.files:
            keys.blob(file.digest)
            if type(file.size) is not int or file.size < 0:
                raise ValueError(f"{file.path} of {file.size!r} bytes")
        if len(set(paths)) != len(paths):
            raise ValueError("a file twice")
        said = content.settings
        for path in (said.entry, said.labels, said.script, said.requirements):
            check_path("none" if path is None else path)
        if said.gates is not None:
            for condition in said.gates.require:
                checked_condition(condition)
            checked_baseline(said.gates.no_worse_than or STABLE)
        numbers = all(
            isinstance(value, (int, float)) and isfinite(value)
            for value in content.metrics.values()
        )
        if not (numbers and isinstance(content.description, str)):
            raise ValueError("its metrics or description")
        if not isinstance(manifest.lineage, dict):
            raise ValueError("its lineage")
    except (InvalidInputError, IntegrityError) as error:
        raise InvalidArchiveError(what, "one that could be published", error.message) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidArchiveError(what, "one that could be published", f"{error}") from None
    return manifest
