#!/usr/bin/env bash
# What only a GPU machine can show, in under ten minutes and without a network, most valuable first.
#
#   tests/benchmarks/gpu.sh                    # every stage, at most 520 s in all
#   LIMIT_S=300 tests/benchmarks/gpu.sh imports gpu-tests views
#   tests/benchmarks/gpu.sh --device cpu --tiny             # the rehearsal: see gpu_rehearsal.sh
#
# Every stage has its own limit, none ends the script, and all they print goes as it comes into one
# file, $OUT/report.txt; the table at its end says how each went. Exits with 1 if one failed.
# PYTHON names another python3. What to carry to a machine without our dependencies: gpu_wheels.sh.
set -uo pipefail
cd "$(dirname "$0")/../.."
device=cuda tiny=
while [[ ${1:-} == --* ]]; do
  case $1 in
    --device) device=$2 && shift 2 ;;
    --tiny) tiny=1 && shift ;;
    *) echo "gpu.sh: no option $1; expected --device cuda|cpu, --tiny, names of stages" >&2; exit 2 ;;
  esac
done
wanted=("$@")
python=${PYTHON:-python3} report=${OUT:-.}/report.txt limit_s=${LIMIT_S:-520}
slower=1 failed=0 known="" summary=""
export PYTHONPATH="src:tests:tests/benchmarks${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export SLVR_GPU_TESTS_ON=$device PYTORCH_ALLOC_CONF=expandable_segments:True
: >"$report"

# stage NAME SECONDS COMMAND...: runs it, unless others were asked for or the time is over
stage() {
  local name=$1 seconds=$(($2 * slower)) left=$((limit_s - SECONDS)) begun=$SECONDS status
  shift 2
  known+=" $name"
  [[ ${#wanted[@]} -eq 0 || " ${wanted[*]} " == *" $name "* ]] || return 0
  ((seconds < left)) || seconds=$left
  if ((seconds < 5)); then
    summary+="| $name | left out: no time | - |"$'\n'
    return 0
  fi
  printf '\n##### %s, at most %d s\n' "$name" "$seconds" >>"$report"
  # timeout signals the whole group: training that a stage has started ends with it
  timeout --kill-after=5 "$seconds" "$@" >>"$report" 2>&1
  status=$?
  case $status in
    0) status=done ;;
    124 | 137) status="stopped at its limit" failed=1 ;;
    *) status="failed: $status" failed=1 ;;
  esac
  summary+="| $name | $status | $((SECONDS - begun)) |"$'\n'
  echo "$name: $status, $((SECONDS - begun)) s"
}

tests=(-p no:cacheprovider -q --tb=short -m gpu)
clips=(--clips 100) views=(--views 200) sizes=(--batch 100 --precision bf16-mixed --log-every 10)
set=(--clips 100) networks=(--clips 100) train_s=12 more_s=8
if [[ -n $tiny ]]; then
  export OMP_NUM_THREADS=1
  slower=5 limit_s=${LIMIT_S:-2800}
  clips=(--clips 2 --seconds 1 --runs 1) views=(--views 2 --seconds 1 --runs 1)
  sizes=(--batch 4 --clip-s 1 --width 8 --dim 20 --log-every 2)
  set=(--clips 4 --seconds 1 --runs 2)
  networks=(--clips 2 --seconds 1 --width 8 --runs 1) train_s=1 more_s=1
fi
training=("$python" tests/benchmarks/training.py --device "$device" "${sizes[@]}")

[[ $device == cpu ]] || stage card 10 nvidia-smi
stage imports 30 "$python" -c '
import conftest, lightning_fabric, slvr.train.loop, slvr.eval.run, sys, torch
print(sys.version, torch.__version__, torch.version.cuda, lightning_fabric.__version__)'
stage gpu-tests 90 "$python" -m pytest "${tests[@]}" tests/test_pipeline_gpu.py \
  tests/test_pipeline_fused.py
stage views 35 "$python" tests/benchmarks/augmentations.py --device "$device" "${clips[@]}"
stage front-end 15 "$python" tests/benchmarks/frontend.py --device "$device" "${views[@]}"
stage resident 20 "$python" tests/benchmarks/resident.py --device "$device" "${set[@]}"
stage train 60 "${training[@]}" --seconds "$train_s" --compile off --once
stage compiled 110 "${training[@]}" --seconds "$more_s" --compile on --once
stage more-tests 60 "$python" -m pytest "${tests[@]}" tests/test_pipeline_resident.py \
  tests/test_pipeline_loader.py tests/test_train_compilation.py
stage step 30 "$python" tests/benchmarks/step.py --device "$device" "${networks[@]}"
stage variants 50 "${training[@]}" --seconds "$more_s" --compile off --once \
  --recipes mtslvr-simsiam-series simclr

for name in ${wanted[@]+"${wanted[@]}"}; do
  [[ " $known " == *" $name "* ]] || { echo "gpu.sh: no stage $name; expected some of$known" >&2; failed=1; }
done
printf '\n| stage | | s |\n| --- | --- | ---: |\n%s' "$summary" | tee -a "$report"
echo "report: $report"
exit "$failed"
