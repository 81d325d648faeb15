#!/bin/sh
# Joins a guest's network device to the bridge, as Xen's own script vif-bridge does, which needs bash and much besides.
# Called by libxl as `vif-fata online|offline` with XENBUS_PATH and vif in the environment.
case $1 in
online)
    ip link set dev "$vif" down
    ip link set dev "$vif" address fe:ff:ff:ff:ff:ff
    brctl addif xenbr0 "$vif"
    ip link set dev "$vif" up
    xenstore-write "$XENBUS_PATH/hotplug-status" connected
    ;;
offline)
    # The kernel takes the device away with its domain, and may have done so already.
    brctl delif xenbr0 "$vif" 2>/dev/null
    ip link set dev "$vif" down 2>/dev/null
    ;;
esac
exit 0
