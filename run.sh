#!/usr/bin/env bash
# Sets up whatever is missing, then runs the embedded stack: ./run.sh [serve | process … | token … | events … | cli … | rehearse | stop | bench NAME …]
set -euo pipefail

caller=$PWD
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
# shellcheck source=deploy/local/setup.sh
. deploy/local/setup.sh

set_up
[ "${1-}" != rehearse ] || set_up_tool aws # it pins another botocore
[ "${1-} ${2-}" != "bench mutants" ] || set_up_tool cosmic-ray

root=$PWD
cd "$caller" # the files and the state that the arguments name are the caller's
export PYTHONPATH="$root"
export MEDIA_LOCAL_STATE="${MEDIA_LOCAL_STATE:-$root/.local}"
exec "$root/.venv/bin/python" -P -m deploy.local "$@"
