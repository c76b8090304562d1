#!/usr/bin/env bash
# Makes .whl/: what Slvr needs besides a GPU machine's own packages, as wheels to carry there.
#
#   tests/benchmarks/gpu_wheels.sh            # here, where there is a registry; about 38 MB
#   python3 -m pip install --no-index --no-deps --target site .whl/*.whl    # there
#
# The machine: Linux on x86-64, Python 3.12, torch 2.11 with CUDA, torchaudio, numpy, scipy, pandas,
# pyarrow, scikit-learn, matplotlib, jinja2, pytest, hypothesis, rich, safetensors, fsspec,
# lightning, tensorboard, and no network. --no-deps: it has what these need.
set -euo pipefail
cd "$(dirname "$0")/../.."
MOST_MB=64 # may travel
grep -qsx '/.whl/' .git/info/exclude || echo '/.whl/' >>.git/info/exclude
rm -rf .whl
platforms=()
for tag in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014; do
  platforms+=(--platform "${tag}_x86_64")
done
"${PYTHON:-python3}" -m pip download --quiet --no-deps --only-binary=:all: --dest .whl \
  --python-version 3.12 --implementation cp "${platforms[@]}" \
  jsonargparse==4.53.0 docstring_parser==0.18.0 typeshed_client==2.15.0 importlib_resources==7.1.0 \
  soundfile==0.14.0 soxr==1.1.0 webdataset==1.0.2 braceexpand==0.1.7 av==18.1.0 \
  indexed_gzip==1.10.3 cffi pycparser anyascii==0.3.3 lightning_fabric==2.6.6
size_mb=$(du -sm .whl | cut -f1)
echo ".whl: $(find .whl -name '*.whl' | wc -l) wheels, $size_mb MB"
[ "$size_mb" -le "$MOST_MB" ] || { echo "more than the $MOST_MB MB that may travel" >&2; exit 1; }
