#!/usr/bin/env bash
# A SLURM of one node on this machine, for tests/slow/test_cluster.py: Debian's slurm-wlm, as root, in a container too (no
# systemd, no cgroups). Whoever has a SLURM already does not need it.
#   export SLURM_CONF=$(bash tests/slow/one_node_slurm.sh start)
#   bash tests/slow/one_node_slurm.sh stop
set -euo pipefail

run=$(cd "$(dirname "$0")/../.." && pwd)/reports/.slurm
export SLURM_CONF=$run/slurm.conf

start() {
  stop
  if pgrep -x slurmctld > /dev/null; then
    echo "a SLURM that is not ours runs here already: use that one" >&2
    return 1
  fi
  command -v sbatch > /dev/null || {
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends slurm-wlm munge > /dev/null
  }
  install -d "$run" "$run/state" "$run/spool"
  install -d -o munge -g munge /run/munge
  cat > "$SLURM_CONF" <<END
ClusterName=labkit
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$run/state
SlurmdSpoolDir=$run/spool
SlurmctldPidFile=$run/slurmctld.pid
SlurmdPidFile=$run/slurmd.pid
SlurmctldLogFile=$run/slurmctld.log
SlurmdLogFile=$run/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=30
NodeName=$(hostname) NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP MaxTime=INFINITE
END
  pgrep -x munged > /dev/null || runuser -u munge -- munged
  slurmctld
  slurmd
  for _ in $(seq 60); do
    if sinfo --noheader --format=%T 2> /dev/null | grep -qx idle; then
      sinfo >&2
      echo "$SLURM_CONF"
      return
    fi
    sleep 1
  done
  tail -n 5 "$run"/slurmctld.log "$run"/slurmd.log >&2
  return 1
}

stop() {  # ours alone
  for daemon in slurmd slurmctld; do
    pid=$(cat "$run/$daemon.pid" 2> /dev/null) || continue
    kill "$pid" 2> /dev/null || true
    while kill -0 "$pid" 2> /dev/null; do sleep 0.2; done
  done
}

"$1"
