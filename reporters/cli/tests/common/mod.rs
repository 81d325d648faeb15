//! The command in a place of its own: a ring directory, guests that end with the test, what it prints.
#![allow(dead_code, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "../../../../tests/src/skipped.rs"]
pub(crate) mod skipped;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A ring directory of its own, and everything in it.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("fata-cli-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("rings")).unwrap();
        Place(dir)
    }

    pub(crate) fn fata(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fata"));
        command.args(args).current_dir(&self.0).env("FATA_DIR", self.0.join("rings"));
        command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY").stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.fata(args).output().unwrap()
    }

    /// A guest that ends with the test.
    pub(crate) fn guest(&self, args: &[&str]) -> Ends {
        Ends(self.fata(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// A web server on some free port.
    pub(crate) fn web(&self, name: &str) -> Ends {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        self.guest(&["run", "http", "--name", name, "--publish", &format!("{port}:80")])
    }

    pub(crate) fn wait_until_listed(&self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let list = text_of(&self.run(&["list"]).stdout);
            if list.contains(text) {
                return list;
            }
            assert!(Instant::now() < deadline, "no {text:?} in {list}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) struct Ends(pub(crate) Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn json(place: &Place, args: &[&str]) -> serde_json::Value {
    let output = place.run(args);
    assert!(output.status.success(), "{}", text_of(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One request on one connection.
pub(crate) fn get(port: u16) -> bool {
    let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}

/// What a process says on standard error until it ends.
pub(crate) fn last_words(mut process: Ends) -> String {
    let mut said = String::new();
    process.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(process.0.wait().unwrap().success(), "{said}");
    said
}
