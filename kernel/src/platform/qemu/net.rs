//! The network device.

/// A network device.
#[derive(Debug)]
pub enum Device {}

/// The device, if the guest has one.
#[must_use]
pub fn device() -> Option<Device> {
    None
}

pub(super) fn interrupted() {}
