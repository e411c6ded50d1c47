"""Where everything lies in a registry: the only place that writes or reads a key's form.

Pure text. Numbers are zero-padded so that a listing is in numeric order.
"""

from __future__ import annotations

from modelport.errors import IntegrityError

MODELS = "models/"
BLOBS = "blobs/sha256/"
#: Which models may have a rollout under way.
ACTIVE_ROLLOUTS = "rollouts/active.json"
_DIGITS = 10
_PREFIX = "sha256:"


def blob(digest: str) -> str:
    """The key of a blob, from ``sha256:<64 hex digits>``."""
    hexdigest = _hex(digest)
    return f"{BLOBS}{hexdigest[:2]}/{hexdigest}"


def digest_of_blob(key: str) -> str | None:
    """The digest in the key of a blob; None for anything else that lies beside them."""
    hexdigest = key.rpartition("/")[2]
    lawful = len(hexdigest) == 64 and set(hexdigest) <= set("0123456789abcdef")
    return _PREFIX + hexdigest if lawful and blob(_PREFIX + hexdigest) == key else None


def routes(model: str) -> str:
    """The key of a model's one mutable document."""
    return f"{MODELS}{model}/routes.json"


def versions(model: str) -> str:
    """The folder of a model's manifests."""
    return f"{MODELS}{model}/versions/"


def manifest(model: str, version: int) -> str:
    """The key of one version's manifest."""
    return versions(model) + numbered(version)


def notes(model: str, version: int) -> str:
    """The key of what people note about one version."""
    return f"{MODELS}{model}/notes/{numbered(version)}"


def publications(model: str) -> str:
    """The folder of a model's publication records."""
    return f"{MODELS}{model}/publications/"


def publication(model: str, digest: str) -> str:
    """The key of the record that makes publishing one content happen once."""
    return f"{publications(model)}{_hex(digest)}.json"


def log(model: str) -> str:
    """The folder of a model's log."""
    return f"{MODELS}{model}/log/"


def log_entry(model: str, revision: int) -> str:
    """The key of the log entry of one change."""
    return log(model) + numbered(revision)


def evaluated(model: str) -> str:
    """The folder of the evaluation reports of all of a model's versions."""
    return f"{MODELS}{model}/evaluations/"


def evaluations(model: str, version: int) -> str:
    """The folder of a version's evaluation reports."""
    return f"{evaluated(model)}{version:0{_DIGITS}d}/"


def evaluation(model: str, version: int, report: str) -> str:
    """The key of one evaluation report, by its id."""
    return f"{evaluations(model, version)}{report}.json"


def numbered(number: int) -> str:
    """The file name of a manifest or log entry."""
    return f"{number:0{_DIGITS}d}.json"


def number_of(name: str) -> int | None:
    """The number in such a file name; None for anything else that lies beside them."""
    digits = name.removesuffix(".json")
    well_formed = name.endswith(".json") and len(digits) == _DIGITS
    return int(digits) if well_formed and digits.isascii() and digits.isdigit() else None


def _hex(digest: str) -> str:
    hexdigest = digest.removeprefix(_PREFIX)
    lawful = len(hexdigest) == 64 and set(hexdigest) <= set("0123456789abcdef")
    if not (digest.startswith(_PREFIX) and lawful):
        raise IntegrityError("digest", "sha256: and 64 hexadecimal digits", repr(digest))
    return hexdigest
