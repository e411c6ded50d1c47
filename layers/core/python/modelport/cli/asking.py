"""Ways to ask a version for an evaluation: as a process here, or through the API.

Both send tensors in binary, as Open Inference V2 has them, and so the model's own answers are
evaluated: a bundle's inference.py, which answers /invocations in its own words, is not asked.
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
from modelport.client.messages import infer_body, read_outputs
from modelport.envelope import Request
from modelport.errors import InvalidBundleError, InvalidSettingError, ModelTimeoutError
from modelport.evaluation.answers import Ask
from modelport.evaluation.errors import UnusableAnswerError
from modelport.grammar import Call, canonical_path
from modelport.manifest import Manifest
from modelport.raw_tensors import Array
from modelport.refs import ModelRef

#: Seconds to open a version here, and for one batch.
OPENING_S, BATCH_S = 300.0, 300.0


@contextmanager
def in_process(session: Session, manifest: Manifest, output: str) -> Iterator[Ask]:
    """Ask the version in a process of this machine, opened from its files in the registry."""
    sources = ImageWorks(session).sources
    ref = f"{manifest.model}:{manifest.version}"
    with tempfile.TemporaryDirectory(prefix="modelport-") as work:
        folder = Path(work) / "bundle"
        with session.output.transfers() as progress:
            write_bundle(session.registry, manifest, folder, progress)
        with VersionProcess(manifest, folder, sources, session.world.environ) as process:
            _check_opened(process, ref)
            yield _Asking(process, manifest, output)


class _Asking:
    """Asks a process."""

    def __init__(self, process: VersionProcess, manifest: Manifest, output: str) -> None:
        self._process, self._manifest, self._output = process, manifest, output
        call = Call("v2", "infer", manifest.model)
        self._path = canonical_path(call, manifest.version)

    def __call__(self, inputs: Mapping[str, Array]) -> Array:
        headers, body = infer_body(inputs, [self._output], {}, "")
        request = Request("POST", self._path, headers, body, "evaluate")
        model, version = self._manifest.model, self._manifest.version
        try:
            response = self._process.ask(request, BATCH_S)
        except TimeoutError:
            raise ModelTimeoutError(model, version, BATCH_S) from None
        if response is None:
            problem = f"its process ended with {self._process.ending()} instead of answering"
            raise UnusableAnswerError(f"{model}:{version}", problem)
        reply = Reply(response.status, response.headers, response.body)
        if not reply.ok:
            refused = error_of(reply)
            refused.hint = "a smaller --batch makes requests and answers smaller"
            raise refused
        return read_outputs(reply, f"{model}:{version}")[self._output]


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


@contextmanager
def through_endpoint(session: Session, manifest: Manifest, output: str) -> Iterator[Ask]:
    """Ask the version where it runs, through the API."""
    from modelport.client import Client, Retries

    if not session.endpoint:
        raise InvalidSettingError("MODELPORT_ENDPOINT", None, "nothing says where the API is")
    with session.world.http() as http:
        client = Client(
            session.endpoint, auth=signer(session), timeout=BATCH_S, retries=Retries(), http=http
        )
        model = client.model(ModelRef(manifest.model, version=manifest.version))

        def ask(inputs: Mapping[str, Array]) -> Array:
            return model.predict(dict(inputs), outputs=[output])[output]

        yield ask
