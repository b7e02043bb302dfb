"""`rmlb run` and `rmlb check`: the configuration file, and what is started with it."""

from __future__ import annotations

import json
import os
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path

from rmlb import config as configuration
from rmlb import fastpath
from rmlb.cli.failure import FAILED, MISUSED, CliError
from rmlb.config import Config, ConfigError


def check_config(path: Path, as_json: bool = False) -> int:
    """Print the effective configuration with takeover time and warnings as comments.

    The exit code: 0, or 2 after one line per error on stderr. `as_json`: one object on stdout.
    """
    if as_json:
        return _check_as_json(path)
    config = load_config(path)
    if config is None:
        return MISUSED
    print(configuration.render(config))
    print(f"# expected takeover: {configuration.expected_takeover(config)}")
    for warning in _warnings(config):
        print(f"# warning: {warning}")
    return 0


def _check_as_json(path: Path) -> int:
    try:
        config = configuration.load(path)
    except ConfigError as error:
        problems = [
            {"file": p.file, "key": p.key, "message": p.message, "allowed": p.allowed}
            for p in error.problems
        ]
        print(json.dumps({"valid": False, "problems": problems}, indent=2))
        return MISUSED
    answer = {
        "valid": True,
        "problems": [],
        "warnings": list(_warnings(config)),
        "expected_takeover": configuration.expected_takeover(config),
        "config": tomllib.loads(configuration.render(config)),
    }
    print(json.dumps(answer, indent=2))
    return 0


def run_balancer(path: Path) -> int:
    """Run until a signal; the exit code. 2 when the configuration is wrong."""
    config = load_config(path)
    if config is None:
        return MISUSED
    engine = choose_engine(os.environ)
    from rmlb.events import Event, EventName, Severity, log_setup, write_log
    from rmlb.keeper import process

    log_setup(config.log.level, config.log.format)
    warnings = _warnings(config)
    if engine == "python" and not fastpath.is_built():
        warnings = (*warnings, f"{fastpath.NOT_BUILT}; the Python engine runs")
    for warning in warnings:
        fields = {"file": str(path), "why": warning}
        write_log(Event(EventName.CONFIG_WARNING, time.time(), Severity.WARNING, fields))
    return process.run(config)


def _warnings(config: Config) -> tuple[str, ...]:
    from rmlb.alarms import advice

    return (
        *configuration.warnings(config),
        *advice.warnings(config),
        *_engine_warnings(config, os.environ),
    )


def _engine_warnings(config: Config, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What keeps the compiled engine from working as it is meant to, where that one would run."""
    if environ.get(fastpath.VARIABLE) == "python" or not fastpath.is_built():
        return ()
    from rmlb.routing.keys import Keyring
    from rmlb.routing.losses import LossLog
    from rmlb.snapshot import Snapshot, Standing, make_table

    try:
        keys = Keyring(config.security.secrets or ("the one that is made up",))
    except ValueError as error:
        return (f"security.secret: {error}",)
    nobody = Snapshot({}, Standing(LossLog(), None, frozenset()), stopping=False)
    return fastpath.warnings("compiled", make_table(config, keys, b"00000000", nobody))


def choose_engine(environ: Mapping[str, str]) -> str:
    """The engine to run, see `fastpath`. Raises CliError where it is not there, or not known."""
    try:
        return fastpath.choose(environ)
    except fastpath.EngineError as error:
        known = environ.get(fastpath.VARIABLE) in fastpath.CHOICES
        raise CliError(str(error), FAILED if known else MISUSED) from None


def load_config(path: Path) -> Config | None:
    """The configuration, or None after its errors have been printed."""
    try:
        return configuration.load(path)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return None
