"""The routes document as bytes: everything survives, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelport.errors import IntegrityError
from modelport.manifest import canonical, readable
from modelport.routes import Change, Routes, Weighted

from tests.support.routes_documents import JSON, documents

#: Whole documents are slow to draw, and each holds many places to spoil.
FEWER = settings(max_examples=40, deadline=None)


@FEWER
@given(documents())
def test_every_document_survives_its_bytes(routes: Routes) -> None:
    read = Routes.from_bytes(routes.to_bytes())
    assert read == routes
    assert Routes.from_bytes(read.to_bytes()) == read
    assert list(read.deployments) == sorted(read.deployments)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON document."""
    if not isinstance(data, dict | list):
        return [path]
    inside = data.items() if isinstance(data, dict) else enumerate(data)
    return [path, *(place for key, value in inside for place in places(value, (*path, key)))]


@st.composite
def edits(draw: st.DrawFn, *, but: tuple[str, ...] = ()) -> tuple[Any, Any]:
    """A document's JSON, and the same with one place set to something, or removed."""
    data = json.loads(draw(documents()).to_bytes())
    spoilt = json.loads(json.dumps(data))
    path = draw(st.sampled_from([at for at in places(data)[1:] if at[0] not in but]))
    parent = spoilt
    for key in path[:-1]:
        parent = parent[key]
    if draw(st.booleans()):
        parent[path[-1]] = draw(JSON)
    else:
        del parent[path[-1]]
    return data, spoilt


@FEWER
@given(edits())
def test_whatever_is_edited_by_hand_is_refused(edit: tuple[Any, Any]) -> None:
    data, spoilt = edit
    try:
        read = Routes.from_bytes(readable(spoilt))
    except IntegrityError as refusal:
        assert canonical(data) != canonical(spoilt)
        assert "a model's routes document, got " in str(refusal)  # noqa: PT017
    else:  # what was left out of the change said nothing
        assert read == Routes.from_bytes(readable(data))


def as_before(data: Any) -> bytes:
    """The document as it was written when changes said nothing of their document."""
    change = Change(**{**data["change"], "hash": "", "document": ""}).sealed()
    return readable({**data, "change": asdict(change)})


@FEWER
@given(edits(but=("change",)))
def test_an_older_document_that_was_edited_is_refused_or_can_be_used(
    edit: tuple[Any, Any],
) -> None:
    data, spoilt = edit
    assert Routes.from_bytes(as_before(data)).aliases
    try:
        read = Routes.from_bytes(as_before({**spoilt, "change": data["change"]}))
    except IntegrityError:
        return
    assert Routes.from_bytes(read.to_bytes()) == read
    for alias in read.aliases:
        assert read.resolve(None, alias, "k").version in read.deployments


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"routes"',
        b"{}",
        b'{"schema": 1}',
        b'{"schema": 2}',
        b"[" * 100_000,
        b'{"schema": 1, "model": "m", "revision": Infinity, "latest": 1}',
        b'{"schema": 1, "model": "m", "revision": 1e999, "latest": 1}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_document_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(IntegrityError):
        Routes.from_bytes(body)


def test_the_reason_names_the_edit() -> None:
    first = Routes("m").changed(Routes("m", latest=3), action="publish", detail={}, who="a", at="")
    edited = replace(first, latest=2).to_bytes()
    with pytest.raises(
        IntegrityError, match="not what the change of revision 1 wrote: edited by"
    ) as refusal:
        Routes.from_bytes(edited)
    assert "list-object-versions" in refusal.value.hint


def test_routes_that_lost_their_change_are_refused() -> None:
    first = Routes("m").changed(Routes("m", latest=3), action="publish", detail={}, who="a", at="")
    with pytest.raises(IntegrityError, match="revision 1 without the change"):
        Routes.from_bytes(replace(first, change=None).to_bytes())


def test_a_document_that_was_laid_out_anew_is_not_what_was_written() -> None:
    first = Routes("m").changed(Routes("m", latest=3), action="publish", detail={}, who="a", at="")
    compact = json.dumps(json.loads(first.to_bytes())).encode()
    with pytest.raises(IntegrityError, match="edited by hand"):
        Routes.from_bytes(compact)


def test_a_change_that_was_edited_is_told_from_its_document() -> None:
    first = Routes("m").changed(Routes("m", latest=3), action="publish", detail={}, who="a", at="")
    assert first.change is not None
    forged = replace(first, change=replace(first.change, who="eve"))
    with pytest.raises(IntegrityError, match="latest change does not match"):
        Routes.from_bytes(forged.to_bytes())


@pytest.mark.parametrize("nothing", [None, 0, False, [], {}])
@pytest.mark.parametrize("member", ["commit", "document"])
def test_nothing_in_another_form_is_an_edit_too(member: str, nothing: Any) -> None:
    first = Routes("m").changed(Routes("m", latest=3), action="publish", detail={}, who="a", at="")
    for body in (first.to_bytes(), as_before(json.loads(first.to_bytes()))):
        spoilt = json.loads(body)
        spoilt["change"][member] = nothing
        with pytest.raises(IntegrityError, match="latest change does not match"):
            Routes.from_bytes(readable(spoilt))


def test_a_document_from_before_policies_is_read_as_if_it_said_nothing_of_them() -> None:
    data = json.loads(Routes("m", latest=1).to_bytes())
    for name in ("policy", "rollouts", "proposals"):
        del data[name]
    assert Routes.from_bytes(readable(data)) == Routes("m", latest=1)


def test_weights_written_as_whole_numbers_keep_the_digest() -> None:
    routes = Routes("m", aliases={}, latest=2)
    routes = replace(routes, history={"stable": ((Weighted(1, 90), Weighted(2, 10)),)})
    written = Routes("m").changed(routes, action="route", detail={}, who="a", at="")
    assert Routes.from_bytes(written.to_bytes()) == written
