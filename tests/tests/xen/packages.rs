//! Debian's packages as files, without installing them: downloaded by name with `apt-get`, unpacked with `dpkg-deb`, both as
//! an ordinary user.
//!
//! They are kept in `target/xen`; a file `complete` beside them holds the list, so that another list begins anew. Where the
//! machine's own package lists do not know a package, or know one that its server no longer has, lists of our own are
//! fetched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What dom0 is made of, besides its kernel.
const PACKAGES: &[&str] = &[
    "xen-hypervisor-4.17-amd64",
    "xen-utils-4.17",
    "xenstore-utils",
    "libxenmisc4.17",
    "libxenstore4",
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxenhypfs1",
    "libxentoolcore1",
    "libxentoollog1",
    "libyajl2",
    "busybox-static",
    "libc6",
    "libgcc-s1",
    "libuuid1",
    "liblzma5",
    "libzstd1",
    "zlib1g",
    // The other end of the guests' network.
    "curl",
    "libcurl4",
    "libbrotli1",
    "libcom-err2",
    "libffi8",
    "libgmp10",
    "libgnutls30",
    "libgssapi-krb5-2",
    "libhogweed6",
    "libidn2-0",
    "libk5crypto3",
    "libkeyutils1",
    "libkrb5-3",
    "libkrb5support0",
    "libldap-2.5-0",
    "libnettle8",
    "libnghttp2-14",
    "libp11-kit0",
    "libpsl5",
    "librtmp1",
    "libsasl2-2",
    "libssh2-1",
    "libssl3",
    "libtasn1-6",
    "libunistring2",
    "iperf3",
    "libiperf0",
    "libsctp1",
];
/// The package whose one dependency is the kernel. (That for clouds cannot be a dom0.)
const KERNEL: &str = "linux-image-amd64";

/// The folder that holds all packages' files, as their root folder would.
pub(crate) fn unpacked(cache: &Path) -> PathBuf {
    let (root, complete) = (cache.join("root"), cache.join("complete"));
    let wanted = PACKAGES.join(" ");
    if fs::read_to_string(&complete).is_ok_and(|have| have == wanted) {
        return root;
    }
    for old in [&root, &cache.join("packages")] {
        // There need not be one.
        let _ = fs::remove_dir_all(old);
        fs::create_dir_all(old).unwrap();
    }
    if let Err(first) = download(cache, &[]) {
        let own = own_lists(cache);
        download(cache, &own).unwrap_or_else(|second| {
            panic!(
                "Debian's Xen packages cannot be downloaded: the test needs Debian 12's archive in the machine's apt sources, \
                 and the network.\nWith the machine's package lists: {first}\nWith fresh ones: {second}"
            )
        });
    }
    for package in fs::read_dir(cache.join("packages")).unwrap() {
        run(Command::new("dpkg-deb").arg("-x").arg(package.unwrap().path()).arg(&root)).unwrap();
    }
    fs::write(complete, wanted).unwrap();
    root
}

fn download(cache: &Path, options: &[String]) -> Result<(), String> {
    let depends = run(Command::new("apt-cache").args(options).args(["depends", KERNEL]))?;
    let kernel = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let kernel = format!("linux-image-{}", kernel.ok_or(format!("{KERNEL} depends on no kernel"))?);
    run(Command::new("apt-get")
        .args(options)
        .args(["-q", "download", &kernel])
        .args(PACKAGES)
        .current_dir(cache.join("packages")))?;
    Ok(())
}

/// Fetches package lists into the cache, and returns the options that make apt use them.
fn own_lists(cache: &Path) -> Vec<String> {
    let state = cache.join("apt");
    for folder in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(state.join(folder)).unwrap();
    }
    let options: Vec<String> = [("State::lists", "lists"), ("Cache", "cache")]
        .map(|(key, folder)| format!("-oDir::{key}={}", state.join(folder).display()))
        .into();
    // What this cannot fetch, the download says.
    let _ = run(Command::new("apt-get").args(&options).args(["-q", "update"]));
    options
}

/// Runs a program of the host's to its end; its output, or what it said on the way to failing.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program} does not start: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr)))
}
