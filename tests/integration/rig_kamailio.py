"""Of the rig: Kamailio 5.6 as a member, in the manner of a Resource Manager.

It record-routes, passes calls on to a media server and marks everything it passes with
`X-RM: N`, so that a test sees which member each request went through.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rig_process import Process

SHARED_MB, PRIVATE_MB = 32, 32
"""The TLS module does not load with the default private memory."""


@dataclass(frozen=True)
class Manager:
    """How one Kamailio is set up. `listen` are sockets in its own words: "udp:127.0.0.1:5060".

    `virtual` is host:port that it takes for itself and writes into its Record-Route with
    `gvp.rm.datanodes=N`, as an RM does with `virtual-ip`; empty: its own address.
    `media` is the SIP URI that initial requests are passed on to; empty: it answers them itself.
    `certificate` is a PEM file with its key, for TLS.
    """

    number: int
    listen: tuple[str, ...]
    media: str = ""
    virtual: str = ""
    certificate: Path | None = None
    authority: Path | None = None

    @property
    def configuration(self) -> str:
        tls = f"""
enable_tls=yes
loadmodule "tls.so"
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "certificate", "{self.certificate}")
modparam("tls", "private_key", "{self.certificate}")
modparam("tls", "ca_list", "{self.authority}")
"""
        record = (
            f'record_route_preset("{self.virtual};gvp.rm.datanodes={self.number}")'
            if self.virtual
            else "record_route()"
        )
        onward = f'$du = "{self.media}"' if self.media else 'sl_send_reply("200", "OK"); exit'
        return f"""#!KAMAILIO
debug=0
log_stderror=yes
children=2
tcp_children=2
auto_aliases=no
tcp_source_ipv4={self.listen[0].split(":")[1]}
{f'alias="{self.virtual}"' if self.virtual else ""}
{"".join(f"listen={each}{chr(10)}" for each in self.listen)}
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
{tls if self.certificate else ""}
modparam("rr", "enable_full_lr", 0)
modparam("rr", "append_fromtag", 0)

request_route {{
    if (is_method("OPTIONS") && $rU == $null) {{
        sl_send_reply("200", "OK");
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) t_relay();
        exit;
    }}
    t_check_trans();
    append_hf("X-RM: {self.number}\\r\\n");
    if (has_totag()) {{
        if (!loose_route()) {{
            if (!is_method("ACK")) sl_send_reply("404", "No Route For Us");
            exit;
        }}
    }} else {{
        if (is_method("INVITE|SUBSCRIBE|REFER")) {record};
        {onward};
    }}
    t_relay();
}}
"""


class Kamailio(Process):
    """Runs until closed; wait for it by the balancer's health checks."""

    def __init__(self, directory: Path, manager: Manager) -> None:
        name = f"kamailio{manager.number}"
        path = directory / f"{name}.cfg"
        path.write_text(manager.configuration)
        super().__init__(
            directory,
            name,
            [
                "/usr/sbin/kamailio", "-f", path, "-DD", "-E",
                "-m", str(SHARED_MB), "-M", str(PRIVATE_MB),
                "-w", directory, "-Y", directory, "-P", directory / f"{name}.pid",
            ],
        )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL to it and its children: dead at once."""
        if self.running:
            self.send_signal(signal.SIGKILL)
        super().kill()

    def send_signal(self, number: signal.Signals) -> None:
        """To it and its children: frozen, it is silent; killed, nothing of it is left."""
        for pid in (self.pid, *self._children()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _children(self) -> list[int]:
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in text.split()]

    def close(self) -> None:
        """SIGTERM, which ends its children too; how well it shuts down is not under test."""
        if self._child is not None and self.running:
            self._child.terminate()
            try:
                self._child.wait(5.0)
            except subprocess.TimeoutExpired:
                self.kill()
