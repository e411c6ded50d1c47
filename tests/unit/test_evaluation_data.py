"""Data sets: each format, what its rows become, and how what does not fit is told."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelport.evaluation.batches import Batch
from modelport.evaluation.data_set import DataSet, open_data_set
from modelport.evaluation.errors import DataSetError
from modelport.evaluation.tables import LONGEST_LINE
from modelport.signature import Signature, TensorSpec

Y = (TensorSpec("y", "FP32", (-1, 2)),)
MATRIX = Signature((TensorSpec("x", "FP32", (-1, 2)),), Y)
PAIR = Signature((TensorSpec("a", "INT64", (-1,)), TensorSpec("b", "BYTES", (-1, 1))), Y)
IMAGE = Signature((TensorSpec("x", "UINT8", (-1, 2, 2)),), Y)


def opened(
    path: Path, signature: Signature = MATRIX, task: Any = "classification", labels: Any = None
) -> DataSet:
    return open_data_set(path, task, signature, labels, path.parent)


def whole(data: DataSet, size: int = 2) -> list[Batch]:
    return list(data.batches(size))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_columns_are_one_matrix(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "\ufeffp,label,q\n1,ham,2\n\n3,spam,4.5\n5,ham,nan\n")
    batches = whole(opened(path))
    assert [batch.labels for batch in batches] == [["ham", "spam"], ["ham"]]
    assert batches[0].inputs["x"].tolist() == [[1, 2], [3, 4.5]]
    assert batches[0].inputs["x"].dtype == np.float32
    assert np.isnan(batches[1].inputs["x"][0, 1])
    assert batches[-1].done == path.stat().st_size


def test_csv_columns_that_are_inputs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'b,a,target\n"x, y",1,0\nz,true,1\n')
    batch = whole(opened(path, PAIR))[0]
    assert batch.inputs["a"].tolist() == [1, 1]
    assert batch.inputs["a"].dtype == np.int64
    assert batch.inputs["b"].tolist() == [["x, y"], ["z"]]


def test_json_lines_by_input_and_by_feature(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"x": [[1, 2], [3, 4]], "label": 1},
        {"label": 0, "x": [[0] * 2] * 2},
    ]
    path = write(tmp_path / "a.jsonl", "\n\n".join(map(json.dumps, rows)))
    batch = whole(opened(path, IMAGE))[0]
    assert batch.inputs["x"].shape == (2, 2, 2)
    assert batch.inputs["x"].dtype == np.uint8
    assert batch.labels == [1, 0]
    rows = [{"p": 1, "q": 2.5, "label": "a"}]
    path = write(tmp_path / "b.ndjson", json.dumps(rows[0]))
    assert whole(opened(path))[0].inputs["x"].tolist() == [[1, 2.5]]


def test_npz_is_read_as_rows_are_asked_for(tmp_path: Path) -> None:
    x = np.arange(20, dtype=np.float64).reshape(10, 2)
    np.savez_compressed(tmp_path / "a.npz", x=x, labels=np.arange(10) % 2)
    batches = whole(opened(tmp_path / "a.npz"), 4)
    assert [len(batch.labels) for batch in batches] == [4, 4, 2]
    assert np.concatenate([batch.inputs["x"] for batch in batches]).tolist() == x.tolist()
    assert batches[0].inputs["x"].dtype == np.float32
    assert batches[-1].done == opened(tmp_path / "a.npz").size
    np.savez(tmp_path / "t.npz", a=np.arange(2), b=np.array([["p"], ["q"]]), target=["u", "v"])
    batch = whole(opened(tmp_path / "t.npz", PAIR))[0]
    assert batch.inputs["b"].tolist() == [["p"], ["q"]]
    assert batch.labels == ["u", "v"]


def test_labels_in_a_file_of_their_own(tmp_path: Path) -> None:
    data = write(tmp_path / "a.csv", "p,q\n1,2\n3,4\n5,6\n")
    write(tmp_path / "labels.txt", "ham\nspam\nham\n")
    np.save(tmp_path / "labels.npy", np.array([0.5, 1.5, 2.5]))
    found = opened(data, labels="labels.txt")
    assert [batch.labels for batch in whole(found)] == [["ham", "spam"], ["ham"]]
    found = opened(data, task="regression", labels="labels.npy")
    assert [label for batch in whole(found) for label in batch.labels] == [0.5, 1.5, 2.5]
    for text, said in (("ham\n", "1 labels, and more rows"), ("a\n" * 4, "4 labels for 3 rows")):
        write(tmp_path / "labels.txt", text)
        with pytest.raises(DataSetError, match=said):
            whole(opened(data, labels="labels.txt"))
    with pytest.raises(DataSetError, match="no such file of labels"):
        opened(data, labels="other.txt")


def test_the_digest_covers_all_that_decides_the_metrics(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "p,q,label,other\n1,2,0,1\n")
    free = Signature((TensorSpec("x", "FP32", (-1, -1)),), Y)
    digests = {
        opened(path, free).digest,
        opened(path, free, labels="other").digest,
        opened(path, free, "regression").digest,
        opened(write(tmp_path / "b.csv", "p,q,label,other\n1,2,1,1\n"), free).digest,
    }
    write(tmp_path / "l.txt", "0\n")
    digests.add(opened(path, free, labels="l.txt").digest)
    write(tmp_path / "l.txt", "1\n")
    digests.add(opened(path, free, labels="l.txt").digest)
    assert len(digests) == 6
    copy = write(tmp_path / "copy.csv", path.read_text())
    assert opened(copy, free).digest == opened(path, free).digest


CSV = "a.csv"
JSONL = "a.jsonl"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.parquet", "", r"format is not known; it may be \.csv, \.jsonl"),
        (CSV, "", "it is empty"),
        (CSV, "p,q,label\n", "there is no row"),
        (CSV, "p,q\n1,2\n", "no column of labels; columns: p, q"),
        (CSV, "p,q,r,label\n", r"3 columns of features \(p, q, r\), where the model takes x FP32"),
        (CSV, "p,p,label\n", "two columns have the same name"),
        (CSV, "p,q,label\n1,2,0\n1,x,0\n", r"a\.csv:3: column 'q': 'x' is no FP32"),
        (CSV, "p,q,label\n1,,0\n", "column 'q': '' is no FP32"),
        (CSV, "p,q,label\n1,1e99,0\n", "'1e99' is no FP32"),
        (CSV, "p,q,label\n1,2,\n", "row 1 has no label"),
        (CSV, "p,q,label\n1,2\n", r"a\.csv:2: 2 values, where the header has 3"),
        (CSV, "p,q,label\n1,2,\udcff0\n", "codec can't decode|invalid"),
        (JSONL, "", "it is empty"),
        (JSONL, "[1]\n", "it is no JSON object"),
        (JSONL, "{\n", "not JSON"),
        (JSONL, '{"x": [1, 2], "label": 0}\n{"x": [1, 2]}\n', r"jsonl:2: its keys are x, those"),
        (JSONL, '{"x": [1, 2], "label": 0}\n{"x": [1], "label": 0}', "rows of different shapes"),
        (JSONL, '{"x": [1, "b"], "label": 0}', "input 'x' is no array of FP32"),
        (JSONL, '{"p": 1, "q": null, "label": 0}', "column 'q': None is no FP32"),
        (JSONL, '{"p": 1, "q": [1], "label": 0}', r"column 'q': \[1\] is no FP32"),
        (JSONL, '{"x": [1, 2], "label": null}', "row 1 has no label"),
        (JSONL, '{"x": [1, 2], "label": {}}', "row 1 has no label"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataSetError, match=said):
        whole(opened(tmp_path / name))


@pytest.mark.parametrize("label", ["x", "nan", "inf", ""])
def test_labels_of_a_regression_are_finite(tmp_path: Path, label: str) -> None:
    path = write(tmp_path / "a.csv", f"p,q,label\n1,2,1\n1,2,{label}\n")
    with pytest.raises(DataSetError, match=r"row 2: label .* is no finite number"):
        whole(opened(path, task="regression"))


@pytest.mark.parametrize(
    ("signature", "value"), [(PAIR, "1.5"), (PAIR, "99999999999999999999"), (PAIR, "nan")]
)
def test_whole_numbers_stay_whole(tmp_path: Path, signature: Signature, value: str) -> None:
    path = write(tmp_path / "a.csv", f"a,b,label\n{value},t,0\n")
    with pytest.raises(DataSetError, match=r"column 'a': .* is no INT64"):
        whole(opened(path, signature))


def test_whole_numbers_keep_all_their_digits(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"a,b,label\n{2**53 + 1},t,0\n3.0,t,0\n")
    assert whole(opened(path, PAIR), 1)[0].inputs["a"].tolist() == [2**53 + 1]
    assert whole(opened(path, PAIR), 1)[1].inputs["a"].tolist() == [3]


def test_columns_cannot_be_inputs_of_other_shapes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "p,q,label\n1,2,0\n")
    with pytest.raises(DataSetError, match=r"cannot be the model's inputs \(x UINT8 \[-1,2,2\]\)"):
        opened(path, IMAGE)


def test_npz_files_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"PK no")
    with pytest.raises(DataSetError, match=r"no \.npz file"):
        opened(path)
    x = np.ones((3, 2))
    for arrays, said in (
        ({"x": x}, "no column of labels; columns: x"),
        ({"y": x, "labels": [1, 2, 3]}, "there is no array 'x'; arrays: y, labels"),
        ({"x": x, "labels": [1, 2]}, "different numbers of rows: x 3, labels 2"),
        ({"x": np.float32(1), "labels": [1]}, "it has no rows"),
        ({"x": np.asfortranarray(x), "labels": [1, 2, 3]}, "column by column"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(DataSetError, match=said):
            whole(opened(path))
    np.savez(path, x=x.astype(object), labels=[1, 2, 3])
    with pytest.raises(DataSetError, match="objects are not read"):
        opened(path)
    np.savez(path, x=x.astype(str), labels=[1, 2, 3])
    with pytest.raises(DataSetError, match="array 'x' of <U32 is no FP32"):
        whole(opened(path))


def test_npz_files_that_numpy_never_wrote(tmp_path: Path) -> None:
    def npy(array: Any, was: str = "", now: str = "") -> bytes:
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue().replace(was.encode(), now.encode()) if was else file.getvalue()

    labels, path = npy(np.array([0, 1])), tmp_path / "a.npz"
    x = np.ones((2, 2), np.float32)
    for name, body, said in (
        ("x", b"no array", "there is no array 'x'"),
        ("x.npy", npy(x, "(2, 2), }", "(2, 2((((("), "array 'x': "),
        ("x.npy", npy(x, "(2, 2)", "(2,99)"), "it ends before its last row"),
        ("x.npy", b"", "array 'x': "),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, body)
            archive.writestr("label.npy", labels)
        with pytest.raises(DataSetError, match=said):
            whole(opened(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy(x))
        archive.writestr("label.npy", labels)
    locked = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.find(mark) + flags] |= 1
    path.write_bytes(locked)
    with pytest.raises(DataSetError, match=r"array 'x': .*encrypted"):
        whole(opened(path))


def test_a_line_without_an_end_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.write(b"p,q,label\n1,2,0\n")
        file.truncate(LONGEST_LINE * 9)  # a hole: no room on the disk, and no end of the line
    tracemalloc.start()
    try:
        with pytest.raises(DataSetError, match=r"a\.csv:3: the line is too long"):
            whole(opened(path))
        assert tracemalloc.get_traced_memory()[1] < 5 * LONGEST_LINE
    finally:
        tracemalloc.stop()


def test_a_column_may_be_called_what_no_file_can_be(tmp_path: Path) -> None:
    name = "label " * 60
    path = write(tmp_path / "a.csv", f"p,q,{name}\n1,2,0\n")
    assert whole(opened(path, labels=name))[0].labels == ["0"]
