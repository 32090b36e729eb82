#!/usr/bin/env bash
# Tries one Python: installs requirements.lock, runs a part of the tests, and the smoke study through DVC.
#     tests/environments/try_python.sh python3.13 [FOLDER]
# Prints the SHA-256 of every checkpoint, so that two versions can be compared. FOLDER keeps the environment (5 GB).
set -euo pipefail
python=$1 root=$(cd "$(dirname "$0")/../.." && pwd) work=${2:-$(mktemp -d)}
"$python" -m venv "$work/venv"
export PATH="$work/venv/bin:$PATH" PYTHONPATH="$root" OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
pip install --quiet --constraint "$root/requirements.lock" "$(grep '^torch==' "$root/requirements.lock")"
pip install --quiet --no-deps --requirement "$root/requirements.lock"
(cd "$root" && python -m pytest -q -n 0 -p no:cacheprovider -m "not slow" tests/params tests/nets tests/artifacts \
    tests/training tests/core)
project=$work/project
mkdir -p "$project" && cd "$project"
cp -r "$root"/{dvc.yaml,.dvcignore,.dvc,studies,ssmlab} .
cp studies/smoke.yaml params.yaml
python -m ssmlab repro
sha256sum data/*.safetensors models/smoke/*/*.safetensors
