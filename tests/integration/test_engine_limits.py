"""Beyond what the compiled engine has room for: it says so, at start and reload, and works."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

from rig import HOST, Balancer, free_port, wait_until

SECRETS = ", ".join(f'"secret number {i} of many"' for i in range(9))
OPTIONS = (
    "OPTIONS sip:{host}:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{own};branch=z9hG4bKx;rport\r\n"
    "From: <sip:a@b>;tag=f\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n"
    "Content-Length: 0\r\n\r\n"
)


def test_more_listeners_and_secrets_than_it_has_room_for(tmp_path: Path) -> None:
    listen = ["udp:{port}", *(f"udp:{free_port()}" for _ in range(16))]
    balancer = Balancer(
        tmp_path,
        {1: f"udp:{HOST}:{free_port()}"},
        listen=listen,
        extra='[security]\nsecret = ["secret number 0 of many"]\n[drain]\nlimit = "0s"\n',
        env={"RMLB_ENGINE": "compiled"},
    )
    with (
        balancer.start(ready=False),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller,
    ):
        assert re.search(r"event=config-warning.*sip\.listen: 17 addresses", balancer.stderr)
        caller.bind((HOST, 0))
        caller.settimeout(10.0)
        own = caller.getsockname()[1]
        octets = OPTIONS.format(host=HOST, port=balancer.port, own=own).encode()
        caller.sendto(octets, (HOST, balancer.port))
        assert caller.recv(65536).startswith(b"SIP/2.0 ")

        text = balancer.config_path.read_text()
        balancer.config_path.write_text(re.sub(r"secret = \[.*\]", f"secret = [{SECRETS}]", text))
        balancer.send_signal(signal.SIGHUP)
        wait_until("reloaded", lambda: bool(balancer.told("reloaded")))
        warned = [fields["why"] for fields in balancer.told("config-warning")]
        assert any(why.startswith("security.secret: 9 secrets, more than 8") for why in warned)
