//! The guest on bare metal under QEMU.
