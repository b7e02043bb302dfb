"""docs/ and README: every snippet and command line is run or judged; every name has its entry."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main
from rig import Balancer, SimulatedMember

from rmlb import metrics
from rmlb.alarms.webhooks import signature
from rmlb.cli import app
from rmlb.cli.simulate import app as simulating
from rmlb.config import ConfigError, parse
from rmlb.events import EventName
from rmlb.metrics import Metric

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


class Snippet(NamedTuple):
    page: Path
    line: int
    language: str
    text: str


def snippets() -> Iterator[Snippet]:
    for page in PAGES:
        language, start, lines = None, 0, list[str]()
        for number, line in enumerate(page.read_text().splitlines(), 1):
            if not line.startswith("```"):
                lines.append(line)
            elif language is None:
                language, start, lines = line.removeprefix("```").strip(), number, []
            else:
                yield Snippet(page, start, language, "\n".join(lines) + "\n")
                language = None
        assert language is None, f"{page}: a fence is not closed"


ALL = list(snippets())
KNOWN_LANGUAGES = {"", "toml", "sh", "json", "python", "yaml", "ini"}


def of(language: str) -> list[Any]:
    return [
        pytest.param(each, id=f"{each.page.name}:{each.line}")
        for each in ALL
        if each.language == language
    ]


def test_every_language_is_judged_here() -> None:
    assert {each.language for each in ALL} <= KNOWN_LANGUAGES


LEAST = '[cluster]\nvirtual-ip = "10.99.0.100"\n[rm.1]\nsip = "10.99.0.11:5060"\n'


@pytest.mark.parametrize("snippet", of("toml"))
def test_configuration(snippet: Snippet, tmp_path: Path) -> None:
    """As `rmlb check` judges it; what is a part only, together with the least there must be."""
    secret = tmp_path / "rmlb.secret"
    secret.write_text("at least sixteen characters\n")
    text = snippet.text.replace("/etc/rmlb/rmlb.secret", str(secret))
    if "[cluster]" not in text:
        text = LEAST + text
    try:
        parse(text, str(tmp_path / "rmlb.toml"), environ={"HOME": "/home/operator"})
    except ConfigError as error:
        pytest.fail("\n".join(map(str, error.problems)))


@pytest.mark.parametrize("snippet", of("json"))
def test_json(snippet: Snippet) -> None:
    assert json.loads(snippet.text)


@pytest.mark.parametrize("snippet", of("yaml"))
def test_prometheus_configuration(snippet: Snippet, tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    path.write_text(snippet.text)
    subprocess.run(["promtool", "check", "config", "--syntax-only", path], check=True)


@pytest.mark.parametrize("snippet", of("ini"))
def test_a_drop_in(snippet: Snippet, tmp_path: Path) -> None:
    unit = (ROOT / "config" / "rmlb.service").read_text().replace("/opt/rmlb/bin/rmlb", "/bin/true")
    path = tmp_path / "rmlb.service"
    path.write_text(unit + "\n" + snippet.text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, check=False
    )
    assert "rmlb" not in done.stderr


@pytest.mark.parametrize("snippet", of("python"))
def test_the_receiver_of_a_webhook(snippet: Snippet) -> None:
    names: dict[str, Any] = {}
    exec(compile(snippet.text, snippet.page.name, "exec"), names)
    secret, body = "at least sixteen characters", b'{"id": "x"}'
    headers = {
        "X-Rmlb-Timestamp": "1764111600",
        "X-Rmlb-Signature": f"sha256={signature(secret, '1764111600', body)}",
    }
    assert names["is_from_rmlb"](secret, headers, body)
    assert not names["is_from_rmlb"](secret, headers, body + b" ")


# -- command lines ---------------------------------------------------------------------------------


class Line(NamedTuple):
    page: Path
    number: int
    words: tuple[str, ...]


def command_lines() -> Iterator[Line]:
    """Every simple command of every sh snippet, without comments."""
    for snippet in ALL:
        if snippet.language != "sh":
            continue
        for offset, text in enumerate(snippet.text.splitlines(), 1):
            lexer = shlex.shlex(text, posix=True, punctuation_chars="|;&")
            lexer.whitespace_split = True
            for is_end, words in itertools.groupby(lexer, lambda word: set(word) <= set("|;&")):
                if not is_end:
                    yield Line(snippet.page, snippet.line + offset, tuple(words))


LINES = list(command_lines())
OURS = [line for line in LINES if line.words[0].rpartition("/")[2] == "rmlb"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
OTHERS = {
    "make", "sipp", "systemctl", "journalctl", "systemd-sysusers", "systemd-analyze", "sysctl",
    "cp", "install", "tar", "ln", "ls", "python3", "promtool", "nstat", "./rmlb-*/install.sh",
}  # fmt: skip


def named(line: Line) -> str:
    return f"{line.page.name}:{line.number} {' '.join(line.words[:3])}"


@pytest.mark.parametrize("snippet", of("sh"))
def test_a_shell_can_read_it(snippet: Snippet) -> None:
    subprocess.run(["bash", "-n"], input=snippet.text, text=True, check=True)


@pytest.mark.parametrize("line", LINES, ids=named)
def test_every_program_is_known(line: Line) -> None:
    program = line.words[0]
    assert line in OURS or program in OTHERS
    if program == "make":
        assert set(line.words[1:]) <= TARGETS
    for word in line.words[1:]:
        if word.startswith(("config/", "docs/", "benchmarks/")):
            assert (ROOT / word).exists(), word
        if found := re.fullmatch(r"/opt/rmlb/share/rmlb/(config/\S+)", word):
            assert (ROOT / found[1]).exists(), word


@pytest.mark.parametrize("line", OURS, ids=named)
def test_every_command_line_is_accepted(line: Line) -> None:
    """By the parser of that very command: names, options, and number of arguments."""
    words = list(line.words[1:])
    command: Any = typer.main.get_command(app)
    if words and words[0] == "simulate":
        command, words = typer.main.get_command(simulating), words[1:]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, words[0]
        command, words = command.commands[words[0]], words[1:]
    if words not in (["--help"], ["--install-completion"]):
        command.make_context("rmlb", words)


SAFE = {"status", "members", "calls", "drain", "enable", "disable", "version", "check", "events"}


def test_the_safe_ones_do_what_they_should(tmp_path: Path) -> None:
    """Against a running balancer, in the order of the pages."""
    config = tmp_path / "site.toml"
    config.write_text(LEAST)
    with (
        SimulatedMember(tmp_path, 1) as first,
        SimulatedMember(tmp_path, 2) as second,
        Balancer(tmp_path, {1: first.address, 2: second.address}) as balancer,
    ):
        environ = {**os.environ, "RMLB_API": f"http://127.0.0.1:{balancer.admin_port}"}
        ran = set()
        for line in OURS:
            words = [
                str(config) if word.startswith("/etc/rmlb/") else word for word in line.words[1:]
            ]
            if words[0] not in SAFE or "--follow" in words or tuple(words) in ran:
                continue
            ran.add(tuple(words))
            done = subprocess.run(
                [sys.executable, "-m", "rmlb.cli", *words],
                env=environ, capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            unknown_call = "--call-id" in words and done.stderr == "rmlb: no such call\n"
            assert done.returncode == 0 or unknown_call, (words, done.stderr)
    assert {words[0] for words in ran} == SAFE - {"disable"}


# -- names -----------------------------------------------------------------------------------------


def test_every_event_has_its_entry_in_the_runbook() -> None:
    entries = re.findall(r"^### (\S+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert len(entries) == len(set(entries))
    events = set(map(str, EventName))
    assert events - set(entries) == set()
    assert set(entries) == events


@pytest.mark.parametrize(
    "metric", [each for each in vars(metrics).values() if isinstance(each, Metric)],
    ids=lambda metric: metric.name,
)  # fmt: skip
def test_every_metric_is_on_its_page(metric: Metric) -> None:
    row = f"| `{metric.name}` | {metric.kind} | {', '.join(metric.labels)} | {metric.help} |"
    assert row in (ROOT / "docs" / "metrics.md").read_text().splitlines(), row


def test_no_page_names_a_metric_that_there_is_not() -> None:
    known = {each.name for each in vars(metrics).values() if isinstance(each, Metric)}
    for page in PAGES:
        for name in set(re.findall(r"\brmlb_[a-z0-9_]+\b", page.read_text())):
            assert name in known, f"{page.name}: {name}"


def test_every_key_that_a_page_names_exists() -> None:
    """`[table] key` in code marks."""
    tables = tomllib.loads(
        re.sub(
            r"^#(?=[a-z\[])", "", (ROOT / "config" / "rmlb.toml").read_text(), flags=re.MULTILINE
        )
    )
    for page in PAGES:
        for table, key in re.findall(r"`\[([a-z]+)\] ([a-z-]+)", page.read_text()):
            assert key in tables[table], f"{page.name}: [{table}] {key}"


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


PLACE = re.compile(r"(?<![\w/.-])((?:rmlb|tests|config|docs|benchmarks|\.ci)/[\w./*-]*\w)")


def test_every_file_that_a_page_names_is_there() -> None:
    """Tests that a claim points to above all: a name that has moved proves nothing."""
    more = [ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md"]
    for page in [*PAGES, *more, *(ROOT / "docs" / "decisions").glob("*.md")]:
        for name in PLACE.findall(page.read_text()):
            found = (ROOT / name).exists() or (ROOT / f"{name}.py").exists()
            assert found or any(ROOT.glob(name)), f"{page.name}: {name}"
