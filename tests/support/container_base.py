"""Images for tests from nothing: a Debian with Python, made here and pushed to a local registry.

`mmdebstrap` takes the packages from wherever this machine takes its own, so nothing is named
here. Making it takes about half a minute, so it is kept in `.local/cache`, as an OCI layout.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

CACHE = ROOT / ".local" / "cache" / "base-images"
PACKAGES = "python3,ca-certificates,libexpat1"
SOURCES = Path("/etc/apt")
UNUSED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def base_layout() -> Path:
    """The folder of an OCI layout with the base image; made when it is not kept yet."""
    recipe = json.dumps([release(), platform.machine(), PACKAGES, UNUSED, mirrors()])
    CACHE.mkdir(parents=True, exist_ok=True)
    kept = CACHE / hashlib.sha256(recipe.encode()).hexdigest()[:16]
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            unfinished = kept.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _make(unfinished)
            unfinished.rename(kept)
    return kept


def extended(base: Path, folder: Path, files: Mapping[str, str], **settings: Any) -> Path:
    """A layout of the base with files on top and settings such as `Cmd` or `User`."""
    shutil.copytree(base, folder)
    manifest = _read_blob(folder, json.loads((folder / "index.json").read_text())["manifests"][0])
    config = _read_blob(folder, manifest["config"])
    layer = gzip.compress(_tar(files), 1, mtime=0)
    config["rootfs"]["diff_ids"].append(_digest(gzip.decompress(layer)))
    config["config"] |= settings
    _write_image(folder, config, [*manifest["layers"], _write_blob(folder, layer, LAYER)])
    return folder


def push(layout: Path, repository: str, tag: str = "latest") -> str:
    """Push a layout to a registry on loopback; the reference by digest."""
    copy = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false"]
    _run(*copy, f"oci:{layout}", f"docker://{repository}:{tag}")
    (manifest,) = json.loads((layout / "index.json").read_text())["manifests"]
    return f"{repository}@{manifest['digest']}"


def release() -> str:
    """The code name of this machine's Debian or Ubuntu."""
    pairs = (line.partition("=") for line in Path("/etc/os-release").read_text().splitlines())
    return next(value.strip('"') for key, _, value in pairs if key == "VERSION_CODENAME")


def mirrors() -> list[str]:
    """The package sources of this machine that are its distribution's own, as one-line entries."""
    code = release()
    lines = []
    for path in [SOURCES / "sources.list", *sorted((SOURCES / "sources.list.d").glob("*"))]:
        if path.suffix == ".sources":
            lines += list(_of_stanzas(path.read_text()))
        elif path.suffix == ".list" and path.exists():
            lines += [line for line in path.read_text().splitlines() if line.startswith("deb ")]
    return [line for line in lines if _suite(line).partition("-")[0] == code]


def _suite(line: str) -> str:
    """The suite of a one-line entry, behind its options and its address."""
    words = line.rpartition("]")[2].split() if "[" in line else line.split()[1:]
    return words[1]


def _of_stanzas(text: str) -> Iterable[str]:
    """Entries of a deb822 file as one line per suite."""
    for stanza in text.split("\n\n"):
        rows = (row for row in stanza.splitlines() if not row.startswith("#"))
        fields = {key.lower(): value.strip() for key, _, value in (r.partition(":") for r in rows)}
        if "deb" not in fields.get("types", "").split():
            continue
        signed = fields.get("signed-by", "")
        options = f"[signed-by={signed}] " if signed.startswith("/") else ""
        for uri in fields["uris"].split():
            for suite in fields["suites"].split():
                yield f"deb {options}{uri} {suite} {fields.get('components', '')}".strip()


def _make(folder: Path) -> None:
    (folder / "blobs" / "sha256").mkdir(parents=True)
    tree = folder / "tree.tar"
    _run(
        *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}"),
        *(f"--dpkgopt=path-exclude={each}" for each in UNUSED),
        *("--format=tar", release(), str(tree), *mirrors()),
        env={**os.environ, "SOURCE_DATE_EPOCH": "0"},
    )
    content = tree.read_bytes()
    tree.unlink()
    config = {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": ["/usr/bin/python3"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(content)]},
    }
    _write_image(folder, config, [_write_blob(folder, gzip.compress(content, 1, mtime=0), LAYER)])
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _write_image(folder: Path, config: Mapping[str, Any], layers: list[dict[str, Any]]) -> None:
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _write_blob(folder, json.dumps(config, sort_keys=True).encode(), CONFIG),
        "layers": layers,
    }
    entry = _write_blob(folder, json.dumps(manifest, sort_keys=True).encode(), MANIFEST)
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


def _write_blob(folder: Path, content: bytes, media_type: str) -> dict[str, Any]:
    digest = _digest(content)
    (folder / "blobs" / digest.replace(":", "/")).write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _read_blob(folder: Path, entry: Mapping[str, Any]) -> Any:
    return json.loads((folder / "blobs" / entry["digest"].replace(":", "/")).read_bytes())


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _tar(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, text in sorted(files.items()):
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.size, entry.mode = len(text.encode()), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def _run(*argv: str, env: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv[0]}: {done.stderr.strip()[-2000:]}"
