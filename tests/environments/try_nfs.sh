#!/usr/bin/env bash
# Trains on a drive of NFS 4.2, whose client and server are those of a Linux kernel in a virtual machine (root, Debian).
#     tests/environments/try_nfs.sh [FOLDER]
# The machine reads this one's files and can change none of them; all that it writes is in its memory. Without KVM the
# machine is emulated, about twenty times slower (KVM=1 asks for KVM). FOLDER keeps the kernel and the log.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=${1:-$(mktemp -d)}
mkdir -p "$work"
work=$(cd "$work" && pwd)
python=$(python3 -c 'import sys; print(sys.executable)')
cd "$work"

needed=(qemu-system-x86 busybox-static cpio kmod nfs-kernel-server nfs-common rpcbind iproute2)
missing=$(for each in "${needed[@]}"; do dpkg -s "$each" > /dev/null 2>&1 || echo "$each"; done)
[ -z "$missing" ] || apt-get install -y -qq --no-install-recommends $missing

if [ ! -e boot ]; then
    image=$(apt-cache depends linux-image-amd64 | grep -om 1 'linux-image-[0-9][^ ]*')
    apt-get download -qq "$image"
    dpkg-deb -x "$image"_*.deb .
fi
version=$(ls lib/modules)
[ -e "lib/modules/$version/modules.dep" ] || depmod -b "$work" "$version"

# The first program of the machine mounts this machine's files, read-only, and starts the second one in them.
rm -rf first && mkdir -p first/{bin,proc,dev,root,modules}
cp /bin/busybox first/bin/busybox
for module in virtio_pci 9p 9pnet_virtio; do
    modprobe -d "$work" -S "$version" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'
done | awk '!seen[$0]++' > modules.txt
while read -r file; do
    cp "$file" first/modules/
    echo "/bin/busybox insmod /modules/$(basename "$file")" >> first/insert
done < modules.txt
cat > first/init <<END
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
. /insert
/bin/busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /root
exec /bin/busybox switch_root /root $work/second
END
cat > second <<END
#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run/home
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
for folder in /run /mnt /var/lib/nfs /var/tmp; do mount -t tmpfs tmpfs \$folder; done
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
chmod +x first/init second
(cd first && find . | cpio --quiet -o -H newc | gzip) > first.gz

processor=(-cpu max)
[ -z "${KVM:-}" ] || processor=(-enable-kvm -cpu host)
nice -n 10 qemu-system-x86_64 "${processor[@]}" -smp 1 -m 6G -display none -monitor none -serial stdio -no-reboot \
    -kernel "boot/vmlinuz-$version" -initrd first.gz -append "console=ttyS0 quiet panic=-1" \
    -virtfs local,path=/,mount_tag=host,security_model=passthrough,readonly=on,multidevs=remap < /dev/null | tee log
grep -q 'the tests ended with code 0' log
