"""What can go wrong with images, as branches of the one tree in `modelport.errors`.

They live here because no function ever raises them: images are built at a terminal.
"""

from __future__ import annotations

from modelport.errors import BackendError, InvalidInputError, NotFoundError


class RequirementError(InvalidInputError):
    """A line of requirements.txt that cannot become part of an image."""

    code = "requirement"

    def __init__(self, requirement: str, problem: str, hint: str = "") -> None:
        super().__init__(f"requirement {requirement}: {problem}", hint=hint)


class ImageTooLargeError(InvalidInputError):
    """An image over Lambda's limit or over the budget that was set for it."""

    code = "image-too-large"

    def __init__(self, size: int, limit: int, what: str) -> None:
        super().__init__(
            f"the image is {size:,} bytes unpacked, over {what} of {limit:,} bytes",
            hint="see what it is made of: modelport image show NAME:V",
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
