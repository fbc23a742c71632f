# shellcheck shell=bash
# A Docker engine of our own for the tests, where none answers; sourced after lib.sh.
#
# It lives in one temporary folder, has a bridge and addresses of its own, and leaves the machine's firewall alone. On
# docker0 its containers would meet those of another engine, or what a killed one left: two that have one address.

ENGINE_DIR=
ENGINE_PID=
ENGINE_BRIDGE=
ENGINE_NET=

engine_answers() { "$PYTHON" -m tests.services docker >/dev/null 2>&1; }
engine_ended() { ! kill -0 "$ENGINE_PID" 2>/dev/null; }
has_bridge() { ip link show "$1" >/dev/null 2>&1; }
is_routed() { ip -4 route show table all | grep -q "\\b$1\\."; }
engine_up_or_ended() { engine_answers || engine_ended; }

# ensure_engine — uses the engine that answers; otherwise starts one, as root, and sets DOCKER_HOST to it.
ensure_engine() {
  if engine_answers; then
    return
  fi
  if ! is_root || ! PATH=$PATH:/usr/sbin:/sbin command -v dockerd >/dev/null; then
    say "No Docker engine answers, and one of our own needs root and dockerd."
    return 1
  fi
  start_engine
}

start_engine() {
  ENGINE_DIR=$(mktemp -d /tmp/dpengine.XXXXXX)
  export DOCKER_HOST=unix://$ENGINE_DIR/docker.sock
  make_bridge || return
  configuration >"$ENGINE_DIR/daemon.json"
  # Without the mark of the test run (see leftovers.py): stopping the engine is our own business.
  PATH=$PATH:/usr/sbin:/sbin setsid env -u DEPLOYER_TEST_RUN dockerd --host "$DOCKER_HOST" --config-file "$ENGINE_DIR/daemon.json" \
    --data-root "$ENGINE_DIR/data" --exec-root "$ENGINE_DIR/exec" --pidfile "$ENGINE_DIR/pid" \
    --bridge "$ENGINE_BRIDGE" --default-address-pool "base=$ENGINE_NET.128.0/17,size=24" \
    --iptables=false --ip6tables=false --ip-masq=false --ip-forward=false \
    >"$ENGINE_DIR/log" 2>&1 </dev/null &
  ENGINE_PID=$!
  if ! until_true 60 engine_up_or_ended || engine_ended; then
    say "dockerd did not start within 60 s; the last lines of its log:"
    tail -n 15 "$ENGINE_DIR/log" >&2
    stop_engine
    return 1
  fi
  say "Started a Docker engine of our own (process $ENGINE_PID in $ENGINE_DIR)"
}

# configuration — prints what of the engine cannot be an option: the runtime of gVisor, where it is installed.
configuration() {
  local runsc
  if runsc=$(command -v runsc); then
    printf '{"runtimes": {"runsc": {"path": "%s", "runtimeArgs": ["--network=host"]}}}\n' "$runsc"
  else
    printf '{}\n'
  fi
}

# make_bridge — makes the engine's bridge, with addresses that no route of this machine leads to.
#
# A bridge that was given no hardware address takes the lowest one of its ports, and so changes it as containers come
# and go. Those that run go on sending to the former one until they ask again: for seconds no answer of theirs arrives.
make_bridge() {
  local second hardware
  for second in $(shuf -i 64-254); do
    ENGINE_NET=10.$second
    is_routed "$ENGINE_NET" || break
  done
  ENGINE_BRIDGE=dp-${ENGINE_DIR##*.}
  hardware=$(printf '02:42:0a:%02x:00:01' "$second")
  if ! { ip link add "$ENGINE_BRIDGE" address "$hardware" type bridge &&
    ip address add "$ENGINE_NET.0.1/17" dev "$ENGINE_BRIDGE" && ip link set "$ENGINE_BRIDGE" up; }; then
    say "Could not make the bridge $ENGINE_BRIDGE for an engine of our own."
    stop_engine
    return 1
  fi
}

# stop_engine — stops what start_engine started, and removes all of it.
stop_engine() {
  [ -n "$ENGINE_DIR" ] || return 0
  local pid mount
  if [ -n "$ENGINE_PID" ] && ! engine_ended; then
    kill "$ENGINE_PID"
    until_true 20 engine_ended || kill -KILL "$ENGINE_PID" 2>/dev/null || true
  fi
  wait "$ENGINE_PID" 2>/dev/null || true
  for pid in $(engine_processes); do
    kill -KILL "$pid" 2>/dev/null || true # shims of containers that were still running
  done
  awk -v dir="$ENGINE_DIR/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do
    umount -l "$mount"
  done
  if has_bridge "$ENGINE_BRIDGE"; then
    ip link delete "$ENGINE_BRIDGE"
  fi
  rm -rf "$ENGINE_DIR"
  unset DOCKER_HOST
  ENGINE_DIR=
}

# engine_processes — prints the ids of processes that name our folder, which nobody else does.
engine_processes() {
  local file
  for file in /proc/[0-9]*/cmdline; do
    if { tr '\0' ' ' <"$file"; } 2>/dev/null | grep -qF "$ENGINE_DIR/"; then
      file=${file%/cmdline}
      printf '%s\n' "${file#/proc/}"
    fi
  done
}
