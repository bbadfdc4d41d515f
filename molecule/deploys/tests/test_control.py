"""The negative control of all others: what the same clients notice of a plain restart."""

from __future__ import annotations

from deploys import counting, load
from refusals import inside


def test_a_restart_fails_handshakes(solo):
    with load(solo.url) as traffic, counting(traffic, "control", "solo") as noticed:
        inside("solo", "systemctl restart 'whoami-*@1.service'")
    assert noticed.counts["failed"] > 10, noticed
    # All are cut off, and some while they wait for an answer, which they ask for again.
    assert len(noticed.drops) >= 200
    assert noticed.counts["lost_acks"] == 0, noticed
