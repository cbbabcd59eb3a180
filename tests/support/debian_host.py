"""A host as Debian leaves it before a database server is installed, for the commands of an administrator.

Its configuration, data and logs of database servers are its own and go with it. Installing a package does what the
package's own scripts do, because this machine has its files; services are started without systemd, which needs a
machine of its own. Knows Debian's packages; must not know the broker.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.network import Host, NetworkMissing

PRIVATE = ("/run", "/var/log", "/var/lib/mysql", "/var/lib/postgresql", "/etc/postgresql", "/etc/mysql/mariadb.conf.d")
DEADLINE = 120.0

_APT = """\
#!/bin/sh -e
[ "$1" = install ]; shift
dpkg-query --show "$@" >/dev/null
for package; do
  case $package in
    postgresql) pg_createcluster "$(ls /usr/lib/postgresql | sort -V | tail -n 1)" main --start >/dev/null ;;
    mariadb-server)
      mariadb-install-db --user=mysql --auth-root-authentication-method=socket >/dev/null
      systemctl start mariadb ;;
  esac
done
"""
_SUDO = """\
#!/bin/sh -e
[ "$1" = -u ]; user=$2; shift 2
cd /
exec runuser -u "$user" -- "$@"
"""
_SYSTEMCTL = """\
#!/bin/sh -e
is_up() { mariadb-admin ping >/dev/null 2>&1; }
start() {
  [ ! -e /run/mariadb-wsrep-new-cluster ] || . /run/mariadb-wsrep-new-cluster
  position=$(runuser -u mysql -- galera_recovery)
  setsid mariadbd --user=mysql ${_WSREP_NEW_CLUSTER:-} $position >/var/log/mariadb.log 2>&1 </dev/null &
  server=$!
  until is_up; do kill -0 $server || { tail -n 40 /var/log/mariadb.log >&2; exit 1; }; sleep 0.2; done
}
stop() { ! is_up || mariadb-admin shutdown; }
case "$2" in
  postgresql) pg_ctlcluster "$(ls /etc/postgresql)" main "$1" ;;
  mariadb|mariadb.service) case "$1" in start) start ;; stop) stop ;; restart) stop; start ;; *) exit 2 ;; esac ;;
  *) exit 5 ;;
esac
"""
_PROGRAMS = {"apt": _APT, "sudo": _SUDO, "systemctl": _SYSTEMCTL}


class DebianHost:
    """One host, on which the names of all hosts are known."""

    def __init__(self, host: Host, hosts: Sequence[Host], packages: Sequence[str], directory: Path) -> None:
        """Its own files go into `directory`. Raises `NetworkMissing` where this machine has not all of the packages."""
        self.host = host
        known = subprocess.run(["dpkg-query", "--show", *packages], capture_output=True, check=False)
        if known.returncode:
            raise NetworkMissing(f"not all packages are on this machine: apt install {' '.join(packages)}")
        self._programs = directory / "programs"
        self._programs.mkdir(parents=True)
        for name, text in _PROGRAMS.items():
            path = self._programs / name
            path.write_text(text)
            path.chmod(0o755)
        directory.chmod(0o755)
        for place in PRIVATE:
            host.run("mount", "-t", "tmpfs", "tmpfs", place)
        self.sh("install -d -o mysql -g mysql /run/mysqld /var/lib/mysql; install -d -o postgres /run/postgresql"
                " /var/lib/postgresql /var/log/postgresql /etc/postgresql")  # fmt: skip
        names = directory / "hosts"
        lines = ["127.0.0.1 localhost", *(f"{each.address} {each.name}" for each in hosts)]
        names.write_text("\n".join(lines) + "\n")
        host.run("mount", "--bind", str(names), "/etc/hosts")
        host.run("hostname", host.name)

    def sh(self, commands: str) -> str:
        """Run commands as an administrator types them; return what they print. Raises `AssertionError` if one fails."""
        path = f"{self._programs}:/usr/sbin:/usr/bin:/sbin:/bin"
        done = subprocess.run(
            self.host.inside(["sh", "-ec", commands]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            env={"PATH": path, "HOME": "/root", "LANG": "C.UTF-8"},
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, f"on {self.host.name}: {commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout
