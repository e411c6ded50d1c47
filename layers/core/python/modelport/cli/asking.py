"""Ways to ask a version for an evaluation: as a process here, or through the API.

What is said is `modelport.evaluation.spoken`'s business, who says it back is decided here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from modelport.cli.calling import signer
from modelport.cli.export import write_bundle
from modelport.cli.image_works import ImageWorks
from modelport.cli.session import Session
from modelport.cli.version_process import VersionProcess
from modelport.client.conversation import Reply, error_of
from modelport.envelope import Request
from modelport.errors import InvalidBundleError, InvalidSettingError, ModelTimeoutError
from modelport.evaluation.answers import Ask
from modelport.evaluation.errors import UnusableAnswerError
from modelport.evaluation.spoken import Spoken
from modelport.grammar import Call, canonical_path
from modelport.manifest import Manifest
from modelport.raw_tensors import Array

#: Seconds to open a version here, and for one batch.
OPENING_S, BATCH_S = 300.0, 300.0


@contextmanager
def in_process(session: Session, manifest: Manifest, spoken: Spoken) -> Iterator[Ask]:
    """Ask the version in a process of this machine, opened from its files in the registry."""
    sources = ImageWorks(session).sources
    ref = f"{manifest.model}:{manifest.version}"
    with tempfile.TemporaryDirectory(prefix="modelport-") as work:
        folder = Path(work) / "bundle"
        with session.output.transfers() as progress:
            write_bundle(session.registry, manifest, folder, progress)
        with VersionProcess(manifest, folder, sources, session.world.environ) as process:
            _check_opened(process, ref)
            yield _Asking(process, manifest, spoken)


class _Asking:
    """Asks a process."""

    def __init__(self, process: VersionProcess, manifest: Manifest, spoken: Spoken) -> None:
        self._process, self._manifest, self._spoken = process, manifest, spoken
        self._path = _path(manifest, spoken)

    def __call__(self, inputs: Mapping[str, Array]) -> Array:
        headers, body = self._spoken.request(inputs)
        request = Request("POST", self._path, headers, body, "evaluate")
        model, version = self._manifest.model, self._manifest.version
        ref = f"{model}:{version}"
        try:
            response = self._process.ask(request, BATCH_S)
        except TimeoutError:
            raise ModelTimeoutError(model, version, BATCH_S) from None
        if response is None:
            problem = f"its process ended with {self._process.ending()} instead of answering"
            raise UnusableAnswerError(ref, problem)
        reply = Reply(response.status, response.headers, response.body)
        if not reply.ok:
            refused = error_of(reply)
            refused.hint = "a smaller --batch makes requests and answers smaller"
            raise refused
        return self._spoken.answer(reply, ref)


@contextmanager
def through_endpoint(session: Session, manifest: Manifest, spoken: Spoken) -> Iterator[Ask]:
    """Ask the version where it runs, through the API."""
    from modelport.client import Client, Retries

    if not session.endpoint:
        raise InvalidSettingError("MODELPORT_ENDPOINT", None, "nothing says where the API is")
    path, ref = _path(manifest, spoken), f"{manifest.model}:{manifest.version}"
    with session.world.http() as http:
        client = Client(
            session.endpoint, auth=signer(session), timeout=BATCH_S, retries=Retries(), http=http
        )

        def ask(inputs: Mapping[str, Array]) -> Array:
            headers, body = spoken.request(inputs)
            return spoken.answer(client.post(path, body, headers), ref)

        yield ask


def _path(manifest: Manifest, spoken: Spoken) -> str:
    call = Call(spoken.protocol, spoken.verb, manifest.model)
    return canonical_path(call, manifest.version)


def _check_opened(process: VersionProcess, ref: str) -> None:
    try:
        said = process.opened(OPENING_S)
    except TimeoutError:
        raise InvalidBundleError(ref, f"it was not open after {OPENING_S:g} s") from None
    if said is None:
        raise InvalidBundleError(ref, f"opening it ended the process with {process.ending()}")
    if "missing" in said:
        raise InvalidSettingError("runtime", said["missing"], "pip install 'modelport[runtime]'")
    if "problem" in said:
        hint = "--through endpoint asks it where it runs" if said["script_lacks"] else ""
        raise InvalidBundleError(ref, said["problem"], hint)
