#!/usr/bin/env bash
# Runs everything that guards a merge, or with arguments only pytest: ./test.sh [pytest arguments]
# The whole run is shared out to a process more than there are processors, at most six: tests wait more than they work.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=deploy/local/setup.sh
. deploy/local/setup.sh

setup_python
setup_programs
if ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null; then
  apt_install chromium || say "no chromium: the tests of the page are skipped"
fi
command -v curl >/dev/null || apt_install curl || say "no curl: the tests that upload with it are skipped"
command -v promtool >/dev/null || apt_install prometheus || say "no promtool: the tests of the alert rules are skipped"
command -v redis-server >/dev/null || apt_install redis-server || say "no redis-server: the tests of shared rate limits are skipped"

export PATH="$PWD/.venv/bin:$PATH"
if [ $# = 0 ]; then
  ruff check .
  ruff format --check .
  mypy
  lint-imports
  cfn-lint deploy/cloudformation/*.yaml
  shellcheck --external-sources run.sh test.sh .ci/run deploy/local/setup.sh
  workers=$(($(nproc 2>/dev/null || echo 1) + 1))
  set -- -n "$((workers > 6 ? 6 : workers))" --dist loadfile
fi
exec python -m pytest "$@"
