#!/usr/bin/env bash
# What only a GPU can show, in parts, from the project's root:  bash tests/gpu/check.sh correct | fast | studies
# `make gpu` calls it on a machine with labkit installed. For one without a network: tests/gpu/pack, then .gpu/check.sh there.
# Each step has a limit of its own, so that one that hangs does not hide the others. The table comes last; all that the
# steps printed is in $OUT/logs.txt.
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-/tmp/gpu-out}; mkdir -p "$out"
work=$(mktemp -d)
if [ -d "$here/wheels" ] && ! python3 -c 'import papermill, pydantic, captum' 2>/dev/null; then
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site "$here"/wheels/*.whl || exit 1
fi
if [ -d /tmp/site ]; then
  export PYTHONPATH=/tmp/site${PYTHONPATH:+:$PYTHONPATH} PATH=/tmp/site/bin:$PATH
  export JUPYTER_PATH=/tmp/site/share/jupyter  # nbconvert's templates lie there after an installation with --target
fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
export LABKIT_REPORTS=/tmp/gpu-reports LABKIT_CACHE=/tmp/gpu-cache
DEVICE=${DEVICE:-cuda}
lab() { python3 -m labkit.cli "$@"; }
mill() { python3 -m papermill --no-progress-bar "$@"; }
if [ -f "$here/eyes.tar.gz" ]; then mkdir -p /tmp/eyes; tar -xzf "$here/eyes.tar.gz" -C /tmp/eyes; fi
table=""
failed=0
step() {  # step SECONDS NAME COMMAND
  local limit=$1 name=$2 start=$SECONDS code; shift 2
  echo "=== $name"
  timeout -k 5 "$limit" bash -c "$(declare -f lab mill); $*" >"$work/$name.log" 2>&1; code=$?
  [ "$code" -eq 0 ] || failed=1
  table+=$(printf '%-28s exit %-4s %4d s' "$name" "$code" $((SECONDS - start)))$'\n'
  tail -n "${LINES_SHOWN:-6}" "$work/$name.log"
}
same='import sys,pathlib,hashlib
a,b=(pathlib.Path(p) for p in sys.argv[1:3])
hash=lambda p: hashlib.sha256(p.read_bytes()).hexdigest()[:12]
names=("history.csv","predictions.csv","model.safetensors")
for n in names: print(n,hash(a/n),hash(b/n))
sys.exit(any(hash(a/n)!=hash(b/n) for n in names))'

case "${1:-correct}" in
correct)  # 400 s together on a fast machine
  step 60 versions 'nvidia-smi -L; python3 -c "import torch,torchvision,accelerate,labkit;print(torch.__version__,torchvision.__version__,accelerate.__version__,torch.cuda.get_device_name() if torch.cuda.is_available() else None)"'
  step 120 demo "lab report demo --no-pdf -p device $DEVICE"
  step 20 demo-again "lab report demo --no-pdf -p device $DEVICE"
  step 60 verify "lab verify resnet18-finetuned --study demo"
  step 60 papermill-resnet152 "mill notebooks/train.ipynb $work/r152.ipynb -p arch resnet152 -p device $DEVICE -p rotation 20"
  step 45 fp16 "mill notebooks/train.ipynb $work/fp16.ipynb -p precision fp16 -p device $DEVICE"
  step 90 memory-ends "mill notebooks/train.ipynb $work/oom.ipynb -p data demo -p arch resnet152 -p image_size 1024 -p batch_size 512 -p epochs 1 -p device $DEVICE"
  step 90 tests "python3 -m pytest -q -m 'not slow' tests/training/test_step.py tests/data/test_loading.py tests/training/test_training.py tests/commands/test_predict.py -p no:cacheprovider"
  few="run demo -p device $DEVICE -p epochs 12 --runs resnet18-scratch"
  run=demo/runs/resnet18-scratch-seed0
  # SIGTERM in the second epoch; the same command goes on, and its files are those of a run that was never stopped.
  step 90 stopped-and-continued "export LABKIT_REPORTS=/tmp/stop; set -o pipefail; python3 -m labkit.cli $few >$work/first.txt 2>&1 & pid=\$!
    while kill -0 \$pid && ! grep -q 'epoch 2/' $work/first.txt; do sleep 0.1; done; kill -TERM \$pid; wait \$pid; cat $work/first.txt
    lab $few | tee $work/second.txt && grep -q 'going on after' $work/second.txt && LABKIT_REPORTS=/tmp/whole lab $few && python3 -c '$same' /tmp/stop/$run /tmp/whole/$run"
  ;;
fast)
  LINES_SHOWN=40
  step 240 bench-step "python3 tests/benchmarks/run.py --device $DEVICE --only 'step*' --rounds 3"
  step 120 bench-device "python3 tests/benchmarks/run.py --device $DEVICE --only 'device*' --rounds 3"
  step 100 compiled "mill notebooks/train.ipynb $work/compiled.ipynb -p data demo -p arch resnet50 -p compile true -p epochs 2 -p device $DEVICE"
  tar -czf "$out/bench.tar.gz" -C /tmp/gpu-reports bench
  ;;
studies)  # the photographs at 128 px, 15 epochs of each of the course's reports
  LINES_SHOWN=12
  for study in fine-tuning class-weights augmentation light resolution; do
    step 130 "$study" "lab report course/$study --small --data /tmp/eyes --no-pdf -p device $DEVICE -p image_size 128 -p crop_size 120 -p epochs 15"
  done
  tar -czf "$out/runs.tar.gz" -C /tmp/gpu-reports/course --exclude=runs .
  ;;
*)
  echo "bash tests/gpu/check.sh correct | fast | studies" >&2; exit 2
  ;;
esac
cp /tmp/gpu-reports/demo/report.html "$out/" 2>/dev/null
{ echo "$table"; for log in "$work"/*.log; do echo "=== $(basename "$log" .log)"; cat "$log"; done; } >"$out/logs.txt"
rm -rf "$work"
echo; echo "$table"
exit "$failed"
