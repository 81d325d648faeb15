//! What tracing costs a server: a booted guest that is traced and collected, beside the same guest built without probes.
//!
//! ```text
//! cargo run --release -p fata-bench --example throughput -- [--connections 16] [--slices 200] [--boots 4] [--no-collector]
//! ```
//! Both guests run the `http` sample and are alive at the same time; a closed loop of keep-alive connections, made once and
//! before anything is counted, asks one of them for a slice of time and then the other. The slices take turns, and within
//! each pair the order changes, so that whatever disturbs the machine hits both alike. A pair gives one ratio; what is
//! printed is the median over the pairs, and the interval in which the true median lies with a probability of 95 % (order
//! statistics: no assumption on how the ratios spread).
//!
//! QEMU's emulation of one and the same image is up to a twentieth faster or slower from one start to the next, as its
//! translations lie in the caches. So both guests are booted several times, and what is measured of all is taken together.
//!
//! (A load that connects anew for every measurement measures something else: QEMU's user network listens with a backlog of
//! one, so connections made at once wait a second or three for their turn.)

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: guest\r\n\r\n";
const SLICE: Duration = Duration::from_millis(250);
/// How long a guest may take to answer its first request.
const BOOT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("throughput: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Request {
    connections: usize,
    pairs: usize,
    boots: usize,
    collect: bool,
}

fn run() -> Result<(), String> {
    let request = request(std::env::args().skip(1))?;
    let programs = Programs::build()?;
    // Where guests' memory is unless asked otherwise: in memory. A disk's would be written back now and then.
    let shared = PathBuf::from("/dev/shm");
    let base = if shared.is_dir() { shared } else { std::env::temp_dir() };
    let directory = base.join(format!("fata-throughput-{}", std::process::id()));
    std::fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let measured = measure(&request, &programs, &directory);
    // What cannot be removed is gone with the machine's next start.
    let _ = std::fs::remove_dir_all(&directory);
    measured
}

fn request(mut args: impl Iterator<Item = String>) -> Result<Request, String> {
    let mut request = Request { connections: 16, pairs: 100, boots: 4, collect: true };
    while let Some(arg) = args.next() {
        let mut number = || {
            let text = args.next().ok_or(format!("{arg} needs a number"))?;
            text.parse().ok().filter(|&n| n > 0).ok_or(format!("{arg}: {text:?} is not a number above 0"))
        };
        match arg.as_str() {
            "--connections" => request.connections = number()?,
            "--slices" => request.pairs = number()?.div_ceil(2),
            "--boots" => request.boots = number()?,
            "--no-collector" => request.collect = false,
            _ => {
                let known = "--connections N, --slices N, --boots N and --no-collector";
                return Err(format!("{arg:?} is not known: there are {known}"));
            }
        }
    }
    Ok(request)
}

/// What runs: the command, and the image with and without probes.
struct Programs {
    fata: PathBuf,
    traced: PathBuf,
    untraced: PathBuf,
}

impl Programs {
    fn build() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let own = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
        let target = own.ancestors().nth(3).ok_or("this program does not lie in a target directory")?.to_owned();
        let image = root.join("kernel/image/Cargo.toml");
        let build = |manifest: &Path, into: &Path, more: &[&str]| {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
            cargo.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]).arg(manifest);
            let status = cargo.arg("--target-dir").arg(into).args(more).status();
            match status {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => Err(format!("building {} ended with {status}", manifest.display())),
                Err(error) => Err(format!("cannot start cargo: {error}")),
            }
        };
        build(&root.join("Cargo.toml"), &target, &["-p", "fata"])?;
        let (with, without) = (target.join("kernel"), target.join("kernel-untraced"));
        build(&image, &with, &[])?;
        build(&image, &without, &["--no-default-features"])?;
        let (traced, untraced) = (with.join("release/fata-image"), without.join("release/fata-image"));
        Ok(Programs { fata: target.join("release/fata"), traced, untraced })
    }
}

/// A child that is ended with its value.
struct Running(Child);

impl Running {
    fn start(fata: &Path, directory: &Path, args: &[&OsStr]) -> Result<Self, String> {
        let mut command = Command::new(fata);
        command.env("FATA_DIR", directory).args(args);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.spawn().map(Running).map_err(|error| format!("cannot start {}: {error}", fata.display()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // `fata` ends its guest when it is asked to end; killing it would leave that to the kernel, which does it too.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// A guest that serves, and the connections to it.
struct Served {
    connections: Vec<TcpStream>,
    _guest: Running,
}

impl Served {
    fn boot(
        programs: &Programs,
        image: &Path,
        name: &str,
        directory: &Path,
        connections: usize,
    ) -> Result<Self, String> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(text)?.port();
        let publish = format!("{port}:80");
        let args = ["run", "--platform", "qemu", "--name", name, "--publish", &publish].map(OsStr::new);
        let guest = Running::start(
            &programs.fata,
            directory,
            &[&args[..], &[image.as_os_str(), "sample=http".as_ref()]].concat(),
        )?;
        let begun = Instant::now();
        while ask_once(port).is_err() {
            if begun.elapsed() > BOOT {
                return Err(format!("the guest {name:?} does not answer: is qemu-system-x86_64 installed?"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        // One after the other, each with an answer: none waits in the backlog.
        let connections = (0..connections).map(|_| ask_once(port)).collect::<Result<_, _>>().map_err(text)?;
        Ok(Served { connections, _guest: guest })
    }

    /// Requests per second over one slice, with one request open on every connection.
    fn slice(&mut self) -> Result<f64, String> {
        let begun = Instant::now();
        let mut answers = 0_u32;
        let mut buffer = [0; 4096];
        for connection in &mut self.connections {
            connection.write_all(REQUEST).map_err(text)?;
        }
        while begun.elapsed() < SLICE {
            for connection in &mut self.connections {
                answer(connection, &mut buffer).map_err(text)?;
                connection.write_all(REQUEST).map_err(text)?;
            }
            answers += u32::try_from(self.connections.len()).unwrap_or(0);
        }
        let rate = f64::from(answers) / begun.elapsed().as_secs_f64();
        for connection in &mut self.connections {
            answer(connection, &mut buffer).map_err(text)?;
        }
        Ok(rate)
    }
}

/// A connection whose first request was answered.
fn ask_once(port: u16) -> std::io::Result<TcpStream> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    connection.write_all(REQUEST)?;
    answer(&mut connection, &mut [0; 4096])?;
    Ok(connection)
}

/// Reads one answer: they are all alike, and end with the one line of their body.
fn answer(connection: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    let mut len = 0;
    loop {
        match connection.read(&mut buffer[len..])? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            more => len += more,
        }
        if buffer[..len].ends_with(b"unikernel\n") {
            return Ok(());
        }
    }
}

fn measure(request: &Request, programs: &Programs, directory: &Path) -> Result<(), String> {
    let mut pairs = Vec::new();
    let mut collected_bytes = 0;
    let per_boot = request.pairs.div_ceil(request.boots);
    for boot in 0..request.boots {
        let directory = directory.join(boot.to_string());
        std::fs::create_dir_all(&directory).map_err(text)?;
        let mut of_boot = measure_boot(request, per_boot, programs, &directory)?;
        println!("boot {}: ratio {:.3}", boot + 1, ratio_of(&of_boot).0);
        let size = |entry: std::fs::DirEntry| entry.metadata().map_or(0, |metadata| metadata.len());
        let trace = std::fs::read_dir(directory.join("trace"));
        collected_bytes += trace.into_iter().flatten().flatten().map(size).sum::<u64>();
        std::fs::remove_dir_all(&directory).map_err(text)?;
        pairs.append(&mut of_boot);
    }
    let (ratio, low, high) = ratio_of(&pairs);
    let rate = |of: fn(&(f64, f64)) -> f64| median(&mut pairs.iter().map(of).collect::<Vec<_>>());
    let (on, off) = (rate(|pair| pair.0), rate(|pair| pair.1));
    println!(
        "{} connections, {} pairs of {} ms, {} boots",
        request.connections,
        pairs.len(),
        SLICE.as_millis(),
        request.boots
    );
    println!("traced {on:.0} requests/s, untraced {off:.0} requests/s (medians)");
    println!("ratio {ratio:.3} (median of the pairs; 95 %: {low:.3} to {high:.3})");
    if request.collect {
        println!("collected meanwhile: {:.1} MiB", collected_bytes as f64 / 1_048_576.0);
    }
    Ok(())
}

/// Boots both guests, and gives how many requests a second each served, pair by pair: the traced one first.
fn measure_boot(
    request: &Request,
    pairs: usize,
    programs: &Programs,
    directory: &Path,
) -> Result<Vec<(f64, f64)>, String> {
    let mut traced = Served::boot(programs, &programs.traced, "traced", directory, request.connections)?;
    let mut untraced = Served::boot(programs, &programs.untraced, "untraced", directory, request.connections)?;
    let trace = directory.join("trace");
    let args = ["collect", "traced", "--keep", "200M", "-o"].map(OsStr::new);
    let _collector = match request.collect {
        true => Some(Running::start(&programs.fata, directory, &[&args[..], &[trace.as_os_str()]].concat())?),
        false => None,
    };
    for _ in 0..4 {
        traced.slice()?;
        untraced.slice()?;
    }
    let pair = |number: usize| {
        Ok(if number.is_multiple_of(2) {
            let on = traced.slice()?;
            (on, untraced.slice()?)
        } else {
            let off = untraced.slice()?;
            (traced.slice()?, off)
        })
    };
    (0..pairs).map(pair).collect()
}

/// The median of what the traced guest served of what the other did, and between which two values the true one lies.
fn ratio_of(pairs: &[(f64, f64)]) -> (f64, f64, f64) {
    let mut ratios: Vec<f64> = pairs.iter().map(|(on, off)| on / off).collect();
    let ratio = median(&mut ratios);
    let (low, high) = interval(&ratios);
    (ratio, low, high)
}

/// Sorts, and gives the middle.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Between which of the sorted values their true median lies, 95 times of 100: the ranks n/2 ± 0.98 √n.
fn interval(sorted: &[f64]) -> (f64, f64) {
    let half = 0.98 * (sorted.len() as f64).sqrt();
    let middle = sorted.len() as f64 / 2.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank, bounded by the next line")]
    let at = |rank: f64| sorted.get((rank.max(0.0) as usize).min(sorted.len() - 1)).copied().unwrap_or(f64::NAN);
    (at(middle - half), at(middle + half))
}

fn text(error: std::io::Error) -> String {
    format!("the load: {error}")
}
