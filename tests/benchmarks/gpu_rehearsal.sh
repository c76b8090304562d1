#!/usr/bin/env bash
# Rehearses gpu.sh on a CPU at tiny sizes, with what a GPU machine has and nothing else.
#
#   tests/benchmarks/gpu_rehearsal.sh             # every stage
#   tests/benchmarks/gpu_rehearsal.sh imports gpu-tests
#
# Needs Python 3.12 (PYTHON names another) and a registry; makes .gpu/ the first time, 5 GB, with
# the releases of tests/benchmarks/gpu_machine.txt, and the wheels of gpu_wheels.sh beside them.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/.gpu
if [[ ! -e $here/made ]]; then
  grep -qsx '/.gpu/' .git/info/exclude || echo '/.gpu/' >>.git/info/exclude
  rm -rf "$here"
  "${PYTHON:-python3.12}" -m venv "$here/venv"
  "$here/venv/bin/pip" install --quiet --requirement tests/benchmarks/gpu_machine.txt
  PYTHON="$here/venv/bin/python" tests/benchmarks/gpu_wheels.sh
  "$here/venv/bin/pip" install --quiet --no-index --no-deps --target "$here/site" .whl/*.whl
  touch "$here/made"
fi
export PYTHONPATH=$here/site PYTHON=$here/venv/bin/python OUT=$here CUDA_VISIBLE_DEVICES=
exec tests/benchmarks/gpu.sh --device cpu --tiny "$@"
