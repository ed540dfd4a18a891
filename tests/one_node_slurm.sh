#!/usr/bin/env bash
# A SLURM of one node on this machine, for tests/test_slurm.py: Debian's slurm-wlm, as root, in a container too (no
# systemd, no cgroups). Whoever has a SLURM already does not need it. bash tests/one_node_slurm.sh start|stop
set -euo pipefail

run=/tmp/labkit-slurm
export SLURM_CONF=$run/slurm.conf

start() {
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
  pgrep -x slurmctld > /dev/null || slurmctld
  pgrep -x slurmd > /dev/null || slurmd
  for _ in $(seq 60); do
    if sinfo --noheader --format=%T 2> /dev/null | grep -qx idle; then
      sinfo
      return
    fi
    sleep 1
  done
  tail -n 5 "$run"/slurmctld.log "$run"/slurmd.log >&2
  return 1
}

stop() {
  pkill -x slurmd || true
  pkill -x slurmctld || true
  pkill -x munged || true
}

"$1"
