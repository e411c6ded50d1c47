"""What ``modelport deploy`` does about images: see that a version has one, and pin it by digest.

The entry it is given is not written here; that is the deploy's business.
"""

from __future__ import annotations

import json

from modelport.cli.console import size
from modelport.cli.failures import InvalidUsageError
from modelport.cli.image_report import fetched
from modelport.cli.image_works import DEFAULT_PLATFORM, ImageWorks
from modelport.cli.session import Session
from modelport.deployments import DeploymentEntry
from modelport.images.build import Accelerator
from modelport.images.distribution import INDEXES, platforms_of
from modelport.images.errors import ImageNotFoundError, ImageRegistryError
from modelport.images.reference import Reference
from modelport.manifest import Manifest


def with_image(
    session: Session,
    manifest: Manifest,
    before: DeploymentEntry | None,
    entry: DeploymentEntry,
    *,
    given: bool,
) -> DeploymentEntry:
    """The entry with an image that its registry has: the pinned one, else one built and pushed now.

    ``given`` says that a person named this image: it is never replaced. Where ``environment.image``
    stands, images are of no interest to the cloud, nor are they here.
    """
    if session.deployments.environment.image is not None:
        return entry
    works = ImageWorks(session)
    if entry.image is not None:
        if not given and before is not None and _accelerator(before) != _accelerator(entry):
            session.output.note(
                f"the image of {entry.model}:{entry.version} was for {_accelerator(before)}:"
                f" building one for {_accelerator(entry)}; --image {entry.image} would keep it"
            )
        elif _usable(session, works, entry.image, given=given):
            return entry
    return entry.model_copy(update={"image": _built(session, works, manifest, entry)})


def _usable(session: Session, works: ImageWorks, image: str, *, given: bool) -> bool:
    """Whether the version can run from the image, as far as can be told from here."""
    try:
        if works.is_there(image):
            if given:
                _check_platform(works, image)
            return True
    except ImageRegistryError as error:
        # Whether we may look there says nothing about whether the cloud may.
        session.output.note(f"not asked for the image: {error.message}", style="yellow")
        return True
    if given:
        raise ImageNotFoundError(image, "leave out --image to have it built")
    session.output.note(f"{image} is gone from its registry: building it again")
    return False


def _check_platform(works: ImageWorks, image: str) -> None:
    """Refuse what a person named and the cloud could not start; only a start would tell it."""
    reference = Reference.parse(image)
    with works.open(reference) as repository:
        media_type, body, _ = repository.manifest(reference.which)
        described = json.loads(body)
        if media_type in INDEXES:
            one = platforms_of(described).get(DEFAULT_PLATFORM)
            hint = f"name the one for {DEFAULT_PLATFORM}: {reference.at(one)}" if one else ""
            raise InvalidUsageError(f"{image} is a list of images for several platforms", hint=hint)
        if "config" not in described:
            return  # what the cloud makes of it, the cloud shall say
        told = json.loads(fetched(repository, described["config"], works.workspace).read_bytes())
    platform = f"{told.get('os', 'linux')}/{told.get('architecture', 'unknown')}"
    if platform != DEFAULT_PLATFORM:
        raise InvalidUsageError(
            f"{image} is for {platform}, and versions run on {DEFAULT_PLATFORM}",
            hint="leave out --image to have it built",
        )


def _built(session: Session, works: ImageWorks, manifest: Manifest, entry: DeploymentEntry) -> str:
    """The image, built and pushed, without a tag: what a digest names, no later push can move."""
    accelerator = _accelerator(entry)
    works.base_reference(accelerator=accelerator)
    target = works.target()
    with session.output.transfers() as progress:
        image, base = works.build(
            manifest, DEFAULT_PLATFORM, accelerator=accelerator, progress=progress
        )
        pushed, sent = works.push(image, base, target.repository, progress)
    session.output.note(f"image {pushed}: {size(sent)} sent")
    return str(pushed)


def _accelerator(entry: DeploymentEntry) -> Accelerator:
    return "cuda" if entry.target == "sagemaker" and entry.sagemaker.gpu else "cpu"
