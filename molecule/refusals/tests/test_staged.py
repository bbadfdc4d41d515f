"""What only the new release itself shows: it is built, refused and removed beside what runs.

What is not about building is a module of the release that runs (prepare.yml): it is only asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from refusals import Run, deploy, deploy_cases, difference, snapshot
from stack import PROJECT

testinfra_hosts = ["node1"]

REMOVED = "What this run had made of the new release was removed. What runs was not touched."


@dataclass(frozen=True)
class Bad:
    name: str
    message: str
    """A regular expression for the whole message."""
    rescued: int = 0
    """1 where a module's own failure is printed before the message."""
    variables: dict[str, Any] = field(default_factory=dict)
    asked: bool = False
    """Whether it is a module of the release that runs."""

    @property
    def settings(self) -> dict[str, Any]:
        if self.asked:
            return {"app_module": f"{self.name}:app"} | self.variables
        fixture = PROJECT / "tests" / "fixtures" / self.name
        return ({"app_source": str(fixture)} if fixture.is_dir() else {}) | self.variables


def exactly(*lines: str) -> str:
    return re.escape("\n".join([*lines, REMOVED]))


CASES = [
    Bad(
        "no_module",
        exactly(
            "app_module 'nowhere:app': the module of app_module was not found: there is no module "
            "'nowhere' in the source.",
            "Remedy: set app_module to module:callable, where the module is a file or package at "
            "the top of app_source.",
        ),
        variables={"app_module": "nowhere:app"},
    ),
    Bad(
        "no_callable",
        exactly(
            "app_module 'no_callable:app': the callable of app_module was not found: module "
            "'no_callable' has no 'app'; it has site.",
            "Remedy: set app_module to module:callable, or to module:factory() for a function that "
            "returns the app.",
        ),
        asked=True,
    ),
    Bad(
        "import_error",
        r"app_module 'app:app': importing it fails: ModuleNotFoundError: No module named "
        r"'app_settings'\.\n(?: .*\n)*"
        r'  File "/opt/whoami/releases/\w{12}/src/app\.py", line 3, in <module>\n'
        r"    from app_settings import SETTINGS\n"
        r"ModuleNotFoundError: No module named 'app_settings'\n"
        r"Remedy: .+\.\n" + exactly(),
    ),
    Bad(
        "not_socketio",
        exactly(
            "app_module 'not_socketio:app': it is not a Flask-SocketIO app: a flask.app.Flask "
            "without extensions['socketio'].",
            "Remedy: name the Flask app that SocketIO(app) or socketio.init_app(app) was called "
            "with.",
        ),
        asked=True,
    ),
    Bad(
        "bad_requirements",
        r"Install the requirements into the release's virtualenv: failed\.\n(?:.*\n)*"
        r"ERROR: No matching distribution found for flask-socketio==0\.0\.404\n"
        r"Remedy: .*, gunicorn\[gevent\]\.\n" + exactly(),
        rescued=1,
    ),
    Bad(
        "conflict",
        r"Install the requirements into the release's virtualenv: failed\.\n(?:.*\n)*"
        r".*Cannot install gunicorn<21 and gunicorn>=22 because these package versions have "
        r"conflicting dependencies\.\n(?:.*\n)*"
        r"Remedy: correct the requirements of the app, .*gunicorn>=22, .*\n" + exactly(),
        rescued=1,
    ),
    Bad(
        "shell_in_pip_arguments",
        r"Install the requirements into the release's virtualenv: failed\.\n(?:.*\n)*"
        r".*Invalid requirement: .*\n(?:.*\n)*Remedy: .*\n" + exactly(),
        rescued=1,
        variables={
            "app_pip_extra_args": "; touch /opt/whoami/injected",
            "app_requirements": ["flask-socketio"],
        },
    ),
    Bad(
        "threading_mode",
        exactly(
            "app_module 'threading_mode:app': the app's async_mode is 'threading' but gunicorn "
            "runs 'gevent': write SocketIO(async_mode=os.environ.get('SOCKETIO_ASYNC_MODE')), or "
            "async_mode='gevent', or remove the package of the other mode from the requirements.",
        ),
        asked=True,
    ),
    Bad(
        "gevent_websocket",
        exactly(
            "app_module 'app:app': gevent-websocket is installed, with which every WebSocket "
            "answers 500 under gunicorn's gevent worker: remove gevent-websocket from the "
            "requirements.",
        ),
        variables={"app_requirements": ["flask-socketio", "gevent-websocket"]},
    ),
    Bad(
        "stray_run",
        exactly(
            "app_module 'stray_run:app': importing it starts a server: socketio.run() in "
            "stray_run.py, line 8.",
            "Remedy: put the call under if __name__ == '__main__', or remove it.",
        ),
        asked=True,
    ),
    Bad(
        "blocks",
        r"app_module 'blocks:app': the app gave no answer \(exit code \d+\) within 8 s\. Its last "
        r"words:\n(?:.*\n)*Remedy: keep what blocks or exits, such as socketio\.run\(app\), under "
        r"if __name__ == '__main__'\.\n" + exactly(),
        variables={"app_ask_timeout": 8},
        asked=True,
    ),
]


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[str]]:
    """All cases in one run, each a host of its own that is the same container.

    Returns the run and what it changed there.
    """
    before = snapshot("node1")
    run = deploy_cases(tmp_path_factory.mktemp("cases"), "node1", [bad.settings for bad in CASES])
    return run, difference(before, snapshot("node1"))


@pytest.mark.parametrize(("number", "bad"), list(enumerate(CASES)), ids=[bad.name for bad in CASES])
def test_a_release_is_refused_beside_what_runs(
    refused: tuple[Run, list[str]], number: int, bad: Bad
) -> None:
    run, changes = refused
    host = f"case{number}"
    assert run.returncode != 0
    assert run.failed[host] == 1
    told = run.told(host)
    assert re.fullmatch(bad.message, told[-1]), told[-1]
    # By the play that keeps the failure for the end, and by what came before that.
    assert run.rescued[host] == 1 + bad.rescued
    assert len(told) == run.rescued[host] + 1, run.output
    assert changes == []


def test_a_generation_that_does_not_serve_is_removed() -> None:
    """The release stays: it is sound by what it answered, and the next try needs no new build."""
    before = snapshot("node1")
    run = deploy(app_source=str(PROJECT / "tests" / "fixtures" / "fails_in_worker"))
    assert run.refused, run.output
    assert re.fullmatch(
        r"(?:Start the target and every instance|Probe every instance on its own socket): "
        r"failed\.\n(?:.*\n)*"
        r"The last lines of its journal:\n(?:.*\n)*"
        r"RuntimeError: the licence server says no\n(?:.*\n)*"
        r"The new generation was removed\. What ran before runs on\.",
        run.message,
    ), run.message
    other = [
        line
        for line in difference(before, snapshot("node1"))
        if not re.match(r"new: /opt/whoami/releases/[0-9a-f]{12}[ /]", line)
    ]
    assert other == []
