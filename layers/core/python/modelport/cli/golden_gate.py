"""The gate of a publish: goldens are asked before anything is uploaded, and the outcome is told.

Decides whether they can be asked here at all; `golden_check` asks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from modelport.cli.console import table
from modelport.cli.failures import InvalidUsageError
from modelport.cli.golden_check import Checked, check_goldens, unasked
from modelport.cli.image_works import ImageWorks
from modelport.cli.session import Session
from modelport.goldens.forms import grouped, told
from modelport.manifest import Draft


@dataclass
class GoldenGate:
    """Asks a draft its goldens; ``checked`` is what came of it, None when there was no need to."""

    session: Session
    name: str
    verify: bool = True
    checked: Checked | None = None

    def __call__(self, draft: Draft, work: Path) -> None:
        """Ask them; raises `InvalidBundleError` when an answer disagrees."""
        if not draft.content.goldens:
            return
        self.checked = self._checked(draft, work)
        if self.checked.left:
            left = f"goldens not asked here: {self.checked.left}; deploy asks them"
            self.session.output.note(left, style="yellow")

    def _checked(self, draft: Draft, work: Path) -> Checked:
        if not self.verify:
            return unasked(draft, "--no-verify")
        output = self.session.output
        try:
            sources = ImageWorks(self.session).sources
        except InvalidUsageError as error:
            return unasked(draft, error.message)
        with output.working("asking the goldens") as tell:
            return check_goldens(draft, self.name, work, sources, self.session.world.environ, tell)

    def to_json(self) -> dict[str, Any] | None:
        """As ``--json`` has it."""
        return self.checked.to_json() if self.checked else None

    def facts(self) -> str:
        """What was asked, in a line; "" when nothing was."""
        if self.checked is None or not self.checked.forms:
            return ""
        forms = ", ".join(f"{form} {count}" for form, count in self.checked.forms.items())
        return f"{self.checked.forms.total()} requests agree: {forms}"

    def render(self, console: Console) -> None:
        """The table of what no request could be made of."""
        if self.checked and self.checked.uncarried:
            rows = [
                (_few(goldens), told(forms), reason)
                for goldens, forms, reason in grouped(self.checked.uncarried)
            ]
            console.print(table(("not asked", "as", "because"), rows))


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
