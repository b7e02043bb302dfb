"""What stands in Redis: keys, values, how long they last, and the scripts that touch them. Pure.

Every key of a cluster begins with `rmlb:{NAME}:`, whose braces are its hash tag, so that Redis
Cluster keeps them together and one script may touch several.

    binding:KEY   "1 2 17 live": format, member, loss number, phase (bound, live or ended). KEY is
                  the affinity hash of the Call-ID in hexadecimal. Expires with the binding.
    calls:N       the KEYs of member N's live bindings, by the second until which they count
    losses        the loss log, JSON. Expires when no dialog can be older (affinity.ttl)
    active        active-standby: who gets the calls, JSON. Expires likewise
    operator      what the operator said of each member, JSON. Configuration: never expires
    balancer:ID   a balancer that writes here, JSON. Expires ten seconds after its last word

Format: the number in a value is the least format that a reader must know to understand it. Later
ones may add fields behind those of this one (in JSON: beside), which this one passes over, and in
JSON keeps; whoever finds a larger number leaves the value alone. So the next version and this one
can share a store as long as the next one writes what this one understands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import pack
from typing import Any, Final, NamedTuple

import orjson

from rmlb.state.succession import LARGEST_LOSS, LARGEST_MEMBER

FORMAT: Final = 1

PRESENCE_S: Final = 10
"""A balancer that says nothing for so long is gone: some thirty of its looks at the store."""


Change = tuple[int, int, int, bool, bool, float]
"""A changed binding as routing gives it: key, member, loss, live, ended, expires."""


class StoredBinding(NamedTuple):
    """A binding as another balancer wrote it."""

    member: int
    loss: int
    live: bool
    ended: bool


class Keys:
    """The keys of one cluster."""

    def __init__(self, name: str) -> None:
        self.prefix = f"rmlb:{{{name}}}:"
        self.bindings = f"{self.prefix}binding:"
        self.calls = f"{self.prefix}calls:"
        self.losses = f"{self.prefix}losses"
        self.active = f"{self.prefix}active"
        self.operator = f"{self.prefix}operator"

    def binding(self, key: int) -> str:
        return f"{self.bindings}{key:016x}"

    def balancer(self, instance: str) -> str:
        return f"{self.prefix}balancer:{instance}"


# bindings


def encode_changes(changes: Sequence[Change], now: float) -> bytes:
    """The batch that WRITE_BINDINGS takes: one line each, `KEY VALUE SECONDS`.

    Lines of a batch differ by little but their keys, so all keys are written at once, and each
    end of a line once. Those of the compiled engine (fastpath.changes) write themselves.
    """
    write: Callable[[int, float], bytes] | None = getattr(changes, "lines", None)
    if write is not None:
        return write(FORMAT, now)
    keys = pack(f">{len(changes)}Q", *[change[0] for change in changes]).hex()
    ends: dict[tuple[int, int, bool, bool, int], str] = {}
    lines = []
    at = 0
    for _, member, loss, live, ended, expires in changes:
        what = member, loss, live, ended, int(expires - now) if expires > now else 0
        end = ends.get(what)
        if end is None:
            phase = "live" if live else "ended" if ended else "bound"
            end = ends[what] = f" {FORMAT} {member} {loss} {phase} {what[-1] + 1}\n"
        lines.append(keys[at : at + 16] + end)
        at += 16
    return "".join(lines).encode()


def decode_binding(value: bytes | None) -> StoredBinding | None:
    """None where there is none, or none that this version understands."""
    if value is None:
        return None
    fields = value.split()
    try:
        if int(fields[0]) > FORMAT:
            return None
        member, loss, phase = int(fields[1]), int(fields[2]), fields[3]
    except (ValueError, IndexError):
        return None
    if not (0 < member <= LARGEST_MEMBER and 0 <= loss <= LARGEST_LOSS):
        return None
    return StoredBinding(member, loss, phase == b"live", phase == b"ended")


WRITE_BINDINGS: Final = """
local lasts = tonumber(ARGV[2])
local expires = redis.call('TIME')[1] + lasts
local touched = {}
for key, value, member, phase, ttl in
    string.gmatch(ARGV[1], '(%x+) (%d+ (%d+) %d+ (%a+)) (%d+)\\n') do
  local old = redis.call('SET', KEYS[1] .. key, value, 'EX', ttl, 'GET')
  local before = old and string.match(old, '^%d+ (%d+)')
  if before and before ~= member then redis.call('ZREM', KEYS[2] .. before, key) end
  if phase == 'live' then
    redis.call('ZADD', KEYS[2] .. member, expires, key)
    touched[member] = true
  else
    redis.call('ZREM', KEYS[2] .. member, key)
  end
end
for member in pairs(touched) do redis.call('EXPIRE', KEYS[2] .. member, lasts) end
return redis.status_reply('OK')
"""
"""KEYS: the beginnings of binding and of call keys. ARGV: the batch; for how many seconds a silent
call counts. A member's set of calls is made of its bindings alone, so no count can drift."""


LOOK: Final = """
local found = {redis.call('SET', KEYS[4], ARGV[1], 'EX', ARGV[2], 'GET')}
local now = redis.call('TIME')[1]
for i = 1, 3 do found[i + 1] = redis.call('GET', KEYS[i]) end
for i = 3, #ARGV do
  redis.call('ZREMRANGEBYSCORE', KEYS[5] .. ARGV[i], '-inf', now)
  found[i + 2] = redis.call('ZCARD', KEYS[5] .. ARGV[i])
end
return found
"""
"""KEYS: losses, active, operator, own balancer key, beginning of call keys. ARGV: own presence and
its seconds, then the members. Returns its presence before, the three documents and each member's
calls. It writes, so a store that only reads (full, a replica) is found out."""


REPLACE: Final = """
local there = redis.call('GET', KEYS[1])
if (there or '') ~= ARGV[1] then return 0 end
if ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
return 1
"""
"""Compare and set. KEYS: a document. ARGV: what it was ('' for nothing), what it is to be, and its
seconds (0: for good). Returns 1, or 0 when somebody else was faster."""


# documents


def encode_document(content: dict[str, Any], beside: dict[str, Any]) -> bytes:
    """A JSON value; `beside` are fields of later versions found there, which stay."""
    return orjson.dumps({**beside, "format": FORMAT, **content}, option=orjson.OPT_SORT_KEYS)


def decode_document(value: bytes | None) -> dict[str, Any] | None:
    """None for nothing. Raises ValueError for what this version must leave alone."""
    if value is None:
        return None
    content = orjson.loads(value)
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise ValueError("not a document of rmlb")
    if content["format"] > FORMAT:
        raise ValueError(f"format {content['format']}: written by a later version")
    return content
