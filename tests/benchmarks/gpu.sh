#!/usr/bin/env bash
# Everything that needs a CUDA device, in one command and without a network: the checks marked
# `gpu`, then the benchmarks of the GPU-side stage and of training, each recipe for a minute plain
# and a minute compiled, as markdown for tests/benchmarks/RESULTS.md. About an hour; RECIPES and
# SECONDS_EACH make it less.
#
#   PYTHON=python3 tests/benchmarks/gpu.sh
#   RECIPES=mtslvr-simclr-parallel SECONDS_EACH=30 tests/benchmarks/gpu.sh
#
# Needs torch with CUDA, torchaudio, numpy, scipy, scikit-learn and pytest. The original's way is
# measured where torch-audiomentations is installed (with torch_pitch_shift, julius and primePy, all
# plain Python), and left out with a line that says so where it is not. Training is the command
# `train`, and its resume, where all its packages are installed; elsewhere the same step in a bare
# loop.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}

"$python" - <<'PY'
import sys

import torch

if not torch.cuda.is_available():
    sys.exit(f"no CUDA device: torch {torch.__version__}, built for CUDA {torch.version.cuda}")
PY

# The shared fixtures of conftest.py need the whole installation; these checks do without.
"$python" -m pytest --noconftest -m gpu tests/test_pipeline_gpu.py tests/test_pipeline_fused.py
if said=$(PYTHONPATH="$PYTHONPATH:tests" "$python" -c 'import conftest, slvr.train.loop' 2>&1); then
  "$python" -m pytest -m gpu tests/test_train_compilation.py
else
  echo "checks of training are left out: ${said##*$'\n'}"
fi
"$python" tests/benchmarks/augmentations.py --device cuda --clips 100 "$@"
"$python" tests/benchmarks/frontend.py --device cuda --views 200 "$@"
recipes=${RECIPES:-$(echo mtslvr-{simclr,simsiam}-{none,split,bn,series,parallel} simclr simsiam predictive)}
# shellcheck disable=SC2086  # several recipes are several words
"$python" tests/benchmarks/training.py --device cuda --batch 100 --precision bf16-mixed \
  --log-every 10 --seconds "${SECONDS_EACH:-60}" --compile off on --recipes $recipes
