"""Kamailio 5.6 as it is compared: configurations tuned for speed, each a proxy that could serve.

One worker; `-x fm`; no logging, DNS or aliases; only the modules that are used; Max-Forwards
checked, Record-Route in every dialog, members probed every second.
"""

from __future__ import annotations

from benchmarks.generator import BUFFER, Ports

_HEAD = """#!KAMAILIO
debug=-3
log_stderror=yes
fork=yes
children=1
{transport_settings}
listen={transport}:127.0.0.1:{port}
maxbuffer={buffer}
auto_aliases=no
dns=no
rev_dns=no
use_dns_cache=no
use_dns_failover=no
server_signature=no
user_agent_header="User-Agent: k"
sip_warning=0
disable_core_dump=yes
{modules}
modparam("tm", "fr_timer", 1000)
modparam("rr", "enable_full_lr", 0)
modparam("rr", "append_fromtag", 0)
modparam("dispatcher", "list_file", "{folder}/dispatcher.list")
modparam("dispatcher", "ds_ping_interval", 1)
modparam("dispatcher", "ds_probing_mode", 1)
modparam("dispatcher", "ds_probing_threshold", 2)
modparam("dispatcher", "ds_ping_reply_codes", "class=2;class=3;class=4")
"""

_UDP = "disable_tcp=yes"
_TCP = """tcp_children=1
tcp_connection_lifetime=3600
tcp_max_connections=4096
tcp_rd_buf_size=65536
tcp_async=yes
tcp_delayed_ack=no
udp4_raw=0"""

_STATELESS = """
request_route {
    if (!mf_process_maxfwd_header("70")) exit;
    if (has_totag()) {
        loose_route();
        forward();
        exit;
    }
    if (method != "CANCEL" && method != "ACK") record_route();
    if (!ds_select_dst("1", "0")) {
        sl_send_reply("503", "Service Unavailable");
        exit;
    }
    forward();
}
"""

_STATEFUL = """
modparam("dispatcher", "flags", 2)
modparam("tm", "fr_inv_timer", 200000)
modparam("tm", "auto_inv_100", 1)

request_route {
    if (!mf_process_maxfwd_header("70")) exit;
    if (method == "CANCEL") {
        if (t_check_trans()) t_relay();
        exit;
    }
    if (has_totag()) {
        loose_route();
        t_relay();
        exit;
    }
    if (method == "ACK") {
        if (t_check_trans()) t_relay();
        exit;
    }
    if (!t_newtran()) exit;
    record_route();
    if (!ds_select_dst("1", "0")) {
        t_reply("503", "Service Unavailable");
        exit;
    }
    t_on_failure("ELSEWHERE");
    t_relay();
}

failure_route[ELSEWHERE] {
    if (t_is_canceled()) exit;
    if (t_check_status("503") || (t_branch_timeout() && !t_branch_replied())) {
        ds_mark_dst("tp");
        if (ds_next_dst()) {
            t_on_failure("ELSEWHERE");
            t_relay();
            exit;
        }
    }
}
"""

_MODULES = ("pv", "sl", "rr", "maxfwd", "siputils", "dispatcher")


def configuration(folder: str, ports: Ports, *, transport: str, stateful: bool) -> str:
    """kamailio.cfg; `dispatcher_list` goes beside it into `folder`."""
    # tm comes first: the dispatcher probes through it.
    modules = ("tm", *(("tmx",) if stateful else ()), *_MODULES)
    head = _HEAD.format(
        transport_settings=_UDP if transport == "udp" else _TCP,
        transport=transport,
        port=ports.proxy,
        buffer=BUFFER,
        modules="\n".join(f'loadmodule "{name}.so"' for name in modules),
        folder=folder,
    )
    return head + (_STATEFUL if stateful else _STATELESS)


def dispatcher_list(ports: Ports, *, transport: str) -> str:
    suffix = ";transport=tcp" if transport == "tcp" else ""
    return "".join(f"1 sip:127.0.0.1:{ports.member + i}{suffix} 0\n" for i in range(ports.members))
