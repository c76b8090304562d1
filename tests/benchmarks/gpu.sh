#!/usr/bin/env bash
# Everything that needs a CUDA device, in one command and without a network: the checks marked
# `gpu`, then the benchmarks of the GPU-side stage as markdown for tests/benchmarks/RESULTS.md.
#
#   PYTHON=python3 tests/benchmarks/gpu.sh
#
# Needs torch with CUDA, torchaudio, numpy, scipy and pytest. The original's way is measured where
# torch-audiomentations is installed (with torch_pitch_shift, julius and primePy, all plain
# Python), and left out with a line that says so where it is not.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH=".${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}

"$python" - <<'PY'
import sys

import torch

if not torch.cuda.is_available():
    sys.exit(f"no CUDA device: torch {torch.__version__}, built for CUDA {torch.version.cuda}")
PY

# The shared fixtures of conftest.py need the whole installation; these checks do not.
"$python" -m pytest --noconftest -m gpu tests/test_pipeline_gpu.py
"$python" tests/benchmarks/augmentations.py --device cuda --clips 100 "$@"
"$python" tests/benchmarks/frontend.py --device cuda --views 200 "$@"
