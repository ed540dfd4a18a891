#!/usr/bin/env bash
# What only a GPU can show, in parts: bash .gpu/check.sh correct | fast | studies   (from the project's root, after ./pack)
# Each step is timed and cut off by itself, so that one that hangs does not hide the others; the table comes last.
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-/tmp/gpu-out}; mkdir -p "$out"
if [ -d "$here/wheels" ] && ! python3 -c 'import papermill, pydantic, captum' 2>/dev/null; then
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site "$here"/wheels/*.whl || exit 1
fi
export PYTHONPATH=$PWD:/tmp/site${PYTHONPATH:+:$PYTHONPATH} PATH=/tmp/site/bin:$PATH PYTHONUNBUFFERED=1
export LABKIT_REPORTS=/tmp/gpu-reports LABKIT_CACHE=/tmp/gpu-cache
DEVICE=${DEVICE:-cuda}
lab() { python3 -m labkit.cli "$@"; }
[ -f "$here/eyes.tar.gz" ] && { mkdir -p /tmp/eyes; tar -xzf "$here/eyes.tar.gz" -C /tmp/eyes; }
table=""
step() {  # step SECONDS NAME COMMAND...
  local limit=$1 name=$2 start=$SECONDS code; shift 2
  echo "=== $name"
  timeout -k 5 "$limit" bash -c "$(declare -f lab); $*" >"$out/$name.log" 2>&1; code=$?
  table+=$(printf '%-28s exit %-4s %4d s' "$name" "$code" $((SECONDS - start)))$'\n'
  tail -n "${LINES_SHOWN:-6}" "$out/$name.log"
}
same='import sys,pathlib,hashlib
a,b=(pathlib.Path(p) for p in sys.argv[1:3])
for n in ("history.csv","predictions.csv","model.safetensors"):
    x,y=(hashlib.sha256((p/n).read_bytes()).hexdigest()[:12] for p in (a,b)); print(n,x,y,"same" if x==y else "DIFFERENT")'

case "${1:-correct}" in
correct)
  step 60 versions 'nvidia-smi -L; python3 -c "import torch,torchvision,accelerate,labkit;print(torch.__version__,torchvision.__version__,accelerate.__version__,torch.cuda.get_device_name() if torch.cuda.is_available() else None)"'
  step 150 demo "lab report demo --no-pdf -p device $DEVICE"
  step 20 demo-again "lab report demo --no-pdf -p device $DEVICE"
  step 90 verify "lab verify resnet18-finetuned --study demo"
  step 60 papermill-resnet152 "papermill notebooks/train.ipynb $out/r152.ipynb -p arch resnet152 -p device $DEVICE -p rotation 20"
  step 60 fp16 "papermill notebooks/train.ipynb $out/fp16.ipynb -p precision fp16 -p device $DEVICE"
  step 90 memory-ends "papermill notebooks/train.ipynb $out/oom.ipynb -p data demo -p arch resnet152 -p image_size 1024 -p batch_size 512 -p epochs 1 -p device $DEVICE"
  step 120 tests "python3 -m pytest -q -m 'not slow' tests/test_step.py tests/test_loading.py tests/test_training.py tests/test_predict.py -p no:cacheprovider"
  step 90 stopped-and-continued "LABKIT_REPORTS=/tmp/stop; export LABKIT_REPORTS; (timeout -s TERM 25 python3 -m labkit.cli run demo -p device $DEVICE -p epochs 40 --runs resnet18-scratch; true); lab run demo -p device $DEVICE -p epochs 40 --runs resnet18-scratch && LABKIT_REPORTS=/tmp/whole python3 -m labkit.cli run demo -p device $DEVICE -p epochs 40 --runs resnet18-scratch && python3 -c '$same' /tmp/stop/demo/runs/resnet18-scratch-seed0 /tmp/whole/demo/runs/resnet18-scratch-seed0"
  ;;
fast)
  LINES_SHOWN=40
  step 240 bench-step "lab bench --device $DEVICE --only 'step*' --rounds 3"
  step 120 bench-device "lab bench --device $DEVICE --only 'device*' --rounds 3"
  step 100 compiled "papermill notebooks/train.ipynb $out/compiled.ipynb -p data demo -p arch resnet50 -p compile true -p epochs 2 -p device $DEVICE"
  cp -r reports/bench "$out/" 2>/dev/null
  ;;
studies)  # the 6,742 photographs at 128 px, all epochs of the course's reports
  LINES_SHOWN=12
  for study in fine-tuning class-weights augmentation light resolution; do
    step 130 "$study" "lab report course/$study --small --data /tmp/eyes --no-pdf -p device $DEVICE -p image_size 128 -p crop_size 120 -p epochs 15"
  done
  mkdir -p "$out/csv"; for f in /tmp/gpu-reports/course/*/runs.csv; do cp "$f" "$out/csv/$(basename "$(dirname "$f")").csv"; done
  ;;
esac
cp -r /tmp/gpu-reports/demo/report.html "$out/" 2>/dev/null
echo; echo "$table"
