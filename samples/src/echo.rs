//! Sends back whatever comes to port 7 (RFC 862), over IPv4 and IPv6: each datagram to whoever sent it, and of each connection
//! every byte until its client has no more.
//!
//! It serves until it is ended from outside. A datagram longer than 2 KiB comes back cut, as the network here brings none.

use alloc::format;
use alloc::vec;

use fata_kernel::net::{Listener, NetError, TcpStream};
use fata_kernel::{Guest, name};
use fata_probe::span;

const PORT: u16 = 7;
const PIECE_BYTES: usize = 2048;

pub(crate) async fn main(guest: Guest) {
    let bound = guest.net().udp_bind(PORT).and_then(|datagrams| Ok((datagrams, guest.net().tcp_listen(PORT)?)));
    let (datagrams, connections) = match bound {
        Ok(bound) => bound,
        Err(error) => return guest.log(&format!("echo: {error}")),
    };
    guest.spawn(name!("echo.accept"), accept(guest.clone(), connections));
    guest.log("echo: listening on port 7");
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let (len, from) = datagrams.recv_from(&mut piece).await;
        let _span = span!("echo.datagram", bytes = len);
        // Whoever cannot be reached any more does not wait for it.
        let _ = datagrams.send_to(&piece[..len], from).await;
    }
}

async fn accept(guest: Guest, connections: Listener) {
    loop {
        let stream = connections.accept().await;
        guest.spawn(name!("echo.connection"), async move {
            // A client that goes away in the middle is no error of ours.
            let _ = echo(stream).await;
        });
    }
}

async fn echo(stream: TcpStream) -> Result<(), NetError> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let len = stream.read(&mut piece).await?;
        if len == 0 {
            stream.close();
            return Ok(());
        }
        let _span = span!("echo.bytes", bytes = len);
        stream.write_all(&piece[..len]).await?;
    }
}
