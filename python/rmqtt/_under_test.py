"""What tests ask of a `Broker`: time, faults, books, crashes and snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rmqtt._server import Server
from rmqtt.exceptions import BrokerError

if TYPE_CHECKING:
    from rmqtt.testing import Clock, Faults, Ledger, Snapshot, Wire


class UnderTest(Server):
    """The part of a `Broker` that only tests need, and pay for."""

    __slots__ = ()

    @property
    def clock(self) -> Clock:
        """The clock it was made with.

        Raises
        ------
        BrokerError
            It runs by the system's clock.
        """
        if self._clock is None:
            raise BrokerError("the broker runs by the system's clock: make it with Broker(clock=rmqtt.testing.Clock())")
        return self._clock

    @property
    def faults(self) -> Faults:
        """What goes wrong on the way, by plan: see `rmqtt.testing.Faults`. Free until the first rule is made."""
        from rmqtt.testing import Faults  # noqa: PLC0415 - only tests need it

        return Faults(self._native.faults())

    @property
    def wire(self) -> Wire:
        """The log of all packets: see `rmqtt.testing.Wire`.

        Raises
        ------
        BrokerError
            It keeps none.
        """
        from rmqtt.testing import Wire  # noqa: PLC0415 - only tests need it

        if not self._wires:
            raise BrokerError("the broker keeps no wire log: make it with Broker(wire=True)")
        return Wire(self._native.wire())

    @property
    def ledger(self) -> Ledger:
        """What became of each message for each subscriber that it matched.

        Raises
        ------
        BrokerError
            It keeps none.

        Examples
        --------
        >>> with rmqtt.Broker("mem://books", ledger=True) as other:
        ...     other.ledger.balanced()
        True
        """
        from rmqtt.testing import Ledger  # noqa: PLC0415 - only tests pay for it

        if not self._options["ledger"]:
            raise BrokerError("the broker keeps no ledger: make it with Broker(ledger=True)")
        return Ledger(self._native)

    def crash(self, keep: Literal["nothing", "acknowledged"] = "nothing") -> None:
        """End at once, as a power cut would: for tests of what comes after.

        No client is told, sockets are just closed, no will is published, and what waited to be written is not. `start`
        listens at the same ports, chosen ones too, and goes on with what was kept. Time goes on meanwhile.

        Parameters
        ----------
        keep
            ``"nothing"``: as a broker without a store. ``"acknowledged"``: what a store would have that is written
            before anything is acknowledged: sessions that outlive their connections, with their subscriptions, what
            waits for them and where each exchange had got to; retained messages; wills that waited for their time.

        Raises
        ------
        BrokerError
            It does not run.
        ValueError
            ``keep`` is neither.

        Examples
        --------
        >>> with rmqtt.Broker("mqtt://127.0.0.1:0") as other:
        ...     port = other.port
        ...     other.crash(keep="acknowledged")
        ...     other.start().port == port
        True
        """
        self._native.crash(keep)
        self._ask_no_more()

    def snapshot(self) -> Snapshot:
        """Take the whole state: sessions, subscriptions, messages that wait or are on their way, retained ones, wills.

        It is what a crash would leave to a store that is written before anything is acknowledged: see `crash`. So
        what was acknowledged before the call is in it, and an exchange of QoS 2 goes on where it was. Clients stay
        connected, and notice nothing but a short wait. Retained messages are shared, not copied.

        Returns
        -------
        Snapshot
            For `restore`, of this broker or another, as often as wanted.

        Examples
        --------
        >>> broker.publish_now("plant/7/set", "22", retain=True)
        0
        >>> broker.snapshot()
        <Snapshot: 0 sessions, 0 subscriptions, 1 retained message, 0 queued messages>
        """
        from rmqtt.testing import Snapshot  # noqa: PLC0415 - only tests pay for it

        return Snapshot(self._native.snapshot())

    def restore(self, snapshot: Snapshot) -> None:
        """Put the state of a snapshot in the place of what there is.

        Who is connected is sent away first, with no will published (MQTT 5: DISCONNECT 0x89, *server busy*), and who
        comes meanwhile is turned away; clients that come back find their sessions of the snapshot. What expires has as
        long left as it had. The broker may run or not.

        Parameters
        ----------
        snapshot
            Of this broker, or of another one.

        Examples
        --------
        >>> snapshot = broker.snapshot()
        >>> broker.publish_now("plant/7/set", "22", retain=True)
        0
        >>> broker.restore(snapshot)
        >>> len(broker.retained)
        0
        """
        self._native.restore(snapshot._native)  # noqa: SLF001 - of this package
