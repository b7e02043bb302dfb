"""Configurations that several tests start from, and how a test writes one."""

from __future__ import annotations

from rmlb.config import Config, ConfigError, Problem, parse

FILE = "site.toml"

WORKING = """
[cluster]
ha-mode    = "active-active"          # or "active-standby"
virtual-ip = "127.0.0.1"

[rm.1]
sip = "127.0.0.1:7001"                # UDP and TCP; or ["udp:10.0.0.11:5060", "tls:10.0.0.11:5061"]

[rm.2]
sip = "127.0.0.1:7002"

[sip]
listen       = ["udp:5060", "tcp:5060"]   # a bare port listens on the virtual IP
record-route = true                        # the default

[admin]
listen = "127.0.0.1:8560"
"""
"""The whole working file that the product promises."""

PAIR = """
[cluster]
ha-mode    = "active-active"
members    = "1 2"
mymemberid = 1
virtual-ip = "10.99.0.100/24"
hotstandby = true

[rm.1]
sip = "10.99.0.11:5060"
[rm.2]
sip = "10.99.0.12:5060"

[sip]
listen       = ["udp:5060", "tcp:5060"]
record-route = true

[vip]
provider  = "netlink"
interface = "eth0"

[heartbeat]
interval = "100ms"
listen   = "10.99.0.1:9811"
peers    = ["10.99.0.2:9811"]

[security]
secret   = "at least sixteen characters"     # or secret-file; a list rotates

[state]
url = "redis://10.99.0.50:6379/0"

[admin]
listen = "127.0.0.1:8560"
"""
"""One balancer of a highly available pair."""

LEAST = {"cluster": 'virtual-ip = "10.99.0.100"', "rm.1": 'sip = "10.99.0.11:5060"'}
"""What no configuration can do without, by table."""

HOME = {"HOME": "/home/operator"}


def site(**tables: str) -> str:
    """The least configuration, with the lines of further tables (`rm_2` is `[rm.2]`).

    Lines of a table that is there already are added to it.
    """
    bodies = dict(LEAST)
    for name, lines in tables.items():
        table = name.replace("_", ".")
        bodies[table] = f"{bodies.get(table, '')}\n{lines}"
    return "\n".join(f"[{name}]\n{lines}" for name, lines in bodies.items())


def config(**tables: str) -> Config:
    """That configuration, loaded."""
    return parse(site(**tables), FILE, environ=HOME)


def problems(text: str, path: str = FILE) -> tuple[Problem, ...]:
    """Everything wrong with a text; none if it loads."""
    try:
        parse(text, path, environ=HOME)
    except ConfigError as error:
        return error.problems
    return ()


def wrong(**tables: str) -> dict[str, str]:
    """What is wrong with `site(**tables)`, by key path."""
    return {
        problem.key: f"{problem.message}; {problem.allowed}" for problem in problems(site(**tables))
    }
