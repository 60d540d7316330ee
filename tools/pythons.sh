#!/usr/bin/env bash
# tools/pythons.sh [VERSION...]
# Every Python that triptych promises and this machine has: the wheel in a clean environment of each. Without torch, of
# which an index has for most Pythons only builds for GPUs (5.6 GB): that every file is read by that Python, that what
# torch is not needed for works, and that the rest says what is missing. TORCH="torch --index-url https://..." installs
# torch too, and draws a sample.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# a Python of this version, by its name or among pyenv's; nothing if there is none
python_of() {
    local found
    for found in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if "$found" -c "import sys, venv; assert sys.version_info[:2] == (${1/./, })" 2>/dev/null; then
            echo "$found"
            return
        fi
    done
}

python3 -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$work" .
wheel=$(ls "$work"/triptych-*.whl)
needs=$(sed -n '/^dependencies = \[/,/^\]/s/^ *"\(.*\)",$/\1/p' pyproject.toml | grep -v '^torch')
for version in ${*:-3.11 3.12 3.13}; do
    python=$(python_of "$version")
    if [ -z "$python" ]; then
        echo "Python $version: skipped, there is none here"
        continue
    fi
    "$python" -m venv "$work/$version"
    pip="$work/$version/bin/python -m pip --disable-pip-version-check install --quiet"
    $pip $needs
    $pip --no-deps "$wheel"
    "$work/$version/bin/python" -W error -m compileall -q -f "$work/$version"/lib/python*/site-packages/triptych
    for words in --version --help models "cite vae"; do
        "$work/$version/bin/triptych" $words >"$work/said"
    done
    if [ -n "${TORCH:-}" ]; then
        $pip $TORCH
        "$work/$version/bin/triptych" sample dcgan-emoji -n 4 --out "$work/$version.png"
    elif "$work/$version/bin/triptych" doctor >"$work/said" 2>&1; then
        echo "Python $version: torch is there, though nobody installed it"
        exit 1
    fi
    echo "Python $version: $("$work/$version/bin/triptych" --version)"
    rm -rf "${work:?}/$version"
done
