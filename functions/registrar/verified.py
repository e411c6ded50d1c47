"""What a version's goldens came to at deploy: for the log, and for who waits for the deploy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modelport.goldens.forms import Uncarried, grouped, told

#: Of the text in the resource's attributes: CloudFormation takes 4,096 bytes of answer in all.
LONGEST = 1_500


@dataclass(frozen=True, slots=True)
class Verified:
    """Requests that agreed, by form, and what no request could be made of."""

    forms: dict[str, int]
    uncarried: tuple[Uncarried, ...] = ()

    @property
    def requests(self) -> int:
        """All that were answered rightly, with the question whether it is ready."""
        return 1 + sum(self.forms.values())

    def lines(self) -> Iterator[str]:
        """What was asked and what was not, a line each."""
        counts = "".join(f", {form} {count}" for form, count in self.forms.items())
        yield f"{self.requests} requests agree: ready 1{counts}"
        for goldens, forms, reason in grouped(self.uncarried):
            yield f"not asked: {', '.join(goldens)} as {told(forms)}: {reason}"

    def data(self) -> dict[str, str]:
        """The attributes of the custom resource."""
        text = "; ".join(self.lines())
        if len(text) > LONGEST:
            text = text[: LONGEST - 1] + "…"
        return {"Verified": text}
