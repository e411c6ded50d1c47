"""The unpacked code of zip functions and their layers, one folder per digest.

Downloads what the emulator's Lambda API points to and unpacks it once. A folder is complete
or not there.
"""

import asyncio
import hashlib
import io
import os
import shutil
import urllib.request
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from lambda_host.function import Function


class Archives:
    """A folder of unpacked archives."""

    def __init__(
        self,
        folder: Path,
        code_url: Callable[[Function], str],
        layer_url: Callable[[str], str],
        endpoint: str,
    ) -> None:
        self._folder = folder
        self._code_url = code_url
        self._layer_url = layer_url
        self._endpoint = urlsplit(endpoint)
        self._lock = asyncio.Lock()

    async def unpack(self, function: Function) -> tuple[Path, tuple[Path, ...]]:
        """The folders of a function's code and of its layers."""
        async with self._lock:
            return await asyncio.to_thread(self._unpack, function)

    def _unpack(self, function: Function) -> tuple[Path, tuple[Path, ...]]:
        code_key = function.arn + function.code_digest
        code = self._place(code_key, partial(self._code_url, function))
        layers = (self._place(arn, partial(self._layer_url, arn)) for arn in function.layers)
        return code, tuple(layers)

    def _place(self, key: str, locate: Callable[[], str]) -> Path:
        target = self._folder / hashlib.sha256(key.encode()).hexdigest()[:32]
        if not target.exists():
            content = io.BytesIO(self._download(locate()))
            unfinished = target.with_name(f".{target.name}.{os.getpid()}")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            zipfile.ZipFile(content).extractall(unfinished)
            unfinished.rename(target)
        return target

    def _download(self, url: str) -> bytes:
        """Ask the emulator itself: the host name it gave out may not resolve here."""
        named = urlsplit(url)
        here = urlunsplit((self._endpoint.scheme, self._endpoint.netloc, *named[2:]))
        request = urllib.request.Request(here, headers={"Host": named.netloc})
        with urllib.request.urlopen(request, timeout=60) as answer:
            body: bytes = answer.read()
        return body
