//! Guests on cables: to each other, to the gateway and its ordinary clients, over links that lose frames.

#[cfg(feature = "profiling")]
mod recorded;

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::task::Waker;
use core::time::Duration;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::thread;

use smoltcp::phy::{self, DeviceCapabilities};
use smoltcp::time::Instant;
use smoltcp::wire::IpAddress;

use super::{IpEndpoint, Net, NetError, Nic, SEND_BYTES, TcpStream};
use crate::platform::net::{Device, Publish, forward};
use crate::{Boot, Guest, LocalBoxFuture, name};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const OTHER_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
const OTHER_ADDRESSES: &str = "ip=10.0.2.16/24 ip6=fec0::16/64";

type Program = Box<dyn FnOnce(Guest) -> LocalBoxFuture>;

std::thread_local! {
    /// What `run` runs: a guest's program is a plain function, so its captures wait here.
    static PROGRAM: RefCell<Option<Program>> = const { RefCell::new(None) };
}

/// Runs a guest with `device` on this thread until `program` is done.
fn run<D: Nic + 'static, F: Future<Output = ()> + 'static>(
    args: &str,
    device: D,
    program: impl FnOnce(Guest, Net) -> F + 'static,
) {
    PROGRAM.set(Some(Box::new(move |guest| {
        Box::pin(async move {
            let net = Net::start(&guest, Some(device));
            program(guest.clone(), net).await;
            // The last acknowledgement may be delayed by ten.
            guest.sleep(Duration::from_millis(30)).await;
        })
    })));
    crate::run(Boot { name: "test", args }, |guest| PROGRAM.take().unwrap()(guest));
}

fn device(cable: UnixStream, mac: [u8; 6]) -> Device {
    Device::new(cable, mac).unwrap()
}

/// Runs a guest behind a gateway that publishes its port 7, on a thread of its own, which is never joined.
fn published<F: Future<Output = ()> + 'static>(program: impl FnOnce(Guest, Net) -> F + Send + 'static) -> SocketAddr {
    let (cable, addresses) = forward("", &[Publish { host_port: 0, guest_port: 7 }]).unwrap();
    thread::spawn(move || run("", device(cable, MAC), program));
    addresses[0]
}

async fn echo(net: Net, guest: Guest) {
    let listener = net.tcp_listen(7).unwrap();
    loop {
        let stream = listener.accept().await;
        guest.spawn(name!("echo"), async move {
            let mut buffer = [0; 3000];
            while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..len]).await.unwrap();
            }
        });
    }
}

fn bytes(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i * 7 + i / 251 + seed) % 256).unwrap()).collect()
}

#[test]
fn ordinary_clients_get_back_what_they_send_even_after_they_have_said_their_last_byte() {
    let address = published(|guest, net| echo(net, guest));
    let clients: Vec<_> = (0..8)
        .map(|seed| {
            thread::spawn(move || {
                let mut stream = std::net::TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let sent = bytes(seed, 300_000);
                let mut writer = stream.try_clone().unwrap();
                let copy = sent.clone();
                let writing = thread::spawn(move || {
                    writer.write_all(&copy).unwrap();
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                let mut received = Vec::new();
                stream.read_to_end(&mut received).unwrap();
                writing.join().unwrap();
                assert!(received == sent, "client {seed} sent {} bytes and got {}", sent.len(), received.len());
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn a_client_of_a_port_where_nobody_listens_is_reset_and_not_left_hanging() {
    let address = published(|guest, _net| async move { guest.sleep(Duration::from_secs(30)).await });
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_guest_that_breaks_off_resets_its_client() {
    let address = published(|guest, net| async move {
        let stream = net.tcp_listen(7).unwrap().accept().await;
        stream.write_all(b"half an ans").await.unwrap();
        stream.flush_acked().await.unwrap();
        stream.abort();
        assert_eq!(stream.write_all(b"wer").await, Err(NetError::Reset));
        guest.sleep(Duration::from_secs(30)).await;
    });
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_request_beyond_the_backlog_is_served_later_and_counted() {
    let address = published(|guest, net| async move {
        let listener = net.tcp_listen_with(7, 2).unwrap();
        while net.listen_overflows() == 0 {
            guest.sleep(Duration::from_millis(5)).await;
        }
        loop {
            listener.accept().await.write_all(b"here").await.unwrap();
        }
    });
    let clients: Vec<_> = (0..6)
        .map(|_| {
            thread::spawn(move || {
                let mut stream = std::net::TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                assert_eq!(answer, b"here");
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn a_client_that_does_not_read_holds_the_guest_back_and_loses_nothing() {
    const TOTAL: usize = 48 << 20;
    let (report, reported) = std::sync::mpsc::channel();
    let address = published(move |guest, net| async move {
        let stream = Rc::new(net.tcp_listen(7).unwrap().accept().await);
        let writer = Rc::clone(&stream);
        let writing = guest.spawn(name!("writer"), async move {
            let part = bytes(0, 1 << 16);
            for _ in 0..TOTAL / part.len() {
                writer.write_all(&part).await.unwrap();
            }
            writer.flush_acked().await.unwrap();
        });
        // Wait until half a second passes in which nothing more was taken.
        let mut last = u64::MAX;
        while last != stream.position() {
            last = stream.position();
            guest.sleep(Duration::from_millis(500)).await;
        }
        let unacknowledged = stream.position() - stream.acknowledged();
        report.send((stream.position(), unacknowledged)).unwrap();
        writing.await;
        stream.close();
        guest.sleep(Duration::from_secs(30)).await;
    });
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (position, unacknowledged) = reported.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(position < TOTAL as u64, "all of {position} bytes went somewhere");
    assert!(unacknowledged <= SEND_BYTES as u64);
    let part = bytes(0, 1 << 16);
    let mut received = vec![0; part.len()];
    for _ in 0..TOTAL / part.len() {
        stream.read_exact(&mut received).unwrap();
        assert!(received == part);
    }
    assert_eq!(stream.read(&mut received).unwrap(), 0);
}

/// Two guests on one cable: `other` on a thread of its own, `this` here.
fn pair<A, B>(
    other: impl FnOnce(Guest, Net) -> A + Send + 'static,
    wrap: impl FnOnce(Device) -> B,
    this: impl FnOnce(Guest, Net) -> LocalBoxFuture + 'static,
) where
    A: Future<Output = ()> + 'static,
    B: Nic + 'static,
{
    let (here, there) = UnixStream::pair().unwrap();
    let other = thread::spawn(move || run(OTHER_ADDRESSES, device(there, OTHER_MAC), other));
    run("", wrap(device(here, MAC)), this);
    other.join().unwrap();
}

#[test]
fn guests_speak_tcp_and_udp_over_ipv6_and_ipv4() {
    let other = |guest: Guest, net: Net| async move {
        let socket = net.udp_bind(53).unwrap();
        guest.spawn(name!("datagrams"), async move {
            let mut buffer = [0; 2000];
            loop {
                let (len, from) = socket.recv_from(&mut buffer).await;
                socket.send_to(&buffer[..len], from).await.unwrap();
            }
        });
        let listener = net.tcp_listen(7).unwrap();
        let mut buffer = [0; 2000];
        for _ in 0..3 {
            let stream = listener.accept().await;
            while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..len]).await.unwrap();
            }
            stream.flush_acked().await.unwrap();
        }
    };
    pair(
        other,
        |device| device,
        |guest, net| {
            Box::pin(async move {
                let link_local = super::Config::default().addresses(OTHER_MAC)[1].address();
                for address in [IpAddress::v6(0xfec0, 0, 0, 0, 0, 0, 0, 0x16), IpAddress::v4(10, 0, 2, 16), link_local]
                {
                    let socket = net.udp_bind(0).unwrap();
                    let mut buffer = [0; 2000];
                    // The other guest may not have bound its port yet, and a datagram may be lost.
                    let (len, from) = loop {
                        socket.send_to(b"anybody there?", IpEndpoint::new(address, 53)).await.unwrap();
                        if let Ok(got) = guest.timeout(Duration::from_millis(100), socket.recv_from(&mut buffer)).await
                        {
                            break got;
                        }
                    };
                    assert_eq!((&buffer[..len], from), (&b"anybody there?"[..], IpEndpoint::new(address, 53)));
                    let stream = net.tcp_connect(IpEndpoint::new(address, 7)).await.unwrap();
                    assert_eq!(stream.remote().addr, address);
                    let sent = bytes(3, 100_000);
                    let mut received = Vec::new();
                    let stream = Rc::new(stream);
                    let (writer, copy) = (Rc::clone(&stream), sent.clone());
                    guest.spawn(name!("writer"), async move {
                        writer.write_all(&copy).await.unwrap();
                        writer.close();
                    });
                    while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                        received.extend_from_slice(&buffer[..len]);
                    }
                    assert!(received == sent, "{} of {} bytes over {address}", received.len(), sent.len());
                }
            })
        },
    );
}

#[test]
fn a_port_belongs_to_one_socket_and_comes_back_when_that_is_dropped() {
    let (here, _there) = UnixStream::pair().unwrap();
    run("", device(here, MAC), |_guest, net| async move {
        let listener = net.tcp_listen(80).unwrap();
        assert_eq!(net.tcp_listen(80).err(), Some(NetError::PortInUse(80)));
        drop(listener);
        net.tcp_listen(80).unwrap();
        let socket = net.udp_bind(80).unwrap();
        assert_eq!(net.udp_bind(80).err(), Some(NetError::PortInUse(80)));
        drop(socket);
        net.udp_bind(80).unwrap();
    });
}

#[test]
fn a_guest_with_all_its_sockets_in_use_says_so() {
    let (here, _there) = UnixStream::pair().unwrap();
    run("sockets=2", device(here, MAC), |_guest, net| async move {
        let first = net.tcp_listen(1).unwrap();
        let _second = net.tcp_listen(2).unwrap();
        assert_eq!(net.tcp_listen(3).err(), Some(NetError::TooManySockets));
        drop(first);
        net.tcp_listen(3).unwrap();
    });
}

/// A device that loses the outgoing frames that `is_lost` names, by their number.
struct Lossy<D> {
    device: D,
    sent: Rc<Cell<u32>>,
    is_lost: fn(u32, &[u8]) -> bool,
}

struct LossyTx<T> {
    token: T,
    sent: Rc<Cell<u32>>,
    is_lost: fn(u32, &[u8]) -> bool,
}

impl<D: Nic> Nic for Lossy<D> {
    fn mac(&self) -> [u8; 6] {
        self.device.mac()
    }
    fn set_waker(&mut self, waker: &Waker) {
        self.device.set_waker(waker);
    }
    fn flush(&mut self) {
        self.device.flush();
    }
}

impl<D: Nic> phy::Device for Lossy<D> {
    type RxToken<'a>
        = D::RxToken<'a>
    where
        D: 'a;
    type TxToken<'a>
        = LossyTx<D::TxToken<'a>>
    where
        D: 'a;

    fn receive(&mut self, now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let (rx, token) = self.device.receive(now)?;
        Some((rx, LossyTx { token, sent: Rc::clone(&self.sent), is_lost: self.is_lost }))
    }
    fn transmit(&mut self, now: Instant) -> Option<Self::TxToken<'_>> {
        let token = self.device.transmit(now)?;
        Some(LossyTx { token, sent: Rc::clone(&self.sent), is_lost: self.is_lost })
    }
    fn capabilities(&self) -> DeviceCapabilities {
        self.device.capabilities()
    }
}

impl<T: phy::TxToken> phy::TxToken for LossyTx<T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.sent.set(self.sent.get() + 1);
        if !(self.is_lost)(self.sent.get(), &frame) {
            self.token.consume(len, |space| space.copy_from_slice(&frame));
        }
        result
    }
}

/// Connects to port 7 of the other guest of a [`pair`], which may not listen yet.
async fn connect_to_other(guest: &Guest, net: &Net) -> TcpStream {
    loop {
        match net.tcp_connect(IpEndpoint::new(IpAddress::v4(10, 0, 2, 16), 7)).await {
            Ok(stream) => break stream,
            Err(_) => guest.sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Sends 60 kB over a link that loses what `is_lost` says, to a guest that counts them.
fn send_over(is_lost: fn(u32, &[u8]) -> bool) {
    let other = |_guest: Guest, net: Net| async move {
        let stream = net.tcp_listen(7).unwrap().accept().await;
        let mut received = Vec::new();
        let mut buffer = [0; 4000];
        while let Ok(len @ 1..) = stream.read(&mut buffer).await {
            received.extend_from_slice(&buffer[..len]);
        }
        assert!(received == bytes(9, 60_000), "{} bytes arrived", received.len());
        stream.write_all(b"got it").await.unwrap();
        stream.flush_acked().await.unwrap();
    };
    let wrap = move |device| Lossy { device, sent: Rc::new(Cell::new(0)), is_lost };
    pair(other, wrap, |guest, net| {
        Box::pin(async move {
            let stream = connect_to_other(&guest, &net).await;
            stream.write_all(&bytes(9, 60_000)).await.unwrap();
            stream.close();
            let mut answer = [0; 10];
            let len = stream.read(&mut answer).await.unwrap();
            assert_eq!(&answer[..len], b"got it");
        })
    });
}

#[test]
fn what_a_link_loses_is_sent_again_until_all_has_arrived() {
    send_over(|number, _| matches!(number, 9 | 20));
}

#[cfg(feature = "profiling")]
mod traced {
    use alloc::string::String;

    use super::*;

    fn named<'a>(events: &'a [String], name: &str) -> Vec<&'a str> {
        events.iter().map(String::as_str).filter(|text| text.split(' ').next() == Some(name)).collect()
    }

    /// What a program records, run again if the machine stood still for so long that a retransmit was due.
    fn undisturbed(mut program: impl FnMut()) -> Vec<String> {
        for _ in 0..20 {
            let start = std::time::Instant::now();
            let events = recorded::network_events_of(&mut program);
            if start.elapsed() < Duration::from_millis(900) {
                return events;
            }
        }
        panic!("this machine is too slow to tell a lost segment from a late one");
    }

    #[test]
    fn a_lost_segment_is_a_retransmit_in_the_trace_and_a_whole_link_has_none() {
        assert_eq!(named(&undisturbed(|| send_over(|_, _| false)), "tcp.retransmit"), [""; 0]);

        let lossy = recorded::network_events_of(|| send_over(loses_one_data_segment));
        let retransmits = named(&lossy, "tcp.retransmit");
        assert!(!retransmits.is_empty());
        assert!(retransmits[0].contains("remote_port=7"), "{}", retransmits[0]);
        let count = alloc::format!("tcp.retransmits count={}", retransmits.len());
        assert_eq!(named(&lossy, "tcp.retransmits").last(), Some(&count.as_str()));
    }

    std::thread_local! {
        static LOST: Cell<bool> = const { Cell::new(false) };
    }

    /// The length of the TCP payload of an Ethernet frame that carries IPv4.
    fn payload_len(frame: &[u8]) -> usize {
        if frame.len() < 54 || frame[12..14] != [8, 0] || frame[23] != 6 {
            return 0;
        }
        let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        total - 20 - usize::from(frame[46] >> 4) * 4
    }

    /// The first full segment.
    fn loses_one_data_segment(_: u32, frame: &[u8]) -> bool {
        payload_len(frame) > 1000 && !LOST.replace(true)
    }

    #[test]
    fn a_packet_is_seen_at_every_layer_on_its_way_to_a_task_and_back() {
        let other = |_guest: Guest, net: Net| async move {
            let stream = net.tcp_listen(7).unwrap().accept().await;
            let mut buffer = [0; 10];
            let len = stream.read(&mut buffer).await.unwrap();
            stream.write_all(&buffer[..len]).await.unwrap();
            stream.flush_acked().await.unwrap();
        };
        let events = recorded::network_events_of(|| {
            pair(
                other,
                |device| device,
                |guest, net| {
                    Box::pin(async move {
                        let stream = connect_to_other(&guest, &net).await;
                        stream.write_all(b"ping").await.unwrap();
                        let mut buffer = [0; 10];
                        assert_eq!(stream.read(&mut buffer).await, Ok(4));
                    })
                },
            );
        });
        let path = |id: &str| -> Vec<String> {
            let word = alloc::format!("id={id}");
            events
                .iter()
                .filter(|text| text.split(' ').nth(1) == Some(word.as_str()))
                .map(|text| text.replace(&alloc::format!("{word} "), "").replace(&word, ""))
                .collect()
        };
        let id = |name: &str| {
            let text = named(&events, name)[0];
            String::from(text.split("id=").nth(1).unwrap())
        };
        // 14 + 20 + 20 bytes of headers.
        assert_eq!(path(&id("net.write")), ["net.write ", "net.tx bytes=58"]);
        assert_eq!(path(&id("net.read")), ["net.rx bytes=58", "net.read "]);
    }

    #[test]
    fn a_peer_that_takes_nothing_more_is_a_closed_window_in_the_trace() {
        let other = |guest: Guest, net: Net| async move {
            let stream = net.tcp_listen(7).unwrap().accept().await;
            // Until the sender has filled both buffers.
            guest.sleep(Duration::from_millis(300)).await;
            let mut buffer = [0; 4000];
            while let Ok(1..) = stream.read(&mut buffer).await {}
        };
        let events = undisturbed(|| {
            pair(
                other,
                |device| device,
                |guest, net| {
                    Box::pin(async move {
                        let stream = connect_to_other(&guest, &net).await;
                        stream.write_all(&bytes(0, 100_000)).await.unwrap();
                        stream.flush_acked().await.unwrap();
                    })
                },
            );
        });
        assert!(named(&events, "tcp.zero_window")[0].starts_with("tcp.zero_window remote=Bool(true)"));
        assert!(
            named(&events, "tcp.tx_queue").contains(&"tcp.tx_queue bytes=32768"),
            "{:?}",
            named(&events, "tcp.tx_queue")
        );
        assert_eq!(named(&events, "tcp.tx_queue").last(), Some(&"tcp.tx_queue bytes=0"));
        assert_eq!(named(&events, "tcp.retransmit"), [""; 0]);
    }
}
