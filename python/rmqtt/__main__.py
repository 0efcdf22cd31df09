"""``python -m rmqtt``."""

import sys

from rmqtt.cli import main

if __name__ == "__main__":
    sys.exit(main())
