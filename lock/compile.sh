#!/bin/sh
# Pins the whole closure with hashes. The files name no index: they work with any mirror.
set -eu
cd "$(dirname "$0")/.."
unset PIP_FIND_LINKS UV_FIND_LINKS
pin() {
  out=$1
  shift
  .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-header "$@" -o "lock/$out.txt"
}
pin agent --extra agent pyproject.toml
pin hub --extra hub --extra broker pyproject.toml
pin demo --extra agent --extra hub --extra broker --extra sim pyproject.toml
pin dev --extra agent --extra hub --extra broker --extra sim --extra postgres --extra dev pyproject.toml
pin build lock/build.in
# Node for building the page where the system has none.
pin page lock/page.in
