//! Registers of devices that lie in memory.

#![expect(unsafe_code, reason = "a device's register is an address")]

/// A 32-bit register. Holding one proves that its address lies in the mapped first 4 GiB, outside of RAM.
#[derive(Clone, Copy, Debug)]
pub(super) struct Register(usize);

impl Register {
    /// The register at `address`.
    ///
    /// # Safety
    /// The address must be a multiple of 4, mapped, and no RAM: a device's, or nobody's. What a write does to the device
    /// must not make it touch memory that Rust knows as something else.
    pub(super) const unsafe fn new(address: usize) -> Self {
        Register(address)
    }

    /// Reads the register. Where no device is, the machine answers all ones or zero.
    pub(super) fn read(self) -> u32 {
        // SAFETY: mapped, aligned and not memory of Rust's, as `new` was promised.
        unsafe { (self.0 as *const u32).read_volatile() }
    }

    /// Writes the register.
    pub(super) fn write(self, value: u32) {
        // SAFETY: as in `read`.
        unsafe { (self.0 as *mut u32).write_volatile(value) }
    }
}
