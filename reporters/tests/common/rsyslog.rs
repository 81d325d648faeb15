//! A real rsyslog, unprivileged and with its own configuration, for tests that count at the receiver.
//!
//! A line is `priority|time|host|app|task|message id|structured data|message`.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::skipped::skipped;
use super::wait_until;

/// An rsyslogd that writes what it receives, one line for each message, and is killed when this goes.
pub(crate) struct Rsyslog {
    dir: tempfile::TempDir,
    pub(crate) udp: u16,
    pub(crate) tcp: u16,
    pub(crate) tls: u16,
    process: Option<Child>,
}

impl Rsyslog {
    /// A file of its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `None` where rsyslog is not installed, which a run with CI=true does not accept.
    pub(crate) fn start() -> Option<Self> {
        let wanted = ["/usr/sbin/rsyslogd", "/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_ossl.so", "/usr/bin/openssl"];
        if let Some(missing) = wanted.iter().find(|path| !Path::new(path).exists()) {
            skipped(&format!("rsyslog, rsyslog-openssl or openssl is not installed: no {missing}"));
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let tls = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        certificates(dir.path());
        let mut server = Rsyslog { dir, udp, tcp, tls, process: None };
        let at = server.dir.path().display();
        let configuration = format!(
            r#"
            global(workDirectory="{at}" maxMessageSize="16k"
                DefaultNetstreamDriverCAFile="{at}/ca.pem" DefaultNetstreamDriverCertFile="{at}/cert.pem"
                DefaultNetstreamDriverKeyFile="{at}/key.pem")
            module(load="imudp") module(load="imptcp") module(load="imuxsock" SysSock.Use="off")
            module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
            input(type="imtcp" address="127.0.0.1" port="{tls}")
            input(type="imudp" address="127.0.0.1" port="{udp}")
            input(type="imptcp" address="127.0.0.1" port="{tcp}")
            input(type="imuxsock" Socket="{at}/log" RateLimit.Interval="0" UseSysTimeStamp="off")
            template(name="line" type="string"
                string="%pri%|%timereported:::date-rfc3339%|%hostname%|%app-name%|%procid%|%msgid%|%structured-data%|%msg%\n")
            action(type="omfile" file="{at}/out" template="line" asyncWriting="off" flushOnTXEnd="on")
            "#
        );
        std::fs::write(server.path("conf"), configuration).unwrap();
        server.run();
        Some(server)
    }

    /// Starts the process, again where it was ended, and waits until it listens.
    pub(crate) fn run(&mut self) {
        let child = Command::new("/usr/sbin/rsyslogd")
            .arg("-n")
            .arg("-f")
            .arg(self.path("conf"))
            .arg("-i")
            .arg(self.path("pid"))
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(self.path("errors")).unwrap())
            .spawn()
            .unwrap();
        self.process = Some(child);
        for port in [self.tcp, self.tls] {
            wait_until("rsyslog listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").arg(format!("-{name}")).arg(id).status().unwrap().success());
    }

    /// Ends the process by a signal.
    pub(crate) fn end(&mut self, signal: &str) {
        self.signal(signal);
        self.process.take().unwrap().wait().unwrap();
    }

    /// What it has written: a line for each message.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut text = std::fs::read(self.path("out")).unwrap_or_default();
        // The last may be under way.
        text.truncate(text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1));
        String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
    }

    /// The numbers that the messages `number N` say, in the order in which they arrived.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.lines().iter().filter_map(|line| line.rsplit_once("number ")?.1.parse().ok()).collect()
    }
}

/// An authority `ca.pem`, and a certificate of it for `localhost`; `other.pem` is an authority that has signed nothing.
fn certificates(dir: &Path) {
    let openssl = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for name in ["ca", "other"] {
        openssl(&format!("req -x509 {new} -keyout {name}.key -out {name}.pem -days 2 -subj /CN={name}"));
    }
    openssl(&format!("req {new} -keyout key.pem -out request.pem -subj /CN=localhost"));
    std::fs::write(dir.join("names"), "subjectAltName=DNS:localhost").unwrap();
    openssl("x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem");
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
