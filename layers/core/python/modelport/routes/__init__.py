"""The one mutable document of a model and its parts; see `modelport.routes.document`."""

from modelport.routes.change import GENESIS, Change
from modelport.routes.deployment import Deployment
from modelport.routes.document import HISTORY, STABLE, Routes
from modelport.routes.policy import Policy, Rule, Shadow
from modelport.routes.proposal import Proposal
from modelport.routes.rollout import Guard, Rollout
from modelport.routes.stored import SCHEMA
from modelport.routes.weights import Alias, Weighted, parse_weights

__all__ = [
    "GENESIS",
    "HISTORY",
    "SCHEMA",
    "STABLE",
    "Alias",
    "Change",
    "Deployment",
    "Guard",
    "Policy",
    "Proposal",
    "Rollout",
    "Routes",
    "Rule",
    "Shadow",
    "Weighted",
    "parse_weights",
]
