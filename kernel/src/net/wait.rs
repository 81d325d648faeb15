//! What a task waits for on the network, by name. Said by each poll that ends so, with the event of its end.

use fata_probe::wait;

use crate::executor::events::wait_for;

pub(super) fn read() {
    wait_for(wait!("tcp.read"));
}

pub(super) fn write() {
    wait_for(wait!("tcp.write"));
}

pub(super) fn accept() {
    wait_for(wait!("tcp.accept"));
}

pub(super) fn ack() {
    wait_for(wait!("tcp.ack"));
}

pub(super) fn connect() {
    wait_for(wait!("tcp.connect"));
}

pub(super) fn datagram() {
    wait_for(wait!("udp.read"));
}

pub(super) fn send_datagram() {
    wait_for(wait!("udp.write"));
}
