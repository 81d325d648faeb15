#!/bin/busybox sh
# dom0, from its first process to the agent that runs what the tests ask for. See dom0.rs.
/bin/busybox --install -s /bin
# Never on processor 0: dom0.rs says why.
echo 'vm.cpumask="1"' >/etc/xen/xl.conf
export PATH=/bin HOME=/root LD_LIBRARY_PATH=/lib
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmp /dev/shm
ln -sf /var/run /run/run
while read -r module; do insmod "/modules/$module" || echo "dom0: no module $module"; done </modules/order
mount -t xenfs xenfs /proc/xen
mount -t 9p -o trans=virtio,version=9p2000.L,msize=131072 share /share || echo "dom0: no share"
ulimit -c 0
xenstored --pid-file /var/run/xenstored.pid || echo "dom0: no xenstored"
xen-init-dom0 >/var/log/xen/init-dom0.log 2>&1 || cat /var/log/xen/init-dom0.log
xenconsoled --log=all --log-dir=/share/console --pid-file=/var/run/xenconsoled.pid || echo "dom0: no xenconsoled"
ip link set lo up
brctl addbr xenbr0
echo 0 >/sys/class/net/xenbr0/bridge/forward_delay
ip addr add 10.0.2.2/24 dev xenbr0
ip link set xenbr0 up
for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = agent ] && agent=/dev/$(basename "$port")
done
# A line is `run N`, for a script of this number in the share, or `kill N`. A script's end is announced by a whole line in N.rc.
#
# Who reads these lines must have no child that ends meanwhile: busybox's `read` then begins anew, and has forgotten what it had
# read of a line. So each script is a grandchild, which the first process inherits, and the first process is another one. No
# program is started for a script but those that it names, since a start takes an emulated processor 20 ms; and nothing is read
# byte by byte, as `read` does, since a system call takes it 0.1 ms.
serve() {
    exec 3<"$agent"
    echo "dom0 is ready"
    while read -r what number <&3; do
        if [ "$what" = kill ]; then
            read -r pid <"/tmp/$number.pid" && kill "$pid" 2>/dev/null
            continue
        fi
        (
            (
                exec 3<&-
                cd /share || exit
                (. "/share/run/$number.sh") >"/share/run/$number.out" 2>&1 </dev/null &
                echo $! >"/tmp/$number.pid"
                wait $!
                echo $? >"/share/run/$number.rc"
            ) &
        )
    done
}
serve &
wait $!
# The tests are over, or gone.
poweroff -f
