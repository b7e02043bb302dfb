"""The lists of commands, as a terminal of 80 columns shows them."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from rmlb.cli import app
from rmlb.cli.simulate import app as simulating


@pytest.mark.parametrize(("listed", "words"), [(app, []), (app, ["vip"]), (simulating, [])])
def test_no_command_is_cut_short(listed: typer.Typer, words: list[str]) -> None:
    shown = CliRunner().invoke(listed, [*words, "--help"], env={"COLUMNS": "80"})
    assert shown.exit_code == 0
    assert "Commands:" in shown.output
    commands = shown.output.partition("Commands:")[2].splitlines()
    assert not [line for line in commands if line.endswith("...")]
