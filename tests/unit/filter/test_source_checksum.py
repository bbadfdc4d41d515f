# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.realtime.flask_socketio.plugins.filter.source_checksum import (
    source_checksum,
)


def test_it_tells_contents_and_leaves_out_what_is_excluded(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("app = 1\n", "utf-8")
    first = source_checksum(str(tmp_path), ["*.pyc"])
    assert len(first) == 64
    (tmp_path / "app.pyc").touch()
    assert source_checksum(str(tmp_path), ["*.pyc"]) == first
    assert source_checksum(str(tmp_path)) != first
    (tmp_path / "app.py").write_text("app = 2\n", "utf-8")
    assert source_checksum(str(tmp_path), ["*.pyc"]) != first


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnsibleFilterError, match="no can't be read: No such file or directory"):
        source_checksum(str(tmp_path / "no"))
