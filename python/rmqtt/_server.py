"""What of a `Broker` is a server: what can be asked for, starting and stopping, and where it listens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Self

from rmqtt._journal import journal, keep
from rmqtt._limits import Limits
from rmqtt._live import Live
from rmqtt._policy import Policies
from rmqtt._rmqtt import NativeBroker
from rmqtt._transport import Listener
from rmqtt._types import Features
from rmqtt._users import AuthLimits, local, sources
from rmqtt.exceptions import BrokerError

if TYPE_CHECKING:
    from types import TracebackType

    from rmqtt._acl import AclSource
    from rmqtt._types import SharedStrategy
    from rmqtt._users import Auth
    from rmqtt.testing import Clock

WIRE_LINES: Final = 10_000


class Server(Live):
    """The half of a `Broker` that is started and stopped."""

    __slots__ = (
        "__weakref__",
        "_asked",
        "_asked_here",
        "_asks",
        "_clock",
        "_listeners",
        "_native",
        "_options",
        "_policies",
        "_wires",
    )

    def __init__(
        self,
        *listeners: str | Listener,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        features: Features = Features(),  # noqa: B008 - frozen
        response_information: str | None = None,
        validate_payloads: bool = True,
        shared_strategy: SharedStrategy = "round_robin",
        allow_anonymous: bool | None = None,
        auth: Auth = None,
        auth_limits: AuthLimits = AuthLimits(),  # noqa: B008 - frozen
        acl: AclSource | None = None,
        threads: int = 0,
        clock: Clock | None = None,
        ledger: bool = False,
        wire: bool | int = False,
    ) -> None:
        self._listeners = listeners or ("mqtt://127.0.0.1:1883",)
        terms = {
            "features": features,
            "response_information": response_information,
            "validate_payloads": validate_payloads,
            "shared_strategy": shared_strategy,
        }
        users, self._asked = sources(auth, auth_limits)
        self._asks = False
        listening = [Listener(place) if isinstance(place, str) else place for place in self._listeners]
        users_here, asked_here = local(listening, auth_limits)
        access = {
            "allow_anonymous": bool(allow_anonymous),
            "auth": users,
            "auth_limits": auth_limits,
            "local": users_here,
        }
        seams = {
            "threads": threads,
            "clock": None if clock is None else clock._native,  # noqa: SLF001 - of this package
            "ledger": ledger,
            "wire": WIRE_LINES if wire is True else int(wire),
            "journal": journal(),
        }
        self._wires = bool(wire)
        self._clock = clock
        self._options: dict[str, Any] = {
            **terms,
            "limits": limits,
            "allow_anonymous": allow_anonymous,
            "auth_limits": auth_limits,
            "threads": threads,
            "clock": clock,
            "ledger": ledger,
            "wire": wire,
        }
        self._native = NativeBroker(listening, access, limits, terms, seams)
        self._asked_here = asked_here
        self._policies = Policies(listening, acl, auth_limits)
        self._policies.set(self._native, acl)

    async def serve(self) -> None:
        """Start, and run until cancelled; then stop, giving what is on its way out a second.

        Raises
        ------
        BindError
            A listener could not be bound.

        Examples
        --------
        >>> async def main():
        ...     await rmqtt.Broker("mqtt://127.0.0.1:0").serve()
        """
        async with self:
            await asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        keep()
        start = self._native.start()
        try:
            await start
        except asyncio.CancelledError:
            # It may have come up meanwhile.
            await self._native.stop(0)
            raise
        self._ask(asyncio.get_running_loop())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._native.stop(1.0)
        self._ask_no_more()

    def _ask(self, loop: asyncio.AbstractEventLoop | None) -> None:
        if not self._asks:
            self._asks = True
            for asking in (*self._asked, *self._asked_here):
                asking.start(loop)
            self._policies.start(loop)

    def _ask_no_more(self) -> None:
        if self._asks:
            self._asks = False
            for asking in (*self._asked, *self._asked_here):
                asking.stop()
            self._policies.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start, and return when it listens. No event loop is needed.

        Returns
        -------
        Broker
            Itself.

        Raises
        ------
        BindError
            A listener could not be bound; then none is.
        BrokerError
            It is running already.

        Examples
        --------
        >>> broker = rmqtt.Broker("mqtt://127.0.0.1:0").start()
        >>> broker.stop()
        """
        keep()
        self._native.start_blocking()
        self._ask(None)
        return self

    def stop(self, grace: float = 1.0) -> None:
        """Stop: clients of MQTT 5 are told, sockets are closed, ports are free. A second call does nothing.

        Parameters
        ----------
        grace
            Seconds for what is on its way out.

        Examples
        --------
        >>> broker.stop(grace=0)
        """
        self._native.stop_blocking(grace)
        self._ask_no_more()

    def check(self) -> None:
        """Look whether `start` would refuse what was asked for, without listening anywhere.

        Raises
        ------
        ValueError
            It cannot work together, or would not be safe.

        Examples
        --------
        >>> rmqtt.Broker("mqtt://127.0.0.1:0").check()
        """
        self._native.check()

    def reload(self) -> None:
        """Read again what is in files, for all listeners: users, keys of tokens, what clients may do, certificates.

        All of it holds when this returns; or nothing does, if a single file cannot be used, and the broker goes on with
        what it had read before. Who is connected may do what the rules say now: see `acl`. A user who is gone from a
        password file, or has another password there, is sent away (0x98, *administrative action*), and so is who has
        shown a token whose key is gone; the session of a user who is gone ends. A callable for ``acl`` is asked again
        about everybody who is connected, and who gets no answer has to go; one for ``auth`` is not (see `disconnect`).

        Raises
        ------
        ValueError
            A file of users or keys cannot be read, or a file is not what it should be: which, and why.
        OSError
            A certificate, its key, a revocation list or an ACL file cannot be read: ``filename`` says which.

        Examples
        --------
        >>> broker.reload()
        """
        self._policies.reload(self._native)

    def reload_certificates(self) -> None:
        """Read certificates, keys and revocation lists of all listeners anew, those that are in files.

        The next connections get what is there by now, and nobody can resume a session of TLS from before: what was
        revoked is revoked. Connections that are there stay.

        Raises
        ------
        OSError
            A file cannot be read.
        ValueError
            What was read cannot be used. In either case all stays as it was.

        Examples
        --------
        >>> broker.reload_certificates()
        """
        self._native.reload_certificates()

    @property
    def acl(self) -> AclSource | None:
        """What clients may do, as it was given; `None`: everything.

        It can be set. What is new holds at once, for those who are connected too: subscriptions stay, and bring what
        may be read; what waits and may not be read any more is dropped, as *denied*. A callable is asked about
        everybody who is connected; until it has answered, they may do what they might.

        Raises
        ------
        ValueError
            On setting it: a line of the file is not understood. Then nothing has changed.
        OSError
            On setting it: the file cannot be read. Then nothing has changed.

        Examples
        --------
        >>> other = rmqtt.Broker("mem://guarded", acl=rmqtt.Acl(read=["news/#"]))
        >>> other.acl = rmqtt.Acl(read=["#"], publish=["news/#"])
        """
        return self._policies.everywhere

    @acl.setter
    def acl(self, acl: AclSource | None) -> None:
        self._policies.set(self._native, acl)

    @property
    def is_running(self) -> bool:
        """Whether it takes connections."""
        return self._native.is_running

    @property
    def urls(self) -> list[str]:
        """Where it really listens, with the ports that were chosen; empty when it does not run."""
        return self._native.urls

    @property
    def url(self) -> str:
        """Where it really listens, the first of `urls`.

        Raises
        ------
        BrokerError
            It does not run.
        """
        urls = self.urls
        if not urls:
            raise BrokerError("the broker is not running: use `with broker`, or broker.start() first")
        return urls[0]

    @property
    def port(self) -> int:
        """The port of the first network listener.

        Raises
        ------
        BrokerError
            It does not run, or listens in memory only.
        """
        port = self._native.port
        if port is None:
            raise BrokerError("the broker has no port: it is not running, or listens in memory only")
        return port
