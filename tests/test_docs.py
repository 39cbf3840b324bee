"""The pages say what is true: settings, routes, assertions, commands, links, first steps."""

import ast
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands
from django.urls import URLPattern, URLResolver, get_resolver

from access.api import failures
from access.errors import Refusal
from alerts.models import AlertType, AttemptOutcome
from batches.scoring import registry
from config.celery import app
from config.management.commands.up import programs
from tests.processes.test_up import Up, up  # noqa: F401  the fixture
from tests.processes_at_work import until

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OURS = {name: COMPOSE[name] for name in ("migrate", "web", "worker", "ticker", "courier", "beat")}

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
# Other programs' variables, which our settings do not read.
_NOT_OURS = {"POSTGRES_PASSWORD", "REMAP_SIGTERM", "WEB_CONCURRENCY"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def code(page: Path) -> Iterator[str]:
    """Yield the lines of a page's code blocks, continued ones joined, and its spans of code."""
    text = page.read_text()
    for block in _FENCED.finditer(text):
        yield from block[2].replace("\\\n", " ").splitlines()
    yield from (span.replace("\n", " ") for span in _SPAN.findall(_FENCED.sub("", text)))


def first_cells(page: str, heading: str) -> list[str]:
    """Return the first cells of the table between `heading` and the next one."""
    text = _FENCED.sub("", (ROOT / "docs" / page).read_text())
    section = re.split(r"^#", text.partition(f"\n{heading}\n")[2], flags=re.MULTILINE)[0]
    return [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| `")]


def settings_read() -> set[str]:
    tree = ast.parse((ROOT / "config" / "settings.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "env"
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


def routes(resolver: URLResolver, prefix: str = "/") -> Iterator[str]:
    for entry in resolver.url_patterns:
        here = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry, here)
        elif isinstance(entry, URLPattern):
            yield re.sub(r"<[^>]+>", "{}", here)


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for line in listed.stdout.split("\0") if line and (path := ROOT / line).is_file()]


def test_every_setting_has_its_row_and_every_row_its_setting() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE)

    assert len(rows) == len(set(rows)), "a setting has two rows"
    assert set(rows) == settings_read()


def test_every_route_of_the_api_is_in_its_table() -> None:
    documented = set()
    for cell in first_cells("api.md", "## Endpoints"):
        base, *below = _SPAN.findall(cell)
        addresses = [base, *(base + part for part in below)]
        documented |= {re.sub(r"\{\w+\}", "{}", address) for address in addresses}

    known = {route for route in routes(get_resolver()) if route.startswith("/api/")}
    openly = {"/api/schema", "/api/docs", "/api/cron/scheduled-evaluations/health"}
    assert documented == known - openly


def test_every_assertion_is_in_its_table() -> None:
    documented = [_SPAN.findall(cell)[0] for cell in first_cells("api.md", "### Assertions")]

    assert sorted(documented) == sorted(registry.KINDS)


def test_every_alert_type_is_on_its_page() -> None:
    page = (ROOT / "docs" / "notifications.md").read_text()
    named = set(_SPAN.findall(_FENCED.sub("", page.partition("## Alert types")[2])))

    assert set(AlertType.values) <= named


def test_every_outcome_of_an_attempt_is_in_its_table() -> None:
    named = {
        span
        for cell in first_cells("notifications.md", "## Attempts")
        for span in _SPAN.findall(cell)
    }

    assert named == set(AttemptOutcome.values)


def test_every_type_of_error_is_in_its_table() -> None:
    def below(kind: type[Refusal]) -> Iterator[str]:
        yield kind.type
        for child in kind.__subclasses__():
            yield from below(child)

    page = (ROOT / "docs" / "api.md").read_text()
    documented = re.findall(r"^\| \d{3} \| `(\w+)` \|", page, re.MULTILINE)

    assert set(documented) == {*below(Refusal), *failures._TYPES.values()}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(_FENCED.sub("", page.read_text())):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        reached = (page.parent / path).resolve() if path else page
        assert reached.exists(), f"{name_of(page)} links to {target}"
        if anchor:
            headings = _HEADING.findall(_FENCED.sub("", reached.read_text()))
            slugs = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
            assert anchor in slugs, f"{name_of(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = set(get_commands())

    for line in code(page):
        for named in re.findall(r"manage\.py ([a-z_]+)", line):
            assert named in commands, line
        for named in re.findall(r"^make ([a-z0-9]+)", line):
            assert named in targets, line


def test_the_readmes_test_command_is_what_is_run_on_every_change(tmp_path: Path) -> None:
    blocks = [block[2].strip() for block in _FENCED.finditer((ROOT / "README.md").read_text())]
    assert blocks.count("make test") == 1
    noted = tmp_path / "noted"
    fake = tmp_path / "make"
    fake.write_text(f'#!/bin/sh\necho "make $*" >> "{noted}"\n')
    fake.chmod(0o755)

    done = subprocess.run(
        ["bash", ROOT / ".ci" / "run"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0
    assert "make test" in noted.read_text().splitlines()


def test_no_file_holds_an_index_or_a_machines_own_path() -> None:
    # In pieces, or this file would hold them itself.
    index = re.compile("|".join(["pypi" + r"\.org/simple", "files" + r"\.pythonhosted"]))
    option = re.compile("--(extra-)?" + r"index-url[ =]+\S*://")
    path = re.compile(r"(?<![\w.:])/(?:" + "|".join(["work", "root", "home"]) + r")/\w")
    found = []
    for file in tracked():
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("--hash=")]
        found += [
            f"{name_of(file)}: {line.strip()[:120]}"
            for line in lines
            if index.search(line) or option.search(line) or path.search(line)
        ]

    assert found == []


def test_compose_and_its_example_name_only_settings_that_are_read() -> None:
    example = (ROOT / ".env.example").read_text()
    named = set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))
    named |= {variable for service in OURS.values() for variable in service["environment"]}
    required = set(re.findall(r"\$\{([A-Z_]+):\?", (ROOT / "docker-compose.yml").read_text()))

    assert named - _NOT_OURS <= settings_read()
    assert required <= set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))


def test_compose_publishes_the_web_process_alone() -> None:
    assert [name for name, service in COMPOSE.items() if service.get("ports")] == ["web"]


def test_nothing_else_is_done_where_the_ticks_are(tmp_path: Path) -> None:
    commands = [service["command"] for service in OURS.values() if "command" in service]
    commands += [program.command for program in programs(tmp_path)]
    queues = [part for command in commands for part in " ".join(command).split("--queues")[1:]]
    names = [part.lstrip("= ").split()[0] for part in queues]

    assert sorted(names) == sorted(["batches", "ticks", "deliveries"] * 2)


def test_compose_serves_every_queue_and_stops_workers_softly() -> None:
    workers = [service for service in OURS.values() if "worker" in service.get("command", [])]
    queues = [
        queue
        for service in workers
        for argument in service["command"]
        if argument.startswith("--queues=")
        for queue in argument.removeprefix("--queues=").split(",")
    ]

    assert sorted(queues) == sorted({route["queue"] for route in app.conf.task_routes.values()})
    for service in workers:
        grace = int(service["stop_grace_period"].removesuffix("s"))
        # The default; tests may run with another one.
        assert grace > 30
        assert service["environment"]["REMAP_SIGTERM"] == "SIGQUIT"


def test_the_image_says_its_commands_in_valid_json() -> None:
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", "").splitlines()
    said = [
        line.partition(" CMD ")[2] or line[4:] for line in lines if re.search(r"\bCMD \[", line)
    ]

    health, command = [json.loads(each) for each in said]

    compile(health[-1], "healthcheck", "exec")
    assert command[:3] == ["python", "-m", "gunicorn"]


@pytest.mark.processes
@pytest.mark.xdist_group("processes")
@pytest.mark.timeout(360)
@pytest.mark.skipif(shutil.which("curl") is None, reason="the first steps use curl")
def test_the_first_steps_work_by_copy_and_paste(up: Up, tmp_path: Path) -> None:  # noqa: F811
    text = (ROOT / "README.md").read_text()
    blocks = _FENCED.findall(text)
    mail_port = free_port()
    (stand_in,) = [block for language, block in blocks if "socketserver" in block]
    # As the README starts it again with a mail server's address.
    assert "make up EMAIL_URL=smtp://127.0.0.1:1025" in text
    up.env["EMAIL_URL"] = f"smtp://127.0.0.1:{mail_port}"
    up.start().wait_for("ready after", 120)
    key = re.findall(r"API key +(es_\S+)", up.said())[0]
    script = "\n".join(block for language, block in blocks if language == "bash")
    script = script.replace("KEY=es_...", f"KEY={key}").replace(":8000/", f":{up.port}/")

    with pasted(stand_in.replace("1025", str(mail_port)), tmp_path / "mails") as mails:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        until(lambda: "Firing" in mails.read_text(), seconds=120, what=up.said)

    said = [json.loads(line) for line in done.stdout.splitlines() if line]
    checked, imported, batch, failed, run, runs, rule, taken = said
    assert checked["ok"], checked
    assert imported["added"] == 3
    ended = asked(up, key, f"batches/{batch['id']}")
    assert (ended["passed"], ended["failed"]) == (2, 1)
    assert [job["case_key"] for job in failed["results"]] in ([], ["sum"])
    assert runs["results"][0]["id"] == run["id"]
    path = f"scheduled-evaluations/{run['scheduled_evaluation_id']}/runs/{run['id']}"
    assert asked(up, key, path)["successful_prompts"] == 3
    assert (rule["enabled"], taken["accepted"]) == (True, 420)
    (shown,) = [block for _, block in blocks if block.startswith("Firing: ")]
    assert mails.read_text().startswith("To: admin@localhost \n" + shown.rstrip())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def pasted(command: str, into: Path) -> Iterator[Path]:
    """Run a command of a page beside the test, as in another terminal; yield what it prints."""
    with into.open("w") as output:
        running = subprocess.Popen(
            ["bash", "-c", command], stdout=output, start_new_session=True, cwd=into.parent
        )
        try:
            yield into
        finally:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def asked(up: Up, key: str, path: str) -> Any:  # noqa: F811
    """Return the object at `path` once it has completed: a slow machine may need longer."""
    url = f"http://127.0.0.1:{up.port}/api/{path}"
    request = urllib.request.Request(url, headers={"X-API-Key": key})
    deadline = time.monotonic() + 60
    while True:
        with urllib.request.urlopen(request) as response:
            found = json.load(response)
        if found["status"] == "completed" or time.monotonic() > deadline:
            return found
        time.sleep(0.5)
