"""The dialogues, by what they are about. Importing a module puts its dialogues on the list."""

from interop.dialogues import (
    acknowledgements,
    aliases,
    connecting,
    limits,
    malformed,
    properties,
    publishing,
    retained,
    sessions,
    sharing,
    subscribing,
    wills,
)

__all__ = [
    "acknowledgements",
    "aliases",
    "connecting",
    "limits",
    "malformed",
    "properties",
    "publishing",
    "retained",
    "sessions",
    "sharing",
    "subscribing",
    "wills",
]
