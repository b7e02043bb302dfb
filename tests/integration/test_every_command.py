"""What holds of every command there is: help with an example, exit codes, no colours in a pipe."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from rmlb import __version__
from rmlb.cli import app
from rmlb.cli.simulate import app as simulating

MINIMAL = '[cluster]\nvirtual-ip = "127.0.0.1"\n[rm.1]\nsip = "127.0.0.1:7001"\n'
EXPORTS = Path(__file__).parent / "scenarios" / "rm-exports"


def commands() -> dict[str, set[str]]:
    """Every command by the words that name it, with its options."""
    found: dict[str, set[str]] = {}

    def walk(words: str, command: Any) -> None:
        if hasattr(command, "commands"):
            for name, each in command.commands.items():
                walk(f"{words} {name}", each)
        else:
            found[words] = {name for param in command.params for name in param.opts}

    walk("rmlb", typer.main.get_command(app))
    walk("rmlb simulate", typer.main.get_command(simulating))
    return found


COMMANDS = commands()


def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "rmlb.cli", *words],
        env={**kept, "LANG": "C.UTF-8", **environ},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS)
def test_help_has_an_example_of_that_very_command(words: str) -> None:
    done = run(*words.split()[1:], "--help")
    assert (done.returncode, done.stderr) == (0, "")
    text = " ".join(done.stdout.split())
    assert "\x1b" not in done.stdout
    example = re.search(r"Example: (rmlb .*)", text)
    assert example, done.stdout
    assert example[1].startswith(words)


@pytest.mark.parametrize("words", COMMANDS)
def test_an_unknown_option_is_2_and_told_on_stderr(words: str) -> None:
    done = run(*words.split()[1:], "--no-such-option")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "no-such-option" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("words", COMMANDS)
def test_what_prints_has_json(words: str) -> None:
    """All but those that run until they are stopped."""
    silent = {
        "rmlb run",
        "rmlb top",
        "rmlb simulate",
        "rmlb simulate rm",
        "rmlb simulate sip-server",
    }
    silent |= {f"rmlb vip {what}" for what in ("init", "enable", "disable", "check", "ping")}
    assert ("--json" in COMMANDS[words]) is (words not in silent)


@pytest.mark.parametrize("words", ["status", "members", "calls", "events", "enable 1", "drain 1",
                                   "disable 1", "switchover", "active 1"])  # fmt: skip
def test_without_a_balancer_it_is_1_with_one_line(words: str) -> None:
    done = run(*words.split(), "--api", "http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("rmlb: ")
    assert done.stderr.count("\n") == 1


def test_the_exit_codes_are_told() -> None:
    text = " ".join(run("--help").stdout.split())
    assert "Exit codes: 0 done; 1 failed; 2 wrong usage or configuration; 130 interrupted" in text
    assert run().returncode == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    script = run(_RMLB_COMPLETE=f"source_{shell}")
    assert script.returncode == 0
    assert "complete" in script.stdout
    if shell == "bash":
        words = run(_RMLB_COMPLETE="complete_bash", COMP_WORDS="rmlb mem", COMP_CWORD="1")
        assert words.stdout.split() == ["members"]


def test_version_as_json() -> None:
    assert json.loads(run("version", "--json").stdout) == {"version": __version__}


class TestCheckAsJson:
    def test_a_valid_file(self, tmp_path: Path) -> None:
        path = tmp_path / "rmlb.toml"
        path.write_text(MINIMAL)
        done = run("check", str(path), "--json")
        answer = json.loads(done.stdout)
        assert (done.returncode, answer["valid"], answer["problems"]) == (0, True, [])
        assert answer["config"]["cluster"]["virtual-ip"] == "127.0.0.1"
        assert any("security.trusted" in warning for warning in answer["warnings"])

    def test_a_wrong_one(self, tmp_path: Path) -> None:
        path = tmp_path / "rmlb.toml"
        path.write_text(MINIMAL + "[halth]\n")
        done = run("check", str(path), "--json")
        answer = json.loads(done.stdout)
        assert (done.returncode, done.stderr, answer["valid"]) == (2, "", False)
        assert [problem["key"] for problem in answer["problems"]] == ["halth"]


class TestImport:
    def files(self) -> list[str]:
        return [str(EXPORTS / "rm1.cfg"), str(EXPORTS / "rm2.cfg")]

    def test_two_exports_make_a_file_that_check_accepts(self, tmp_path: Path) -> None:
        out = tmp_path / "rmlb.toml"
        done = run("import-rm", *self.files(), "-o", str(out))
        assert (done.returncode, done.stderr) == (0, "")
        for title in ("taken: ", "changed: ", "left: ", f"written: {out}"):
            assert re.search(f"^{title}", done.stdout, re.MULTILINE)
        assert run("check", str(out)).returncode == 0

    def test_an_existing_file_stays_unless_forced(self, tmp_path: Path) -> None:
        out = tmp_path / "rmlb.toml"
        out.write_text("mine")
        done = run("import-rm", *self.files(), "-o", str(out))
        assert (done.returncode, out.read_text()) == (1, "mine")
        assert "--force" in done.stderr
        assert run("import-rm", *self.files(), "-o", str(out), "--force").returncode == 0

    def test_to_stdout_the_report_goes_to_stderr(self, tmp_path: Path) -> None:
        done = run("import-rm", *self.files(), "--beside", "2")
        assert done.returncode == 0
        assert "mymemberid = 2" in done.stdout
        assert "taken: " in done.stderr
        (tmp_path / "x.toml").write_text(done.stdout)
        assert run("check", str(tmp_path / "x.toml")).returncode == 0

    def test_as_json(self) -> None:
        answer = json.loads(run("import-rm", *self.files(), "--json").stdout)
        assert answer["problems"] == []
        assert answer["taken"]
        assert "[rm.2]" in answer["config"]

    @pytest.mark.parametrize("content", [b"", b"hello", b"[cluster]\nmembers = 1 2\n"])
    def test_what_is_no_export_is_1_with_one_line(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "rm.cfg"
        path.write_bytes(content)
        for name in (path, tmp_path / "none"):
            done = run("import-rm", str(name))
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.startswith("rmlb: ")
            assert done.stderr.count("\n") == 1
