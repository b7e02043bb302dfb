from __future__ import annotations

import re
import tomllib
from dataclasses import replace

import pytest
from config_samples import FILE, HOME, PAIR, WORKING, config
from hypothesis import given
from hypothesis import strategies as st

from rmlb.config import Config, parse, render
from rmlb.config.rendering import toml
from rmlb.config.schema import TABLES


def again(found: Config) -> Config:
    return parse(render(found), FILE, environ=HOME)


FULL = """
[cluster]
virtual-ip = "10.99.0.100/24"
member.2 = "10.99.0.12:9801"
member.1 = "10.99.0.11:9801"
mymemberid = 2
failoverscript = 'C:\\NLB.bat'
[gvp]
nic.eth1 = "00-0F-1F-6D-EB-CA"
nics = "1"
[rm.1]
sip = ["udp:10.99.0.11:5060", "tls:rm1.example.com:5061"]
weight = 50
[rm.2]
sip = "[2001:db8::12]:5060"
[health]
codes = [200, "404-405"]
interval = "1500ms"
[vip]
addresses = ["2001:db8::100/64"]
[heartbeat]
interval = "rm"
[trace]
hep = "homer.example.com"
[security]
trusted = ["10.0.0.0/8"]
[[reaction]]
on = "ready"
command = "/bin/echo 'it is \\"ready\\"'"
"""


@pytest.mark.parametrize("text", [WORKING, FULL])
def test_what_is_shown_loads_to_the_same(text: str) -> None:
    found = parse(text, FILE, environ=HOME)
    shown = again(found)
    assert replace(shown, given=found.given) == found


def test_every_key_is_shown() -> None:
    shown = render(parse(FULL, FILE, environ=HOME))
    for name, model in TABLES.items():
        body = shown.split(f"\n[{name}]\n")[1].split("\n[")[0]
        for key in model.fields():
            assert re.search(rf"^(# )?{key}[ .]", body, re.MULTILINE), f"{name}.{key}"


def test_what_the_file_does_not_say_is_marked() -> None:
    lines = render(config(sip="max-headers = 256")).splitlines()
    assert "max-headers = 256" in lines
    assert "max-connections = 4096  # (default)" in lines
    assert 'virtual-ip = "10.99.0.100"' in lines
    assert "# mymemberid is not set" in lines


def test_secrets_are_not_shown() -> None:
    found = config(
        security='secret = ["correct horse battery", "staple correct horse"]',
        admin='token = "correct horse battery"',
        affinity='hash-key = "correct horse"',
        state='url = "redis://user:correct-horse@10.99.0.50/0"',
        vip='witness = "redis://:correct-horse@10.99.0.51"',
    )
    shown = render(found)
    assert "horse" not in shown
    assert 'secret = ["***", "***"]' in shown
    assert 'token = "***"' in shown
    assert "redis://user:***@10.99.0.50/0" in shown
    assert "horse" not in repr(found.security) + repr(found.admin)


def test_a_pair_is_shown_as_toml() -> None:
    assert tomllib.loads(render(parse(PAIR, FILE, environ=HOME)))["heartbeat"] == {
        "id": 1,
        "interval": "100ms",
        "listen": ["10.99.0.1:9811"],
        "peers": ["10.99.0.2:9811"],
    }


@given(st.text() | st.booleans() | st.integers(-(10**9), 10**9) | st.lists(st.text()))
def test_values_are_written_as_toml(value: object) -> None:
    assert tomllib.loads(f"x = {toml(value)}")["x"] == value
