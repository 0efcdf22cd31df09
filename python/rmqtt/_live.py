"""What lives in one process, and cannot be sent to another."""

from __future__ import annotations

from typing import NoReturn


class Live:
    """Something with a connection, a thread or a queue behind it: neither pickled nor copied."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} lives in the process that made it, and is neither pickled nor copied: "
            "send what it was made from (address, options), and make one there"
        )
