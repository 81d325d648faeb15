//! How Xen is told that the domain has ended. What becomes of it then says its xl.cfg: `on_poweroff`, `on_reboot`, `on_crash`.

use super::hypercall::{self, Shutdown};
use super::{cpu, vchan};

/// Ends the guest as it is: well with the code 0, as a crash with any other.
pub(in crate::platform) fn stop(code: i32) -> ! {
    vchan::close();
    // xenconsoled reads on after that, as long as the domain is not destroyed.
    hypercall::shutdown(if code == 0 { Shutdown::PowerOff } else { Shutdown::Crash });
    cpu::halt()
}

/// Ends the guest; the toolstack starts it anew.
pub(super) fn reboot() -> ! {
    vchan::close();
    hypercall::shutdown(Shutdown::Reboot);
    cpu::halt()
}
