# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The inspector as the module app_inspect runs it: from standard input, in the app's directory."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.realtime.flask_socketio.plugins.module_utils.findings import parse

INSPECTOR = Path(__file__).resolve().parents[3] / "roles" / "app" / "files" / "inspect_app.py"
PLAIN = "from flask import Flask\napp = Flask(__name__)\n"
GOOD = PLAIN + "from flask_socketio import SocketIO\nsocketio = SocketIO(app{options})\n"


def ask(
    directory: Path, target: str = "app:app", options: Sequence[str] = ("--patch=gevent",)
) -> dict[str, Any]:
    """Ask the app in a directory; the answer must come as the role reads it."""
    done = subprocess.run(
        [sys.executable, "-", *options, target],
        check=True,
        input=INSPECTOR.read_text(encoding="utf-8"),
        capture_output=True,
        text=True,
        cwd=directory,
        timeout=20,
    )
    answer = parse(done.stdout)
    assert answer is not None, done
    assert len(done.stdout.splitlines()) == 1
    return answer


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_files(text: str = "", /, **modules: str) -> Path:
        for name, content in ({"app": text} if text else {} | modules).items() | modules.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(content), encoding="utf-8")
        return tmp_path

    return write_files


def good(**options: str) -> str:
    return GOOD.format(options="".join(f", {key}={value}" for key, value in options.items()))


def test_a_good_app_with_the_defaults(write: Any) -> None:
    answer = ask(write(good()))
    assert answer["app"] == {
        "async_mode": "gevent",
        "path": "socket.io",
        "manager": "Manager",
        "has_queue": False,
        "missing_queue_client": None,
        "patched": True,
        "channel": None,
        "queue_scheme": None,
        "queue_address": None,
        "queue_is_given": None,
        "queue_error": None,
        "ping_interval": 25,
        "ping_timeout": 20,
        "max_http_buffer_size": 1000000,
        "cors_allowed_origins": None,
        "polling": True,
        "websocket": True,
        "websocket_driver": True,
        "uwsgi_has_ssl": None,
        "worker": None,
        "worker_error": None,
    }
    assert {"flask-socketio", "python-socketio", "python-engineio", "gevent"} <= set(
        answer["versions"]
    )
    assert "eventlet" not in answer["versions"]


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (
            {
                "path": "'/live/io/'",
                "ping_interval": "(10, 5)",
                "ping_timeout": "3",
                "max_http_buffer_size": "5",
                "async_mode": "'threading'",
                "cors_allowed_origins": "['https://a.example']",
                "transports": "['websocket']",
            },
            {
                "async_mode": "threading",
                "path": "live/io",
                "ping_interval": 15,
                "ping_timeout": 3,
                "max_http_buffer_size": 5,
                "cors_allowed_origins": ["https://a.example"],
                "websocket": True,
            },
        ),
        (
            {
                "resource": "'live'",
                "cors_allowed_origins": "lambda origin: True",
                "allow_upgrades": "False",
            },
            {"path": "live", "cors_allowed_origins": "callable", "websocket": False},
        ),
        (
            {"cors_allowed_origins": "'*'", "transports": "['polling']"},
            {"cors_allowed_origins": "*", "websocket": False},
        ),
    ],
)
def test_an_app_with_its_own_settings(
    write: Any, options: dict[str, str], facts: dict[str, Any]
) -> None:
    app = ask(write(good(**options)))["app"]
    assert {name: app[name] for name in facts} == facts


def test_a_message_queue_is_seen(write: Any) -> None:
    source = """
        import socketio
        from flask import Flask
        from flask_socketio import SocketIO

        class Manager(socketio.PubSubManager):
            def initialize(self):
                pass

        app = Flask(__name__)
        SocketIO(app, client_manager=Manager())
        """
    app = ask(write(source))["app"]
    assert (app["manager"], app["has_queue"]) == ("Manager", True)


def test_a_factory_in_a_package(write: Any) -> None:
    source = """
        from flask import Flask
        from flask_socketio import SocketIO
        socketio = SocketIO()

        def create_app():
            app = Flask(__name__)
            socketio.init_app(app)
            return app
        """
    directory = write(chat__web=source)
    assert ask(directory, "chat.web:create_app()")["app"]["async_mode"] == "gevent"
    error = ask(directory, "chat.web:create_app")["error"]
    assert error == {
        "kind": "not_socketio",
        "message": "a function; for a factory write create_app()",
    }


def test_the_app_is_imported_under_the_patch_that_was_asked_for(write: Any) -> None:
    patched = "from gevent import monkey\nassert monkey.is_module_patched('threading')\n"
    answer = ask(write(patched + good()))
    assert answer["app"]["async_mode"] == "gevent"


@pytest.mark.parametrize(
    ("target", "missing"),
    [("web:app", "web"), ("web.site:app", "web"), ("chat.site:app", "chat.site")],
)
def test_a_missing_module(write: Any, target: str, missing: str) -> None:
    directory = write(chat____init__="")
    assert ask(directory, target)["error"] == {
        "kind": "module",
        "message": f"there is no module {missing!r} in the source",
    }


def test_a_missing_callable_with_a_hint_at_those_that_are_there(write: Any) -> None:
    """request and current_app are proxies that raise when they are asked outside of a request."""
    source = """
        from flask import Flask, current_app, request, session
        application = Flask(__name__)
        second = Flask(__name__)
        """
    assert ask(write(source))["error"] == {
        "kind": "callable",
        "message": "module 'app' has no 'app'; it has application, second",
    }


def test_a_missing_callable_without_a_hint(write: Any) -> None:
    directory = write("x = 1\n")
    assert ask(directory, "app:create_app()")["error"] == {
        "kind": "callable",
        "message": "module 'app' has no 'create_app'",
    }


def test_an_error_at_import_shows_the_last_lines(write: Any) -> None:
    source = """
        import os
        KEY = os.environ["SECRET_KEY_THAT_IS_NOT_SET"]
        """
    error = ask(write(source))["error"]
    assert error["kind"] == "import"
    assert error["message"] == "KeyError: 'SECRET_KEY_THAT_IS_NOT_SET'"
    assert len(error["traceback"]) <= 8
    assert 'KEY = os.environ["SECRET_KEY_THAT_IS_NOT_SET"]' in map(str.strip, error["traceback"])
    assert error["traceback"][-1] == error["message"]


def test_a_syntax_error(write: Any) -> None:
    error = ask(write("def app(:\n"))["error"]
    assert error["kind"] == "import"
    assert error["message"].startswith("SyntaxError: ")


@pytest.mark.parametrize(
    "source", ["import package_not_there\n", "import app.models\n", "from .models import x\n"]
)
def test_what_the_app_itself_fails_to_import_is_not_a_missing_app(write: Any, source: str) -> None:
    assert ask(write(source))["error"]["kind"] == "import"


def test_a_module_that_is_missing_inside_of_a_package(write: Any) -> None:
    directory = write(chat____init__="", chat__site="import chat.models\n")
    error = ask(directory, "chat.site:app")["error"]
    assert error["kind"] == "import"
    assert error["message"] == "ModuleNotFoundError: No module named 'chat.models'"


@pytest.mark.parametrize("leave", ["sys.exit('no configuration')", "raise KeyboardInterrupt"])
def test_an_app_that_leaves_at_import(write: Any, leave: str) -> None:
    error = ask(write(f"import sys\n{leave}\n"))["error"]
    assert error["kind"] == "import"
    assert error["message"].startswith(("SystemExit: no configuration", "KeyboardInterrupt"))


@pytest.mark.parametrize(
    ("signature", "body", "message"),
    [
        ("", "raise ValueError('no database')", "ValueError: no database"),
        ("", "import sys; sys.exit(3)", "SystemExit: 3"),
        ("config", "pass", "TypeError: create_app() missing 1 required positional argument"),
    ],
)
def test_a_factory_that_fails(write: Any, signature: str, body: str, message: str) -> None:
    directory = write(f"def create_app({signature}):\n    {body}\n")
    error = ask(directory, "app:create_app()")["error"]
    assert error["kind"] == "factory"
    assert error["message"].startswith(f"app:create_app() raised {message}")
    assert error["traceback"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            good().replace("app", "web").replace("socketio =", "app ="),
            "a flask_socketio.SocketIO without extensions['socketio']",
        ),
        ("app = None\n", "a builtins.NoneType without extensions['socketio']"),
        (
            PLAIN + "from flask_socketio import SocketIO\nSocketIO(message_queue='redis://')\n",
            "a flask.app.Flask without extensions['socketio']",
        ),
    ],
)
def test_what_is_no_flask_socketio_app(write: Any, source: str, message: str) -> None:
    assert ask(write(source))["error"] == {"kind": "not_socketio", "message": message}


@pytest.mark.parametrize(
    "noise",
    [
        "import atexit, os\nprint('starting', end='')\nos.write(1, b'{}\\n')\n"
        "atexit.register(print, 'bye')",
        "import sys; sys.stdout = sys.stderr = None",
        "import sys; sys.stdout.close()",
    ],
)
def test_what_the_app_prints_is_not_the_answer(write: Any, noise: str) -> None:
    answer = ask(write(f"{noise}\n{good()}"))
    assert answer["app"]["async_mode"] == "gevent"


def test_a_thread_that_the_app_started_does_not_keep_the_question_open(write: Any) -> None:
    loop = """
        import threading, time

        def loop():
            while True:
                time.sleep(1)

        threading.Thread(target=print, args=["x"]).start()
        threading.Thread(target=loop).start()
        """
    answer = ask(write(textwrap.dedent(loop) + good()))
    assert answer["app"]["async_mode"] == "gevent"


@pytest.mark.parametrize("run", ["socketio.run(app, port=0)", "app.run(port=0)"])
@pytest.mark.parametrize("mode", ["gevent", "threading"])
def test_a_stray_run_is_told_and_does_not_serve(write: Any, run: str, mode: str) -> None:
    """gevent would serve for ever; Werkzeug refuses by itself, with an error about production."""
    error = ask(write(good(async_mode=repr(mode)) + run + "\n"))["error"]
    assert error == {"kind": "stray_run", "message": f"{run.split('(')[0]}() in app.py, line 5"}


def test_a_stray_run_in_a_factory(write: Any) -> None:
    source = good() + "def create_app():\n    socketio.run(app, port=0)\n"
    error = ask(write(source), "app:create_app()")["error"]
    assert error == {"kind": "stray_run", "message": "socketio.run() in app.py, line 6"}


def test_a_socket_that_is_no_server_is_let_alone(write: Any) -> None:
    bind = "import socket\nsocket.socket().bind(('127.0.0.1', 0))\n"
    assert ask(write(bind + good()))["app"]["async_mode"] == "gevent"


HIDDEN = "import sys\nsys.modules.update(dict.fromkeys({modules!r}))\n"


@pytest.mark.parametrize(
    ("mode", "hidden"),
    [
        ("gevent_uwsgi", ["uwsgi"]),
        ("threading", ["simple_websocket"]),
        ("eventlet", ["eventlet"]),
        (None, ["eventlet", "gevent", "simple_websocket"]),
    ],
)
def test_an_async_mode_whose_package_is_missing(
    write: Any, mode: str | None, hidden: list[str]
) -> None:
    source = HIDDEN.format(modules=hidden) + good(async_mode=repr(mode))
    assert ask(write(source))["error"] == {
        "kind": "async_mode",
        "message": f"async_mode={mode!r}",
        "async_mode": mode,
    }
    factory = source.replace("socketio = ", "def create_app():\n    ")
    assert ask(write(factory), "app:create_app()")["error"]["kind"] == "async_mode"


@pytest.mark.parametrize(
    ("url", "missing"),
    [
        ("redis://", "redis"),
        ("rediss://user:secret@host/0", "redis"),
        ("redis+sentinel://h:26379/0/service", "redis"),
        ("valkey://", "valkey"),
        ("unix:///run/x.sock", "redis"),
    ],
)
def test_a_queue_whose_client_is_missing(write: Any, url: str, missing: str) -> None:
    """RedisManager is made all the same, and fails only when it connects."""
    source = "import socketio as s\n" + good(client_manager=f"s.RedisManager({url!r})")
    answer = ask(write(source))["app"]
    assert (answer["has_queue"], answer["missing_queue_client"]) == (True, missing)


def test_a_queue_whose_client_is_there(write: Any) -> None:
    directory = write(good(message_queue="'redis://'"), redis="")
    assert ask(directory)["app"]["missing_queue_client"] is None


def test_a_queue_that_misses_kombu(write: Any) -> None:
    error = ask(write(good(message_queue="'amqp://'")))["error"]
    assert error == {"kind": "queue_client", "message": "kombu"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("return True", None),
        ("raise OSError('Connection refused')", "OSError: Connection refused"),
    ],
)
def test_whether_the_queue_can_be_used(
    write: Any, monkeypatch: pytest.MonkeyPatch, answer: str, error: str | None
) -> None:
    redis = f"""
        import sys, types
        sys.modules["redis.exceptions"] = types.SimpleNamespace(RedisError=Exception)
        class Redis:
            @classmethod
            def from_url(cls, url, **options):
                return cls()
            def ping(self):
                {answer}
            def pubsub(self, **options):
                return self
            def subscribe(self, channel):
                assert channel == 'chat'
            def parse_response(self, block):
                pass
            def close(self):
                pass
        """
    url = "redis://user:secret@host:6380/0"
    monkeypatch.setenv("SOCKETIO_MESSAGE_QUEUE", url)
    source = good(message_queue=repr(url), channel="'chat'")
    app = ask(write(source, redis=redis))["app"]
    assert app["channel"] == "chat"
    assert app["queue_is_given"] is True
    assert app["queue_address"] == "redis://host:6380/0"
    assert app["queue_error"] == error


def test_another_queue_than_the_one_given(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCKETIO_MESSAGE_QUEUE", "redis://other/0")
    app = ask(write(good(message_queue="'redis://host/0'"), redis=""))["app"]
    assert app["queue_is_given"] is False
    assert "Redis package is not installed" in app["queue_error"]


def test_whether_sockets_are_patched(write: Any) -> None:
    directory = write(good(async_mode="'gevent'"))
    assert ask(directory)["app"]["patched"] is True
    assert ask(directory, options=())["app"]["patched"] is False
    directory = write(good(async_mode="'threading'"))
    assert ask(directory, options=())["app"]["patched"] is None


def test_a_driver_without_websocket(write: Any) -> None:
    """As older python-engineio falls back to when simple-websocket is missing."""
    source = """
        from engineio.async_drivers import threading
        threading._async["websocket"] = None
        """
    directory = write(textwrap.dedent(source) + good(async_mode="'threading'"))
    assert ask(directory)["app"]["websocket_driver"] is False


@pytest.mark.parametrize(
    ("worker", "error"),
    [
        ("gevent", None),
        ("gthread", None),
        ("eventlet", "Entry point ('gunicorn.workers', 'eventlet') not found"),
        ("geventwebsocket.gunicorn.workers.GeventWebSocketWorker", "No module named"),
    ],
)
def test_whether_gunicorn_can_load_its_worker(write: Any, worker: str, error: str | None) -> None:
    app = ask(write(good()), options=("--patch=gevent", f"--worker={worker}"))["app"]
    assert app["worker"] == worker
    assert app["worker_error"] is None if error is None else error in app["worker_error"]


def test_a_worker_that_misses_packaging(write: Any) -> None:
    source = HIDDEN.format(modules=["packaging"]) + good()
    app = ask(write(source), options=("--patch=gevent", "--worker=gevent"))["app"]
    assert "packaging" in app["worker_error"]
