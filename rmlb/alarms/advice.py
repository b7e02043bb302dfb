"""What `rmlb check` says of valid reactions and webhooks that deserve a second look. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from rmlb.alarms.document import idle_patterns
from rmlb.config import Config


def warnings(config: Config) -> Iterator[str]:
    """What is amiss with reactions and webhooks though they are valid."""
    wanted = [(f"reaction[{i}]", each.on) for i, each in enumerate(config.reaction)]
    wanted += [(f"webhook[{i}]", each.on) for i, each in enumerate(config.webhook)]
    for table, patterns in wanted:
        for pattern in idle_patterns(patterns):
            yield f'{table}.on: no event is called "{pattern}" (docs/runbook.md names all)'
    for i, hook in enumerate(config.webhook):
        if not hook.secret:
            yield f"webhook[{i}].secret: not set: {place(hook.url)} cannot tell who posts"


def place(url: str) -> str:
    """Scheme and host: a path or query may hold the receiver's token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
