"""Foreign clients and brokers against ours."""
