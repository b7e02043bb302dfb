"""Defaults that depend on something else: the VIP's name, the file's folder, the environment.

The only file it reads is `[security] secret-file`. What depends on a table with faults is
left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from rmlb.config.kinds import Wrong
from rmlb.config.problem import Fault
from rmlb.config.schema import Config
from rmlb.config.service import LEAST_SECRET, RM_TIMER, HeartbeatConfig, TlsConfig
from rmlb.config.table import Table

LARGEST_SECRETS = 2**16
"""Octets of a secrets file: more than a thousand secrets."""

SECRETS_ALLOWED = (
    f"alone, a readable file with one secret of at least {LEAST_SECRET} characters a line"
)

T = TypeVar("T", bound=Table)


def complete(
    config: Config, bad: Set[str], environ: Mapping[str, str]
) -> tuple[Config, list[Fault]]:
    """The configuration with every default filled in, and faults for what could not be."""
    faults: list[Fault] = []
    config = _with_paths(config)
    if config.security.secret_file and "security" not in bad:
        try:
            if config.security.secrets:
                raise Wrong("security.secret is given, too")
            secrets = _secrets(config.security.secret_file)
            config = replace(config, security=_set(config.security, secrets=secrets))
        except Wrong as wrong:
            faults.append(Fault("security.secret-file", str(wrong), SECRETS_ALLOWED))
    if "cluster" not in bad:
        config = _with_cluster(config)
        if not config.state.dir:
            directory = _state_directory(config, environ)
            config = replace(config, state=_set(config.state, dir=str(directory)))
    return config, faults


def _set(table: T, **values: Any) -> T:
    return table.model_copy(update=values)


def _with_paths(config: Config) -> Config:
    """Relative paths start at the folder of the configuration file."""
    folder = Path(config.path).parent

    def below(path: str) -> str:
        return str(folder / path) if path else ""

    tls: TlsConfig = _set(
        config.tls,
        certificate=below(config.tls.certificate),
        key=below(config.tls.key or config.tls.certificate),
        ca=below(config.tls.ca),
    )
    certificate = below(config.admin.certificate) or (tls.certificate if config.admin.tls else "")
    own_key = below(config.admin.key or config.admin.certificate)
    return replace(
        config,
        tls=tls,
        admin=_set(
            config.admin,
            certificate=certificate,
            key=own_key or (tls.key if config.admin.tls else ""),
        ),
        security=_set(config.security, secret_file=below(config.security.secret_file)),
        state=_set(config.state, dir=below(config.state.dir)),
    )


def _with_cluster(config: Config) -> Config:
    """Names, members, listening addresses and heartbeat as `[cluster]` gives them."""
    vip = config.cluster.virtual_ip
    cluster = _set(
        config.cluster,
        name=config.cluster.name or vip,
        members=config.cluster.members or tuple(config.rm),
    )
    listen = tuple(
        address if address.host else address._replace(host=vip) for address in config.sip.listen
    )
    heartbeat: HeartbeatConfig = config.heartbeat
    if heartbeat.id is None:
        heartbeat = _set(heartbeat, id=cluster.mymemberid)
    if heartbeat.interval_s == RM_TIMER:
        heartbeat = _set(heartbeat, interval_s=cluster.heartbeattimer_ms / 1000)
    return replace(
        config,
        cluster=cluster,
        sip=_set(config.sip, listen=listen, via_host=config.sip.via_host or vip),
        heartbeat=heartbeat,
    )


def _state_directory(config: Config, environ: Mapping[str, str]) -> Path:
    """systemd's $STATE_DIRECTORY (the first of a list), else a folder of the user's own."""
    if given := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(given)
    if given := environ.get("XDG_STATE_HOME", ""):
        home = Path(given)
    elif given := environ.get("HOME", ""):
        home = Path(given, ".local", "state")
    else:  # a system account started by hand
        home = Path("/var/lib")
    cluster = config.cluster
    own = f"-{cluster.mymemberid}" if cluster.mymemberid is not None else ""
    return home / "rmlb" / f"{cluster.name}{own}"


def _secrets(path: str) -> tuple[str, ...]:
    """The secrets of a file, one a line; Wrong says what is amiss, never what it read."""
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST_SECRETS).decode()
    except UnicodeDecodeError:
        raise Wrong(f"{path} is not UTF-8") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Wrong(f"{path} cannot be read: {reason.lower()}") from None
    secrets = tuple(line.strip() for line in text.splitlines() if line.strip())
    short = [str(i) for i, secret in enumerate(secrets, 1) if len(secret) < LEAST_SECRET]
    if not secrets:
        raise Wrong(f"{path} holds no secret")
    if short:
        raise Wrong(f"{path}: secret {', '.join(short)} is too short")
    if len(set(secrets)) < len(secrets):
        raise Wrong(f"{path} holds a secret twice")
    return secrets
