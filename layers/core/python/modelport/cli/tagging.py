"""``modelport tag`` and ``describe``: what people note about a version, kept in the model's log."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from modelport.cli.console import facts
from modelport.cli.failures import InvalidUsageError
from modelport.cli.finding import tags_told, when
from modelport.cli.session import AsJson, Bucket, Debug, Message, Session, version_ref
from modelport.registry.notes import NoteEdit, Notes

VersionRef = Annotated[str, typer.Argument(metavar="NAME:V", help="The model and its version.")]


def tag(
    context: typer.Context,
    ref: VersionRef,
    tags: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY[=VALUE]…", help="Tags to set.", show_default=False),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", metavar="KEY", help="A tag to remove.", show_default=False),
    ] = None,
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Set or remove tags of a version; without any, show them.

    A tag is a key, or a key with a value. The tag keep protects a version from gc. Every change is
    in the model's log.
    """
    parted = (text.partition("=") for text in tags or ())
    edit = NoteEdit({key: value for key, _, value in parted}, tuple(remove or ()))
    _note(Session.of(context, as_json, bucket), ref, edit, message)


def describe(
    context: typer.Context,
    ref: VersionRef,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What it is; any language.")],
    message: Message = "",
    bucket: Bucket = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Describe a version anew; the description it was published with stays in its record.

    Every change is in the model's log.
    """
    if not text.strip():
        raise InvalidUsageError("the description is empty", hint="say something about the version")
    _note(Session.of(context, as_json, bucket), ref, NoteEdit(description=text), message)


def _note(session: Session, ref: str, edit: NoteEdit, message: str) -> None:
    name, version = version_ref(ref)
    before = session.registry.notes(name, version)
    after = before
    if edit == NoteEdit():
        session.registry.manifest(name, version)
    else:
        who = session.actor(message)
        after = session.registry.annotate(name, version, edit, who=who)
    _tell(session, ref, before, after)


def _tell(session: Session, ref: str, before: Notes, after: Notes) -> None:
    document = {
        "ref": ref,
        "tags": dict(after.tags),
        "description": after.description,
        "changed": before != after,
        "revision": after.revision,
        "who": after.who,
        "at": after.at,
    }

    def render(console: Console) -> None:
        pairs = [
            ("version", ref),
            ("tags", tags_told(dict(after.tags)) or "none"),
            ("description", after.description),
            ("noted", f"{when(after.at)} by {after.who}" if after.revision else None),
        ]
        console.print(facts(pairs))

    session.output.result(document, render)
