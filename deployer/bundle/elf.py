"""For which processor a program was made, as its ELF header says (elf(5))."""

from __future__ import annotations

from pathlib import Path

_MACHINES = {3: "i686", 22: "s390x", 21: "ppc64le", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}


def machine(place: Path) -> str:
    """Return the processor as `uname -m` names it; "" for what is no ELF file."""
    with place.open("rb") as file:
        head = file.read(20)
    if head[:4] != b"\x7fELF" or len(head) < 20:
        return ""
    number = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return _MACHINES.get(number, f"machine {number}")
