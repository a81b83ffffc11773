#!/usr/bin/env bash
# Prints the interpreter that the virtual environment is made with: Python 3.11 or newer that has venv and ensurepip.
set -euo pipefail

for candidate in ${PYTHON:-} /usr/bin/python3.11 python3.11 /usr/bin/python3 python3; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$candidate" -c 'import sys; print(sys.executable)'
    fi
done
echo "error: no Python 3.11 or newer with venv — install python3.11-venv, or name one: make PYTHON=/path/to/python3" >&2
exit 1
