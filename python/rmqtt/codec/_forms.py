"""What the classes of packets have in common: one normal form, how they are shown, and natives in their place."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from rmqtt._rmqtt import packet_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rmqtt._types import SupportsBuffer

    Buffer: TypeAlias = bytes | bytearray | memoryview | SupportsBuffer

Kind = TypeVar("Kind")
Version: TypeAlias = Literal["5.0", "3.1.1", "3.1"]
Pairs: TypeAlias = "Sequence[tuple[str, str]]"


def tidy(packet: object, **values: object) -> None:
    """Give fields their one normal form: enumerations and tuples, whatever they were made from."""
    for name, value in values.items():
        object.__setattr__(packet, name, value)


def pairs(given: Pairs) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in given)


class Shown:
    """Shows what a packet says, and leaves out what it does not."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = [
            f"{item.name}={getattr(self, item.name)!r}"
            for item in fields(self)  # type: ignore[arg-type] # those who inherit are dataclasses
            if item.repr and getattr(self, item.name) != item.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def _made(kind: type[Kind], values: dict[str, Any]) -> Kind:
    return kind(**values)


class Native(Shown):
    """Of a packet that is made by the million: the native class reads and keeps it, this one says what it is."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (type(self), {item.name: getattr(self, item.name) for item in fields(self)})  # type: ignore[arg-type] # as above


# What a native class is lent by its declaration: all that makes a dataclass, but the keeping of the values.
_LENT = (
    "__annotations__",
    "__dataclass_fields__",
    "__dataclass_params__",
    "__delattr__",
    "__doc__",
    "__eq__",
    "__final__",
    "__hash__",
    "__match_args__",
    "__reduce__",
    "__replace__",
    "__repr__",
    "__setattr__",
)


def native(declared: type[Kind]) -> type[Kind]:
    """Let the native class of this name stand for its declaration."""
    native = packet_class(declared.__name__)
    for name in _LENT:
        if hasattr(declared, name):
            setattr(native, name, getattr(declared, name))
    native.__signature__ = inspect.signature(declared)
    return native
