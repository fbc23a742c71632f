"""`python -m deployer.drivers.sleeping PROXY_FOLDER VERSION`: the waker of a proxy, in the foreground."""

from __future__ import annotations

import sys

from deployer.drivers.sleeping.waker import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
