"""Of the rig: real Redis servers as processes: plain, with users, TLS, Sentinel, Cluster."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import trustme
from redis import Redis
from redis.exceptions import RedisError
from rig_process import HOST, Process, free_port, free_ports, wait_until


class RedisServer(Process):
    """One redis-server on a free port of loopback, nothing kept on disk."""

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        options: Sequence[str] = (),
        name: str = "redis",
        **client: Any,
    ) -> None:
        """`options` are redis-server's own; `client` how a client has to be made for it."""
        self.port = free_port() if port is None else port
        self._client = client
        folder = directory / name
        folder.mkdir(exist_ok=True)
        plain = () if "--port" in options else ("--port", str(self.port))
        command = ["redis-server", *plain, "--bind", HOST, "--save", "", "--appendonly", "no"]
        super().__init__(directory, name, [*command, "--dir", str(folder), *options])

    def start(self) -> Self:
        self._spawn()
        wait_until(f"{self.name} answers", self._answers)
        return self

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def client(self) -> Redis:
        """A new connection; close it."""
        return Redis(HOST, self.port, socket_timeout=2.0, **self._client)

    def ask(self, *command: object) -> Any:
        """The answer to one command."""
        client = self.client
        try:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]
        finally:
            client.close()

    def bindings(self, pattern: str = "*") -> dict[str, str]:
        """Every binding there: its key without what all have, and its value."""
        client = self.client
        try:
            keys = sorted(client.scan_iter(f"rmlb:*:binding:{pattern}", count=1000))
            values = client.mget(keys) if keys else []
            return {
                key.decode().rpartition(":")[2]: value.decode()
                for key, value in zip(keys, values, strict=True)
                if value is not None
            }
        finally:
            client.close()

    def document(self, key: str) -> Any:
        """A JSON value by the end of its key; None where there is none."""
        client = self.client
        try:
            (name,) = list(client.scan_iter(f"rmlb:*:{key}")) or [None]
            value = client.get(name) if name is not None else None
            return None if value is None else json.loads(value)
        finally:
            client.close()

    def _answers(self) -> bool:
        assert self.running, f"{self.name} ended: {self.stdout[-2000:]}"
        try:
            return bool(self.ask("PING"))
        except (RedisError, OSError):
            return False


def with_user(directory: Path) -> tuple[RedisServer, str]:
    """A server that knows one user, who may touch the cluster's keys alone; and the URL."""
    users = directory / "users.acl"
    users.write_text(
        "user default off\n"
        "user rmlb on >let-me-in ~rmlb:* -@all +@read +@write +@connection +@scripting +time\n"
    )
    server = RedisServer(
        directory, options=("--aclfile", str(users)), username="rmlb", password="let-me-in"
    )
    return server, f"redis://rmlb:let-me-in@{HOST}:{server.port}/0"


def with_tls(directory: Path, authority: trustme.CA) -> tuple[RedisServer, str]:
    """A server that speaks TLS only, its certificate signed by this authority; and the URL."""
    files = {name: directory / f"redis-{name}.pem" for name in ("cert", "key", "ca")}
    made = authority.issue_cert(HOST)
    made.cert_chain_pems[0].write_to_path(files["cert"])
    made.private_key_pem.write_to_path(files["key"])
    authority.cert_pem.write_to_path(files["ca"])
    port = free_port()
    options = (
        "--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no",
        "--tls-cert-file", str(files["cert"]), "--tls-key-file", str(files["key"]),
        "--tls-ca-cert-file", str(files["ca"]),
    )  # fmt: skip
    server = RedisServer(
        directory, port=port, options=options, ssl=True, ssl_ca_certs=str(files["ca"])
    )
    return server, f"rediss://{HOST}:{port}/0"


class Sentinel(RedisServer):
    """A Sentinel that watches one master under the name `rm`, and takes a second to act."""

    def __init__(self, directory: Path, master: RedisServer, *, name: str = "sentinel") -> None:
        port = free_port()
        file = directory / f"{name}.conf"
        file.write_text(
            f"port {port}\nbind {HOST}\ndir {directory}\n"
            f"sentinel monitor rm {HOST} {master.port} 1\n"
            "sentinel down-after-milliseconds rm 500\n"
            "sentinel failover-timeout rm 2000\n"
        )
        super().__init__(directory, port=port, name=name)
        self.command = ["redis-server", str(file), "--sentinel"]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{HOST}:{self.port}/rm/0"

    def master_port(self) -> int:
        _, port = self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "rm")
        return int(port)


def replica(directory: Path, master: RedisServer, name: str = "replica") -> RedisServer:
    """A server that follows another one."""
    options = ("--replicaof", HOST, str(master.port), "--repl-diskless-sync-delay", "0")
    return RedisServer(directory, options=options, name=name)


def cluster(directory: Path) -> tuple[list[RedisServer], str]:
    """Three servers of a Cluster, not started; and the URL. `join` them once they run."""
    ports = free_ports(3)
    servers = []
    for number, port in enumerate(ports):
        options = (
            "--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{port}.conf",
            "--cluster-node-timeout", "1000", "--cluster-port", str(free_port()),
        )  # fmt: skip
        servers.append(RedisServer(directory, port=port, options=options, name=f"cluster{number}"))
    return servers, "redis+cluster://" + ",".join(f"{HOST}:{port}" for port in ports)


def join(servers: Sequence[RedisServer]) -> None:
    """Make a Cluster of them."""
    places = [f"{HOST}:{server.port}" for server in servers]
    command = ["redis-cli", "--cluster", "create", *places, "--cluster-yes"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for server in servers:
        wait_until("cluster ok", lambda s=server: b"cluster_state:ok" in s.ask("CLUSTER", "INFO"))
