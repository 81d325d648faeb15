//! Frames as dom0's kernel stamps them, on their way from one domain to another, and where these stamps lie on the time axis of a
//! merged trace: a second opinion, by clocks that the trace does not use.
//!
//! ```text
//!   sender  net.tx ─► vif, in: stamp ─► bridge ─► vif, out: stamp ─► net.rx  receiver
//! ```
//! The kernel stamps by dom0's time of day. A program in dom0 reads, every so often and one directly after the other, the
//! processor's counter, the time of day, and Xen's system time: so a stamp has a system time, and so has an event, whose place on
//! the trace's axis is a value of that counter. How far readings are from a straight line is how wrong that may be.

#![expect(unsafe_code, reason = "packet sockets, the processor's counter, and asking Xen for its clock")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use fata_kernel::net::identity;

use super::dom0::{Dom0, Running, these_tests};

/// As much of a frame as its identity is made of.
const SNAP_BYTES: usize = 64;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Begins to stamp the frames on these devices of dom0's; what is seen is written into `file` in the share, until it is killed.
pub(crate) fn stamping<'a>(dom0: &'a Dom0, devices: &str, file: &str) -> Running<'a> {
    let program = these_tests("stamps::stamps_frames_and_reads_clocks_until_it_is_killed");
    dom0.start(&format!("export DEVICES='{devices}' STAMPS={file}; exec {program}"))
}

#[test]
#[ignore = "run in dom0 by the test that needs frames stamped"]
fn stamps_frames_and_reads_clocks_until_it_is_killed() {
    let (Ok(devices), Ok(file)) = (std::env::var("DEVICES"), std::env::var("STAMPS")) else { return };
    let clocks = File::options().read(true).write(true).open("/dev/xen/privcmd").unwrap();
    let sockets: Vec<(&str, Socket)> = devices.split(' ').map(|device| (device, Socket::on(device))).collect();
    let mut out = File::create(file).unwrap();
    loop {
        let reading = (0..6).map(|_| Reading::take(&clocks)).min_by_key(Reading::width).unwrap();
        let Reading { before, unix_nanos, between, system_nanos, after } = reading;
        let mut text = format!("clocks {before} {unix_nanos} {between} {system_nanos} {after}\n");
        for (device, socket) in &sockets {
            while let Some(frame) = socket.next() {
                let way = if frame.is_outgoing { "out" } else { "in" };
                write!(text, "frame {device} {way} {} ", frame.unix_nanos).unwrap();
                frame.bytes.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
                text.push('\n');
            }
        }
        out.write_all(text.as_bytes()).unwrap();
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

/// A frame on a device, and when dom0's kernel saw it there.
struct Seen {
    unix_nanos: u64,
    is_outgoing: bool,
    bytes: Vec<u8>,
}

/// All frames of one device.
struct Socket(std::os::fd::OwnedFd);

impl Socket {
    fn on(device: &str) -> Self {
        use std::os::fd::FromRawFd as _;
        let all = u16::try_from(libc::ETH_P_ALL).unwrap().to_be();
        // SAFETY: no memory of ours is touched.
        let number = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, all.into()) };
        assert!(number >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: it is open, and nobody else's.
        let socket = Socket(unsafe { std::os::fd::OwnedFd::from_raw_fd(number) });
        // From here on its frames are stamped; of those before there is nothing to be said.
        let _ = socket.latest_stamp();
        let index = std::fs::read_to_string(format!("/sys/class/net/{device}/ifindex")).unwrap();
        // SAFETY: an address of zeros is one.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).unwrap();
        address.sll_protocol = all;
        address.sll_ifindex = index.trim().parse().unwrap();
        let len = u32::try_from(size_of_val(&address)).unwrap();
        // SAFETY: the structure is as long as is said, and borrowed until the call returns.
        let bound = unsafe { libc::bind(number, (&raw const address).cast(), len) };
        assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
        socket
    }

    /// The next frame that has come.
    fn next(&self) -> Option<Seen> {
        let mut bytes = vec![0; SNAP_BYTES];
        // SAFETY: an address of zeros is one.
        let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut from_len = u32::try_from(size_of_val(&from)).unwrap();
        // SAFETY: buffer and address are as long as is said, and borrowed until the call returns.
        let len = unsafe {
            libc::recvfrom(
                self.0.as_raw_fd(),
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                0,
                (&raw mut from).cast(),
                &raw mut from_len,
            )
        };
        bytes.truncate(usize::try_from(len).ok()?);
        let unix_nanos = self.latest_stamp()?;
        Some(Seen { unix_nanos, is_outgoing: from.sll_pkttype == libc::PACKET_OUTGOING, bytes })
    }

    /// When the kernel saw the frame that was read last.
    fn latest_stamp(&self) -> Option<u64> {
        /// `SIOCGSTAMPNS` (Linux, include/uapi/asm-generic/sockios.h).
        const GET_STAMP: libc::c_ulong = 0x8907;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: on x86-64 the driver writes this structure, which is borrowed until the call returns.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), GET_STAMP, &raw mut time) };
        (result == 0).then(|| nanos(time))
    }
}

fn nanos(time: libc::timespec) -> u64 {
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

/// Three clocks of dom0's, read one after the other: the counter, the time of day, the counter, Xen's system time, the counter.
#[derive(Clone, Copy, Debug)]
struct Reading {
    before: u64,
    unix_nanos: u64,
    between: u64,
    system_nanos: u64,
    after: u64,
}

impl Reading {
    fn take(privcmd: &File) -> Self {
        /// The hypercall `hvm_op`, and its operation `get_time` (`xen/include/public/hvm/hvm_op.h`).
        const HVM_OP: u64 = 34;
        const GET_TIME: u64 = 10;
        // SAFETY: every x86-64 has the instruction.
        let ticks = || unsafe { core::arch::x86_64::_rdtsc() };
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let mut system_nanos = Box::new(0u64);
        let call = [HVM_OP, GET_TIME, (&raw mut *system_nanos).addr() as u64, 0, 0, 0];
        let before = ticks();
        // SAFETY: the structure is borrowed until the call returns.
        unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
        let between = ticks();
        // SAFETY: `call` is a `struct privcmd_hypercall`, and what it points at lives until the call returns.
        let result = unsafe { libc::ioctl(privcmd.as_raw_fd(), 0x0030_5000, call.as_ptr()) };
        let after = ticks();
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        Reading { before, unix_nanos: nanos(time), between, system_nanos: *system_nanos, after }
    }

    fn width(&self) -> u64 {
        self.after.wrapping_sub(self.before)
    }
}

/// What was stamped and read in dom0.
pub(crate) struct Stamps {
    readings: Vec<Reading>,
    /// By device and way: identities, and the time of day of each stamp.
    frames: BTreeMap<(String, bool), Vec<(u64, u64)>>,
}

impl Stamps {
    pub(crate) fn parse(text: &str) -> Self {
        let mut stamps = Stamps { readings: Vec::new(), frames: BTreeMap::new() };
        // Whoever wrote it was killed, perhaps in the middle of a line.
        for line in text.rsplit_once('\n').unwrap().0.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().unwrap_or_else(|_| panic!("{line}"));
            match words[0] {
                "clocks" => stamps.readings.push(Reading {
                    before: number(1),
                    unix_nanos: number(2),
                    between: number(3),
                    system_nanos: number(4),
                    after: number(5),
                }),
                "frame" => {
                    let digits = words[4].as_bytes().chunks(2);
                    let frame: Vec<u8> =
                        digits.map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect();
                    let seen = stamps.frames.entry((words[1].to_owned(), words[2] == "out")).or_default();
                    seen.push((identity(&frame), number(3)));
                }
                _ => panic!("{line}"),
            }
        }
        stamps
    }

    /// Identities of the frames that the domain behind `device` was sent, or sent, and Xen's system time at each stamp.
    pub(crate) fn frames(&self, device: &str, to_domain: bool) -> impl Iterator<Item = (u64, f64)> + '_ {
        let line = self.line(|reading| (reading.unix_nanos, reading.system_nanos));
        let frames = self.frames.get(&(device.to_owned(), to_domain)).into_iter().flatten();
        frames.filter_map(move |&(identity, unix_nanos)| Some((identity, line.at(unix_nanos)?)))
    }

    /// Xen's system time at values of dom0's counter.
    pub(crate) fn by_ticks(&self) -> Line {
        self.line(|reading| (reading.between + (reading.after - reading.between) / 2, reading.system_nanos))
    }

    fn line(&self, point: impl Fn(&Reading) -> (u64, u64)) -> Line {
        Line(self.readings.iter().map(point).collect())
    }

    /// How far the system time of a stamp and that of an event may be from what they are said to be: what reading three clocks
    /// takes, and how far either relation is from a straight line.
    pub(crate) fn error_nanos(&self) -> f64 {
        let by_unix = self.line(|reading| (reading.unix_nanos, reading.system_nanos));
        let by_ticks = self.by_ticks();
        let (first, last) = (self.readings.first().unwrap(), self.readings.last().unwrap());
        let tick = (last.system_nanos - first.system_nanos) as f64 / (last.before - first.before) as f64;
        let widest = self.readings.iter().map(Reading::width).max().unwrap() as f64 * tick;
        widest + by_unix.unevenness() + by_ticks.unevenness()
    }
}

/// What one clock read when another did, with straight lines in between.
pub(crate) struct Line(Vec<(u64, u64)>);

impl Line {
    /// `None` outside of what was read.
    pub(crate) fn at(&self, x: u64) -> Option<f64> {
        let next = self.0.partition_point(|point| point.0 <= x);
        let (from, to) = (self.0.get(next.checked_sub(1)?)?, self.0.get(next)?);
        Some(between(*from, *to, x))
    }

    /// How far a point is from the line between its neighbours, at most.
    fn unevenness(&self) -> f64 {
        let off = self.0.windows(3).map(|three| (between(three[0], three[2], three[1].0) - three[1].1 as f64).abs());
        off.fold(0.0, f64::max)
    }
}

fn between(from: (u64, u64), to: (u64, u64), x: u64) -> f64 {
    // Xen may have corrected its clock backwards.
    let slope = (to.1 as f64 - from.1 as f64) / (to.0 - from.0) as f64;
    from.1 as f64 + (x - from.0) as f64 * slope
}
