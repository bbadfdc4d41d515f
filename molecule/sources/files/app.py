"""An app that says which source it came from, and what runs it."""

import getpass
import sys
from pathlib import Path

from flask import Flask
from flask_socketio import SocketIO

app = Flask(__name__)
socketio = SocketIO(app)


@socketio.on("whoami")
def whoami(_data: object = None) -> dict[str, str]:
    return {
        "source": Path(__file__).with_name("source").read_text(encoding="utf-8"),
        "user": getpass.getuser(),
        "python": str(Path(sys.executable).readlink()),
    }
