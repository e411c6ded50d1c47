"""The pages: a document as one self-contained HTML page, and the list of models.

Everything on them is escaped, since names and descriptions are other people's; the policy in
`PAGE_HEADERS` lets nothing run or load but the one script and the one style sheet that are here by
their digests. A page asks no other host for anything. Links are relative.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from modelport.openapi import snippets
from modelport.openapi.page_script import SCRIPT
from modelport.openapi.page_style import STYLE

Document = Mapping[str, Any]


def _digest(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


PAGE_HEADERS: Mapping[str, str] = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": (
        f"default-src 'none'; script-src {_digest(SCRIPT)}; style-src {_digest(STYLE)};"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def model_page(document: Document) -> bytes:
    """The page of one version, from its document; its own address ends in ``/docs``."""
    info = document["info"]
    title = f"{info['title']}, version {info['version']}"
    header = (
        '<p class="soft" hidden><a data-root="/docs" href="">All models</a></p>'
        f"<h1>{escape(info['title'])} <small>version {escape(info['version'])}</small></h1>"
        f"{_told(info.get('summary'))}{_told(info['description'])}"
        '<p><a href="openapi.json">OpenAPI document</a></p>'
    )
    return _page(title, header, "".join((_signature(document), _operations(document))))


def server_page(document: Document, models: Iterable[str]) -> bytes:
    """The list of models and the server's own operations; its own address is ``/docs``."""
    items = "".join(
        f'<li><a href="v2/models/{escape(name)}/docs">{escape(name)}</a>'
        f' <a class="soft" href="v2/models/{escape(name)}/openapi.json"'
        f' aria-label="OpenAPI document of {escape(name)}">openapi.json</a></li>'
        for name in models
    )
    listed = f'<ul class="models">{items}</ul>' if items else "<p>No model is published yet.</p>"
    header = '<h1>Models</h1><p><a href="openapi.json">OpenAPI document of this server</a></p>'
    return _page("Models", header, listed + _operations(document))


def _page(title: str, header: str, main: str) -> bytes:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<header>{header}</header><main>{main}</main>"
        "<footer>Served by modelport. This page loads nothing from elsewhere.</footer>"
        f"<script>{SCRIPT}</script></body></html>"
    )
    return text.encode(errors="replace")  # half a surrogate pair has no form in UTF-8


def _told(text: str | None) -> str:
    return f'<p class="told">{escape(text)}</p>' if text else ""


def _signature(document: Document) -> str:
    signature = document["x-modelport-signature"]
    rows = "".join(
        f"<tr><td>{kind}</td><td><code>{escape(spec['name'])}</code></td>"
        f"<td>{escape(spec['datatype'])}</td><td><code>{escape(_shape(spec['shape']))}</code></td></tr>"
        for kind, key in (("input", "inputs"), ("output", "outputs"))
        for spec in signature[key]
    )
    return (
        '<h2 id="signature">Inputs and outputs</h2><div class="wide"><table><thead><tr>'
        '<th scope="col">Kind</th><th scope="col">Name</th><th scope="col">Datatype</th>'
        f'<th scope="col">Shape</th></tr></thead><tbody>{rows}</tbody></table></div>'
        '<p class="soft">A dimension written as n has any size.</p>'
    )


def _shape(dims: Iterable[int]) -> str:
    return "[" + ", ".join("n" if dim < 0 else str(dim) for dim in dims) + "]"


def _operations(document: Document) -> str:
    iam = bool(document.get("security"))
    parts = [_signing() if iam else ""]
    for tag in document["tags"]:
        parts.append(f"<h2>{escape(tag['name'])}</h2>")
        for path, item in document["paths"].items():
            for method, operation in item.items():
                if tag["name"] in operation["tags"]:
                    parts.append(_operation(document, method.upper(), path, operation, iam=iam))
    parts.append(_schemas(document))
    return "".join(parts)


def _signing() -> str:
    return (
        '<p class="note">Requests have to be signed with AWS Signature Version 4. The commands'
        " below do so with the credentials in the environment (leave the line with the token out"
        " for long-term keys); a browser does not, so sending from this page works only behind a"
        " proxy that signs.</p>"
    )


def _operation(
    document: Document, method: str, path: str, operation: Document, *, iam: bool
) -> str:
    examples = list(_examples(operation))
    _, media, body = examples[0] if examples else ("", "", None)
    content = operation.get("requestBody", {}).get("content", {})
    parts = [
        f'<details class="operation" id="{escape(operation["operationId"])}"><summary>'
        f'<span class="method {method}">{method}</span><code>{escape(path)}</code>'
        f'<span class="soft">{escape(operation["summary"])}</span></summary><div>',
        _told(operation.get("description")),
        _parameters(operation),
        _content("What it takes", content),
    ]
    if "{" not in path:
        for title, text in (
            ("curl", snippets.curl(method, path, media, body, iam=iam)),
            ("Python", snippets.python(method, path, media, body, iam=iam)),
        ):
            if body is not None or not content:
                parts.append(f"<h3>{title}</h3>{_block(text, example=True)}")
    parts += [_responses(document, operation), _form(method, path, operation, examples)]
    return "".join((*parts, "</div></details>"))


def _parameters(operation: Document) -> str:
    items = "".join(
        f"<li><code>{escape(each['name'])}</code> in the {escape(each['in'])}:"
        f" {escape(each.get('description', ''))}</li>"
        for each in operation.get("parameters", ())
    )
    return f"<h3>Parameters</h3><ul>{items}</ul>" if items else ""


def _content(title: str, content: Document) -> str:
    parts = []
    for media, body in content.items():
        parts.append(f"<h3>{title}: <code>{escape(media)}</code></h3>")
        if body["schema"]:
            parts.append(_folded("Schema", _json(body["schema"], linked=True)))
        for name, example in body.get("examples", {}).items():
            parts.append(_folded(f"Example: {name}", _block(_spelled(media, example["value"]))))
    return "".join(parts)


def _responses(document: Document, operation: Document) -> str:
    good = operation["responses"]["200"]
    rows = [f"<tr><td>200</td><td>{escape(good['description'])}</td></tr>"]
    for code, response in operation["responses"].items():
        if code != "200":
            if "$ref" in response:
                response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
            said = escape(response["description"])
            rows.append(f"<tr><td>{escape(code)}</td><td>{said}</td></tr>")
    return (
        _content("What comes back", good.get("content", {}))
        + '<details><summary>Statuses</summary><div class="wide"><table><thead><tr>'
        '<th scope="col">Status</th><th scope="col">When</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _form(method: str, path: str, operation: Document, examples: list[tuple[str, str, str]]) -> str:
    takes = bool(operation.get("requestBody"))
    if "{" in path or (takes and not examples):
        return ""
    key, where = (
        escape(operation["operationId"]),
        f'data-method="{method}" data-path="{escape(path)}"',
    )
    fields = ""
    if takes:
        options = "".join(
            f'<option data-media="{escape(media)}">{escape(f"{media}: {name}")}</option>'
            for name, media, _ in examples
        )
        templates = "".join(f"<template>{escape(body)}</template>" for _, _, body in examples)
        fields = (
            f'<p class="row"><label for="{key}-form">Form</label>'
            f'<select id="{key}-form">{options}</select></p>{templates}'
            f'<label for="{key}-body">Body</label>'
            f'<textarea id="{key}-body" spellcheck="false" autocomplete="off"></textarea>'
        )
    return (
        f"<form hidden {where}><h3>Try it</h3>{fields}"
        '<p class="row"><button>Send</button> <span role="status"></span></p>'
        '<pre hidden tabindex="0" aria-label="The answer"></pre></form>'
    )


def _examples(operation: Document) -> Iterator[tuple[str, str, str]]:
    """Name, media type and text of each request that can be shown."""
    for media, body in operation.get("requestBody", {}).get("content", {}).items():
        for name, example in body.get("examples", {}).items():
            yield name, media, _spelled(media, example["value"])


def _spelled(media: str, value: Any) -> str:
    return value if isinstance(value, str) and media != "application/json" else json.dumps(value)


def _schemas(document: Document) -> str:
    schemas = document["components"]["schemas"].items()
    listed = "".join(
        f'<details id="schema-{escape(name)}"><summary>{escape(name)}</summary>'
        f"{_json(schema, linked=True)}</details>"
        for name, schema in schemas
    )
    return f"<h2>Schemas</h2><details open><summary>All of them</summary>{listed}</details>"


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def _json(value: Any, *, linked: bool = False) -> str:
    text = escape(json.dumps(value, indent=1, ensure_ascii=False))
    if linked:
        # Names of components are ours: letters and digits.
        start, end = "&quot;#/components/schemas/", "&quot;"
        first, *rest = text.split(start)
        for piece in rest:
            name, _, after = piece.partition(end)
            first += f'<a href="#schema-{name}">{start}{name}{end}</a>{after}'
        text = first
    return f'<pre tabindex="0"><code>{text}</code></pre>'


def _block(text: str, *, example: bool = False) -> str:
    marked = " data-example" if example else ""
    return f'<pre tabindex="0"><code{marked}>{escape(text)}</code></pre>'
