"""`rmlb check`, and what `rmlb run` refuses before it opens anything."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from rmlb import fastpath
from rmlb.cli.balancer import check_config, choose_engine, run_balancer
from rmlb.cli.failure import CliError

WORKING = """
[cluster]
ha-mode    = "active-active"
virtual-ip = "127.0.0.1"
[rm.1]
sip = "127.0.0.1:7001"
[rm.2]
sip = "127.0.0.1:7002"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rmlb.toml"
    path.write_text(WORKING)
    return path


def test_check_prints_toml_with_takeover_and_warnings(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_config(file) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert tomllib.loads(out)["cluster"]["virtual-ip"] == "127.0.0.1"
    assert "# expected takeover: " in out
    assert "# warning: security.trusted: " in out


@pytest.mark.parametrize("command", [check_config, run_balancer])
def test_one_line_per_error(
    file: Path, capsys: pytest.CaptureFixture[str], command: object
) -> None:
    file.write_text(WORKING.replace("virtual-ip", "virtual-pi") + "[halth]\nrise = 1\n")
    assert callable(command)
    assert command(file) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert all(line.startswith(f"{file}: ") for line in err.splitlines())
    assert "virtual-ip" in err
    assert "health" in err


def test_check_of_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_config(tmp_path / "none.toml") == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize("wanted", ["python", "compiled"])
def test_the_engine_that_is_asked_for(wanted: str) -> None:
    assert choose_engine({"RMLB_ENGINE": wanted}) == wanted


@pytest.mark.parametrize("environ", [{}, {"RMLB_ENGINE": ""}])
def test_the_compiled_engine_where_it_is_built(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_engine(environ) == "compiled"
    monkeypatch.setattr(fastpath, "is_built", lambda: False)
    assert choose_engine(environ) == "python"


@pytest.mark.parametrize(("wanted", "code"), [("compiled", 1), ("rust", 2)])
def test_a_forced_engine_that_is_missing_is_an_error(
    wanted: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastpath, "is_built", lambda: False)
    with pytest.raises(CliError, match=wanted) as caught:
        choose_engine({"RMLB_ENGINE": wanted})
    assert caught.value.code == code


def test_what_the_compiled_engine_has_no_room_for(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RMLB_ENGINE", raising=False)
    many = ", ".join(f'"udp:{port}"' for port in range(6000, 6017))
    file.write_text(WORKING + f"[sip]\nlisten = [{many}]\n")
    said = "# warning: sip.listen: 17 addresses, more than 16: Python routes every message"
    assert check_config(file) == 0
    assert said in capsys.readouterr().out
    monkeypatch.setenv("RMLB_ENGINE", "python")
    assert check_config(file) == 0
    assert said not in capsys.readouterr().out
