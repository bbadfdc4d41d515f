# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ansible_collections.realtime.flask_socketio.plugins.filter.apache_sites import apache_sites

# As Apache 2.4.71 prints it; the last site of *:80 came from its command line.
DUMP = """\
VirtualHost configuration:
127.0.0.1:80           three.example (/etc/apache2/sites-enabled/v.conf:5)
*:8081                 _ (/etc/apache2/sites-enabled/t.conf:19)
*:80                   is a NameVirtualHost
         default server one.example (/etc/apache2/sites-enabled/u.conf:1)
         port 80 namevhost One.example (/etc/apache2/sites-enabled/u.conf:1)
                 alias www.one.example
                 wild alias *.wild.example
         port 80 namevhost _ (-c/-C directives:1)
                 alias nobody.example
*:*                    four.example (/etc/apache2/sites-enabled/w.conf:11)
"""


def test_the_names_of_one_port_with_aliases() -> None:
    assert apache_sites(DUMP, 80) == [
        {"name": "three.example", "site": "v.conf"},
        {"name": "one.example", "site": "u.conf"},
        {"name": "www.one.example", "site": "u.conf"},
        {"name": "*.wild.example", "site": "u.conf"},
        {"name": "four.example", "site": "w.conf"},
    ]


def test_another_port() -> None:
    assert apache_sites(DUMP, 8081)[0] == {"name": "_", "site": "t.conf"}


def test_no_sites() -> None:
    assert apache_sites("", 80) == []
    assert apache_sites("VirtualHost configuration:\n", 80) == []
    assert apache_sites("*:8081  _ (/etc/apache2/sites-enabled/t.conf:19)\n", 80) == []
