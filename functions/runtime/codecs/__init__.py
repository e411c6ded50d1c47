"""The protocols a model version speaks, always all of them: one file and one line here each."""

from __future__ import annotations

from collections.abc import Mapping

from functions.runtime.codecs.codec import Codec, Describer, Headers, Parsed, Subject
from functions.runtime.codecs.later import Later
from functions.runtime.codecs.v1 import V1Codec
from functions.runtime.codecs.v2 import V2Codec

__all__ = ["CODECS", "DESCRIBERS", "Codec", "Describer", "Headers", "Parsed", "Subject"]

#: By the protocol names of `modelport.grammar`.
CODECS: Mapping[str, Codec] = {
    "v1": V1Codec(),
    "v2": V2Codec(),
    "sagemaker": Later("sagemaker", "SageMakerCodec"),
    "mlflow": Later("mlflow", "MlflowCodec"),
}
#: What answers questions: every protocol, and the documentation, which predicts nothing.
DESCRIBERS: Mapping[str, Describer] = {**CODECS, "docs": Later("docs", "Docs")}
