#!/usr/bin/env bash
# Create .venv when it is missing, broken or older than pyproject.toml; leave a good one alone.
set -euo pipefail
PYTHON="${PYTHON:-python3}"
VENV=.venv
STAMP="$VENV/.installed"

fail() { echo "tagformer: $1" >&2; exit 2; }

command -v "$PYTHON" >/dev/null || fail "no '$PYTHON' found: install Python 3.10 or newer, or say which with 'make PYTHON=/path/to/python3'."
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "Python $("$PYTHON" -c 'import platform; print(platform.python_version())') is too old: Tagformer needs 3.10 or newer; say which with 'make PYTHON=/path/to/python3'."

wanted=$("$PYTHON" -c 'import hashlib, os; print(os.getcwd(), hashlib.sha256(open("pyproject.toml", "rb").read()).hexdigest())')
if [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$wanted" ] && "$VENV/bin/python" -c 'import tagformer' 2>/dev/null; then
    exit 0
fi

echo "Installing Tagformer and PyTorch into $VENV (about 5.5 GB with the CUDA build of PyTorch, a few minutes) ..."
"$VENV/bin/python" -c '' 2>/dev/null || "$PYTHON" -m venv --clear "$VENV" ||
    fail "'$PYTHON -m venv' failed: install your system's package for it (python3-venv on Debian and Ubuntu)."
log="$VENV/install.log"
if ! "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[dev]' 2>"$log"; then
    fail "the installation failed, most likely for want of network or disk space: see $log, then run the same command again."
fi
echo "$wanted" >"$STAMP"
