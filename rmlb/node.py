"""The worker: the only place where the parts meet. Start order, stop order, signals, reload.

Feeds health results and the operator's words into routing snapshots, and shows the balancer to
the admin API. Decides nothing about SIP.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import Callable

import uvloop

from rmlb import __version__
from rmlb import config as configuration
from rmlb.admin.api import AdminError, AdminServer, Conflict
from rmlb.admin.views import (
    CallView,
    DrainingView,
    ListenerView,
    MemberView,
    NodeView,
    ProbesView,
    StateView,
    VipView,
    readiness,
)
from rmlb.config import Config, ConfigError
from rmlb.events import (
    Event,
    EventLog,
    EventName,
    Severity,
    admin_state_changed,
    member_health_changed,
)
from rmlb.health.activity import ActivityError
from rmlb.health.probe import Prober
from rmlb.health.tracker import ProbePlan, ProbeResult, Tracker, Transition
from rmlb.metrics import Histogram
from rmlb.roles import Roles
from rmlb.routing.bindings import Phase
from rmlb.routing.counters import Counters
from rmlb.routing.keys import Keyring, affinity_hash
from rmlb.routing.member import AdminState, Health, Member
from rmlb.routing.router import Router
from rmlb.routing.verdict import Hint, Report
from rmlb.sip.address import SipAddress, Transport, bracketed
from rmlb.snapshot import Snapshot, make_listeners, make_memory, make_table
from rmlb.state.operator import OperatorStates
from rmlb.state.secret import kept_secret
from rmlb.transport.exchange import Exchange, ExchangeSettings
from rmlb.transport.names import MemberNames, NameCache
from rmlb.transport.ports import family_of
from rmlb.transport.stream import StreamLimits
from rmlb.transport.tls import TlsContexts, TlsFiles

TICK_S = 1.0
"""Expiry, slow start and readiness are looked at this often."""

LOOK_S = 0.05
"""Remembered requests in trouble and silent members are looked at this often."""

RESOLVE_S = 30.0
"""Members named by host name are resolved again this often."""

UNRESOLVED_S = 3.0
"""The same while one of them has no address."""


def run(config: Config) -> int:
    """Run a balancer until SIGTERM or SIGINT. 0 after an orderly end, 1 if it cannot start."""
    return uvloop.run(_run(config))


async def _run(config: Config) -> int:
    node = Node(config)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    now = asyncio.Event()

    def ask_to_stop() -> None:
        (now if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask_to_stop)
    loop.add_signal_handler(signal.SIGHUP, node.reload)
    try:
        await node.start()
    except (OSError, AdminError, ValueError) as error:
        node.tell(EventName.FAULT, Severity.ERROR, why=str(error))
        await node.close()
        return 1
    await stop.wait()
    await node.drain(now)
    await node.close()
    return 0


class Node:
    """One balancer."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._events = EventLog()
        self._instance = secrets.token_hex(4).encode()
        self._started_at = time.time()
        self._started = time.monotonic()
        self._trackers = {number: Tracker(config.health) for number in config.rm}
        self._probes = {number: _Probes() for number in config.rm}
        families = [family_of(listener.host) for listener in make_listeners(config)]
        self._names = MemberNames(NameCache(), families)
        self._operator = OperatorStates(config.state.directory, set(AdminState), self._events.add)
        self._admin_states: dict[int, AdminState] = {}
        self._roles = Roles(config, self._events.add, self._calls_left)
        self._stopping = False
        self._ready: bool | None = None
        self._weights: dict[int, int] = {}
        self._keys = self._make_keys()
        self._router = Router(
            make_table(config, self._keys, self._instance, self._snapshot(self._members())),
            make_memory(config),
        )
        self._tls: TlsContexts | None = None
        self._exchange: Exchange | None = None
        self._prober: Prober | None = None
        self._admin: AdminServer | None = None
        self._probing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    # start and stop

    async def start(self) -> None:
        """Open everything. Raises OSError, AdminError or ValueError with one clear line."""
        config = self._config
        states = self._operator.load()
        self._admin_states = {n: AdminState(s) for n, s in states.items() if n in config.rm}
        self._roles.load(self._admin_states, time.monotonic())
        self._tls = _make_tls(config)
        await self._resolve_members()
        self._publish()
        self._exchange = Exchange(
            self._router, make_listeners(config), self._exchange_settings(), self._on_trouble
        )
        await self._exchange.start()
        for listener in make_listeners(config):
            where = f"{listener.transport}:{bracketed(listener.host)}:{listener.port}"
            self.tell(EventName.LISTENING, address=where)
        tls = TlsContexts(_admin_files(config)).server if config.admin.tls else None
        self._admin = AdminServer(
            self,
            config.admin.listen.host,
            config.admin.listen.port,
            token=config.admin.token or None,
            ssl_context=tls,
        )
        await self._admin.start()
        self._start_probing()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._keep_looking(), name="look"),
            loop.create_task(self._keep_time(), name="tick"),
            loop.create_task(self._keep_resolving(), name="resolve members"),
        ]
        self.tell(
            EventName.STARTED,
            version=__version__,
            engine=self._router.name,
            vip=config.cluster.virtual_ip,
            ha_mode=str(config.cluster.ha_mode),
            members=len(config.rm),
        )

    async def drain(self, now: asyncio.Event) -> None:
        """Take no new call, and wait for requests under way: `[drain] limit`, or until `now`."""
        self._stopping = True
        self._publish()
        limit = self._config.drain.limit_s
        waiting = self._router.memory.pending.unanswered
        self.tell(EventName.STOPPING, unanswered_requests=waiting, limit_s=limit)
        try:
            async with asyncio.timeout(limit):
                await asyncio.wait(
                    {
                        asyncio.ensure_future(self._all_answered()),
                        asyncio.ensure_future(now.wait()),
                    },
                    return_when=asyncio.FIRST_COMPLETED,
                )
        except TimeoutError:
            left = self._router.memory.pending.unanswered
            self.tell(EventName.STOPPING, Severity.WARNING, unanswered_requests=left)

    async def _all_answered(self) -> None:
        while self._router.memory.pending.unanswered:  # noqa: ASYNC110 - the packet path signals nobody
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Close everything that was opened, whatever of it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._prober is not None:
            await self._prober.stop()
        if self._admin is not None:
            await self._admin.stop()
        if self._exchange is not None:
            await self._exchange.stop()
        await self._roles.close()
        self.tell(EventName.STOPPED)

    def reload(self) -> None:
        """Read the configuration file again. A wrong one changes nothing and is said."""
        path = self._config.path
        try:
            fresh = configuration.load(path)
        except ConfigError as error:
            for problem in error.problems:
                self.tell(EventName.CONFIG_REJECTED, Severity.ERROR, why=str(problem))
            return
        fixed = _fixed_parts(fresh, self._config)
        if fixed:
            self.tell(
                EventName.CONFIG_REJECTED, Severity.ERROR,
                why=f"{', '.join(fixed)} cannot change without a restart",
            )  # fmt: skip
            return
        try:
            tls = _make_tls(fresh)
        except OSError as error:
            why = f"[tls]: {error.strerror or error}"
            self.tell(EventName.CONFIG_REJECTED, Severity.ERROR, why=why)
            return
        self._apply(fresh, tls)

    def tell(self, name: EventName, severity: Severity = Severity.INFO, **fields: object) -> None:
        """Record an event that happens now."""
        shown = {
            key: v if isinstance(v, int | float | str) else str(v) for key, v in fields.items()
        }
        self._events.add(Event(name, time.time(), severity, shown))

    # what the admin API sees (admin.api.Node)

    def view(self) -> NodeView:
        config = self._config
        memory = self._router.memory
        return NodeView(
            version=__version__,
            engine=self._router.name,
            ha_mode=str(config.cluster.ha_mode),
            active=self._roles.standing.active or None,
            started_at=self._started_at,
            uptime_s=time.monotonic() - self._started,
            vip=VipView(config.cluster.virtual_ip, True, str(config.vip.provider)),
            listeners=tuple(
                ListenerView(str(each), self._exchange is not None) for each in config.sip.listen
            ),
            members=tuple(self._member_view(number) for number in config.rm),
            state=StateView("memory", True),
            stopping=self._stopping,
            bindings=len(memory.bindings),
            pending_requests=len(memory.pending),
            connections=self._exchange.connections if self._exchange is not None else {},
        )

    def counters(self) -> Counters:
        return self._router.counters

    def events(self) -> EventLog:
        return self._events

    def find_call(self, call_id: str) -> CallView | None:
        table = self._router.table
        key = affinity_hash(table.affinity_key, call_id.encode())
        binding = self._router.memory.bindings.find(key)
        if binding is None:
            return None
        states = {Phase.TRYING: "calling", Phase.LIVE: "answered"}
        member = binding.member
        if table.hotstandby:
            member = table.losses.holder(member, binding.loss, key, table.affinity_key)
        expires_in = max(0.0, binding.expires - asyncio.get_running_loop().time())
        return CallView(call_id, member, states.get(binding.phase, "ended"), None, expires_in)

    async def set_admin_state(self, member_id: int, state: AdminState, why: str) -> None:
        before = self._admin_states.get(member_id, AdminState.ENABLED)
        if member_id not in self._config.rm:
            raise KeyError(member_id)
        self._admin_states[member_id] = state
        self._roles.on_admin_state(member_id, state)
        self._publish()
        if state is not before:
            self._events.add(admin_state_changed(member_id, before, state, why, time.time()))
        await self._operator.keep(member_id, state)
        await self._roles.kept()

    async def switchover(self, member_id: int | None) -> None:
        await self._change_roles(lambda: self._roles.switchover(member_id))

    async def told_active(self, member_id: int) -> None:
        await self._change_roles(lambda: self._roles.told_active(member_id))

    async def _change_roles(self, change: Callable[[], None]) -> None:
        try:
            change()
        except ActivityError as error:
            raise Conflict(str(error)) from None
        self._publish()
        await self._roles.kept()

    # health

    def _start_probing(self) -> None:
        members = [member for member in self._members().values() if member.addresses]
        self._prober = Prober(
            members,
            self._config.health,
            self._on_probe,
            self._plan,
            ssl_context=self._tls.client if self._tls is not None else None,
            certificate_names=self._names.certificate_names(self._configured_addresses()),
        )
        self._prober.start()

    def _plan(self, member_id: int) -> ProbePlan:
        return self._trackers[member_id].next_probe(time.monotonic())

    def _on_probe(self, member_id: int, result: ProbeResult) -> None:
        self._probes[member_id].add(result)
        tracker = self._trackers[member_id]
        heard = tracker.heard
        change = tracker.on_probe(result)
        if change is None:
            if tracker.heard and not heard:  # it was silent from the start
                self._health_changed(
                    member_id, Transition(result.at, tracker.health, tracker.health, result.summary)
                )
            return
        if change.before is Health.SUSPECT and change.after is Health.IN_SERVICE:
            self._router.spared(member_id, time.monotonic())
        self._health_changed(member_id, change)

    def _on_trouble(self, host: str, port: int, why: str) -> None:
        """The packet path met a refusal: a member's is a reason to look at it at once."""
        member = self._router.table.member_at(host, port)
        if member is not None:
            self._suspect(member.id, self._trackers[member.id].on_refused(time.monotonic()))

    def _on_report(self, report: Report) -> None:
        tracker = self._trackers.get(report.member)
        if tracker is None:
            return
        now = time.monotonic()
        if report.what is Hint.UNANSWERED:
            self._suspect(report.member, tracker.on_unanswered(now))
        else:
            self._suspect(report.member, tracker.on_calls_refused(now, report.value))

    def _suspect(self, member_id: int, change: Transition | None) -> None:
        if change is not None:
            self._health_changed(member_id, change)
            if self._prober is not None:
                self._prober.wake(member_id)

    def _health_changed(self, member_id: int, change: Transition) -> None:
        self._publish()
        self._events.add(
            member_health_changed(member_id, change.before, change.after, change.why, time.time())
        )
        self._tell_readiness()

    # snapshots

    def _members(self) -> dict[int, Member]:
        """As routing sees them; one of which nothing was heard yet is suspect, not lost."""
        now = time.monotonic()
        unheard = self._unheard() - self._roles.lost
        return {
            number: Member(
                id=number,
                addresses=self._names.addresses(rm.sip),
                health=Health.SUSPECT if number in unheard else self._trackers[number].health,
                admin_state=self._admin_states.get(number, AdminState.ENABLED),
                weight=max(1, rm.weight * self._trackers[number].weight(now) // 100),
            )
            for number, rm in self._config.rm.items()
        }

    def _unheard(self) -> set[int]:
        """Members of which no probe has said anything yet."""
        return {number for number, tracker in self._trackers.items() if not tracker.heard}

    def _snapshot(self, members: dict[int, Member]) -> Snapshot:
        self._weights = {member.id: member.weight for member in members.values()}
        return Snapshot(members, self._roles.standing, self._stopping)

    def _publish(self) -> None:
        """Build the next routing snapshot; what becomes of it is told by the roles."""
        now = time.monotonic()
        members = self._members()
        self._roles.update(members, self._unheard() & members.keys(), now)
        snapshot = self._snapshot(members)
        self._router.publish(make_table(self._config, self._keys, self._instance, snapshot), now)
        if self._exchange is not None:
            self._exchange.flush()

    def _calls_left(self, member_id: int) -> int:
        """The member's calls, and its requests that are not answered yet."""
        memory = self._router.memory
        return memory.bindings.calls[member_id] + len(memory.pending.waiting_for(member_id))

    async def _keep_looking(self) -> None:
        """Repetitions, deadlines, and what traffic says of the members."""
        while True:
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            self._router.look(now)
            if self._roles.look(now):
                self._publish()
            if self._exchange is not None:
                self._exchange.flush()
            for report in self._router.take_reports():
                self._on_report(report)

    async def _keep_time(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_S)
            self._router.expire(loop.time())
            if self._weights != {m.id: m.weight for m in self._members().values()}:
                self._publish()
            self._tell_readiness()

    def _tell_readiness(self) -> None:
        ready, reason = readiness(self.view())
        if ready is not self._ready:
            if ready:
                self.tell(EventName.READY)
            elif self._ready is not None:
                self.tell(EventName.NOT_READY, Severity.WARNING, why=reason or "")
            self._ready = ready

    # parts of the configuration

    def _apply(self, fresh: Config, tls: TlsContexts | None) -> None:
        """Go on under a new configuration; listeners and tables stay."""
        self._config = fresh
        self._roles.configure(fresh)
        self._tls = tls
        for number in fresh.rm:
            self._trackers.setdefault(number, Tracker(fresh.health)).configure(fresh.health)
            self._probes.setdefault(number, _Probes())
        self._keys = self._make_keys()
        self._publish()
        self._tasks.append(asyncio.get_running_loop().create_task(self._renew()))
        self.tell(EventName.RELOADED, members=len(fresh.rm))

    async def _renew(self) -> None:
        """After a reload: what takes time."""
        if self._exchange is not None and self._tls is not None:
            await self._exchange.renew_tls(self._tls.server, self._tls.client)
        await self._resolve_members()
        self._publish()
        await self._restart_probing()

    async def _restart_probing(self) -> None:
        async with self._probing:
            if self._prober is not None:
                await self._prober.stop()
            self._start_probing()

    def _make_keys(self) -> Keyring:
        given = self._config.security.secrets
        if given:
            return Keyring(given)
        secret, fault = kept_secret(self._config.state.directory)
        if fault is not None:
            self.tell(EventName.CONFIG_WARNING, Severity.WARNING, why=f"secret not kept: {fault}")
        return Keyring([secret])

    def _exchange_settings(self) -> ExchangeSettings:
        sip = self._config.sip
        return ExchangeSettings(
            limits=StreamLimits(sip.max_message_size, sip.incomplete_timeout_s),
            receive_buffer=sip.receive_buffer,
            send_buffer=sip.send_buffer,
            connect_timeout_s=sip.connect_timeout_s,
            idle_timeout_s=sip.idle_timeout_s,
            max_connections=sip.max_connections,
            max_connections_per_source=sip.max_connections_per_source,
            balancer_id=self._config.heartbeat.id or 0,
            server_tls=self._tls.server if self._tls is not None else None,
            client_tls=self._tls.client if self._tls is not None else None,
            certificate_names=self._names.certificate_names(self._configured_addresses()),
        )

    # members named by host name

    def _configured_addresses(self) -> list[SipAddress]:
        return [address for rm in self._config.rm.values() for address in rm.sip]

    async def _keep_resolving(self) -> None:
        while True:
            await asyncio.sleep(UNRESOLVED_S if self._names.unresolved else RESOLVE_S)
            if await self._resolve_members():
                self._publish()
                await self._restart_probing()

    async def _resolve_members(self) -> bool:
        """Look up members named by host name; True if an address has changed."""
        before = self._names.unresolved
        changed = await self._names.refresh(self._configured_addresses())
        for name in sorted(self._names.unresolved - before):
            self.tell(EventName.CONFIG_WARNING, Severity.WARNING, why=f"no address for {name}")
        if self._exchange is not None:
            names = self._names.certificate_names(self._configured_addresses())
            self._exchange.expect_certificates(names)
        return changed

    def _member_view(self, number: int) -> MemberView:
        tracker = self._trackers[number]
        change = tracker.last_change
        now = time.monotonic()
        active = self._roles.standing.active
        return MemberView(
            id=number,
            sip=_as_configured(self._config.rm[number].sip),
            health=tracker.health,
            admin_state=self._admin_states.get(number, AdminState.ENABLED),
            weight=self._router.table.members[number].weight,
            calls=self._router.memory.bindings.calls[number],
            transitions=tracker.transitions,
            why=change.why if change is not None else None,
            since=time.time() - (now - change.at) if change is not None else None,
            counters=self._router.counters.member(number),
            probes=self._probes[number].view(),
            active=None if active is None else active == number,
            draining=self._draining_view(number),
        )

    def _draining_view(self, number: int) -> DrainingView | None:
        drain = self._roles.draining(number)
        if drain is None:
            return None
        since = time.time() - (time.monotonic() - drain.since)
        limit = self._config.drain.member_limit_s
        return DrainingView(since, self._calls_left(number), limit, str(drain.cause))


class _Probes:
    """How a member's probes ended."""

    def __init__(self) -> None:
        self._outcomes: dict[str, int] = {}
        self._durations = Histogram()
        self._last: ProbeResult | None = None

    def add(self, result: ProbeResult) -> None:
        outcome = str(result.failure) if result.failure is not None else str(result.status)
        self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
        if result.failure is None:
            self._durations.observe(result.latency_s)
        self._last = result

    def view(self) -> ProbesView:
        last = self._last
        return ProbesView(
            outcomes=self._outcomes,
            durations=self._durations,
            last=last.summary if last is not None else None,
            last_latency_s=last.latency_s if last is not None else None,
        )


def _as_configured(addresses: tuple[SipAddress, ...]) -> tuple[str, ...]:
    """`host:port` for the usual pair of UDP and TCP on one port, else every address."""
    places = {(a.host, a.port) for a in addresses}
    if len(places) == 1 and {a.transport for a in addresses} == {Transport.UDP, Transport.TCP}:
        host, port = places.pop()
        return (f"{bracketed(host)}:{port}",)
    return tuple(str(address) for address in addresses)


def _make_tls(config: Config) -> TlsContexts | None:
    """None where nobody speaks TLS. Raises OSError when a file cannot be used."""
    speaks_tls = any(x.transport is Transport.TLS for x in config.sip.listen) or any(
        a.transport is Transport.TLS for rm in config.rm.values() for a in rm.sip
    )
    return TlsContexts(_tls_files(config)) if speaks_tls else None


def _tls_files(config: Config) -> TlsFiles:
    tls = config.tls
    return TlsFiles(
        tls.certificate, tls.key, tls.ca, tls.verify_clients, tls.verify_members,
        tls.min_version, tls.ciphers,
    )  # fmt: skip


def _admin_files(config: Config) -> TlsFiles:
    certificate = config.admin.certificate or config.tls.certificate
    key = config.admin.key if config.admin.certificate else config.admin.key or config.tls.key
    return TlsFiles(certificate, key, min_version=config.tls.min_version)


def _fixed_parts(fresh: Config, running: Config) -> list[str]:
    """Tables and keys that differ and take effect at a start only."""
    parts = {
        "[cluster] ha-mode": (fresh.cluster.ha_mode, running.cluster.ha_mode),
        "[cluster] virtual-ip": (fresh.cluster.virtual_ip, running.cluster.virtual_ip),
        "[sip] listen": (fresh.sip.listen, running.sip.listen),
        "[admin]": (fresh.admin, running.admin),
        "[state]": (fresh.state, running.state),
        "[vip]": (fresh.vip, running.vip),
        "[heartbeat]": (fresh.heartbeat, running.heartbeat),
    }
    return [name for name, (new, old) in parts.items() if new != old]
