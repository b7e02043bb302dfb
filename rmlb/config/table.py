"""What every table of the configuration has in common: frozen, strict, keys named as in TOML."""

from __future__ import annotations

from typing import Any, Self, cast

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

from rmlb.config.kinds import Kind


def toml_key(attribute: str) -> str:
    """The TOML key of an attribute: units leave the name, `connect_timeout_s` is
    `connect-timeout`."""
    return attribute.removesuffix("_ms").removesuffix("_s").replace("_", "-")


class Table(BaseModel):
    """One table of the configuration. Durations are seconds (`_s`); RM timers are `_ms`."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=toml_key, hide_input_in_errors=True
    )

    @classmethod
    def fields(cls) -> dict[str, tuple[str, FieldInfo]]:
        """TOML key to attribute name and field, in the order of the reference file."""
        return {field.alias or name: (name, field) for name, field in cls.model_fields.items()}

    @classmethod
    def kind(cls, key: str) -> Kind:
        """The kind of value of a TOML key."""
        _, field = cls.fields()[key]
        return next(part for part in field.metadata if isinstance(part, Kind))

    @classmethod
    def unvalidated(cls) -> Self:
        """The table with its defaults; fields that have none are missing."""
        return cast("Self", cls.model_construct())

    def shown(self) -> dict[str, Any]:
        """TOML key to its value in TOML's own types, secrets as ***; None where unset."""
        result: dict[str, Any] = {}
        for key, (name, _) in self.fields().items():
            value = getattr(self, name)
            result[key] = None if value is None else self.kind(key).show(value)
        return result
