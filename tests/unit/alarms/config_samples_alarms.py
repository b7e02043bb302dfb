"""A configuration with reactions and webhooks."""

from __future__ import annotations

from rmlb.config import Config, parse


def with_alarms(lines: str) -> Config:
    text = '[cluster]\nvirtual-ip = "127.0.0.1"\n[rm.1]\nsip = "127.0.0.1:7001"\n' + lines
    return parse(text, "site.toml", environ={"HOME": "/home/operator"})
