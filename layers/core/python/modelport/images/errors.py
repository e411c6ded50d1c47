"""What can go wrong with images, as branches of the one tree in `modelport.errors`.

They live here because no function ever raises them: images are built at a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable

from modelport.errors import BackendError, InvalidInputError, NotFoundError


class RequirementError(InvalidInputError):
    """A line of requirements.txt that cannot become part of an image."""

    code = "requirement"

    def __init__(self, requirement: str, problem: str, hint: str = "") -> None:
        super().__init__(f"requirement {requirement}: {problem}", hint=hint)


class ImageTooLargeError(InvalidInputError):
    """An image over Lambda's limit or over the budget that was set for it."""

    code = "image-too-large"

    def __init__(
        self, size: int, limit: int, what: str, image: str, largest: Iterable[str] = ()
    ) -> None:
        parts = ", ".join(largest)
        super().__init__(
            f"the image is {size:,} bytes unpacked, over {what} of {limit:,} bytes"
            + (f"; its largest parts: {parts}" if parts else ""),
            hint=f"see what it is made of: modelport image show {image}",
        )


class UnsafePathError(InvalidInputError):
    """A path that must not become part of an image: it could leave it, or means something else."""

    code = "unsafe-path"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(
            f"path {path!r} cannot go into an image: it {problem}",
            hint="publish the bundle again with plain relative file names",
        )


class BaseImageError(InvalidInputError):
    """A base image that a model image cannot be built on."""

    code = "base-image"

    def __init__(self, reference: str, problem: str, hint: str = "") -> None:
        super().__init__(f"base image {reference}: {problem}", hint=hint)


class InterpreterError(InvalidInputError):
    """The Python that must compile the image's bytecode is not on this machine."""

    code = "interpreter"

    def __init__(self, python: str) -> None:
        super().__init__(
            f"no Python {python} here to compile the image's bytecode with",
            hint=f"uv python install {python}, or choose a base image with another Python",
        )


class ImageNotFoundError(NotFoundError):
    """An image, or a part of it, is not in its registry."""

    code = "image-not-found"

    def __init__(self, reference: str, hint: str = "") -> None:
        super().__init__(f"image {reference} is not in its registry", hint=hint)


class ImageRegistryError(BackendError):
    """A container registry cannot be reached, refuses us, is full, or answers nonsense."""

    code = "image-registry"

    def __init__(self, registry: str, problem: str, hint: str = "") -> None:
        super().__init__(f"image registry {registry}: {problem}", hint=hint)
