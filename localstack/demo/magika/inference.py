"""magika's own steps around its network: a file's bytes in, what kind of file it is out.

Copied into every magika bundle. Follows the `magika` package (features v2, high-confidence mode);
all numbers and names come from ``magika.json`` beside the model. It uses the model that the
runtime has opened already and must not open one of its own.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np


@cache
def config(directory: Path) -> dict[str, Any]:
    """Sizes, thresholds, labels and content types, as the bundle was made with."""
    loaded: dict[str, Any] = json.loads((directory / "magika.json").read_text(encoding="utf-8"))
    return loaded


def input_fn(data: bytes | str, content_type: str) -> bytes:
    """The file as it is; what the caller thinks it is does not matter here."""
    # A body that says it is text comes decoded, as SageMaker's own servers do it.
    return data.encode() if isinstance(data, str) else data


def predict_fn(data: bytes, model: Any) -> dict[str, Any]:
    """What kind of file ``data`` is."""
    told = config(Path(model.directory))
    label = label_without_model(data, told)
    if label is not None:
        return answer(told, label, "undefined", 1.0, "none")
    scores = model.run({"bytes": features(data, told)})["target_label"][0]
    best = int(np.argmax(scores))
    return judged(told, told["labels"][best], float(scores[best]))


def output_fn(prediction: dict[str, Any], accept: str) -> tuple[str, str]:
    """The answer as JSON."""
    return json.dumps(prediction), "application/json"


def label_without_model(data: bytes, told: dict[str, Any]) -> str | None:
    """The label of files too small for the network to say anything about; None for the others."""
    if not data:
        return "empty"
    enough = told["min_file_size_for_dl"]
    # White space at the start says nothing; what is left must be enough.
    if len(data) >= enough and len(data[: told["block_size"]].lstrip()) >= enough:
        return None
    try:
        data[: told["block_size"]].decode("utf-8")
    except UnicodeDecodeError:
        return "unknown"
    return "txt"


def features(data: bytes, told: dict[str, Any]) -> "np.ndarray[Any, np.dtype[np.int32]]":
    """First and last bytes without white space around them, padded to the network's input."""
    size = told["beg_size"]
    row = np.full((1, size + told["end_size"]), told["padding_token"], np.int32)
    begin = data[: told["block_size"]].lstrip()[:size]
    end = data[-told["block_size"] :].rstrip()[-told["end_size"] :]
    row[0, : len(begin)] = np.frombuffer(begin, np.uint8)
    row[0, row.shape[1] - len(end) :] = np.frombuffer(end, np.uint8)
    return row


def judged(told: dict[str, Any], dl_label: str, score: float) -> dict[str, Any]:
    """The network's word, overruled where it is known to mean less, or is not sure enough."""
    label = told["overwrite_map"].get(dl_label, dl_label)
    reason = "none" if label == dl_label else "overwrite_map"
    if score < told["thresholds"].get(dl_label, told["medium_confidence_threshold"]):
        label = "txt" if told["content_types"][label]["is_text"] else "unknown"
        reason = "none" if label == dl_label else "low_confidence"
    return answer(told, label, dl_label, score, reason)


def answer(
    told: dict[str, Any], label: str, dl_label: str, score: float, reason: str
) -> dict[str, Any]:
    """The answer for ``label`` with what is known about such files."""
    return {
        "label": label,
        "score": score,
        **told["content_types"][label],
        "dl_label": dl_label,
        "overwrite_reason": reason,
    }
