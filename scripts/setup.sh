#!/usr/bin/env bash
# Sets up .venv (the worker, the real engine for CPU, the tools) or .venv-sdk (the official SDK, separate because its
# dependencies conflict with the engine's). Does nothing when the locked packages are already installed.
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:-engine}
case $kind in
engine) venv=.venv locks="requirements/engine-cpu.lock requirements/dev.lock" ;;
sdk) venv=.venv-sdk locks="requirements/sdk.lock" ;;
*) echo "setup: got '$kind', expected engine or sdk" >&2; exit 2 ;;
esac

# PyTorch publishes its CPU builds on a separate index; PyPI's build for Linux contains CUDA.
torch=2.13.0
torch_cpu_index=https://download.pytorch.org/whl/cpu

log() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }

python=${PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      python=$candidate
      break
    fi
  done
fi
[ -n "$python" ] || { echo "setup: no Python 3.11, 3.12 or 3.13 found; install one, or set PYTHON=/its/path" >&2; exit 1; }

# The browser that drives the console in the tests: found, installed where that needs no question, or named as missing.
install_browser() {
  local name
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if [ -n "${CHROMIUM:-}" ] || command -v "$name" >/dev/null; then return 0; fi
  done
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq >/dev/null 2>&1 &&
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null 2>&1; then
    log "Chromium, for the console's tests, from this system's packages"
  else
    log "no Chromium: the console's browser tests will be skipped; install it (apt-get install chromium), or set CHROMIUM=/its/path"
  fi
}

# shellcheck disable=SC2086
stamp=$(cat $locks pyproject.toml scripts/setup.sh | cksum | tr ' ' '-')-$("$python" -c 'import sys; print(*sys.version_info[:3], sep=".")')
if [ -f "$venv/.setup-$stamp" ] && "$venv/bin/python" -c '' 2>/dev/null; then
  exit 0
fi

exec 9>".setup-$kind.lock"
if command -v flock >/dev/null; then flock 9; fi
started=$SECONDS
log "$kind environment in $venv, with $("$python" --version)"
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  "$python" -m venv --clear "$venv"
fi
rm -f "$venv"/.setup-*
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }

# Installs what a lock file lists, with a count as it goes; pip's output is shown when it fails.
install_lock() {
  local lock=$1 log
  log=$(mktemp)
  if ! pip install --no-deps --require-hashes --progress-bar off -r "$lock" 2>&1 | tee "$log" |
    awk -v all="$(grep -c '^[A-Za-z0-9]' "$lock")" -v tty="$([ -t 1 ] && echo 1)" '
      /^Collecting |^Requirement already|^Ignoring / { n++; if (tty) printf "\r        %d of %d fetched ", n, all
                    else if (n % 25 == 0) printf "        %d of %d fetched\n", n, all; fflush() }
      /^Installing collected/ { printf "%s        unpacking\n", tty ? "\r" : ""; fflush() }'; then
    cat "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

# The JavaScript clients whose flows the tests run, from their lock; without node those tests are skipped.
install_javascript_clients() {
  if ! command -v npm >/dev/null; then
    log "no node: the tests of the JavaScript clients will be skipped; install it (apt-get install nodejs npm)"
  elif ! npm ci --prefix tests/clients/js --silent --no-audit --no-fund >/dev/null 2>&1; then
    log "the JavaScript clients could not be fetched: their tests will be skipped; npm ci --prefix tests/clients/js says why"
  fi
}

if [ "$kind" = engine ]; then
  if ! "$venv/bin/python" -c "import importlib.metadata as m, sys; sys.exit(m.version('torch').split('+')[0] != '$torch')" 2>/dev/null; then
    log "1/4 PyTorch $torch for CPU (190 MB)"
    build=$torch
    if [ "$(uname -s)" = Linux ]; then build=$torch+cpu; fi
    pip install --quiet --no-deps "torch==$build" 2>/dev/null ||
      pip install --quiet --no-deps "torch==$build" --index-url "$torch_cpu_index"
  fi
  log "2/4 vLLM for CPU and its dependencies, from the lock (about 150 packages, 2-3 minutes)"
  install_lock requirements/engine-cpu.lock
  log "3/4 tools for building and testing"
  install_lock requirements/dev.lock
  log "4/4 worker-vllm itself"
  pip install --quiet --no-deps --no-build-isolation -e .
  install_browser
  install_javascript_clients
else
  log "the official SDK from the lock (about 70 packages)"
  install_lock requirements/sdk.lock
fi
touch "$venv/.setup-$stamp"
rm -f ".setup-$kind.lock"
log "done in $((SECONDS - started)) s"
