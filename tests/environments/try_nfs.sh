#!/usr/bin/env bash
# Trains on a drive of NFS 4.2, whose client and server are those of a Linux kernel in a virtual machine (root, Debian).
#     tests/environments/try_nfs.sh [FOLDER]
# The machine is User Mode Linux: a kernel that runs as a program, and needs no support of the processor. It reads this
# machine's files and can change none of them; all that it writes is in its memory (6 GB at most). FOLDER keeps the log.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=${1:-$(mktemp -d)}
mkdir -p "$work"
work=$(cd "$work" && pwd)
python=$(python3 -c 'import sys; print(sys.executable)')

needed=(user-mode-linux kmod nfs-kernel-server nfs-common rpcbind iproute2 gcc)
missing=$(for each in "${needed[@]}"; do dpkg -s "$each" > /dev/null 2>&1 || echo "$each"; done)
[ -z "$missing" ] || apt-get install -y -qq --no-install-recommends $missing
gcc -shared -fPIC -o "$work/registers.so" "$root/tests/environments/uml_registers.c"
mkdir -p "$work/lib"
ln -sfn /usr/lib/uml/modules "$work/lib/modules"  # where modprobe looks for them

# The first program of the machine.
cat > "$work/first" <<END
#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run/home
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/shm
for folder in /dev/shm /run /mnt /var/lib/nfs /var/tmp; do mount -t tmpfs tmpfs \$folder; done
mkdir -p /mnt/served /mnt/drive /run/home /run/tmp /run/rpc_pipefs /var/lib/nfs/v4recovery
touch /var/lib/nfs/etab /var/lib/nfs/rmtab
mount -t tmpfs served /mnt/served
ip link set lo up
for module in nfsd nfs nfsv4; do modprobe -d $work \$module; done
mount -t nfsd nfsd /proc/fs/nfsd
mount -t rpc_pipefs rpc /run/rpc_pipefs
rpcbind
exportfs -o rw,no_root_squash,fsid=0,insecure 127.0.0.1:/mnt/served
rpc.mountd
rpc.nfsd 4
mount -t nfs -o vers=4.2 127.0.0.1:/ /mnt/drive
mount | grep nfs4
cd $root
SSMLAB_DRIVE=/mnt/drive PYTHONPATH=$root TMPDIR=/run/tmp OMP_NUM_THREADS=1 $python -m pytest -q -n 0 -m slow --timeout 0 \
    -p no:cacheprovider --basetemp /run/pytest tests/environments -k chosen_drive
echo "the tests ended with code \$?"
echo o > /proc/sysrq-trigger
sleep 60
END
chmod +x "$work/first"

TMPDIR=/dev/shm LD_PRELOAD=$work/registers.so nice -n 10 linux.uml mem=6G rootfstype=hostfs rootflags=/ ro \
    init="$work/first" con=null con0=fd:0,fd:1 ssl=null quiet < /dev/null 2>&1 | tee "$work/log"
grep -q 'the tests ended with code 0' "$work/log"
