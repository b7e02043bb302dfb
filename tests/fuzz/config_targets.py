"""Files that people write: the configuration, and the Resource Managers' exported options."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from itertools import count
from pathlib import Path
from random import Random

from target import Run, Target, mutate_octets

from rmlb.config import Config, ConfigError, expected_takeover, parse, render, warnings
from rmlb.rm_import.conversion import NotEnough, convert
from rmlb.rm_import.export import read_export

FILES = Path(__file__).parents[2] / "config"
SAMPLES = Path(__file__).parent / "samples"
HOME = {"HOME": "/home/rm"}
NAME = "site.toml"
SPLIT = b"\x1e"
"""Between two exports."""

_PIECES = (
    b"[cluster]\n", b"[rm.3]\n", b"[[reaction]]\n", b'on = "ready"\n', b'"', b"'", b'"""', b"'''",
    b"=", b"[", b"]", b"{", b"}", b"#", b";", b".", b",", b"\n", b"\r\n", b"\t", b"\x00",
    b"\xef\xbb\xbf",
    b"true", b"True", b"1e999", b"nan", b"-1", b"0", b"999999999999999999999", b"0x7f",
    b"1979-05-27",
    b'"10ms"', b'"1e9h"', b'"\\ud800"', b'"\\U0010ffff"', b'"[::1]:5060"', b'"udp:"', b'"tls:5061"',
    b'"10.0.0.1/33"', b'"active-standby"', b"member.1 = ", b"nic.eth0 = ", b"\xc3\xa9",
    b"\xe2\x80\x9d",
    b'"redis://h:99999/x"', b'"redis+sentinel://a,b/c"', b"weight = 0\n", b'virtual-ip = "::"\n',
)  # fmt: skip


def mutate_text(data: bytes, rng: Random) -> bytes:
    """Lines and pieces of a file of options changed."""
    if rng.random() < 0.1:
        return mutate_octets(data, rng)
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    line = lines[at]
    cut = rng.randrange(len(line) + 1)
    match rng.randrange(7):
        case 0:
            lines[at] = line[:cut] + rng.choice(_PIECES) + line[cut:]
        case 1:
            lines[at] = line.partition(b"=")[0] + b"= " + rng.choice(_PIECES)
        case 2:
            lines[at] = line[:cut] + line[cut + rng.choice((1, 1, 4)) :]
        case 3:
            del lines[at]
        case 4:
            lines.insert(rng.randrange(len(lines) + 1), line)
        case 5:
            other = rng.choice(lines)
            lines[at] = line.partition(b"=")[0] + b"=" + other.partition(b"=")[2]
        case _:
            lines[at] = line.lstrip(b"# ")
    return b"\n".join(lines)


def _config() -> Run:
    return _load


def _load(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        found = parse(text, NAME, environ=HOME)
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            assert str(problem).isprintable(), str(problem)
            assert problem.message
        return
    shown = render(found)
    assert all(isinstance(each, str) for each in warnings(found))
    expected_takeover(found)
    again = _again(shown)
    assert _unmarked(render(again)) == _unmarked(shown)


def _again(shown: str) -> Config:
    """Secrets are not shown; any other does for reading it again."""
    numbers = count()
    told = re.sub(r'"\*\*\*"', lambda _: f'"a secret of the tests {next(numbers)}"', shown)
    return parse(told, NAME, environ=HOME)


def _unmarked(shown: str) -> list[str]:
    return [line.removesuffix("  # (default)") for line in shown.splitlines()]


def _config_seeds() -> list[bytes]:
    reference = (FILES / "rmlb.toml").read_bytes()
    plain = b"\n".join(
        line.partition(b"  #")[0] for line in reference.splitlines() if not line.startswith(b"# ")
    )
    found = [(FILES / "quickstart.toml").read_bytes(), plain]
    return found + [path.read_bytes() for path in sorted(SAMPLES.glob("*.toml"))]


def _rm_import() -> Run:
    return _import


def _import(data: bytes) -> None:
    """The first octet: beside which member."""
    exports = []
    for number, octets in enumerate(data[1:].split(SPLIT)[:3]):
        with suppress(ValueError):
            exports.append((f"rm{number}.cfg", read_export(octets)))
    for _, export in exports:
        assert export.sections
        assert all(name == name.lower().strip() for name in export.sections)
    beside = data[0] % 4 or None if data else None
    try:
        imported = convert(exports, beside)
    except NotEnough as error:
        assert str(error)
        return
    tomllib.loads(imported.text)
    report = imported.report
    assert report.taken or report.changed or report.left
    with suppress(ConfigError):
        parse(imported.text, NAME, environ=HOME)


def _import_seeds() -> list[bytes]:
    found = [path.read_bytes() for path in sorted(SAMPLES.glob("*.cfg"))]
    seeds = [bytes((n,)) + each for n, each in enumerate(found)]
    seeds.append(b"\x01" + SPLIT.join(found))
    text = found[0].decode()
    seeds += [b"\x00" + text.encode(code) for code in ("utf-16", "utf-16-be", "utf-8-sig")]
    return seeds


TARGETS = (
    Target(
        "config",
        "ConfigError alone, each problem one printable line; what loads renders, and loads and "
        "renders again alike",
        _config,
        _config_seeds,
        mutate=mutate_text,
        short=120,
        most=16384,
        floor_s=2.0,
        us_per_octet=500.0,
    ),
    Target(
        "rm-import",
        "ValueError or NotEnough alone; what is made is TOML, and loads or is refused by name",
        _rm_import,
        _import_seeds,
        mutate=mutate_text,
        short=150,
        floor_s=0.5,
        us_per_octet=100.0,
    ),
)
