//! What a task waits for on the network, by name. Said by each poll that ends so, with the event of its end.

use crate::executor::events::wait_for;
use crate::name;

pub(super) fn read() {
    wait_for(name!("tcp.read"));
}

pub(super) fn write() {
    wait_for(name!("tcp.write"));
}

pub(super) fn accept() {
    wait_for(name!("tcp.accept"));
}

pub(super) fn ack() {
    wait_for(name!("tcp.ack"));
}

pub(super) fn connect() {
    wait_for(name!("tcp.connect"));
}

pub(super) fn datagram() {
    wait_for(name!("udp.read"));
}

pub(super) fn send_datagram() {
    wait_for(name!("udp.write"));
}
