"""Who may connect to a broker: the sources that `Broker(auth=...)` takes, and what logins may cost."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from types import EllipsisType
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

    from rmqtt._hooks import Asking, AuthHook
    from rmqtt._rmqtt import NativeBroker, NativeLogins
    from rmqtt._transport import Listener

    _Native: TypeAlias = "list[tuple[str, str]] | str | NativeLogins | JWT"


@dataclass(frozen=True, slots=True)
class PasswordFile:
    """A file of users and hashed passwords: a line ``name:hash`` for each, ``#`` before remarks.

    ``rmqtt passwd`` writes it, with Argon2id. Mosquitto's are read as they are: ``$7$`` (PBKDF2), ``$argon2id$``, and
    the old ``$6$`` (one round of SHA-512, cheap to guess). It fails closed: a line that is empty, has no name or no
    hash, or is not understood, and a name that is there twice, make the whole file void; the error names the line.
    `Broker.reload` reads it again.

    Enhanced authentication (SCRAM) needs a mapping: what is in these files fits plain passwords only.

    Examples
    --------
    >>> PasswordFile("users.txt").path
    'users.txt'
    """

    #: Where it is.
    path: str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class JWT:
    """JSON Web Tokens in the place of passwords: whoever connects gives one as its password, and any user name or none.

    A token has to be signed by one of the keys, by an algorithm that is allowed, and to have an end (``exp``). Its
    claim says who the user is. When it ends, so does the connection: DISCONNECT 0xA0, *maximum connect time*, and the
    client may come again with another token. `Broker.reload` reads the keys again.

    Examples
    --------
    >>> JWT("keys.json", issuer="https://id.example", audience="mqtt").user_claim
    'sub'
    """

    #: Where the keys are: a JWKS, in JSON.
    keys: str | os.PathLike[str]
    _: KW_ONLY
    #: Algorithms that are taken: ``RS`` and ``PS`` with 256, 384 or 512, ``ES256``, ``ES384``, ``EdDSA``, and ``HS``
    #: with the same numbers, whose keys are secrets.
    algorithms: Sequence[str] = ("RS256", "ES256", "EdDSA")
    #: Who has to have issued it; `None`: anybody who has a key.
    issuer: str | None = None
    #: Whom it has to be for; `None`: one that is for somebody is refused.
    audience: str | None = None
    #: The claim with the user's name.
    user_claim: str = "sub"
    #: Seconds by which clocks may differ.
    leeway: float = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AuthLimits:
    """What logins may cost a broker, and how often they may fail.

    Who has failed too often is refused unheard (*connection rate exceeded*, 0x9F), until a failure is forgotten. A user
    that has logged in from an address before is counted apart there, so that others who guess, behind the same address
    or elsewhere, do not lock it out. Clients in this process are not throttled.

    Examples
    --------
    >>> AuthLimits(failures_per_user=3).failures_per_address
    30
    """

    #: Failed logins of one address (of IPv6: of its /64) in a row; 0: any number.
    failures_per_address: int = 30
    #: Failed logins under one user name in a row; 0: any number.
    failures_per_user: int = 10
    #: Seconds after which one of them is forgotten.
    forget_failure_after: float = 10.0
    #: Addresses, names, and users of addresses that are remembered, of each.
    remembered_max: int = 100_000
    #: Passwords hashed at a time; 0: as many as half of the cores.
    hashing_max: int = 0
    #: Logins that wait for their turn. Whoever comes then is told that the server is busy.
    waiting_max: int = 1000
    #: Logins, or clients (``acl``), that a callable is asked about at a time; so many threads it may have.
    hooks_max: int = 16
    #: Seconds that a callable may think.
    hook_timeout: float = 5.0


class UsersOf:
    """The users of another broker: their passwords are not known, only what they can be checked against."""

    __slots__ = ("asked", "native")

    def __init__(self, native: NativeBroker, asked: list[Asking]) -> None:
        self.native = native
        self.asked = asked


AuthSource: TypeAlias = "Mapping[str, str] | PasswordFile | JWT | str | os.PathLike[str] | AuthHook"
Auth: TypeAlias = "AuthSource | Sequence[AuthSource] | None"


def read_users(file: Path) -> dict[str, str]:
    """Read a file of names and passwords as they are: a line ``NAME:PASSWORD`` for each."""
    users: dict[str, str] = {}
    for number, line in enumerate(file.read_text("utf-8").split("\n"), 1):
        name, colon, password = line.removesuffix("\r").partition(":")
        if not name and not colon:
            continue
        # The line itself is not shown: half of it is a password.
        if not (name and password):
            raise ValueError(f"line {number} of {file} is not NAME:PASSWORD")
        if name in users:
            raise ValueError(f"line {number} of {file}: the user {name!r} is there twice")
        users[name] = password
    return users


def local(listeners: Sequence[Listener], limits: AuthLimits) -> tuple[list[dict[str, object]], list[Asking]]:
    """Give the native half what it takes for the users of each listener, and what asks callables."""
    access: list[dict[str, object]] = []
    asked: list[Asking] = []
    for listener in listeners:
        if isinstance(listener.auth, EllipsisType):
            access.append({"auth": None, "acl": None})
            continue
        users, asking = sources(listener.auth, limits)
        access.append({"auth": (users,), "acl": None})
        asked += asking
    return access, asked


def sources(auth: Auth | UsersOf, limits: AuthLimits) -> tuple[list[_Native] | NativeBroker | None, list[Asking]]:
    """Give the native half what it takes for users, and what asks callables while the broker runs."""
    if auth is None:
        return None, []
    if isinstance(auth, UsersOf):
        return auth.native, auth.asked
    asked: list[Asking] = []
    given = auth if isinstance(auth, Sequence) and not isinstance(auth, str) else [auth]
    return [_source(source, limits, asked) for source in given], asked


def _source(source: object, limits: AuthLimits, asked: list[Asking]) -> _Native:
    if isinstance(source, PasswordFile):
        return os.fspath(source.path)
    if isinstance(source, JWT):
        return source
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    if isinstance(source, Mapping):
        return list(source.items())
    if callable(source):
        from rmqtt._hooks import asking_users  # noqa: PLC0415 - only who has a callable pays for it

        logins, asking = asking_users(source, limits)
        asked.append(asking)
        return logins
    name = type(source).__name__
    raise TypeError(
        f"auth must be a mapping of names to passwords, a password file, JWT, a callable, or a list, not {name}"
    )
