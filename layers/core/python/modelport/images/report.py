"""What an image is made of, by names a person knows: a layer, a package, a file of the bundle.

Figures only; how they are shown is the command line's business.
"""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from modelport.images.layer import Kind, Layer, Part
from modelport.images.trim import package_of

if TYPE_CHECKING:
    from modelport.images.image import Image

#: What lies where in a model image, and by which of its parts people know it.
_PACKAGES = ("opt/python/", "opt/user-python/")
_BUNDLE = "opt/model/"


@dataclass(frozen=True, slots=True)
class Row:
    """A layer: what it weighs packed and unpacked, and its parts, largest first."""

    kind: Kind
    digest: str
    size: int
    unpacked: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """An image by its layers; ``above_base`` is what is sent when the base is there already."""

    rows: tuple[Row, ...]
    size: int
    unpacked: int
    above_base: int


def report(image: Image) -> Report:
    """The figures of ``image``."""
    rows = tuple(
        Row(layer.kind, layer.digest, layer.size, layer.unpacked, layer.parts)
        for layer in image.layers
    )
    above_base = sum(row.size for row in rows if row.kind != "base")
    return Report(rows, image.size, image.unpacked, above_base)


def parts(files: Iterable[tuple[str, int]]) -> tuple[Part, ...]:
    """Paths in an image and their sizes, summed up by part, largest first."""
    sizes: Counter[str] = Counter()
    for path, size in files:
        sizes[_part_of(path)] += size
    ordered = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Part(name, size) for name, size in ordered)


def looked_into(layer: Layer) -> Layer:
    """``layer`` with its parts, as its file on this machine has them."""
    if layer.path is None:
        return layer
    with tarfile.open(layer.path) as archive:
        files = [(member.name, member.size) for member in archive if member.isreg()]
    return replace(layer, parts=parts(files))


def largest(layers: Sequence[Layer], count: int = 5) -> tuple[str, ...]:
    """The biggest parts of all layers, told in words."""
    named = [
        (part.bytes, f"{part.name} ({layer.kind} layer)")
        for layer in layers
        if layer.kind != "base"
        for part in layer.parts or (Part("the rest", layer.unpacked),)
    ]
    # Its files are not ours to make smaller: as a whole, another base may be.
    named.append((sum(each.unpacked for each in layers if each.kind == "base"), "base image"))
    return tuple(f"{name} {size:,} bytes" for size, name in sorted(named, reverse=True)[:count])


def _part_of(path: str) -> str:
    for prefix in _PACKAGES:
        if path.startswith(prefix):
            return package_of(path.removeprefix(prefix))
    if path.startswith(_BUNDLE):
        return path.removeprefix(_BUNDLE)
    return "/".join(path.split("/")[:4])
