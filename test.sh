#!/usr/bin/env bash
# Runs everything that guards a merge; `fast` leaves out all that takes long, `openapi` lints the API's description and makes clients from it; other arguments go to pytest: ./test.sh [fast | openapi | pytest arguments]
# The whole run is shared out to two processes more than there are processors, at most six: tests wait more than they work.
set -euo pipefail

cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
# shellcheck source=deploy/local/setup.sh
. deploy/local/setup.sh

want chromium-headless-shell chromium-headless-shell "the tests of the page take longer in chromium or google-chrome, else are skipped"
want curl curl "the tests that upload with it are skipped"
if [ "$(uname)" = Linux ]; then need tini tini; fi # the image's first process
want promtool prometheus "the tests of the alert rules are skipped"
want redis-server redis-server "the tests of shared rate limits are skipped"
if [ "${MEDIA_TEST_POOLER-}" = 1 ]; then need pgbouncer pgbouncer; fi
want nginx nginx "the tests with a caching proxy are skipped"
set_up
case "$*" in '' | *acceptance*) set_up_tool aws ;; esac # a deployment is rehearsed with it

export PATH="$PWD/.venv/bin:$PATH"
unset PYTHONDONTWRITEBYTECODE # else each of the many processes compiles all that it imports
workers=$(($(nproc 2>/dev/null || echo 1) + 2))
shared=(-n "$((workers > 6 ? 6 : workers))" --dist loadfile --no-loadscope-reorder)
style() {
  ruff check .
  ruff format --check .
}
types() {
  mypy
  lint-imports
}
# What else looks at files only. Each has one thread, so it all runs beside the tests, which wait more than they work.
rest() (
  set -e
  set_up_tool checkov
  set_up_tool squawk
  types
  cfn-lint deploy/cloudformation/*.yaml
  # What it finds and we do not follow has its reason beside the resource (checkov:skip). It warns of Fn::ForEach.
  .tools/checkov/bin/checkov --quiet --compact --skip-download --framework cloudformation dockerfile --directory deploy
  # Integers are chosen. The command that applies the schema sets the deadlines, and builds indexes concurrently.
  .tools/squawk/bin/squawk --assume-in-transaction --pg-version 15 --exclude prefer-bigint-over-int,prefer-bigint-over-smallint \
    --exclude require-lock-timeout,require-statement-timeout schema.sql
  shellcheck --external-sources run.sh test.sh .ci/run deploy/local/setup.sh deploy/prometheus/ecs-targets.sh
  hadolint deploy/Dockerfile tests/containers/postgres.Dockerfile
)
# A machine that stands still for seconds fails tests that are right: a handful of failures is named, and tried once more, alone.
FEW=10
whole() {
  local failed=.pytest_cache/v/cache/lastfailed status=0
  rm -f "$failed"
  python -m pytest "${shared[@]}" || status=$?
  [ "$status" = 1 ] && [ "$(grep -c '": true' "$failed")" -le "$FEW" ] || return "$status"
  echo "These failed beside others. Once more, alone:"
  grep '": true' "$failed"
  python -m pytest --last-failed
}
case "${1-}" in
  '')
    style
    found=$(mktemp)
    rest >"$found" 2>&1 &
    looking=$!
    status=0
    whole || status=$?
    wait "$looking" || status=1
    cat "$found"
    rm "$found"
    exit "$status"
    ;;
  openapi)
    # Redocly and Spectral on the OpenAPI document, and typed clients made from it; not part of the whole run.
    folder=.tools/openapi
    mkdir -p "$folder"
    cp deploy/tools/openapi/* "$folder/"
    npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund
    python -c 'import json; from api.openapi import document; print(json.dumps(document()))' >"$folder/openapi.json"
    (cd "$folder" && REDOCLY_TELEMETRY=off npx redocly lint --config redocly.yaml openapi.json)
    (cd "$folder" && npx spectral lint --ruleset spectral.yaml openapi.json)
    set_up_tool openapi-python-client
    exec python -m pytest -m generated tests/integration/api/test_generated_clients.py
    ;;
  fast)
    style
    types
    exec python -m pytest "${shared[@]}" tests/unit/test_house.py tests/unit/media tests/unit/consumer tests/unit/api "${@:2}"
    ;;
  *) exec python -m pytest "$@" ;;
esac
