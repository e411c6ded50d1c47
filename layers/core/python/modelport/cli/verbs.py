"""What the ``modelport`` command can do: its verbs in the order of the help, and their examples.

A table; every verb is a function of a module beside this one.
"""

from __future__ import annotations

from collections.abc import Callable

from modelport.cli import (
    approving,
    building,
    calling,
    cleaning,
    comparing,
    deploying,
    evaluating,
    export,
    history,
    jobs,
    listing,
    policy,
    publishing,
    replaying,
    rollouts,
    tagging,
    traffic,
    transfer,
)

PUBLISHING, RUNNING, MOVING, LOOKING = "Publish", "Run", "Move traffic", "Look"
KEEPING = "Keep the registry"

#: Every verb in the order of the help: its name, panel, function and examples.
VERBS: tuple[tuple[str, str, Callable[..., None], tuple[str, ...]], ...] = (
    (
        "publish",
        PUBLISHING,
        publishing.publish,
        (
            "modelport publish model.onnx --name magika",
            "modelport publish ./bundle -n magika --metric accuracy=0.98 -m 'retrained on May'",
        ),
    ),
    (
        "deploy",
        RUNNING,
        deploying.deploy,
        ("modelport deploy magika:3", "modelport deploy magika:3 --memory 3008 --timeout 10"),
    ),
    (
        "build",
        RUNNING,
        building.build,
        (
            "modelport build magika:3",
            "modelport build magika:3 --to ghcr.io/me/magika:3 --platform linux/arm64",
            "modelport build magika:3 --layout ./image --budget 500MB",
        ),
    ),
    ("undeploy", RUNNING, deploying.undeploy, ("modelport undeploy magika:2",)),
    (
        "invoke",
        RUNNING,
        calling.invoke,
        (
            "modelport invoke magika --data report.pdf",
            "modelport invoke magika@stable --data inputs.npz --output outputs.npz",
            "modelport invoke magika:3 --data '{\"bytes\": [[1, 2, 3]]}'",
            "modelport invoke magika:3 --data '{\"instances\": [[1, 2, 3]]}'",
            "cat request.json | modelport invoke magika@canary --data - --protocol v2 --json",
            "modelport invoke magika --data film.npz --later",
        ),
    ),
    (
        "replay",
        RUNNING,
        replaying.replay,
        (
            "modelport replay magika --goldens --to 4",
            "modelport replay magika --requests calls.jsonl --from 3 --to 4 --limit 1000",
        ),
    ),
    (
        "evaluate",
        RUNNING,
        evaluating.evaluate,
        (
            "modelport evaluate magika:3 --data test.csv --task classification",
            "modelport evaluate magika:4 -d s3://sets/test.npz --task classification --compare"
            " stable --report ./report",
            "modelport evaluate ./bundle -d all.csv --task regression --labels price --k-fold 5",
        ),
    ),
    (
        "route",
        MOVING,
        traffic.route,
        (
            "modelport route magika canary=4",
            "modelport route magika stable=3:90,4:10 -m 'ten percent to 4'",
            "modelport route magika canary=",
        ),
    ),
    (
        "promote",
        MOVING,
        traffic.promote,
        (
            "modelport promote magika:4",
            "modelport promote magika:4 --alias canary",
            "modelport promote magika:4 --require 'f1>=0.92' --no-worse-than stable",
        ),
    ),
    (
        "rollback",
        MOVING,
        traffic.rollback,
        ("modelport rollback magika", "modelport rollback magika --alias canary -m 'drift'"),
    ),
    (
        "protect",
        MOVING,
        approving.protect,
        ("modelport protect magika", "modelport protect magika --alias prod --lift"),
    ),
    ("proposals", MOVING, approving.proposals, ("modelport proposals magika",)),
    (
        "approve",
        MOVING,
        approving.approve,
        ("modelport approve magika stable -m 'numbers look right'",),
    ),
    ("reject", MOVING, approving.reject, ("modelport reject magika stable",)),
    (
        "list",
        LOOKING,
        listing.list_,
        (
            "modelport list",
            "modelport list magika --metric 'accuracy>=0.9' --since 30d",
            "modelport list --tag team=vision --deployed --json",
        ),
    ),
    (
        "show",
        LOOKING,
        listing.show,
        ("modelport show magika", "modelport show magika:3", "modelport show magika@canary"),
    ),
    (
        "diff",
        LOOKING,
        comparing.diff,
        ("modelport diff magika:3 magika:4", "modelport diff magika@stable magika@canary --json"),
    ),
    (
        "evaluations",
        LOOKING,
        evaluating.evaluations,
        (
            "modelport evaluations magika:3",
            "modelport evaluations magika:3 20260102T030405678901-0123456789ab --json",
        ),
    ),
    (
        "log",
        LOOKING,
        history.log,
        ("modelport log magika", "modelport log magika --verify --json"),
    ),
    (
        "status",
        LOOKING,
        history.status,
        ("modelport status", "modelport status magika --watch", "modelport status --json"),
    ),
    (
        "tag",
        KEEPING,
        tagging.tag,
        ("modelport tag magika:3 team=vision keep", "modelport tag magika:3 --remove keep"),
    ),
    ("describe", KEEPING, tagging.describe, ("modelport describe magika:3 'trained on May'",)),
    (
        "import",
        KEEPING,
        transfer.import_,
        (
            "modelport import magika-3.modelport",
            "modelport import magika-3.modelport --name magika-eu",
        ),
    ),
    (
        "copy",
        KEEPING,
        transfer.copy,
        ("modelport copy magika:3 --to s3://registry-of-production --profile production",),
    ),
    (
        "verify",
        KEEPING,
        cleaning.verify,
        ("modelport verify", "modelport verify magika --blobs", "modelport verify magika:3 --json"),
    ),
    (
        "gc",
        KEEPING,
        cleaning.gc,
        ("modelport gc", "modelport gc --keep 10 --older-than 90d --yes -m 'spring cleaning'"),
    ),
)

_JOB = "7c0e4a9f2b6d4c1e8a3f5d7b9c1e3a5f"
Verb = tuple[str, Callable[..., None], tuple[str, ...]]
#: Verbs of a noun: its name, panel and what it is about, and its verbs as above.
GROUPS: tuple[tuple[str, str, str, tuple[Verb, ...]], ...] = (
    (
        "jobs",
        RUNNING,
        "See to the calls that are answered later.",
        (
            (
                "list",
                jobs.list_,
                (
                    "modelport jobs list",
                    "modelport jobs list --model magika --state failed",
                    "modelport jobs list --dead --json",
                ),
            ),
            ("show", jobs.show, (f"modelport jobs show {_JOB}",)),
            ("wait", jobs.wait, (f"modelport jobs wait {_JOB} --output outputs.npz",)),
            ("cancel", jobs.cancel, (f"modelport jobs cancel {_JOB}",)),
            ("retry", jobs.retry, (f"modelport jobs retry {_JOB}",)),
        ),
    ),
    (
        "image",
        LOOKING,
        "Look into container images, and choose what they are built on.",
        (
            (
                "show",
                building.show,
                ("modelport image show magika:3", "modelport image show ghcr.io/me/magika:3"),
            ),
            (
                "base",
                building.base,
                ("modelport image base public.ecr.aws/lambda/python:3.12",),
            ),
        ),
    ),
    (
        "traffic",
        MOVING,
        "Say who stays where, who gets what, and who answers or looks on besides.",
        (
            ("show", policy.show, ("modelport traffic show magika",)),
            (
                "sticky",
                policy.sticky,
                ("modelport traffic sticky magika header:x-user cookie:session caller",),
            ),
            (
                "version-header",
                policy.version_header,
                ("modelport traffic version-header magika off",),
            ),
            (
                "rule",
                policy.rule,
                (
                    "modelport traffic rule add magika x-tenant=acme canary",
                    "modelport traffic rule remove magika x-tenant=acme",
                ),
            ),
            (
                "fallback",
                policy.fallback,
                (
                    "modelport traffic fallback magika stable=3",
                    "modelport traffic fallback magika stable=",
                ),
            ),
            (
                "shadow",
                policy.shadow,
                (
                    "modelport traffic shadow magika:4 --percent 10 --of stable",
                    "modelport traffic shadow magika:4 --off",
                ),
            ),
        ),
    ),
    (
        "rollout",
        MOVING,
        "Move traffic in steps that watch themselves, and go back by themselves.",
        (
            (
                "start",
                rollouts.start,
                (
                    "modelport rollout start magika:4",
                    "modelport rollout start magika:4 --steps 1,10,100 --every 10m"
                    " --guard 'errors<1%' --guard 'p95<=1.2x'",
                ),
            ),
            (
                "status",
                rollouts.status,
                ("modelport rollout status", "modelport rollout status magika --json"),
            ),
            ("pause", rollouts.pause, ("modelport rollout pause magika -m 'looking into it'",)),
            ("resume", rollouts.resume, ("modelport rollout resume magika",)),
            ("abort", rollouts.abort, ("modelport rollout abort magika -m 'wrong version'",)),
            ("tick", rollouts.tick, ("modelport rollout tick", "modelport rollout tick magika")),
        ),
    ),
    (
        "export",
        RUNNING,
        "Write what other tools need of a version.",
        (
            ("bundle", export.bundle, ("modelport export bundle magika:3 ./magika",)),
            (
                "version",
                transfer.version,
                ("modelport export version magika:3 magika-3.modelport",),
            ),
            (
                "kubernetes",
                export.kubernetes,
                (
                    "modelport export kubernetes magika:3 | kubectl apply -f -",
                    "modelport export kubernetes magika:3 --gpu 1 --output magika.yaml",
                ),
            ),
        ),
    ),
)
