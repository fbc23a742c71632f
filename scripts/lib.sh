# shellcheck shell=bash
# What the scripts beside this file share; sourced by them from the top of the repository.

VENV=.venv
PYTHON=$VENV/bin/python
LISTS_READ= # of the packages that there are, by this process

# Tests start thousands of Python processes: what each of them needs is compiled once, as it is where it was installed.
unset PYTHONDONTWRITEBYTECODE

say() { printf '%s\n' "$*" >&2; }
heading() { printf '\n== %s ==\n' "$*" >&2; }

is_root() { [ "$(id -u)" = 0 ]; }

# install_packages NAME... — with apt as root; otherwise says in one line what to install, and fails.
install_packages() {
  if ! is_root || ! command -v apt-get >/dev/null; then
    say "Not installed: $*. As root: apt-get install --no-install-recommends $*"
    return 1
  fi
  say "Installing $* ..."
  local log status=0
  log=$(mktemp)
  {
    { [ -n "$LISTS_READ" ] || apt-get -q -o Acquire::Retries=3 update; } && LISTS_READ=1 &&
      DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 \
        install --no-install-recommends "$@"
  } >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" != 0 ]; then
    tail -n 20 "$log" >&2
    say "apt-get could not install: $* (the last lines of its output are above)"
  fi
  rm -f "$log"
  return "$status"
}

# ensure_programs COMMAND_OR_FILE:PACKAGE... — installs the packages whose command or file is missing.
ensure_programs() {
  local missing=() entry
  for entry in "$@"; do
    case $entry in
      /*) [ -e "${entry%%:*}" ] || missing+=("${entry#*:}") ;;
      *) PATH=$PATH:/usr/sbin:/sbin command -v "${entry%%:*}" >/dev/null || missing+=("${entry#*:}") ;;
    esac
  done
  [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
}

# ensure_asleep COMMAND_OR_FILE:PACKAGE... — as ensure_programs, but no service of the packages is started, now or later.
ensure_asleep() {
  local policy=/usr/sbin/policy-rc.d made='' status=0 ssh=''
  if is_root && [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    made=1
  fi
  [ -e /usr/sbin/sshd ] || ssh=1
  ensure_programs "$@" || status=$?
  [ -z "$made" ] || rm -f "$policy"
  if [ -n "$ssh" ] && [ -e /usr/sbin/sshd ] && is_root; then
    systemctl disable --quiet ssh.service
  fi
  return "$status"
}

# find_python — prints the first Python >= 3.11 that can make a virtual environment.
find_python() {
  local name
  for name in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if "$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      "$name" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  return 1
}

# ensure_venv EXTRAS — makes .venv with this project and what is locked, again only when pyproject.toml has changed.
# What is fetched is what scripts/locked.txt has the hashes of (scripts/lock writes it); all extras come together.
ensure_venv() {
  local extras=$1 stamp=$VENV/.installed wanted base log
  wanted="$(sha256sum pyproject.toml) $PWD"
  if "$PYTHON" -c '' 2>/dev/null && grep -qsxF "$wanted" "$stamp-$extras" "$stamp-dev"; then
    return
  fi
  if ! base=$(find_python); then
    install_packages python3 python3-venv || return
    if ! base=$(find_python); then
      say "No Python >= 3.11 that can make a virtual environment was found; install python3 and python3-venv."
      return 1
    fi
  fi
  say "Filling $VENV with $("$base" -V) ..."
  log=$(mktemp)
  if ! { { "$PYTHON" -c '' || "$base" -m venv --clear "$VENV"; } &&
    "$PYTHON" -m pip install -q --retries 5 --prefer-binary --require-hashes -r scripts/locked.txt &&
    "$PYTHON" -m pip install -q --no-deps --no-build-isolation -e .; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    say "Could not make $VENV (the last lines of the output are above)."
    return 1
  fi
  rm -f "$log"
  printf '%s\n' "$wanted" >"$stamp-$extras"
}

# until_true SECONDS COMMAND... — runs the command until it succeeds; fails after that time.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.2
  done
}
