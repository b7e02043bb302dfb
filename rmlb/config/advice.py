"""What `rmlb check` says of a valid configuration: warnings, and how fast a takeover will be."""

from __future__ import annotations

from collections.abc import Iterator

from rmlb.config.checks import is_loopback
from rmlb.config.kinds import show_duration
from rmlb.config.schema import Config
from rmlb.config.service import VipProvider
from rmlb.config.stores import store_hosts


def warnings(config: Config) -> tuple[str, ...]:
    """What is allowed but deserves a second look; each begins with its key path."""
    return tuple(_warnings(config))


def _warnings(config: Config) -> Iterator[str]:
    if config.sip.listen:
        yield from _about_calls(config)
    elif config.vip.provider is VipProvider.NONE:
        yield "sip.listen: empty, and [vip] provider is none: this balancer does nothing"
    yield from _about_balancers(config)
    yield from _about_redis(config)


def _about_calls(config: Config) -> Iterator[str]:
    if not config.security.trusted:
        yield (
            "security.trusted: empty: the datanodes and session headers of initial requests are "
            "believed from anybody; name the networks of SIP Server and of the media servers"
        )
        if config.security.source_rate:
            yield (
                "security.source-rate: with no trusted networks it limits SIP Server, too: it is "
                "silenced as soon as it sends more than that"
            )
    if not config.sip.record_route:
        yield (
            "sip.record-route: false: dialogs are found by bindings alone, so one that no "
            "balancer remembers may reach the wrong member"
        )
    if config.trace.keep and not config.admin.token:
        yield (
            "trace.keep: messages are kept, and without [admin] token every program of this host "
            "may read them"
        )
    if len(config.rm) == 1:
        yield "rm: one member only: nothing takes its calls when it fails"
    if config.retry.timer_c_s <= 180:
        yield "retry.timer-c: RFC 3261 16.6 wants more than 3 minutes: long ringing calls are lost"
    if any(last >= 500 for _, last in config.health.codes):
        yield (
            "health.codes: accepts answers of 500 and above: a member that refuses calls stays "
            "in service"
        )


def _about_balancers(config: Config) -> Iterator[str]:
    if not config.security.secrets:
        yield (
            f"security.secret: not set: one is generated and kept in {config.state.directory}; "
            "a second balancer would need the same"
        )
    script = config.cluster.failoverscript
    if config.runs_failoverscript and (
        "\\" in script or script.lower().endswith((".bat", ".cmd", ".vbs"))
    ):
        yield f"cluster.failoverscript: {script} is a Windows command: it cannot run here"
    if config.heartbeat.peers and config.vip.provider is VipProvider.NONE:
        yield "vip.provider: none: there are peers, but nobody moves the virtual IP between them"
    if config.heartbeat.interval_s > 1:
        yield (
            f"heartbeat.interval: {show_duration(config.heartbeat.interval_s)}: a takeover takes "
            "three of these"
        )


def _about_redis(config: Config) -> Iterator[str]:
    state = config.state
    if state.backend == "memory":
        if config.heartbeat.peers:
            yield (
                "state.url: memory:// with peers: the balancers share no bindings; dialogs are "
                "found by mark and hash alone; to drain, disable or enable a member, tell all "
                "balancers"
            )
        return
    private = {listen.host for listen in config.heartbeat.listen}
    for place in store_hosts(state.url):
        if is_loopback(place.host) or place.host in private:
            yield f"state.url: Redis ({place}) is on this balancer's host: both fail together"
    moves = config.vip.provider in (VipProvider.NETLINK, VipProvider.SCRIPT)
    if state.backend != "redis" and moves and not config.witness:
        yield (
            f"vip.witness: none: {state.backend.capitalize()} may lose a lease and cannot be "
            "the witness; without one a partition may give two owners; name one Redis server"
        )


def expected_takeover(config: Config) -> str:
    """How long the VIP is silent after each kind of fault, in words (HA-RULES 1, 2, 4)."""
    provider, interval_s = config.vip.provider, config.heartbeat.interval_s
    if provider is VipProvider.EXTERNAL:
        return (
            "that of whatever moves the virtual IP (keepalived with adverts every 100 ms: "
            "some 300 ms)"
        )
    if not config.heartbeat.peers:
        return "none: there is no other balancer"
    if provider is VipProvider.NONE:
        return "none: nobody moves the virtual IP ([vip] provider)"
    slow = ", then the time of the script" if provider is VipProvider.SCRIPT else ""
    return (
        f"host dead, frozen or cut off: {show_duration(2 * interval_s)} to "
        f"{show_duration(3 * interval_s)} (2 to 3 heartbeats){slow}; "
        f"keeper or worker killed: under 50 ms{slow}; release or SIGTERM: under 20 ms{slow}"
    )
