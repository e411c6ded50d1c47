"""One request on its way through the data plane: what was asked, and what is known of it so far.

Data only: `data_plane` writes it, and so does whoever runs the model for several at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelport.envelope import Request
from modelport.grammar import Call

from functions.runtime.codecs import Parsed
from functions.runtime.statistics import Spent
from functions.runtime.tensors import Tensors

if TYPE_CHECKING:  # few requests name their body
    from functions.runtime.references import Place

UNKNOWN = Call("unknown", "unknown")
#: What a request asks of the model before anybody has read it.
_UNREAD = Parsed({}, ())


@dataclass(slots=True, eq=False)
class Exchange:
    """One request on its way to its answer, and what its log line says beyond the two."""

    request: Request
    started_ns: int
    #: Whether the answer may be a `Stream`.
    streams: bool = False
    call: Call = UNKNOWN
    parsed: Parsed = _UNREAD
    #: When the request had been read, and the model's turn began.
    read_ns: int = 0
    #: The time until the model had answered, and that of its run where whoever ran it said so.
    model_ns: int = 0
    run_ns: int | None = None
    #: False for all but one of those that shared a run.
    counts: bool = True
    #: Where the answer goes of a request that named its body.
    place: Place | None = None
    streamed: int = 0
    #: None for what no codec predicted: a script's answer, an error.
    spent: Spent | None = None

    @property
    def inputs(self) -> Tensors:
        """What the model is to be run on."""
        return self.parsed.tensors

    @property
    def outputs(self) -> tuple[str, ...]:
        """What is wanted of the model, in order."""
        return self.parsed.outputs

    def ran(self, seconds: float, counts: bool) -> None:
        """It was in a run that took so long; ``counts`` is False for all but one that share it."""
        self.run_ns, self.counts = round(seconds * 1e9), counts
