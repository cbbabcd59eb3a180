#!/bin/sh
# Starts Debian's rabbitmq-server as a benchmark peer: private port, private data, loopback only, no systemd, no root needed.
#
#   rabbitmq_peer.sh start [CPUS]   e.g. "start 0" pins it to core 0; without CPUS it may use every core
#   rabbitmq_peer.sh status
#   rabbitmq_peer.sh stop           stops node and epmd, removes the data
#
# PEER_PORT (5673) is the AMQP port, PEER_HOME the data directory.
set -eu

PORT=${PEER_PORT:-5673}
HOME_DIR=${PEER_HOME:-${TMPDIR:-/tmp}/rabbitmq-peer-$(id -u)-$PORT}
SERVER=${PEER_SERVER:-/usr/lib/rabbitmq/bin/rabbitmq-server}
# The wrapper in /usr/sbin insists on the system's user and directories; the script below it takes all of them from the environment.
PID_FILE=$HOME_DIR/pid
export ERL_EPMD_PORT=$((PORT + 10000)) ERL_EPMD_ADDRESS=127.0.0.1

pid() { cat "$PID_FILE" 2>/dev/null || true; }
alive() { [ -n "$(pid)" ] && kill -0 "$(pid)" 2>/dev/null; }
ready() { grep -qs 'Server startup complete' "$HOME_DIR"/log/*.log; }

start() {
    if alive; then echo "peer already runs: pid $(pid), port $PORT"; return; fi
    [ -x "$SERVER" ] || { echo "no $SERVER: apt-get install rabbitmq-server" >&2; exit 1; }
    rm -rf "$HOME_DIR"
    mkdir -m 700 "$HOME_DIR" "$HOME_DIR/log" "$HOME_DIR/mnesia"
    printf 'listeners.tcp.1 = 127.0.0.1:%s\n' "$PORT" >"$HOME_DIR/rabbitmq.conf"
    : >"$HOME_DIR/env.conf"
    echo '[].' >"$HOME_DIR/enabled_plugins"
    pin=${1:+taskset -c $1}
    (
        cd "$HOME_DIR"
        export HOME="$HOME_DIR" RABBITMQ_NODENAME="peer$PORT@localhost" RABBITMQ_PID_FILE="$PID_FILE"
        export RABBITMQ_CONF_ENV_FILE="$HOME_DIR/env.conf" RABBITMQ_CONFIG_FILE="$HOME_DIR/rabbitmq.conf"
        export RABBITMQ_MNESIA_BASE="$HOME_DIR/mnesia" RABBITMQ_LOG_BASE="$HOME_DIR/log"
        export RABBITMQ_ENABLED_PLUGINS_FILE="$HOME_DIR/enabled_plugins" RABBITMQ_DIST_PORT=$((PORT + 20000))
        export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}'
        # shellcheck disable=SC2086
        exec setsid $pin "$SERVER" >"$HOME_DIR/out" 2>&1 </dev/null
    ) &
    tries=0
    until ready; do
        tries=$((tries + 1))
        [ $tries -le 300 ] || { echo "peer did not start in 60 s, see $HOME_DIR/out" >&2; exit 1; }
        sleep 0.2
    done
    status
}

status() {
    alive || { echo "peer is not running on port $PORT"; return 3; }
    echo "peer runs: pid $(pid), cores $(taskset -cp "$(pid)" | sed 's/.*: //'), amqp://guest:guest@127.0.0.1:$PORT/"
}

stop() {
    if alive; then
        victim=$(pid)
        kill "$victim"
        tries=0
        while kill -0 "$victim" 2>/dev/null && [ $tries -lt 150 ]; do sleep 0.2; tries=$((tries + 1)); done
        kill -9 "$victim" 2>/dev/null || true
    fi
    epmd -port "$ERL_EPMD_PORT" -kill >/dev/null 2>&1 || true
    rm -rf "$HOME_DIR"
    echo "peer stopped"
}

case ${1:-} in
    start) shift; start "$@" ;;
    stop) stop ;;
    status) status ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
