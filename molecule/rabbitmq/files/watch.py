"""Collects the command lines of all processes until a file is there; then prints each once."""

import contextlib
import sys
from pathlib import Path

seen = set()
while not Path(sys.argv[1]).exists():
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        # It may have ended since it was listed.
        with contextlib.suppress(OSError):
            seen.add(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
print("\n".join(sorted(seen)))
