# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How code of an application runs beside its instances: as its user, in a transient unit."""

from __future__ import annotations

from collections.abc import Iterable


def systemd_run(
    command: Iterable[str],
    *,
    user: str,
    directory: str,
    environment_file: str,
    timeout: int,
    properties: Iterable[str] = (),
    unit: str = "",
) -> list[str]:
    """Return the command line; its standard streams and its exit code are those of the command."""
    return [
        "systemd-run",
        "--quiet",
        "--wait",
        "--pipe",
        "--collect",
        *([f"--unit={unit}"] if unit else []),
        f"--uid={user}",
        f"--working-directory={directory}",
        f"--property=EnvironmentFile={environment_file}",
        f"--property=RuntimeMaxSec={timeout}",
        "--property=ProtectSystem=strict",
        "--property=ProtectHome=true",
        "--property=PrivateTmp=true",
        "--property=NoNewPrivileges=true",
        *(f"--property={setting}" for setting in properties),
        "--setenv=PYTHONDONTWRITEBYTECODE=1",
        "--",
        *command,
    ]
