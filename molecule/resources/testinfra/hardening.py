"""How much a service may do, and how much it might without the role's drop-in."""

from __future__ import annotations

from collections.abc import Callable

Run = Callable[[str], str]
"""Runs a shell script on a host."""


def exposure(run: Run, unit: str) -> float:
    """systemd's score of a unit: 0 for one that may do nothing, 10 for one that may do all."""
    said = run(f"systemd-analyze security --no-pager '{unit}' | tail -1")
    return float(said.split(": ")[1].split()[0])


def exposure_without(run: Run, unit: str, drop_in: str) -> float:
    """The same as if the drop-in were not there; what runs is not touched."""
    run(f"mv '{drop_in}' /srv/drop-in && systemctl daemon-reload")
    try:
        return exposure(run, unit)
    finally:
        run(f"mv /srv/drop-in '{drop_in}' && systemctl daemon-reload")
