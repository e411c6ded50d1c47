"""Where images are made and kept, as one command sees it: bases, the workspace, repositories.

Joins the settings (options, deployments.toml, the platform) with `modelport.images`; what a command
then does with an image is the command's business.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import modelport
from modelport.cli.failures import InvalidUsageError
from modelport.cli.image_report import fetched
from modelport.cli.session import Session
from modelport.errors import InvalidSettingError
from modelport.images.auth import Credentials, Login, first_of
from modelport.images.base import Base
from modelport.images.base import read as read_base
from modelport.images.build import LIMIT, Accelerator, build
from modelport.images.distribution import INDEXES, Repository, platforms_of
from modelport.images.docker_config import DockerConfig
from modelport.images.errors import BaseImageError, ImageNotFoundError
from modelport.images.image import Image
from modelport.images.push import push
from modelport.images.reference import Reference
from modelport.images.sources import RUNTIME
from modelport.manifest import Manifest
from modelport.registry import Progress

Platform = Literal["linux/amd64", "linux/arm64"]
#: What deployed versions run on.
DEFAULT_PLATFORM: Platform = "linux/amd64"
#: The output of the platform's stack that names its repository.
REPOSITORY_OUTPUT = "ImageRepositoryUri"
#: A base that is known to work, for hints.
GOOD_BASE = "public.ecr.aws/lambda/python:3.12"
#: The setting of the environment that names the base for each kind of image.
BASE_SETTINGS: Mapping[Accelerator, Literal["base_image", "cuda_base_image"]] = {
    "cpu": "base_image",
    "cuda": "cuda_base_image",
}
_BASE_HINTS: Mapping[Accelerator, str] = {
    "cpu": f"modelport image base {GOOD_BASE} (any image with glibc, Python 3.11 or newer)",
    "cuda": "modelport image base REF --accelerator cuda (any image with CUDA 13, cuDNN 9, glibc,"
    " Python 3.11 or newer)",
}


class NoBaseError(InvalidSettingError):
    """Nothing says what images are built on."""

    code = "no-base-image"

    def __init__(self, path: Path, accelerator: Accelerator) -> None:
        problem = f"{path.name} does not say what to build on"
        super().__init__(BASE_SETTINGS[accelerator], None, problem)
        self.hint = _BASE_HINTS[accelerator]


class NoRepositoryError(InvalidSettingError):
    """Nothing says where images go."""

    code = "no-image-repository"

    def __init__(self, path: Path) -> None:
        problem = f"neither {path.name} nor the platform says where images go"
        super().__init__("image_repository", None, problem)
        self.hint = (
            "deploy the platform again, or write environment.image_repository = 'HOST/NAME';"
            " modelport build also takes --to and --layout"
        )


class ImageWorks:
    """Builds, pushes and looks at images in the name of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    # --- settings ---------------------------------------------------------------------------------

    @cached_property
    def workspace(self) -> Path:
        """Where layers and bases are kept between builds: MODELPORT_CACHE, else the user's."""
        environ = self._session.world.environ
        if named := environ.get("MODELPORT_CACHE"):
            return self._session.world.folder / named / "images"
        usual = environ.get("XDG_CACHE_HOME") or f"{environ.get('HOME') or '.'}/.cache"
        return self._session.world.folder / usual / "modelport" / "images"

    @cached_property
    def sources(self) -> Path:
        """The checkout whose runtime goes into images: around here, else this very package's."""
        starts = (self._session.world.folder, self._session.deployments_path.parent)
        package = Path(modelport.__file__).resolve().parents[4]
        for start in (*(path.resolve() for path in starts), package):
            for folder in (start, *start.parents):
                if all((folder / name).exists() for name in RUNTIME):
                    return folder
        raise InvalidUsageError(
            "there is no checkout of modelport here to take the runtime from",
            hint="run the command in a checkout of modelport",
        )

    def target(self, named: str | None = None) -> Reference:
        """Where images go: as named, else the environment's repository, else the platform's."""
        found = (
            named
            or self._session.deployments.environment.image_repository
            or self._session.platform_output(REPOSITORY_OUTPUT)
        )
        if not found:
            raise NoRepositoryError(self._session.deployments_path)
        reference = Reference.parse(found)
        if reference.digest:
            raise InvalidUsageError(
                f"{found!r} names an image, not a repository", hint="leave out @sha256:…"
            )
        return reference

    def base_reference(
        self, named: str | None = None, accelerator: Accelerator = "cpu"
    ) -> Reference:
        """What to build on, by digest: as named, else as the environment says."""
        setting = BASE_SETTINGS[accelerator]
        found = named or getattr(self._session.deployments.environment, setting)
        if not found:
            raise NoBaseError(self._session.deployments_path, accelerator)
        reference = Reference.parse(found)
        if reference.digest:
            return reference
        with self.open(reference) as repository, _choosing(reference):
            _, _, digest = repository.manifest(reference.which)
        self._session.output.note(f"{reference} is {digest} today; building on that")
        return reference.at(digest)

    # --- registries -------------------------------------------------------------------------------

    def open(self, reference: Reference) -> Repository:
        """The repository of a reference, with the login this machine has for it."""

        def wait(seconds: float) -> None:
            self._session.output.note(
                f"waiting for {reference.registry}, next try in {seconds:.1f} s", style="yellow"
            )
            time.sleep(seconds)

        return Repository(reference, self._credentials, sleep=wait)

    @cached_property
    def _credentials(self) -> Credentials:
        world = self._session.world

        def from_aws(registry: str) -> Login | None:
            login = world.container_login(registry)
            return Login(*login) if login else None

        return first_of(from_aws, DockerConfig.usual(world.environ))

    def is_there(self, image: str) -> bool:
        """Whether a registry has an image."""
        reference = Reference.parse(image)
        with self.open(reference) as repository:
            return repository.has_manifest(reference.which)

    def read_base(self, reference: Reference, platform: str, progress: Progress) -> Base:
        """A base named by digest, found fit to build on; what was read is kept for builds."""
        with self.open(reference) as repository, _choosing(reference):
            return read_base(
                repository,
                reference,
                "arm64" if platform == "linux/arm64" else "amd64",
                self.workspace,
                named(progress, "base"),
            )

    def choose_base(
        self, reference: Reference, progress: Progress
    ) -> tuple[Reference, dict[str, str]]:
        """A base by its digest today, found fit, and the digests of its platforms, if several."""
        with self.open(reference) as repository, _choosing(reference):
            media_type, body, digest = repository.manifest(reference.which)
            document = json.loads(body)
            if media_type in INDEXES:
                platforms = platforms_of(document)
                possible = [each for each in get_args(Platform) if each in platforms]
            else:
                platforms = {}
                config = document.get("config")
                told = config and fetched(repository, config, self.workspace).read_bytes()
                possible = [f"linux/{json.loads(told or b'{}').get('architecture')}"]
        chosen = reference.at(digest)
        if not possible:
            listed = ", ".join(sorted(platforms)) or "none"
            raise BaseImageError(str(chosen), f"is made for: {listed}", f"such as {GOOD_BASE}")
        self.read_base(chosen, possible[0], progress)
        return chosen, platforms

    # --- images -----------------------------------------------------------------------------------

    def build(
        self,
        manifest: Manifest,
        platform: str,
        *,
        base: str | None = None,
        accelerator: Accelerator = "cpu",
        budget: int = LIMIT,
        progress: Progress,
    ) -> tuple[Image, Base]:
        """The image of a version, and the base it stands on."""
        reference = self.base_reference(base, accelerator)
        found = self.read_base(reference, platform, progress)
        image = build(
            manifest,
            self._session.registry.read,
            found,
            self.sources,
            self.workspace,
            accelerator=accelerator,
            budget=budget,
            progress=progress,
        )
        for note in image.notes:
            self._session.output.note(note, style="yellow")
        return image, found

    def push(
        self, image: Image, base: Base, target: Reference, progress: Progress
    ) -> tuple[Reference, int]:
        """Have an image in a repository: its reference by digest, and the bytes that took."""
        with self.open(target) as repository, self.open(base.reference) as source:
            done = push(
                image,
                repository,
                tag=target.tag,
                base=source,
                cache=self.workspace / "blobs",
                progress=progress,
            )
            return done, repository.sent


@contextmanager
def _choosing(reference: Reference) -> Iterator[None]:
    """Say how another base is chosen where this one is not there."""
    try:
        yield
    except ImageNotFoundError as error:
        if not error.hint:
            place = f"{reference.registry}/{reference.name}"
            error.hint = (
                f"name one that is there: modelport image base {place}:TAG, such as {GOOD_BASE}"
            )
        raise


def named(progress: Progress, kind: str) -> Progress:
    """The same progress with names people can read in the place of digests."""

    def told(what: str, done: int, total: int) -> None:
        progress(f"{kind} {what[7:15]}" if what.startswith("sha256:") else what, done, total)

    return told
