"""Deploying from the command line: the desired state and the stack change together or not at all.

The cdk here is a script on disk, started as a real process by the real runner.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main
from modelport.cli.app import create_app
from modelport.cli.cdk import environment, find_cdk, progress, reasons
from modelport.cli.deploying import curl, deploy
from modelport.cli.failures import AwsUnavailableError, CdkFailedError, CdkMissingError
from modelport.deployments import DeploymentEntry, Deployments, with_entry
from modelport.errors import ROUTER_LIMIT_S, RegistryUnavailableError
from modelport.goldens import Golden, Tensor
from modelport.manifest import Content, Manifest
from modelport.registry import Snapshot
from modelport.registry.memory import MemoryRegistry
from modelport.routes import Routes
from modelport.sagemaker_settings import Shadow
from modelport.signature import Signature

from tests.support.cli_world import ADA, Terminal, calls, fake_cdk, register, repository
from tests.support.oci_registry import oci_registry

EVENT = (
    "modelport-dev-magika-v1 |  2/5 | 8:08:21 PM | {status} | Custom::Registration"
    " | Registration/Default (RegistrationB2A7) {reason}"
)
WRONG = EVENT.format(
    status="CREATE_FAILED       ",
    reason="Received response status [FAILED] from custom resource. Message returned:"
    " magika:1 answers golden 'g' wrongly: y: expected 1.0, got 2.0",
)
DEPLOY = typer.main.get_command(create_app()).commands["deploy"]  # type: ignore[attr-defined]
FILE = """# kept
[environment]
name = "dev"
auth = "none"
image = "registry.invalid/placeholder"
"""


class RegistrarRegistry(MemoryRegistry):
    """A registry whose registrar does what the last cdk call says, as a deployed one would."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.seen = 0
        self.asleep = False
        #: Cannot be read any more once cdk was called this often.
        self.away_after: int | None = None

    def routes(self, model: str, *, etag: str | None = None) -> Snapshot | None:
        if self.away_after is not None and len(calls(self.folder)) >= self.away_after:
            raise RegistryUnavailableError("no answer")
        for call in calls(self.folder)[self.seen :]:
            self.seen += 1
            if not self.asleep:
                self._register(model, call["arguments"])
        return super().routes(model, etag=etag)

    def _register(self, model: str, arguments: list[str]) -> None:
        stacks = [a for a in arguments if a.startswith(f"modelport-dev-{model}-v")]
        version = int(stacks[-1].rpartition("-v")[2])
        if arguments[0] == "deploy":
            register(self, self.manifest(model, version))
            return

        def edit(routes: Routes) -> Routes:
            return routes.without_deployment(version)

        self.change(model, edit, action="undeploy", detail={}, who=ADA)


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    folder = repository(tmp_path / "checkout")
    terminal = Terminal(folder, registry=RegistrarRegistry(folder))
    terminal.published(versions=2)
    terminal.environ["MODELPORT_CDK"] = str(fake_cdk(folder, f"print({EVENT!r})"))
    terminal.environ["MODELPORT_ENDPOINT"] = "http://api.test/"
    terminal.stacks["modelport-dev-platform"] = {}
    (folder / "deployments.toml").write_text(FILE)
    return terminal


def failing(terminal: Terminal, body: str) -> None:
    terminal.environ["MODELPORT_CDK"] = str(fake_cdk(terminal.folder, body))


def text(terminal: Terminal) -> str:
    return (terminal.folder / "deployments.toml").read_text()


def entries(terminal: Terminal) -> Mapping[tuple[str, int], DeploymentEntry]:
    loaded = Deployments.load(terminal.folder / "deployments.toml")
    return {entry.key: entry for entry in loaded.deployments}


def test_deploy_writes_the_entry_and_deploys_exactly_that_stack(terminal: Terminal) -> None:
    told = terminal.ok("deploy", "magika:2", "--memory", "3008", "--timeout", "10", "--json").json
    entry = entries(terminal)["magika", 2]
    assert (entry.memory_mb, entry.timeout_s) == (3008, 10)
    assert entry.digest == terminal.registry.manifest("magika", 2).digest == told["digest"]
    assert text(terminal).startswith("# kept\n")
    (call,) = calls(terminal.folder)
    assert call["arguments"][:2] == ["deploy", "modelport-dev-magika-v2"]
    assert "--exclusively" in call["arguments"]
    app = call["arguments"][call["arguments"].index("--app") + 1]
    assert app == f"{sys.executable} -m infra.app"
    assert call["cwd"] == str(terminal.folder.resolve())
    assert call["environ"]["MODELPORT_DEPLOYMENTS"] == str(terminal.folder / "deployments.toml")
    assert told["resource"] == "modelport-dev-magika-v2"
    assert told["endpoint"] == "http://api.test/"
    assert told["curl"].startswith("curl http://api.test/v1/models/magika/versions/2:predict -d")


def test_the_entry_says_who_wants_it_and_why_until_something_changes(terminal: Terminal) -> None:
    terminal.commit = lambda folder: "4a1f"

    def reasons() -> tuple[str | None, ...]:
        entry = terminal.session().deployments.entry("magika", 1)
        assert entry is not None
        return entry.by, entry.why, entry.commit

    terminal.ok("deploy", "magika:1", "-m", "first")
    assert reasons() == ("ada", "first", "4a1f")
    terminal.environ = {**terminal.environ, "MODELPORT_USER": "grace"}
    terminal.ok("deploy", "magika:1")
    assert reasons() == ("ada", "first", "4a1f")
    terminal.ok("deploy", "magika:1", "--memory", "3008")
    assert reasons() == ("grace", None, "4a1f")


def test_deploy_tells_what_the_goldens_came_to(terminal: Terminal) -> None:
    said = "3 requests agree: ready 1, v1 rows 2; not asked: g as v2: NaN"
    terminal.stacks["modelport-dev-magika-v2"] = {"Verified": said}
    lines = terminal.ok("deploy", "magika:2").out.splitlines()
    assert lines[1].split("  ") == ["goldens", "3 requests agree: ready 1, v1 rows 2"]
    assert lines[2].strip() == "not asked: g as v2: NaN"
    assert terminal.ok("deploy", "magika:2", "--json").json["verified"] == said
    assert terminal.ok("deploy", "magika:1", "--json").json["verified"] is None


def test_without_a_platform_nothing_begins_and_the_way_out_is_named(terminal: Terminal) -> None:
    terminal.stacks.clear()
    result = terminal("deploy", "magika:1", "--json")
    error = result.json["error"]
    assert (result.code, error["code"]) == (3, "platform-missing")
    assert "deploy the platform first" in error["message"]
    assert "cdk deploy modelport-dev-platform" in error["hint"]
    assert text(terminal) == FILE
    assert calls(terminal.folder) == []


def test_a_deploy_says_whom_callers_without_a_selector_reach(terminal: Terminal) -> None:
    terminal.ok("deploy", "magika:2")
    said = terminal.ok("deploy", "magika:1").err
    assert "callers without a selector now reach version 2" in said
    assert "modelport promote magika:2" in said
    assert terminal.ok("deploy", "magika:1", "--json").json["unpinned"] == 2


def test_with_stable_set_a_deploy_moves_nobody_and_says_nothing(terminal: Terminal) -> None:
    terminal.ok("deploy", "magika:1")
    terminal.ok("promote", "magika:1")
    assert "without a selector" not in terminal.ok("deploy", "magika:2").err
    assert terminal.ok("deploy", "magika:2", "--json").json["unpinned"] is None


def test_the_help_does_not_promise_that_no_caller_notices() -> None:
    told = " ".join((deploy.__doc__ or "").split())
    assert "No traffic moves" not in told
    assert "highest deployed version" in told
    assert "takes over once it has answered the goldens" in told
    assert "endpoint is changed in place" in told


def test_a_timeout_longer_than_callers_wait_is_named(terminal: Terminal) -> None:
    assert "504" not in terminal.ok("deploy", "magika:1").err
    longer = str(int(ROUTER_LIMIT_S) + 1)
    told = terminal.ok("deploy", "magika:1", "--timeout", longer).err
    assert f"504 after {ROUTER_LIMIT_S:g} s" in told
    (said,) = (p.help for p in DEPLOY.params if "--timeout" in p.opts)
    assert f"wait {ROUTER_LIMIT_S:g} at most" in said


def test_deploying_again_keeps_what_is_not_said(terminal: Terminal) -> None:
    terminal.ok("deploy", "magika:1", "--memory", "3008", "--image", f"r/m@sha256:{'a' * 64}")
    terminal.ok("deploy", "magika:1", "--timeout", "7")
    entry = entries(terminal)["magika", 1]
    assert (entry.memory_mb, entry.timeout_s) == (3008, 7)
    assert entry.image == f"r/m@sha256:{'a' * 64}"
    assert len(entries(terminal)) == 1


def test_a_signed_api_gets_a_signed_example(terminal: Terminal) -> None:
    (terminal.folder / "deployments.toml").write_text(FILE.replace("none", "iam"))
    told = terminal.ok("deploy", "magika:1", "--json").json
    assert "--aws-sigv4 aws:amz:eu-central-1:execute-api" in told["curl"]


def test_a_failed_deploy_says_why_and_puts_the_file_back(terminal: Terminal) -> None:
    failing(terminal, f"print({WRONG!r}); sys.exit(1)")
    result = terminal("deploy", "magika:1", "--json")
    assert result.code == 5
    error = result.json["error"]
    assert error["code"] == "deploy-failed"
    assert "answers golden 'g' wrongly: y: expected 1.0, got 2.0" in error["message"]
    assert text(terminal) == FILE
    log = Path(error["hint"].removeprefix("all of its output: "))
    assert WRONG in log.read_text()


def test_a_failed_redeploy_puts_the_old_entry_back(terminal: Terminal) -> None:
    terminal.ok("deploy", "magika:1", "--memory", "512")
    before = text(terminal)
    failing(terminal, "sys.exit(1)")
    assert terminal("deploy", "magika:1", "--memory", "9000").code == 5
    assert text(terminal) == before


def test_a_file_that_is_put_back_stays_the_file_it_was(terminal: Terminal) -> None:
    path = terminal.folder / "deployments.toml"
    kept = path.rename(terminal.folder / "kept.toml")
    kept.chmod(0o640)
    path.symlink_to(kept)
    failing(terminal, "sys.exit(1)")
    assert terminal("deploy", "magika:1").code == 5
    assert path.is_symlink()
    assert kept.read_text() == FILE
    assert kept.stat().st_mode & 0o777 == 0o640


def test_what_others_wrote_meanwhile_survives_a_failure(terminal: Terminal) -> None:
    other = DeploymentEntry(model="other", version=1, digest="sha256:" + "0" * 64)
    path = terminal.folder / "deployments.toml"
    block = f'[[deployment]]\\nmodel = "other"\\nversion = 1\\ndigest = "{other.digest}"\\n'
    failing(terminal, f"Path({str(path)!r}).open('a').write('\\n{block}'); sys.exit(1)")
    assert terminal("deploy", "magika:1").code == 5
    assert list(entries(terminal)) == [("other", 1)]


def test_a_first_deploy_that_fails_leaves_no_file(terminal: Terminal) -> None:
    (terminal.folder / "deployments.toml").unlink()
    failing(terminal, "sys.exit(1)")
    with oci_registry() as images:
        digest = images.put_manifest("models", b"{}")
        pinned = f"{images.host}/models@{digest}"
        assert terminal("deploy", "magika:1", "--image", pinned).code == 5
    assert not (terminal.folder / "deployments.toml").exists()


def test_a_stack_that_registers_nothing_is_a_failure_but_stands_in_the_file(
    terminal: Terminal,
) -> None:
    assert isinstance(terminal.registry, RegistrarRegistry)
    terminal.registry.asleep = True
    result = terminal("deploy", "magika:1", "--json")
    assert result.code == 5
    assert "did not register the version" in result.json["error"]["message"]
    assert list(entries(terminal)) == [("magika", 1)]


def test_a_registry_away_after_cdk_succeeded_leaves_the_file_as_the_stacks_are(
    terminal: Terminal,
) -> None:
    assert isinstance(terminal.registry, RegistrarRegistry)
    terminal.registry.away_after = 1
    assert terminal("deploy", "magika:1").code == 5
    assert list(entries(terminal)) == [("magika", 1)]
    terminal.registry.away_after = None
    terminal.ok("deploy", "magika:1")
    terminal.registry.away_after = 3
    assert terminal("undeploy", "magika:1").code == 5
    assert entries(terminal) == {}


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (("deploy", "magika:9"), 3, "version-not-found"),
        (("deploy", "nope:1"), 3, "model-not-found"),
        (("deploy", "magika"), 2, "usage"),
        (("deploy", "magika:1", "--memory", "64"), 2, "invalid-setting"),
        (("deploy", "magika:1", "--timeout", "901"), 2, "invalid-setting"),
        (("deploy", "magika:1", "--memory", "much"), 2, "usage"),
        (("deploy", "magika:1", "--target", "moon"), 2, "usage"),
        (("undeploy", "magika:1"), 4, "not-deployed"),
        (("undeploy", "magika:9"), 3, "version-not-found"),
        (("undeploy", "nope:1"), 3, "model-not-found"),
    ],
)
def test_a_refusal_comes_before_anything_is_touched(
    terminal: Terminal, arguments: tuple[str, ...], code: int, name: str
) -> None:
    result = terminal(*arguments, "--json")
    assert (result.code, result.json["error"]["code"]) == (code, name)
    assert text(terminal) == FILE
    assert calls(terminal.folder) == []


def test_without_aws_nothing_begins(terminal: Terminal) -> None:
    def outputs(stack: str) -> None:
        raise AwsUnavailableError("CloudFormation", "no credentials")

    terminal.outputs = outputs
    result = terminal("deploy", "magika:1", "--json")
    assert (result.code, result.json["error"]["code"]) == (5, "aws-unavailable")
    assert text(terminal) == FILE


def test_undeploy_destroys_the_stack_and_removes_the_entry(terminal: Terminal) -> None:
    terminal.ok("deploy", "magika:1")
    terminal.ok("deploy", "magika:2")
    assert terminal.ok("undeploy", "magika:1", "--json").json["deployed"] is False
    assert list(entries(terminal)) == [("magika", 2)]
    last = calls(terminal.folder)[-1]["arguments"]
    assert last[:2] == ["destroy", "modelport-dev-magika-v1"]
    assert {"--force", "--exclusively"} <= set(last)


def test_undeploy_of_a_version_in_use_touches_nothing(terminal: Terminal) -> None:
    terminal.ok("deploy", "magika:1")
    terminal.ok("promote", "magika:1")
    before, made = text(terminal), len(calls(terminal.folder))
    result = terminal("undeploy", "magika:1", "--json")
    assert (result.code, result.json["error"]["code"]) == (4, "version-in-use")
    assert "stable" in result.json["error"]["message"]
    assert (text(terminal), len(calls(terminal.folder))) == (before, made)


def test_undeploy_of_a_shadow_touches_nothing(terminal: Terminal) -> None:
    """Its entry is what the endpoint beside it is made from."""
    terminal.ok("deploy", "magika:1")
    terminal.ok("deploy", "magika:2")
    path = terminal.folder / "deployments.toml"
    entry = entries(terminal)["magika", 2]
    shadowed = entry.sagemaker.model_copy(update={"shadow": Shadow(version=1)})
    with_entry(path, entry.model_copy(update={"sagemaker": shadowed}))
    before, made = text(terminal), len(calls(terminal.folder))
    result = terminal("undeploy", "magika:1", "--json")
    assert (result.code, result.json["error"]["code"]) == (4, "version-in-use")
    assert "shadow of magika:2" in result.json["error"]["message"]
    assert (text(terminal), len(calls(terminal.folder))) == (before, made)


def test_undeploy_that_fails_keeps_the_entry(terminal: Terminal) -> None:
    terminal.ok("deploy", "magika:1")
    before = text(terminal)
    failing(terminal, "print('Error: AccessDenied'); sys.exit(1)")
    result = terminal("undeploy", "magika:1", "--json")
    assert result.code == 5
    assert "AccessDenied" in result.json["error"]["message"]
    assert text(terminal) == before


def test_a_version_that_lost_its_entry_can_be_undeployed(terminal: Terminal) -> None:
    terminal.ok("deploy", "magika:1")
    (terminal.folder / "deployments.toml").write_text(FILE)
    seen = terminal.folder / "seen.toml"
    failing(terminal, f"Path({str(seen)!r}).write_text(Path('deployments.toml').read_text())")
    terminal.ok("undeploy", "magika:1")
    assert Deployments.load(seen).entry("magika", 1) is not None
    assert entries(terminal) == {}


# --- the runner -----------------------------------------------------------------------------------


def test_cdk_is_named_then_installed_then_on_path(tmp_path: Path) -> None:
    root = repository(tmp_path / "r")
    installed = root / "infra" / "node_modules" / ".bin"
    elsewhere, named = tmp_path / "path", tmp_path / "named"
    for folder in (installed, elsewhere, named):
        folder.mkdir(parents=True)
        fake_cdk(folder, "").rename(folder / "cdk")
    starts = [root / "infra"]
    path = {"PATH": str(elsewhere)}
    both = {**path, "MODELPORT_CDK": str(named / "cdk")}
    assert find_cdk(both, starts=starts).command == named / "cdk"
    assert find_cdk(path, starts=starts).command == installed / "cdk"
    (installed / "cdk").unlink()
    assert find_cdk(path, starts=starts).command == elsewhere / "cdk"


def test_a_missing_cdk_says_where_it_was_looked_for(tmp_path: Path) -> None:
    root = repository(tmp_path / "r")
    with pytest.raises(CdkMissingError, match="nowhere/cdk"):
        find_cdk({"MODELPORT_CDK": "nowhere/cdk"}, starts=[root])


def test_outside_a_checkout_there_is_no_app(tmp_path: Path) -> None:
    with pytest.raises(CdkMissingError, match=r"infra/app\.py"):
        find_cdk({}, starts=[tmp_path])


def test_cdk_gets_the_python_and_node_that_run_us() -> None:
    got = environment({"PATH": "/somewhere", "HOME": "/home"})
    folders = got["PATH"].split(os.pathsep)
    assert str(Path(sys.executable).parent) in folders
    assert folders[-1] == "/somewhere"
    assert Path(got["JSII_NODE"]).name == "node"
    assert environment({"JSII_NODE": "/own/node"})["JSII_NODE"] == "/own/node"


def test_all_output_is_kept_and_events_are_told(tmp_path: Path) -> None:
    root = repository(tmp_path)
    done = EVENT.format(status="CREATE_COMPLETE     ", reason="")
    command = fake_cdk(root, f"print('noise'); print({done!r}, file=sys.stderr)")
    told: list[str] = []
    cdk = find_cdk({"MODELPORT_CDK": str(command)}, starts=[root])
    cdk.deploy(["a-stack"], told.append)
    assert told == ["2/5 Registration create complete"]
    log = (root / ".local/logs/cdk-deploy-a-stack.log").read_text()
    assert "noise" in log
    assert "CREATE_COMPLETE" in log


def test_an_interrupted_run_takes_cdk_down_with_it(tmp_path: Path) -> None:
    root = repository(tmp_path)
    command = fake_cdk(root, "print('up', os.getpid(), flush=True); time.sleep(600)")
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from modelport.cli.cdk import find_cdk\n"
        f"cdk = find_cdk({{'MODELPORT_CDK': {str(command)!r}}}, starts=[Path({str(root)!r})])\n"
        "cdk.deploy(['s'], print)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as process:
        log = root / ".local/logs/cdk-deploy-s.log"
        pid = next(_words_after(log, "up", process))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def _words_after(log: Path, word: str, process: subprocess.Popen[bytes]) -> Iterator[str]:
    while process.poll() is None:
        time.sleep(0.02)
        words = log.read_text().split() if log.exists() else []
        if word in words[:-1]:
            yield words[words.index(word) + 1]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["x", WRONG, WRONG, "Error: y"], ["Custom::Registration Registration/Default"]),
        (["fine", "Error: no such thing", "    at f (x.js)"], ["Error: no such thing"]),
        (["❌ Deployment failed"], ["❌ Deployment failed"]),
        (["nothing", "", "helpful"], ["nothing", "helpful"]),
        ([], []),
    ],
)
def test_reasons_are_the_lines_that_say_why(lines: list[str], expected: list[str]) -> None:
    found = reasons(lines)
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("counted", "told"), [("2/5", "2/5"), ("5/5", "5/5"), ("7/6", "6/6"), ("19", "19")]
)
def test_more_is_never_done_than_there_is(counted: str, told: str) -> None:
    line = EVENT.format(status="CREATE_COMPLETE     ", reason="").replace("2/5", counted)
    assert progress(line) == f"{told} Registration create complete"


def test_lines_that_are_no_event_are_no_progress() -> None:
    assert progress("✨  Synthesis time: 3s") is None
    assert progress(EVENT.format(status="CREATE_IN_PROGRESS  ", reason="")) is None


def test_a_failure_carries_its_reasons_and_log(tmp_path: Path) -> None:
    root = repository(tmp_path)
    command = fake_cdk(root, "print('Error: broken'); sys.exit(3)")
    cdk = find_cdk({"MODELPORT_CDK": str(command)}, starts=[root], logs=tmp_path / "logs")
    with pytest.raises(CdkFailedError) as caught:
        cdk.destroy(["a-stack"], lambda _: None)
    assert caught.value.reasons == ("Error: broken",)
    assert str(tmp_path / "logs" / "cdk-destroy-a-stack.log") in caught.value.hint


TENSORS = Golden(
    "g", (Tensor("x", "FP32", (1, 2), (1.0, 2.0)),), (Tensor("y", "FP32", (1, 2), (2.0, 4.0)),)
)
LARGE = replace(TENSORS, inputs=(Tensor("x", "FP32", (1, 500), (0.5,) * 500),))
RAW = Golden("r", content_type="text/plain", body=b"hello", answer={"label": "txt"})


@pytest.mark.parametrize(
    ("goldens", "expected"),
    [
        ((TENSORS,), '/v1/models/m/versions/1:predict -d \'{"inputs":{"x":[[1.0,2.0]]}}\''),
        ((LARGE,), "/v1/models/m/versions/1:predict -d @request.json"),
        ((), "/v1/models/m/versions/1:predict -d @request.json"),
        (
            (RAW, TENSORS),
            "/endpoints/m/versions/1/invocations -H 'content-type: text/plain' --data-binary @FILE",
        ),
    ],
)
def test_the_example_call_comes_from_the_goldens(
    goldens: tuple[Golden, ...], expected: str
) -> None:
    content = Content((), Signature((), ()), goldens=goldens)
    manifest = Manifest("m", 1, content, "2026-01-01T00:00:00Z")
    assert curl("http://api.test", manifest, signed="") == f"curl http://api.test{expected}"
