"""MQTT 3.1.1 and 5.0: codec, async client and embeddable broker."""

__all__: list[str] = []
