//! The channel against servers that do as they should, and against those that write anything at all into the page.

use std::cell::Cell;
use std::fs::File;
use std::rc::Rc;

use super::*;

/// A page of memory, mapped twice: ours, and the domain's.
fn page() -> (WritablePage, Rc<WritablePage>) {
    let fd = rustix::fs::memfd_create("vchan", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let file = File::from(fd);
    file.set_len(4096).unwrap();
    let (ours, theirs) = (WritablePage::new(&file, 0).unwrap(), WritablePage::new(&file, 0).unwrap());
    theirs.store_u32(ORDERS, 10 | 11 << 16);
    theirs.store_u8(CLIENT_LIVE, WAITING);
    theirs.store_u8(SERVER_LIVE, CONNECTED);
    (ours, Rc::new(theirs))
}

/// A server that does one thing whenever it is called, and at last when the client waits.
struct Server<F: Fn()>(F);

impl<F: Fn()> Bell for Server<F> {
    fn notify(&self) {
        (self.0)();
    }

    fn wait(&self, _pause: Duration) {
        (self.0)();
    }
}

/// Takes one byte out of the left ring, and puts it and its like into the right one, if there is room for both.
fn echo_twice(page: &WritablePage) {
    if page.load_u8(CLIENT_LIVE) == GONE {
        return page.store_u8(CLIENT_LIVE, WAITING);
    }
    page.set_bits(CLIENT_TELLS, PUT_IN | TAKEN_OUT);
    let (taken, given) = (page.load_u32(0), page.load_u32(12));
    if taken != page.load_u32(4) && given.wrapping_sub(page.load_u32(8)) <= 2046 {
        let mut byte = [0];
        page.read(1024 + (taken & 1023) as usize, &mut byte);
        for index in [given, given.wrapping_add(1)] {
            page.write(2048 + (index & 2047) as usize, &byte);
        }
        page.store_u32(0, taken.wrapping_add(1));
        page.store_u32(12, given.wrapping_add(2));
    }
}

#[test]
fn bytes_arrive_in_order_wherever_the_indices_stand_and_however_often_the_rings_are_full() {
    for start in [0, 1000, u32::MAX - 5, 1 << 31] {
        let (ours, theirs) = page();
        for index in [0, 4, 8, 12] {
            theirs.store_u32(index, start);
        }
        let server = Rc::clone(&theirs);
        let mut channel = Channel::over(ours, Server(move || echo_twice(&server))).unwrap();
        assert!(channel.greet().unwrap());
        let sent: Vec<u8> = (0..5000u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
        let (mut put, mut taken) = (0, Vec::<u8>::new());
        while taken.len() < 2 * sent.len() {
            put += channel.put(&sent[put..]).unwrap();
            let mut bytes = [0; 700];
            let len = channel.take(&mut bytes).unwrap();
            taken.extend(&bytes[..len]);
            channel.wait(Duration::ZERO);
        }
        assert!(taken.chunks(2).map(|pair| [pair[0], pair[1]]).eq(sent.iter().map(|byte| [*byte; 2])));
        drop(channel);
        assert_eq!(theirs.load_u8(CLIENT_LIVE), WAITING, "the server was told that its client has gone");
    }
}

#[test]
fn a_client_that_died_without_a_word_makes_room_for_the_next_which_hears_nothing_of_its() {
    let (ours, theirs) = page();
    theirs.store_u8(CLIENT_LIVE, CONNECTED);
    theirs.store_u32(12, 7);
    let server = Rc::clone(&theirs);
    let mut channel = Channel::over(ours, Server(move || echo_twice(&server))).unwrap();
    assert!(!channel.greet().unwrap());
    assert!(channel.greet().unwrap());
    assert_eq!(channel.take(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn what_cannot_be_is_a_sentence() {
    let lies: [(usize, &[u8], &str); 9] = [
        (ORDERS, &[10, 0, 10, 0], "2^10 and 2^10"),
        (ORDERS, &[0, 0, 0, 0], "2^0 and 2^0"),
        (ORDERS, &[12, 0, 11, 0], "2^12 and 2^11"),
        (ORDERS, &[0xff, 0xff, 11, 0], "2^65535"),
        (CLIENT_LIVE, &[3], "its client is in the state 3"),
        (SERVER_LIVE, &[9], "its server is in the state 9"),
        (SERVER_LIVE, &[GONE], "has closed"),
        // Its indices, one too far.
        (0, &[1, 0, 0, 0], "taken out what nobody has put in"),
        (12, &[1, 8, 0, 0], "2049 bytes into a ring of 2048"),
    ];
    for (at, lie, sentence) in lies {
        let (ours, theirs) = page();
        let early = at == ORDERS || at == CLIENT_LIVE || at == SERVER_LIVE;
        if early {
            theirs.write(at, lie);
        }
        let said = Channel::over(ours, Server(|| ())).and_then(|mut channel| {
            channel.greet()?;
            theirs.write(at, lie);
            channel.put(b"ping\n")?;
            channel.take(&mut [0; 4096])
        });
        let said = said.unwrap_err().to_string();
        assert!(said.contains(sentence), "{lie:?} at {at}: {said}");
    }
}

#[test]
fn what_was_said_before_the_server_closed_is_still_heard() {
    let (ours, theirs) = page();
    let mut channel = Channel::over(ours, Server(|| ())).unwrap();
    assert!(channel.greet().unwrap());
    theirs.write(2048, b"bye");
    theirs.store_u32(12, 3);
    theirs.store_u8(SERVER_LIVE, GONE);
    let mut bytes = [0; 8];
    assert_eq!((channel.take(&mut bytes).unwrap(), &bytes[..3]), (3, &b"bye"[..]));
    assert!(matches!(channel.take(&mut bytes), Err(ChannelError::Closed)));
}

#[test]
fn whatever_a_server_writes_at_whatever_moment_the_client_takes_no_more_than_a_ring_holds() {
    let random = Rc::new(Cell::new(0x9e37_79b9_7f4a_7c15u64));
    let next = move || {
        // xorshift64 (Marsaglia).
        let mut x = random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        random.set(x);
        x
    };
    let (mut connected, mut refused) = (0, 0);
    for _ in 0..2_000 {
        let (ours, theirs) = page();
        let (server, random) = (Rc::clone(&theirs), next.clone());
        let vandal = move || {
            let [at, byte, much, ..] = random().to_le_bytes();
            // Mostly in the header, and often near to what would be right.
            server.write(usize::from(at % 24), &[if much < 128 { byte } else { byte % 3 }]);
        };
        let Ok(mut channel) = Channel::over(ours, Server(vandal)) else { unreachable!("the orders are right") };
        for _ in 0..20 {
            let mut bytes = [0; 4096];
            let result = match channel.greeted {
                false => channel.greet().map(usize::from),
                true => channel.put(&[7; 3000]).and_then(|put| {
                    assert!(put <= 1024, "{put}");
                    channel.take(&mut bytes)
                }),
            };
            connected += usize::from(channel.greeted);
            match result {
                Ok(len) => assert!(len <= 2048, "{len}"),
                Err(_) => refused += 1,
            }
            channel.wait(Duration::ZERO);
        }
    }
    assert!(connected > 1_000 && refused > 1_000, "{connected} and {refused}: the vandal tries nothing");
}
