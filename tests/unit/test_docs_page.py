"""The pages: nothing a publisher wrote runs, nothing comes from elsewhere, all is named."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from modelport.goldens import Golden, Tensor
from modelport.openapi import (
    PAGE_HEADERS,
    About,
    Place,
    model_document,
    model_page,
    server_document,
    server_page,
)
from modelport.openapi.page_script import SCRIPT
from modelport.signature import Signature, TensorSpec

HOSTILE = "</script></style></textarea></template><img src=x onerror=alert(1)>\"'&\ud800"
_VOID = {"meta", "img", "link", "br", "hr", "input"}


class Elements(HTMLParser):
    """Every element of a page; fails when they are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(page)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]] = self.texts.get(self._open[-1], "") + data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]

    def values(self, attribute: str) -> list[str]:
        return [str(each[attribute]) for _, each in self.found if attribute in each]


def hostile() -> About:
    """A version whose publisher put markup wherever text can stand."""
    spec_in = TensorSpec(HOSTILE[:-1], "BYTES", (-1,))
    spec_out = TensorSpec("y" + HOSTILE[:-1], "BYTES", (-1,))
    golden = Golden(
        "g",
        (Tensor(spec_in.name, "BYTES", (1,), (HOSTILE[:-1],)),),
        (Tensor(spec_out.name, "BYTES", (1,), (HOSTILE[:-1],)),),
    )
    signature = Signature((spec_in,), (spec_out,))
    return About(
        "demo", 3, "sha256:0", signature, HOSTILE, script=True, labels=False, golden=golden
    )


def pages() -> dict[str, str]:
    version = model_document(hostile(), Place(router=True, root="../../..", auth="iam"))
    server = server_document(Place(router=True, root="."))
    return {
        "model": model_page(version).decode(),
        "models": server_page(server, ["demo", "other"]).decode(),
        "none": server_page(server, []).decode(),
    }


@pytest.fixture(params=["model", "models", "none"])
def page(request: pytest.FixtureRequest) -> str:
    return pages()[request.param]


def test_what_a_publisher_wrote_is_text(page: str) -> None:
    elements = Elements(page)
    assert not elements.of("img")
    assert not [name for _, each in elements.found for name in each if name.startswith("on")]
    assert len(elements.of("script")) == len(elements.of("style")) == 1


def test_the_policy_names_the_one_script_and_the_one_style(page: str) -> None:
    policy = PAGE_HEADERS["content-security-policy"]
    texts = Elements(page).texts
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(texts[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not Elements(page).values("style")


def test_nothing_comes_from_another_host(page: str) -> None:
    elements = Elements(page)
    assert not elements.values("src")
    for link in elements.values("href"):
        assert not re.match(r"(?i)[a-z]+:|//|/", link), link
    assert "://" not in page.replace("&", "")


def test_every_control_has_a_name_and_every_id_is_one(page: str) -> None:
    elements = Elements(page)
    ids = elements.values("id")
    assert len(ids) == len(set(ids))
    labelled = set(elements.values("for"))
    for kind in ("select", "textarea"):
        assert all(each["id"] in labelled for each in elements.of(kind))
    fragments = [link[1:] for link in elements.values("href") if link.startswith("#")]
    assert set(fragments) <= set(ids)
    assert elements.of("html")[0]["lang"] == "en"


def test_every_operation_is_shown_with_its_commands() -> None:
    document = model_document(hostile(), Place(router=False))
    elements = Elements(model_page(document).decode())
    shown = set(elements.values("id"))
    for item in document["paths"].values():
        for operation in item.values():
            assert operation["operationId"] in shown
    assert "curl -X POST" in elements.texts["code"]
    assert "urlopen" in elements.texts["code"]


def test_signed_requests_are_shown_signed() -> None:
    page = pages()["model"]
    assert "--aws-sigv4" in page
    assert "SigV4Auth" in page


def test_the_list_links_to_each_model_relatively() -> None:
    links = Elements(pages()["models"]).values("href")
    assert "v2/models/demo/docs" in links
    assert "v2/models/other/openapi.json" in links


def snippets(page: str) -> list[str]:
    """The texts of the commands to copy."""

    class Commands(HTMLParser):
        texts: list[str]
        inside = False

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.inside = tag == "code" and "data-example" in dict(attrs)
            if self.inside:
                self.texts.append("")

        def handle_data(self, data: str) -> None:
            if self.inside:
                self.texts[-1] += data

        def handle_endtag(self, tag: str) -> None:
            self.inside = False

    commands = Commands()
    commands.texts = []
    commands.feed(page)
    return commands.texts


@pytest.mark.parametrize("auth", ["iam", "none"])
def test_commands_are_python_and_shell_whatever_the_names(auth: str) -> None:
    place = Place(router=True, root="../../..", auth=auth)
    texts = snippets(model_page(model_document(hostile(), place)).decode())
    assert any("import json" in text for text in texts)
    for text in texts:
        if text.startswith("import"):
            compile(text, "example", "exec")
        else:
            checked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
            assert checked.returncode == 0, checked.stderr


def test_the_script_is_javascript(tmp_path: Path) -> None:
    script = tmp_path / "page.js"
    script.write_text(SCRIPT)
    node = Path(sys.executable).with_name("node")
    checked = subprocess.run([node, "--check", script], text=True, capture_output=True)
    assert checked.returncode == 0, checked.stderr


BEHAVIOUR = """
const sent = [], links = [{dataset: {root: "/docs"}, parentElement: {hidden: true}}];
const code = {textContent: "curl $URL/v2 $URL"};
const status = {}, answer = {hidden: true}, button = {}, body = {value: ""};
const choice = {selectedIndex: 0, selectedOptions: [{dataset: {media: "text/csv"}}],
  addEventListener() {}};
let submit;
const form = {
  dataset: {method: "POST", path: "/v1/models/demo:predict"},
  querySelector: (name) => ({textarea: body, select: choice, pre: answer, button,
    "[role=status]": status})[name],
  querySelectorAll: () => [{content: {textContent: "1,2"}}],
  addEventListener: (name, act) => { submit = act; },
};
globalThis.location = new URL(process.argv[2]);
globalThis.document = {
  querySelectorAll: (name) => name === "form" ? [form] : name.startsWith("code") ? [code] : links,
  getElementById: () => null,
};
globalThis.fetch = async (url, request) => {
  sent.push([url, request]);
  return {status: 200, headers: new Map([["x-modelport-version", "3"]]), text: async () => "<b>"};
};
%s
submit({preventDefault() {}}).then(() => console.log(JSON.stringify({
  sent, link: links[0].href, code: code.textContent, status: status.textContent,
  answer: answer.textContent})));
"""


@pytest.mark.parametrize("stage", ["", "/live"])
@pytest.mark.parametrize(
    "page", ["/docs", "/v2/models/demo/docs", "/v2/models/demo/versions/3/docs"]
)
def test_the_form_sends_to_where_the_page_came_from(tmp_path: Path, stage: str, page: str) -> None:
    script = tmp_path / "behaviour.cjs"
    script.write_text(BEHAVIOUR % SCRIPT.replace('"use strict";', ""))
    node = Path(sys.executable).with_name("node")
    told = subprocess.run(
        [node, script, f"https://api.test{stage}{page}"], text=True, capture_output=True, check=True
    ).stdout
    seen = json.loads(told)
    assert seen["sent"] == [
        [
            f"{stage}/v1/models/demo:predict",
            {"method": "POST", "headers": {"content-type": "text/csv"}, "body": "1,2"},
        ]
    ]
    assert seen["link"] == f"{stage}/docs"
    assert seen["code"] == f"curl https://api.test{stage}/v2 https://api.test{stage}"
    assert seen["status"].startswith("200 in ")
    assert seen["status"].endswith("from version 3")
    assert seen["answer"] == "<b>"
