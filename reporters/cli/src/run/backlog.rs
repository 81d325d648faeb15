//! A longer queue for connections to QEMU's published ports.
//!
//! QEMU's user network listens with a backlog of 1. Clients that connect at once, as a load generator's do, find that queue
//! full; the system drops their requests, and they try again after 1, 3 and 7 seconds. The guest never sees any of it. QEMU
//! has no option for this, but a backlog belongs to the socket: we take a copy of our child's descriptor and listen on it again.
//!
//! Where that is not allowed, or the socket is not found, the queue stays as it was, which is no reason not to run.

use std::fs;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// As long as servers usually ask for; the system may cut it.
const BACKLOG: i32 = 1024;
/// QEMU listens once it has read its arguments.
const PATIENCE: Duration = Duration::from_secs(3);

/// Lengthens the queues of these ports of process `pid`, as soon as it listens on them.
pub(super) fn lengthen(pid: u32, mut ports: Vec<u16>) {
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let deadline = Instant::now() + PATIENCE;
    while !ports.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
        ports.retain(|&port| {
            let Some(descriptor) = listening(pid, port) else { return true };
            // Refused once is refused for good.
            let _ = pidfd_open(process, PidfdFlags::empty())
                .and_then(|process| pidfd_getfd(process, descriptor, PidfdGetfdFlags::empty()))
                .and_then(|socket| rustix::net::listen(socket, BACKLOG));
            false
        });
    }
}

/// The descriptor by which process `pid` listens on this TCP port.
fn listening(pid: u32, port: u16) -> Option<RawFd> {
    let inode = listening_inode(&fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?, port)?;
    let wanted = format!("socket:[{inode}]");
    let mut descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.filter_map(Result::ok);
    let found = descriptors.find(|entry| fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == &*wanted))?;
    found.file_name().to_str()?.parse().ok()
}

/// The inode of the socket that listens on `port`, in a table such as `/proc/net/tcp`: number, local address and port in
/// hexadecimal, remote ones, state (0A listens), and further on, as the tenth word, the inode.
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, local_port) = words.get(1)?.rsplit_once(':')?;
        let listens = u16::from_str_radix(local_port, 16).ok()? == port && *words.get(3)? == "0A";
        if listens { words.get(9)?.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_descriptor_that_listens_is_found_and_no_other() {
        use std::os::fd::AsRawFd;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // A connection has the same local port.
        let _connected = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(listening(std::process::id(), port), Some(listener.as_raw_fd()));
        drop(listener);
        assert_eq!(listening(std::process::id(), port), None);
    }
}
