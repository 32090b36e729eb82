#!/usr/bin/env bash
# A SLURM cluster of one node on this machine, for the tests of `ssmlab grid --cluster slurm`.
#   tests/slurm/one_node.sh start FOLDER    starts munged, slurmctld and slurmd; prints the SLURM_CONF to export
#   tests/slurm/one_node.sh stop FOLDER     ends them
# Needs root and Debian's packages slurm-wlm and munge (`make test-slurm` installs them).
set -euo pipefail
folder=$(realpath -m "$2")

stop() {
    for name in slurmd slurmctld munged; do
        [ -f "$folder/$name.pid" ] && kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
    done
}

start() {
    mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
    chmod 755 "$folder"
    chmod 700 "$folder/munge"
    dd if=/dev/urandom of="$folder/munge/key" bs=1024 count=1 status=none
    chmod 400 "$folder/munge/key"
    munged --force --key-file="$folder/munge/key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge/seed"
    cat > "$folder/slurm.conf" <<CONF
ClusterName=ssmlab
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
SlurmctldPort=16817
SlurmdPort=16818
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
JobRequeue=1
MinJobAge=300
SchedulerParameters=batch_sched_delay=1,sched_interval=1
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$(hostname -s) Default=YES MaxTime=INFINITE State=UP
CONF
    export SLURM_CONF="$folder/slurm.conf"
    slurmctld
    slurmd
    for _ in $(seq 100); do
        sinfo --noheader --format=%t 2>/dev/null | grep -q '^\(idle\|mix\|alloc\)' && { echo "$SLURM_CONF"; return; }
        sleep 0.3
    done
    echo "the node does not become idle; see $folder/slurmctld.log and $folder/slurmd.log" >&2
    stop
    exit 1
}

"$1"
