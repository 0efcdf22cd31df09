"""What clients of one broker may do: everywhere, and at those listeners that have rules of their own."""

from __future__ import annotations

import threading
from types import EllipsisType
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Container, Sequence

    from rmqtt._acl import AclSource
    from rmqtt._hooks import Asking
    from rmqtt._rmqtt import NativeBroker, NativeInquiries, _Rules
    from rmqtt._transport import Listener
    from rmqtt._users import AuthLimits

    _Native: TypeAlias = _Rules | NativeInquiries | None


class Policies:
    """Where rules come from, read whenever they are wanted; callables stay who they are."""

    def __init__(self, listeners: Sequence[Listener], everywhere: AclSource | None, limits: AuthLimits) -> None:
        self._limits = limits
        self.everywhere = everywhere
        self._here = {n: one.acl for n, one in enumerate(listeners) if not isinstance(one.acl, EllipsisType)}
        #: Who is asked, by the callable's identity.
        self._asked: dict[int, tuple[NativeInquiries, Asking]] = {}
        #: Who reads first, sets first. Of one thread: a signal may ask for what is being done.
        self._changing = threading.RLock()
        self._runs = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._runs, self._loop = True, loop
        for _, asking in self._asked.values():
            asking.start(loop)

    def stop(self) -> None:
        self._runs, self._loop = False, None
        for _, asking in self._asked.values():
            asking.stop()

    def set(self, broker: NativeBroker, everywhere: AclSource | None) -> None:
        """Read all there is, with this for everywhere, and let it hold: or nothing, if something cannot be used."""
        with self._changing:
            self._take(broker.set_acls, everywhere)

    def reload(self, broker: NativeBroker) -> None:
        """Read it again, and let it hold together with all else that the broker reads again: or nothing of it."""
        with self._changing:
            self._take(broker.reload, self.everywhere)

    def _take(
        self, take: Callable[[_Native, Sequence[tuple[int, _Native]]], None], everywhere: AclSource | None
    ) -> None:
        before = dict(self._asked)
        try:
            take(self._read(everywhere), [(n, self._read(acl)) for n, acl in self._here.items()])
        except BaseException:
            self._keep(before)
            raise
        self.everywhere = everywhere
        self._keep([id(acl) for acl in (everywhere, *self._here.values()) if callable(acl)])

    def _read(self, acl: AclSource | None) -> _Native:
        if acl is None:
            return None
        if not callable(acl):
            from rmqtt._acl import native  # noqa: PLC0415 - only who has rules pays for it

            return native(acl)
        if id(acl) not in self._asked:
            from rmqtt._hooks import asking_rights  # noqa: PLC0415 - only who has a callable pays for it

            self._asked[id(acl)] = asking_rights(acl, self._limits)
            if self._runs:
                # Before it is asked anything.
                self._asked[id(acl)][1].start(self._loop)
        return self._asked[id(acl)][0]

    def _keep(self, wanted: Container[int]) -> None:
        for number in [number for number in self._asked if number not in wanted]:
            _, asking = self._asked.pop(number)
            if self._runs:
                asking.stop()
