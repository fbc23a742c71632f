"""`power.py SOCKET`: press the power button of a virtual machine, paused or not, and wait until it is off."""

import json
import socket
import sys

with socket.socket(socket.AF_UNIX) as monitor:
    monitor.connect(sys.argv[1])
    for order in ("qmp_capabilities", "cont", "system_powerdown"):
        monitor.sendall(json.dumps({"execute": order}).encode())
    while monitor.recv(4096):  # until QEMU has ended; systemd knows how long that may take
        pass
