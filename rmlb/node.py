"""The worker: the only place where the parts meet. Start order, stop order, signals, reload.

Feeds health results and the operator's words into routing snapshots, and shows the balancer to
the admin API. Decides nothing about SIP.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import ssl
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import uvloop

from rmlb import __version__, fastpath
from rmlb import config as configuration
from rmlb.admin.api import AdminError, AdminServer, Conflict
from rmlb.admin.views import (
    CallView,
    DrainingView,
    ListenerView,
    MemberView,
    NodeView,
    StateView,
    TraceView,
    VipView,
    readiness,
)
from rmlb.alarms.desk import Desk
from rmlb.config import Config, ConfigError
from rmlb.duty import Duty, Refused
from rmlb.events import (
    Event,
    EventLog,
    EventName,
    Severity,
    admin_state_changed,
    member_health_changed,
    write_log,
)
from rmlb.handover import Handover
from rmlb.handover import Keys as HandoverKeys
from rmlb.health.activity import ActivityError
from rmlb.health.tracker import Transition
from rmlb.roles import Roles, Shared
from rmlb.routing.bindings import Phase
from rmlb.routing.counters import Counters
from rmlb.routing.keys import Keyring, affinity_hash
from rmlb.routing.member import AdminState, Health, Member
from rmlb.settings import (
    admin_files,
    as_configured,
    exchange_settings,
    fixed_parts,
    hep_node,
    make_tls,
    parties,
    store_place,
)
from rmlb.sharing import GuardedBindings, Sharing
from rmlb.sip.address import SipAddress, bracketed
from rmlb.snapshot import Snapshot, make_listeners, make_memory, make_table, set_limits
from rmlb.state.agreement import Word
from rmlb.state.operator import OperatorStates
from rmlb.state.secret import kept_secret
from rmlb.trace.asked import Asked
from rmlb.trace.copies import CopyRing
from rmlb.trace.tracing import Tracing
from rmlb.transport.copying import copy_source
from rmlb.transport.exchange import Exchange
from rmlb.transport.names import MemberNames, NameCache
from rmlb.transport.ports import family_of
from rmlb.transport.tls import TlsContexts
from rmlb.watch import Watch, spared
from rmlb.ways import Ways

TICK_S = 1.0
"""Expiry, slow start and readiness are looked at this often."""

LOOK_S = 0.05
"""Remembered requests in trouble and silent members are looked at this often."""

HELD_UP_S = 0.15
"""A look so much too late means that the worker got no time: a starved or paused machine."""

RESOLVE_S = 30.0
"""Members named by host name are resolved again this often."""

UNRESOLVED_S = 3.0
"""The same while one of them has no address."""


FINISH_S = 0.2
"""After handing over: so long for what is queued (HA-RULES 4)."""


def run(config: Config, duty: Duty | None = None) -> int:
    """Run a worker until told to stop, SIGTERM or SIGINT.

    0 after an orderly end, 1 if it cannot start. Without a keeper (`duty`) it owns the VIP.
    """
    return uvloop.run(_run(config, duty))


async def _run(config: Config, duty: Duty | None) -> int:
    try:
        node = Node(config, duty)
    except ValueError as error:
        write_log(Event(EventName.FAULT, time.time(), Severity.ERROR, {"why": str(error)}))
        return 1
    loop = asyncio.get_running_loop()
    stop, now = node.stop, node.stop_now
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.told_to_stop, True)
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

    def __init__(self, config: Config, duty: Duty | None = None) -> None:
        self._config = config
        self._duty = duty
        self.stop = asyncio.Event()
        self.stop_now = asyncio.Event()
        """Without draining."""
        self._owner = duty is None
        self._told_roles: tuple[object, ...] | None = None
        self._in_service_at: dict[int, float] = {}
        self._told_members = (-1, False)
        self._events = EventLog()
        self._instance = secrets.token_hex(4).encode()
        self._started_at = time.time()
        self._started = time.monotonic()
        self._ways = Ways()
        self._watch = Watch(
            config.health, config.rm, self._hosts, self._ways.fault, self._health_changed
        )
        self._excused: frozenset[int] = frozenset()
        families = [family_of(listener.host) for listener in make_listeners(config)]
        self._names = MemberNames(NameCache(), families)
        self._operator = OperatorStates(config.state.directory, set(AdminState), self._events.add)
        self._admin_states: dict[int, AdminState] = {}
        self._roles = Roles(config, self._events.add, self._calls_left)
        self._desk = Desk(config, self._events, self._instance.decode(), self._owns_vip)
        self._sharing: Sharing | None = None
        self._stopping = False
        self._ready: bool | None = None
        self._weights: dict[int, int] = {}
        self._keys = self._make_keys(config)
        self._router = fastpath.make_router(
            fastpath.choose(),
            make_table(config, self._keys, self._instance, self._snapshot(self._members())),
            make_memory(config),
            duty,
        )
        self._handover = Handover(
            self._router,
            [(place.host, place.port) for place in config.heartbeat.listen],
            {str(place): (place.host, place.port) for place in config.heartbeat.peers},
            config.security.secrets,
            self._events.add,
        )
        self._copies = CopyRing()
        copies = copy_source(self._copies, self._router.packets, make_listeners(config))
        self._tracing = Tracing(copies, lambda: parties(self._router.table))
        self._asked = Asked(self._tracing)
        self._tls: TlsContexts | None = None
        self._exchange: Exchange | None = None
        self._admin: AdminServer | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._held_up_s = 0.0

    # start and stop

    async def start(self) -> None:
        """Open everything. Raises OSError, AdminError or ValueError with one clear line."""
        config = self._config
        if self._duty is not None:
            self._roles.is_owner = False
            self._duty.stamps_packets = self._router.packets is None
            self._duty.start(self, self._events.add)
        states = self._operator.load()
        self._admin_states = {n: AdminState(s) for n, s in states.items() if n in config.rm}
        self._roles.load(self._admin_states, time.monotonic())
        self._desk.start(self._admin_states)
        self._tls = make_tls(config)
        await self._resolve_members()
        await self._start_sharing()
        self._publish()
        self._exchange = Exchange(
            self._router,
            make_listeners(config),
            exchange_settings(config, self._tls, self._certificate_names),
            self._on_trouble,
            self._ask_store,
            self._copies,
        )
        if self._sharing is not None:
            self._sharing.serve(self._exchange.held)
        self._asked.configure(config.trace, hep_node(config))
        await self._exchange.start()
        if self._duty is not None:
            await self._handover.start()
        for listener in make_listeners(config):
            where = f"{listener.transport}:{bracketed(listener.host)}:{listener.port}"
            self.tell(EventName.LISTENING, address=where)
        tls = TlsContexts(admin_files(config)).server if config.admin.tls else None
        self._admin = AdminServer(
            self,
            config.admin.listen.host,
            config.admin.listen.port,
            token=config.admin.token or None,
            ssl_context=tls,
        )
        await self._admin.start()
        self._watch.start(self._members().values(), self._client_tls, self._certificate_names)
        self._keep(self._keep_looking(), "look")
        self._keep(self._keep_time(), "tick")
        self._keep(self._keep_resolving(), "resolve members")
        self.tell(
            EventName.STARTED,
            version=__version__,
            engine=self._router.name,
            vip=config.cluster.virtual_ip,
            ha_mode=str(config.cluster.ha_mode),
            members=len(config.rm),
        )
        if self._duty is not None:
            self._duty.say_started()
            self._duty.say_configured(config)

    def told_to_stop(self, drain: bool) -> None:
        """Once: drain; a second time, or without `drain`: at once."""
        if self.stop.is_set() or not drain:
            self.stop_now.set()
        self.stop.set()

    async def drain(self, now: asyncio.Event) -> None:
        """Take no new call, and wait for requests under way: `[drain] limit`, or until `now`."""
        self._stopping = True
        if now.is_set():  # handed over: what is in the sockets still leaves
            await asyncio.sleep(FINISH_S)
            await self._handover.finished()
            return
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
        await self._watch.stop()
        await self._handover.close()
        if self._admin is not None:
            await self._admin.stop()
        self._asked.close()
        await self._tracing.stop()
        if self._exchange is not None:
            await self._exchange.stop()
        if self._sharing is not None:
            await self._sharing.stop()
        await self._roles.close()
        self.tell(EventName.STOPPED)
        await self._desk.close()
        self._ways.close()
        if self._duty is not None:
            self._duty.close()

    def reload(self) -> None:
        """Read the configuration file again. A wrong one changes nothing and is said."""
        self._keep(self._reload(), "reload")

    async def _reload(self) -> None:
        await self._read_again()
        if self._duty is not None:
            self._duty.say_configured(self._config)

    async def _read_again(self) -> None:
        path = self._config.path
        try:  # in a thread: no packet should wait for it
            fresh = await asyncio.to_thread(configuration.load, path)
        except ConfigError as error:
            for problem in error.problems:
                self.tell(EventName.CONFIG_REJECTED, Severity.ERROR, why=str(problem))
            return
        fixed = fixed_parts(fresh, self._config)
        if fixed:
            self.tell(
                EventName.CONFIG_REJECTED, Severity.ERROR,
                why=f"{', '.join(fixed)} cannot change without a restart",
            )  # fmt: skip
            return
        try:
            keys = self._make_keys(fresh)
            tls = make_tls(fresh)
        except (OSError, ValueError) as error:
            self.tell(EventName.CONFIG_REJECTED, Severity.ERROR, why=str(error))
            return
        self._apply(fresh, keys, tls)

    def _keep(self, work: Coroutine[None, None, object], name: str) -> None:
        """Start a task, and hold it until it is done."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
        counted = self._router.counted()
        return NodeView(
            version=__version__,
            engine=self._router.name,
            ha_mode=str(config.cluster.ha_mode),
            active=self._roles.standing.active or None,
            started_at=self._started_at,
            uptime_s=time.monotonic() - self._started,
            vip=VipView(config.cluster.virtual_ip, self._owner, str(config.vip.provider)),
            listeners=tuple(
                ListenerView(str(each), self._exchange is not None) for each in config.sip.listen
            ),
            members=tuple(self._member_view(number, counted) for number in config.rm),
            state=StateView("memory", True) if self._sharing is None else self._sharing.view(),
            peers=self._duty.peers if self._duty is not None else (),
            holding=self._duty.figures if self._duty is not None else {},
            can_own=self._owner or (self._duty is not None and self._duty.can_own),
            stopping=self._stopping,
            bindings=len(memory.bindings),
            pending_requests=len(memory.pending),
            tasks=len(asyncio.all_tasks()),
            held_up_s=self._held_up_s,
            connections=self._exchange.connections if self._exchange is not None else {},
            events=self._events.counts,
            deliveries=self._desk.outcomes,
            trace=self._trace_view(),
        )

    def _owns_vip(self) -> bool:
        return self._owner

    def counters(self) -> Counters:
        return self._router.counted()

    def events(self) -> EventLog:
        return self._events

    def tracing(self) -> Tracing:
        return self._tracing

    def _trace_view(self) -> TraceView:
        kept = self._tracing.recorder
        return TraceView(
            watchers=self._tracing.watchers,
            kept=len(kept),
            keep=kept.most,
            lost=self._tracing.lost,
            collector=self._asked.collector,
            hep_sent=self._asked.sent,
            hep_lost=self._asked.lost,
        )

    def find_call(self, call_id: str) -> CallView | None:
        table = self._router.table
        key = affinity_hash(table.affinity_key, call_id.encode())
        with self._router.held():
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
        kept = self._operator.keep(member_id, state)
        if self._sharing is not None:
            self._sharing.spoke()
        await kept
        await self._roles.kept()

    async def switchover(self, member_id: int | None) -> None:
        await self._change_roles(lambda: self._roles.switchover(member_id))

    async def told_active(self, member_id: int) -> None:
        await self._change_roles(lambda: self._roles.told_active(member_id))

    async def take_over(self) -> None:
        await self._command("takeover", force=False)

    async def release(self, force: bool) -> None:
        await self._command("release", force=force)

    async def _command(self, what: str, *, force: bool) -> None:
        if self._duty is None:
            raise Conflict("no keeper runs: nobody moves the virtual IP")
        try:
            await self._duty.command(what, force=force)
        except Refused as error:
            raise Conflict(str(error)) from None

    # what the keeper says (duty.Owner)

    def standing_changed(self) -> None:
        duty = self._duty
        assert duty is not None
        if duty.owner is not self._owner:
            self._owner = self._roles.is_owner = duty.owner
            self._told_roles = None
            if not duty.owner and self._exchange is not None:
                self._exchange.reset_connections()
            if self._exchange is not None:
                self._publish()
        self._handover.standing_changed(duty.owner, duty.may_forward(), duty.peers)
        self._tell_readiness()

    def succession_heard(self, told: Mapping[str, Any]) -> None:
        losses = [(n, m, tuple(s), at) for n, m, s, at in told["losses"]]
        shared = Shared(told["number"], losses, told["active"], told["elected"])
        self._roles.adopt(shared, told["owner"], time.monotonic())
        self._publish()

    def _tell_keeper(self) -> None:
        """The loss log, and how many members are worth something, when they have changed."""
        duty = self._duty
        if duty is None:
            return
        shared = self._roles.shared()
        losses = tuple((number, member, tuple(to)) for number, member, to, _ in shared.losses)
        news = (shared.number, losses, shared.active, shared.elected)
        if news != self._told_roles:
            self._told_roles = news
            duty.say_succession(shared._asdict())
        now = time.monotonic()
        for number in self._config.rm:
            if self._watch.tracker(number).health is Health.IN_SERVICE:
                self._in_service_at[number] = now
        # Both balancers find out within this; until then neither is the worse one.
        patience_s = self._config.health.patience_s
        members = sum(now - at < patience_s for at in self._in_service_at.values())
        own = self._config.cluster.mymemberid
        local = own is not None and self._watch.tracker(own).health is not Health.OUT_OF_SERVICE
        if (members, local) != self._told_members:
            self._told_members = (members, local)
            duty.say_members(members, local)

    async def _change_roles(self, change: Callable[[], None]) -> None:
        try:
            change()
        except ActivityError as error:
            raise Conflict(str(error)) from None
        self._publish()
        await self._roles.kept()

    # what balancers share (sharing.Host)

    async def _start_sharing(self) -> None:
        config = self._config
        place = store_place(config)
        if place is None:
            return
        self._sharing = Sharing(
            config,
            place,
            self._instance.decode(),
            GuardedBindings(self._router),
            self._roles,
            self._operator,
            self,
            self._events.add,
        )
        self._roles.knows_calls = lambda: self._sharing is not None and self._sharing.connected
        await self._sharing.start()

    def _ask_store(self, key: int) -> bool:
        return self._sharing is not None and self._sharing.ask(key)

    def learn_words(self, words: dict[int, Word]) -> None:
        for member, word in words.items():
            before = self._admin_states.get(member, AdminState.ENABLED)
            state = AdminState(word.state)
            if member not in self._config.rm or state is before:
                continue
            self._admin_states[member] = state
            self._roles.on_admin_state(member, state)
            why = "another balancer was told"
            self._events.add(admin_state_changed(member, before, state, why, time.time()))
        self._publish()
        self._keep(self._operator.learn(words), "keep the operator's words")

    def publish(self) -> None:
        if self._exchange is not None:  # before that, start() does
            self._publish()

    # health

    def _on_trouble(self, host: str, port: int, why: str) -> None:
        member = self._router.table.member_at(host, port)
        if member is not None:
            self._watch.on_refused(member.id)

    def _hosts(self, number: int) -> list[str]:
        return [each.host for each in self._names.addresses(self._config.rm[number].sip)]

    def _health_changed(self, member_id: int, change: Transition, cause: str | None) -> None:
        if spared(change):
            self._router.spared(member_id, time.monotonic())
        self._publish()
        self._tell_health(member_id, change, cause)
        self._tell_readiness()

    def _tell_health(self, member_id: int, change: Transition, cause: str | None = None) -> None:
        self._events.add(
            member_health_changed(
                member_id, change.before, change.after, change.why, time.time(), cause
            )
        )

    def _look_at_ways(self) -> None:
        stopped = self._watch.look_at_ways()
        if self._excused != self._watch.excused():
            self._publish()
        for number in stopped:
            out = Health.OUT_OF_SERVICE
            self._tell_health(number, Transition(time.monotonic(), out, out, "still no answer"))

    # snapshots

    def _members(self) -> dict[int, Member]:
        """As routing sees them."""
        now = time.monotonic()
        trackers = {number: self._watch.tracker(number) for number in self._config.rm}
        addresses = {n: self._names.addresses(rm.sip) for n, rm in self._config.rm.items()}
        return {
            number: Member(
                id=number,
                addresses=addresses[number],
                health=self._health(number, addresses[number]),
                admin_state=self._admin_states.get(number, AdminState.ENABLED),
                weight=max(1, rm.weight * trackers[number].weight(now) // 100),
                share=rm.weight,
                excused=number in self._excused - self._roles.lost,
            )
            for number, rm in self._config.rm.items()
        }

    def _health(self, number: int, addresses: tuple[SipAddress, ...]) -> Health:
        """A member of which nothing was heard yet is suspect, not lost; without address, out."""
        if not addresses:
            return Health.OUT_OF_SERVICE
        if number in self._watch.unheard - self._roles.lost:
            return Health.SUSPECT
        return self._watch.tracker(number).health

    def _snapshot(self, members: dict[int, Member]) -> Snapshot:
        self._weights = {member.id: member.weight for member in members.values()}
        ask_store = self._sharing is not None and self._sharing.connected
        return Snapshot(members, self._roles.standing, self._stopping, ask_store)

    def _publish(self) -> None:
        """Build the next routing snapshot; what becomes of it is told by the roles."""
        now = time.monotonic()
        self._excused = self._watch.excused()
        members = self._members()
        known = {number: member.as_known for number, member in members.items()}
        self._roles.update(known, self._watch.unheard & members.keys(), now)
        snapshot = self._snapshot(members)
        self._router.publish(make_table(self._config, self._keys, self._instance, snapshot), now)
        if self._exchange is not None:
            self._exchange.flush()

    def _calls_left(self, member_id: int) -> int:
        """The member's calls, and its requests that are not answered yet."""
        return self._calls(member_id) + self._router.memory.pending.waiting_count(member_id)

    def _calls(self, member_id: int) -> int:
        """The member's calls, on all balancers that share a store."""
        if self._sharing is not None:
            return self._sharing.calls(member_id)
        return self._router.memory.bindings.calls[member_id]

    async def _keep_looking(self) -> None:
        """Repetitions, deadlines, and what traffic says of the members."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            late_s = now - before - LOOK_S
            self._held_up_s = max(self._held_up_s, late_s)
            if late_s > HELD_UP_S:
                self._watch.held_up(now)
            self._router.look(now)
            if self._roles.look(now):
                self._publish()
            if self._exchange is not None:
                self._exchange.flush()
            for report in self._router.take_reports():
                self._watch.on_report(report)
            self._tell_keeper()

    async def _keep_time(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_S)
            self._router.expire(loop.time())
            for source in self._router.take_limited():
                self.tell(EventName.SOURCE_LIMITED, Severity.WARNING, source=source)
            if self._weights != {m.id: m.weight for m in self._members().values()}:
                self._publish()
            self._look_at_ways()
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

    def _apply(self, fresh: Config, keys: Keyring, tls: TlsContexts | None) -> None:
        """Go on under a new configuration; listeners and tables stay."""
        self._config = fresh
        words = self._operator.states
        for number in fresh.rm.keys() & words.keys():  # said before they were configured here
            self._admin_states.setdefault(number, AdminState(words[number]))
        self._roles.configure(fresh)
        self._desk.configure(fresh)
        if self._sharing is not None:
            self._sharing.configure(fresh)
        self._keys = keys
        self._handover.keys = HandoverKeys(fresh.security.secrets)
        self._tls = tls
        self._watch.configure(fresh.health, fresh.rm)
        with self._router.held():
            set_limits(self._router.memory, fresh)
        self._asked.configure(fresh.trace, hep_node(fresh))
        self._publish()
        self._keep(self._renew(), "renew")
        for why in fastpath.warnings(self._router.name, self._router.table):
            self.tell(EventName.CONFIG_WARNING, Severity.WARNING, why=why)
        self.tell(EventName.RELOADED, members=len(fresh.rm))

    async def _renew(self) -> None:
        """After a reload: what takes time."""
        if self._exchange is not None and self._tls is not None:
            await self._exchange.renew_tls(self._tls.server, self._tls.client)
        await self._resolve_members()
        await self._look_at_members()

    @property
    def _client_tls(self) -> ssl.SSLContext | None:
        return self._tls.client if self._tls is not None else None

    @property
    def _certificate_names(self) -> dict[tuple[str, int], str]:
        return self._names.certificate_names(self._configured_addresses())

    def _make_keys(self, config: Config) -> Keyring:
        """Raises ValueError for secrets that cannot stand together."""
        given = config.security.secrets
        if given:
            return Keyring(given)
        secret, fault = kept_secret(config.state.directory)
        if fault is not None:
            self.tell(EventName.CONFIG_WARNING, Severity.WARNING, why=f"secret not kept: {fault}")
        return Keyring([secret])

    # members named by host name

    def _configured_addresses(self) -> list[SipAddress]:
        return [address for rm in self._config.rm.values() for address in rm.sip]

    async def _keep_resolving(self) -> None:
        while True:
            await asyncio.sleep(UNRESOLVED_S if self._names.unresolved else RESOLVE_S)
            if await self._resolve_members():
                await self._look_at_members()

    async def _look_at_members(self) -> None:
        """Route to and probe the members at their present addresses."""
        self._publish()
        members = self._members().values()
        await self._watch.restart(members, self._client_tls, self._certificate_names)

    async def _resolve_members(self) -> bool:
        """Look up members named by host name; True if an address has changed."""
        before = self._names.unresolved
        changed = await self._names.refresh(self._configured_addresses())
        for name in sorted(self._names.unresolved - before):
            self.tell(EventName.CONFIG_WARNING, Severity.WARNING, why=f"no address for {name}")
        if self._exchange is not None:
            self._exchange.expect_certificates(self._certificate_names)
        return changed

    def _member_view(self, number: int, counted: Counters) -> MemberView:
        tracker = self._watch.tracker(number)
        change = tracker.last_change
        now = time.monotonic()
        active = self._roles.standing.active
        return MemberView(
            id=number,
            sip=as_configured(self._config.rm[number].sip),
            health=tracker.health,
            admin_state=self._admin_states.get(number, AdminState.ENABLED),
            weight=self._router.table.members[number].weight,
            calls=self._calls(number),
            transitions=tracker.transitions,
            why=change.why if change is not None else None,
            since=time.time() - (now - change.at) if change is not None else None,
            counters=counted.member(number),
            probes=self._watch.probes(number),
            active=None if active is None else active == number,
            draining=self._draining_view(number),
            first_responses=self._router.memory.loads.of(number).first_answers,
        )

    def _draining_view(self, number: int) -> DrainingView | None:
        drain = self._roles.draining(number)
        if drain is None:
            return None
        since = time.time() - (time.monotonic() - drain.since)
        limit = self._config.drain.member_limit_s
        return DrainingView(since, self._calls_left(number), limit, str(drain.cause))
