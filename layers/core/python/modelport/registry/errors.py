"""What can be wrong with looking after a registry, beyond what everybody meets."""

from __future__ import annotations

from modelport.errors import ConflictError, IntegrityError, InvalidInputError


class NotErasableError(ConflictError):
    """The store cannot remove one state of an object and be sure to leave a newer one alone."""

    code = "not-erasable"

    def __init__(self, bucket: str) -> None:
        super().__init__(
            f"bucket {bucket} is not versioned: what is removed there could be what somebody has"
            " just written",
            hint=f"aws s3api put-bucket-versioning --bucket {bucket}"
            " --versioning-configuration Status=Enabled",
        )


class InvalidNoteError(InvalidInputError):
    """A tag or description that cannot be kept."""

    code = "invalid-note"

    def __init__(self, what: str, allowed: str) -> None:
        super().__init__(f"{what} cannot be used; allowed: {allowed}")


class InvalidArchiveError(IntegrityError):
    """A file that is not a version as `modelport export version` writes one."""

    code = "invalid-archive"

    def __init__(self, what: str, expected: str, got: str) -> None:
        super().__init__(what, expected, got)
        self.hint = "export it again: modelport export version NAME:V FILE.modelport"


class InvalidFilterError(InvalidInputError):
    """Something to search for that cannot be searched for."""

    code = "invalid-filter"

    def __init__(self, what: str, allowed: str) -> None:
        super().__init__(f"{what} cannot be searched for; allowed: {allowed}")
