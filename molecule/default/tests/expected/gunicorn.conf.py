# Ansible managed
worker_class = "gevent"
worker_tmp_dir = "/dev/shm"
# One worker a process, whatever WEB_CONCURRENCY says: a second one would not know its sibling's sid.
workers = 1
worker_connections = 10000
# Longer than nginx keeps an idle connection, 60 s: a POST on one that is just being closed is lost, and with it a
# polling client's packet.
keepalive = 75
graceful_timeout = 5
loglevel = "info"
# Of the socket, which the proxy's group reaches through its directory.
umask = 0o111
# Instances of one user would fight over its default path.
control_socket_disable = True

import os
import runpy

here = os.path.dirname(os.path.abspath(__file__))


def post_worker_init(worker):
    runpy.run_path(os.path.join(here, "path_prefix.py"))
    runpy.run_path(os.path.join(here, "queue_retry.py"))
    runpy.run_path(os.path.join(here, "websocket_messages.py"))
    runpy.run_path(os.path.join(here, "drain.py"))
