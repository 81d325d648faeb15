//! The network device of a host guest.

/// A network device.
#[derive(Debug)]
pub enum Device {}

/// The device, if the guest has one.
#[must_use]
pub fn device() -> Option<Device> {
    None
}
