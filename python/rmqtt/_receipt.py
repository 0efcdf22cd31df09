"""`Receipt` and `SyncReceipt`: what became of a message that nobody waited for when it was published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from rmqtt._live import Live
from rmqtt.exceptions import MqttError

if TYPE_CHECKING:
    from collections.abc import Generator

    from rmqtt._rmqtt import Finished, NativeReceipt, Operation, PublishResult

__all__ = ["Receipt", "SyncReceipt"]

ReceiptState: TypeAlias = Literal["queued", "sent", "done", "failed", "withdrawn"]


class Receipt(Live):
    """What became of a message. Made by `Client.publish_nowait`; await it for the result, or forget it.

    A failure that nobody has awaited or looked at is told to the event loop's exception handler.

    Examples
    --------
    >>> async def main():
    ...     receipt = client.publish_nowait("plant/7/temperature", b"21.5", qos=1)
    ...     await receipt
    ...     return receipt.state
    >>> await main()
    'done'
    """

    __slots__ = ("_operation",)

    def __init__(self, operation: Operation[PublishResult] | Finished[PublishResult]) -> None:
        self._operation = operation

    def __await__(self) -> Generator[object, object, PublishResult]:
        return self._operation.__await__()

    @property
    def state(self) -> ReceiptState:
        """Where the message is.

        ``"queued"``: not on its way, and can be taken back. ``"sent"``: on its way; a wait that is cancelled now leaves
        it so, and nobody hears of its end. ``"done"``: taken over by the broker; with QoS 0, in the outbox, which is
        all there is to know. ``"failed"``: `result` says why. ``"withdrawn"``: cancelled before it was on its way.
        """
        return self._operation.state

    def done(self) -> bool:
        """Whether there is nothing more to wait for: the result is there, or the wait was cancelled."""
        return self._operation.done()

    def cancel(self) -> bool:
        """Take the message back if it is not on its way, else give up waiting for its result.

        Returns
        -------
        bool
            Whether there was something to give up.
        """
        return self._operation.cancel()

    def result(self) -> PublishResult:
        """Give the result if it is there.

        Raises
        ------
        asyncio.InvalidStateError
            It is not there yet.
        asyncio.CancelledError
            The wait was cancelled.
        MqttError
            What went wrong.
        """
        return self._operation.result()

    def __repr__(self) -> str:
        return f"<Receipt, {self.state}>"

    def _repr_html_(self) -> str:
        return shown(self)


class SyncReceipt(Live):
    """What became of a message. Made by `SyncClient.publish_nowait`; ask it for the result, or forget it.

    Examples
    --------
    >>> with rmqtt.SyncClient(broker.url) as client:
    ...     receipt = client.publish_nowait("plant/7/temperature", b"21.5", qos=1)
    ...     _ = receipt.result(timeout=5)
    ...     receipt.state
    'done'
    """

    __slots__ = ("_native",)

    def __init__(self, native: NativeReceipt) -> None:
        self._native = native

    @property
    def state(self) -> ReceiptState:
        """Where the message is.

        ``"queued"``: not on its way, and can be taken back. ``"sent"``: on its way. ``"done"``: taken over by the
        broker; with QoS 0, in the outbox, which is all there is to know. ``"failed"``: `result` says why.
        ``"withdrawn"``: taken back before it was on its way.
        """
        return self._native.state

    def done(self) -> bool:
        """Whether there is nothing more to wait for: the result is there, or the message was taken back."""
        return self._native.state in ("done", "failed", "withdrawn")

    def cancel(self) -> bool:
        """Take the message back if it is not on its way; else nothing is changed, and `result` tells how it ends.

        Returns
        -------
        bool
            Whether it was taken back.
        """
        return self._native.cancel()

    def result(self, timeout: float | None = None) -> PublishResult:
        """Wait for the result.

        Parameters
        ----------
        timeout
            Seconds to wait; `None`: as long as the client lives. The message goes on.

        Raises
        ------
        MqttTimeout
            It is not there yet.
        MqttError
            What went wrong.
        concurrent.futures.CancelledError
            The message was taken back.
        """
        result = self._native.result(timeout)
        if result is None:
            from concurrent.futures import CancelledError  # noqa: PLC0415 - rare

            raise CancelledError("the message was taken back")
        return result

    def __repr__(self) -> str:
        return f"<SyncReceipt, {self.state}>"

    def _repr_html_(self) -> str:
        return shown(self)


def shown(receipt: Receipt | SyncReceipt) -> str:
    """Show a receipt in a notebook."""
    from rmqtt import _html  # noqa: PLC0415 - only notebooks pay for it

    rows: dict[str, object] = {"state": receipt.state}
    if receipt.state in {"done", "failed"}:
        try:
            result = receipt.result()
        except MqttError as error:
            rows["error"] = f"{type(error).__name__}: {error}"
        else:
            rows["answer"] = result.reason_code.name
            rows["the broker's words"] = result.reason_string
    return _html.table(f"rmqtt {type(receipt).__name__}", rows)
