"""`model.toml`: what may stand in it, and how it says what may not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelport.errors import InvalidBundleError
from modelport.manifest import Batching, ModelSettings
from modelport.model_toml import ModelToml, read_model_toml


def read(folder: Path, text: str) -> ModelToml:
    path = folder / "model.toml"
    path.write_text(text, encoding="utf-8")
    return read_model_toml(path)


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    told = read(
        tmp_path,
        """
        [model]
        description = "Größe"
        entry = "onnx/net.onnx"
        labels = "classes.txt"
        [runtime]
        threads = 2
        disable_prepacking = true
        graph_optimization = "basic"
        layout = "as-is"
        [runtime.batching]
        max_rows = 8
        max_delay_ms = 1.5
        [metrics]
        accuracy = 0.98
        rows = 1000
        """,
    )
    assert (told.model.description, told.model.entry, told.model.labels) == (
        "Größe", "onnx/net.onnx", "classes.txt",
    )  # fmt: skip
    assert told.metrics == {"accuracy": 0.98, "rows": 1000.0}
    assert told.runtime.layout == "as-is"
    assert told.settings(entry="e", labels="l", script=None, requirements="r") == ModelSettings(
        "e",
        "l",
        requirements="r",
        threads=2,
        disable_prepacking=True,
        graph_optimization="basic",
        batching=Batching(8, 1.5),
    )


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    told = read(tmp_path, "")
    assert told == ModelToml()
    assert told.settings(entry="model.onnx", labels=None, script=None) == ModelSettings()


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("[modle]\n", "unknown key 'modle'", "allowed here: model, runtime, metrics"),
        ("[model]\nname='x'", "unknown key 'model.name'", "description, entry, labels"),
        ("[runtime]\ngpu=1", "unknown key 'runtime.gpu'", "threads, disable_prepacking, graph_opt"),
        ("[runtime]\nlayout='slow'", "runtime.layout = 'slow': Input should be 'fast' or", ""),
        ("[runtime.batching]\nrows=1", "unknown key 'runtime.batching.rows'", "max_rows, max_del"),
        ("[runtime.batching]\nmax_rows=8", "runtime.batching.max_delay_ms is missing", ""),
        (
            "[runtime.batching]\nmax_rows=1\nmax_delay_ms=1",
            "runtime.batching.max_rows = 1: Input should be greater than or equal to 2",
            "",
        ),
        (
            "[runtime.batching]\nmax_rows=8\nmax_delay_ms=10001",
            "runtime.batching.max_delay_ms = 10001: Input should be less than or equal to 10000",
            "",
        ),
        ("[runtime]\nthreads=0", "runtime.threads = 0: Input should be greater", ""),
        ("[runtime]\nthreads='2'", "runtime.threads = '2': Input should be a valid integer", ""),
        ("[runtime]\ndisable_prepacking=1", "should be a valid boolean", ""),
        ("[runtime]\ngraph_optimization='o3'", "'all', 'extended', 'basic' or 'disabled'", ""),
        ("[metrics]\nacc='good'", "metrics.acc = 'good': Input should be a valid number", ""),
        ("[metrics]\nloss=nan", "metrics.loss = nan: must be a finite number", ""),
        ("[model]\nentry='../m.onnx'", "model.entry = '../m.onnx': must be a plain path", ""),
        ("[model]\nentry='/m.onnx'", "must be a plain path below", ""),
        ("[model]\nlabels='a//b'", "must be a plain path below", ""),
        ("[model]\nlabels=''", "model.labels = ''", ""),
        ("model = 3", "model = 3: Input should be a valid dictionary", ""),
        ("[model", "not TOML: ", ""),
        ("[model]\ndescription=" + repr("x" * 9) + "\nentry=" + str([1] * 99), "...", ""),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, problem: str, hint: str) -> None:
    with pytest.raises(InvalidBundleError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "model.toml"))
    assert problem in str(caught.value)
    assert hint in caught.value.hint


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_bytes(b"[model]\ndescription = '\xff'\n")
    with pytest.raises(InvalidBundleError, match="not TOML"):
        read_model_toml(tmp_path / "model.toml")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundleError, match="No such file"):
        read_model_toml(tmp_path / "model.toml")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_is_settings_or_one_kind_of_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.mktemp("toml")
    for body in (text, f"[model]\n{text}", f"[metrics]\na = {text}"):
        outcome: ModelToml | InvalidBundleError
        try:
            outcome = read(folder, body)
        except InvalidBundleError as error:
            outcome = error
        assert isinstance(outcome, ModelToml) or "model.toml" in outcome.message
