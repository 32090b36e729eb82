#!/usr/bin/env bash
# Tries the oldest packages that pyproject.toml allows: installs them, and runs the tests part by part.
#     tests/environments/try_oldest.sh [FOLDER [PART...]]
# FOLDER keeps the environment (7 GB) and one log for each part; a second run uses the same environment again.
# PART is a folder of tests/, or "top" for the files that are in none; all of them by default.
# The environment variable PYTHON names the interpreter, python3.11 by default.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=${1:-$(mktemp -d)}
shift || true
parts=("$@")
mkdir -p "$work"
work=$(cd "$work" && pwd)
cd "$root"

if [ ! -e "$work/installed" ]; then
    "${PYTHON:-python3.11}" -m venv "$work/tools"
    "$work/tools/bin/pip" install --quiet uv
    uv=$work/tools/bin/uv
    resolve() {
        "$uv" pip compile --quiet --python-version 3.11 --resolution lowest-direct --no-strip-extras --no-annotate --no-header \
            --no-emit-package torchvision "$@" pyproject.toml
    }
    # torchattacks wants an old `requests` and torchvision, and imports neither. First the packages that users get, then
    # those of the tests beside them: some of the tests' packages want newer ones of the first, and work without.
    grep -oE '"requests>=[0-9.]+"' pyproject.toml | tr -d '"' > "$work/override.txt"
    resolve --override "$work/override.txt" --output-file "$work/oldest.txt" > "$work/resolved.log"
    resolve --override "$work/oldest.txt" --extra dev --extra onnx --output-file "$work/all.txt" >> "$work/resolved.log"
    "$uv" venv --quiet --clear --python "${PYTHON:-python3.11}" "$work/venv"
    "$uv" pip install --quiet --python "$work/venv/bin/python" --no-deps --requirement "$work/all.txt"
    "$uv" pip install --quiet --python "$work/venv/bin/python" --no-deps --editable .
    touch "$work/installed"
fi
grep -E '^(torch|numpy|scipy|pandas|pydantic|dvc|rich|textual|typer|torchattacks|safetensors)==' "$work/all.txt" | tr '\n' ' '
echo

if [ ${#parts[@]} = 0 ]; then
    parts=(top $(find tests -mindepth 2 -maxdepth 2 -name 'test_*.py' -printf '%h\n'; find tests -mindepth 3 -name 'test_*.py' |
        cut -d/ -f1,2) )
    parts=($(printf '%s\n' "${parts[@]#tests/}" | sort -u))
fi
export PATH="$work/venv/bin:$PATH" PYTHONPATH="$root" OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
failed=0
for part in "${parts[@]}"; do
    files=("tests/$part")
    [ "$part" != top ] || files=(tests/test_*.py)
    nice -n 10 python -m pytest -q -n 0 -p no:cacheprovider -m "not slow" --basetemp "$work/pytest" "${files[@]}" \
        > "$work/$part.log" 2>&1 || { [ $? = 5 ] || failed=1; }  # 5: it has only slow tests
    printf '%-14s %s\n' "$part" "$(tail -1 "$work/$part.log")"
    grep -E '^(FAILED|ERROR)' "$work/$part.log" || true
done
exit $failed
