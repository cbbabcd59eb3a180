#!/bin/sh
# Installs what the tests against real databases need, where it may: as root, with apt. The servers are neither started
# nor enabled; the tests run private ones. Never fails: tests whose server is missing skip and say so.
set -u
PATH="$PATH:/usr/sbin:/usr/local/sbin"

missing=
command -v mariadbd >/dev/null || command -v mysqld >/dev/null || missing="$missing mariadb-server"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || missing="$missing postgresql"
[ -e /usr/lib/galera/libgalera_smm.so ] || missing="$missing galera-4"
command -v garbd >/dev/null || missing="$missing galera-arbitrator-4"
command -v rsync >/dev/null || missing="$missing rsync"
command -v pgbouncer >/dev/null || missing="$missing pgbouncer"
command -v strace >/dev/null || missing="$missing strace"
command -v chromium >/dev/null || missing="$missing chromium"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "some tests will skip; to run them all: apt install$missing"
  exit 0
fi

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
own_policy=
finish() {
  rm -f "$log"
  [ -z "$own_policy" ] || rm -f "$policy"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

if [ ! -e "$policy" ]; then # by which Debian asks whether a package may start its service
  own_policy=yes
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi

apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=2 \
    -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o DPkg::Use-Pty=0 "$@" >>"$log" 2>&1 </dev/null
}

echo "installing$missing for the tests"
# shellcheck disable=SC2086 # several packages
if { apt update; apt install --yes --no-install-recommends $missing; }; then
  for each in mariadb:mariadb postgresql:postgresql arbitrator:garb; do # nor at the next boot, where there is one
    case $missing in *"${each%:*}"*) systemctl disable --quiet "${each#*:}.service" >/dev/null 2>&1 ;; esac
  done
else
  tail -n 15 "$log" >&2
  echo "could not install$missing; the tests that need them will skip" >&2
fi
exit 0
