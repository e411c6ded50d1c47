"""What the pages do: fill in where they were asked for, and send a request when told to.

Plain fetch to the same origin; nothing is kept and nothing else is asked. All that comes in goes
out as text, never as markup.
"""

SCRIPT = """
"use strict";
const base = location.pathname.replace(/\\/(v2\\/models\\/.*|docs\\/?)$/, "");
const root = location.origin + base;
for (const code of document.querySelectorAll("code[data-example]"))
  code.textContent = code.textContent.split("$URL").join(root);
for (const link of document.querySelectorAll("a[data-root]")) {
  link.href = base + link.dataset.root;
  link.parentElement.hidden = false;
}
for (const form of document.querySelectorAll("form")) {
  form.hidden = false;
  const body = form.querySelector("textarea"), choice = form.querySelector("select");
  const answer = form.querySelector("pre"), status = form.querySelector("[role=status]");
  const examples = form.querySelectorAll("template");
  const show = () => {
    const chosen = examples[choice.selectedIndex];
    body.value = chosen ? chosen.content.textContent : "";
  };
  if (choice) { choice.addEventListener("change", show); show(); }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    status.textContent = "Waiting for the answer\\u2026";
    answer.hidden = true;
    try {
      const request = { method: form.dataset.method, headers: {} };
      if (body) {
        request.body = body.value;
        request.headers["content-type"] = choice.selectedOptions[0].dataset.media;
      }
      const started = performance.now();
      const response = await fetch(base + form.dataset.path, request);
      const text = await response.text();
      const took = Math.round(performance.now() - started);
      const version = response.headers.get("x-modelport-version");
      status.textContent = response.status + " in " + took + " ms"
        + (version ? ", from version " + version : "");
      answer.textContent = text.slice(0, 200000) || "(no body)";
      answer.hidden = false;
    } catch (error) {
      status.textContent = "No answer: " + error.message;
    }
    button.disabled = false;
  });
}
if (location.hash) {
  const target = document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
}
"""
