"""Who may do what on a broker: the rules that `Broker(acl=...)` takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rmqtt._hooks import AclHook

# Whom the rules are for, by kind and name; the rules, as letters of what they are about and a filter; whether only what
# they name may be subscribed to.
_List: TypeAlias = "tuple[str, str, list[tuple[bool, str, str]], bool]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Acl:
    """Rights by topic: what is not allowed is denied, and what is denied is denied whatever allows it.

    Patterns are topic filters. In them ``%c`` stands for the client id and ``%u`` for the user that a client has proven
    to be. A name that is no single level of a topic (empty, or with ``+``, ``#``, ``/`` or a control character) makes
    no pattern allow anything. A client chooses its id: where there are users, ``%u`` is the one to trust. As in MQTT,
    ``#`` and ``+`` match no topic that begins with ``$``; nor does a name that begins so, at the front of a pattern.

    Examples
    --------
    >>> acl = Acl(
    ...     publish=["devices/%u/#"],
    ...     read=["devices/%u/#", "news/#"],
    ...     deny=["news/internal/#"],
    ...     users={"operator": Acl(publish=["#"], read=["#"])},
    ... )
    >>> acl.users["operator"].read
    ['#']
    """

    #: What may be published to, wills included.
    publish: Sequence[str] = ()
    #: What a client is sent: of subscriptions, retained and queued messages alike.
    read: Sequence[str] = ()
    #: Filters that may be asked for: those within one of these. `None`: any that may bring something to read; what is
    #: wider than the rights brings what is within them.
    subscribe: Sequence[str] | None = None
    #: None of the three.
    deny: Sequence[str] = ()
    #: Not to be published to.
    deny_publish: Sequence[str] = ()
    #: Not to be sent.
    deny_read: Sequence[str] = ()
    #: Filters not to be asked for: those within one of these.
    deny_subscribe: Sequence[str] = ()
    #: What is said beside that for users, by the names they log in with (``Broker(auth=...)``).
    users: Mapping[str, Acl] = field(default_factory=dict)
    #: What is said beside that for clients, by their ids.
    clients: Mapping[str, Acl] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*_LETTERS, "users", "clients"):
            value = getattr(self, name)
            if name in ("users", "clients"):
                if not isinstance(value, Mapping) or not all(isinstance(acl, Acl) for acl in value.values()):
                    raise TypeError(f"acl.{name} must be a mapping of names to Acl, not {value!r}")
                if any(acl.users or acl.clients for acl in value.values()):
                    raise ValueError(f"acl.{name} has an Acl with users or clients of its own")
            elif value is not None and (isinstance(value, str) or not isinstance(value, Sequence)):
                raise TypeError(f"acl.{name} must be a list of patterns, not {value!r}")


# Field, whether it denies, and letters of what: p(ublish), r(ead), s(ubscribe).
_LETTERS = {
    "publish": (False, "p"),
    "read": (False, "r"),
    "subscribe": (False, "s"),
    "deny": (True, "prs"),
    "deny_publish": (True, "p"),
    "deny_read": (True, "r"),
    "deny_subscribe": (True, "s"),
}


@dataclass(frozen=True, slots=True)
class AclFile:
    """An ACL file of Mosquitto's, read as Mosquitto reads it: ``user``, ``topic``, ``pattern``, ``deny``, remarks.

    It fails closed: an empty file allows nothing, and a line that is not understood makes the whole file void; the
    error names the line. `Broker.reload` reads it again.

    Examples
    --------
    >>> AclFile("acl.conf").path
    'acl.conf'
    """

    #: Where it is.
    path: str | os.PathLike[str]


AclRules: TypeAlias = "Acl | AclFile | str | os.PathLike[str]"
AclSource: TypeAlias = "AclRules | AclHook"


def native(acl: AclRules) -> list[_List] | tuple[str, bytes]:
    """Give the native half what it takes for rules; a file is read now."""
    if isinstance(acl, Acl):
        everybody = _list("everybody", "", acl)
        users = [_list("user", name, one) for name, one in acl.users.items()]
        return [everybody, *users, *(_list("client", name, one) for name, one in acl.clients.items())]
    path = acl.path if isinstance(acl, AclFile) else acl
    if isinstance(path, (str, os.PathLike)):
        return os.fspath(path), Path(path).read_bytes()
    raise TypeError(f"acl must be an Acl, the path of an ACL file, or a callable, not {type(acl).__name__}")


def _list(kind: str, name: str, acl: Acl) -> _List:
    rules = [
        (is_denial, letters, pattern)
        for field_name, (is_denial, letters) in _LETTERS.items()
        for pattern in getattr(acl, field_name) or ()
    ]
    return kind, name, rules, acl.subscribe is not None
