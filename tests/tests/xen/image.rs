//! What the machine boots: Xen, dom0's kernel, and dom0's initramfs, made of the packages' files.
//!
//! The initramfs holds [`PROGRAMS`] with all libraries that they name, [`MODULES`] with all modules that those need, what is built
//! here (`own_programs`), and `init.sh`. The packages have no `modules.dep`, so that the order of modules is found here, from what each says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fata_tests::image;

use super::cpio::Cpio;
use super::packages::{self, run};

const XEN: &str = "usr/lib/xen-4.17/bin";
/// From which folder of the packages, and what.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("bin", &["busybox"]),
    (XEN, &["xl", "xenstored", "xenconsoled", "xen-init-dom0", "libxl-save-helper", "vchan-socket-proxy", "lsevtchn"]),
    (XEN, &["xenconsole", "xenctx"]),
    ("usr/bin", &["xenstore", "curl", "iperf3"]),
];
/// Loaded at run time, and so named by no program.
const MORE_LIBRARIES: &[&str] = &["libgcc_s.so.1"];
/// In the order of loading, behind what each needs.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_console",
    "9pnet_virtio",
    "9p",
    "xenfs",
    "xen_privcmd",
    "xen_evtchn",
    "xen_gntdev",
    "xen_gntalloc",
    "bridge",
    "xen_netback",
];

/// The three files to boot.
pub(crate) struct Image {
    pub(crate) xen: PathBuf,
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
}

/// Makes the files in `cache`, or finds them there. Two test programs may do so at the same time.
pub(crate) fn build(cache: &Path) -> Image {
    let alone = fs::File::create(cache.join("lock")).unwrap();
    alone.lock().unwrap();
    let root = packages::unpacked(cache);
    let files = Image { xen: cache.join("xen"), kernel: cache.join("vmlinux"), initramfs: cache.join("initramfs") };
    if !files.xen.exists() || !files.kernel.exists() {
        unpack(&[], &fs::read(only(&root.join("boot"), "xen-4.17-amd64.gz")).unwrap(), "gzip", &files.xen);
        let bz_image = fs::read(only(&root.join("boot"), "vmlinuz-")).unwrap();
        unpack(&["--single-stream"], payload(&bz_image), "xz", &files.kernel);
    }
    // Cheap, and the only part that depends on what stands here. Another name, then a rename: a machine may be reading it.
    let new = cache.join("initramfs.new");
    fs::write(&new, initramfs(&root, &own_programs(cache))).unwrap();
    fs::rename(new, &files.initramfs).unwrap();
    files
}

/// The file in `folder` whose name begins so.
fn only(folder: &Path, begin: &str) -> PathBuf {
    let found = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found = found.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(begin));
    found.next().unwrap_or_else(|| panic!("the packages hold no {begin} in {}", folder.display()))
}

/// The compressed kernel in a bzImage. QEMU would boot the whole as well, and spend 5 s on unpacking it slowly.
///
/// Source: Linux, Documentation/arch/x86/boot.rst, `setup_sects`, `payload_offset` and `payload_length`.
fn payload(bz_image: &[u8]) -> &[u8] {
    let word = |at: usize| u32::from_le_bytes(bz_image[at..at + 4].try_into().unwrap()) as usize;
    let start = (usize::from(bz_image[0x1f1]) + 1) * 512 + word(0x248);
    // The last 4 bytes are the length of what comes out.
    &bz_image[start..start + word(0x24c) - 4]
}

fn unpack(options: &[&str], packed: &[u8], program: &str, to: &Path) {
    let new = to.with_extension("packed");
    fs::write(&new, packed).unwrap();
    let out = to.with_extension("new");
    let status = Command::new(program)
        .arg("-dc")
        .args(options)
        .stdin(Stdio::from(fs::File::open(&new).unwrap()))
        .stdout(Stdio::from(fs::File::create(&out).unwrap()))
        .status();
    assert!(status.is_ok_and(|status| status.success()), "{program} does not unpack {}", new.display());
    fs::remove_file(new).unwrap();
    fs::rename(out, to).unwrap();
}

/// What is tested, and the tests themselves, without what only a debugger reads: their names in dom0, and their files.
fn own_programs(cache: &Path) -> Vec<(&'static str, PathBuf)> {
    let tests = std::env::current_exe().unwrap();
    let programs = [("fata", image::slim_fata()), ("fata-image", image::image()), ("these-tests", &tests)];
    let stripped = programs.map(|(name, file)| {
        let stripped = cache.join(name);
        let status = Command::new("strip").arg("-o").arg(&stripped).arg(file).status();
        assert!(status.is_ok_and(|status| status.success()), "strip (package binutils) makes nothing of {file:?}");
        (name, stripped)
    });
    stripped.into()
}

fn initramfs(root: &Path, own: &[(&str, PathBuf)]) -> Vec<u8> {
    let mut cpio = Cpio::default();
    for folder in ["bin", "dev", "etc", "lib", "lib64", "modules", "proc", "root", "run", "share", "sys", "tmp", "var"]
        .into_iter()
        .chain(["dev/pts", "etc/xen", "etc/xen/scripts", "usr", "usr/lib", "usr/lib/xen-4.17", XEN, "var/lib"])
        .chain([
            "var/lib/xen",
            "var/lib/xenstored",
            "var/log",
            "var/log/xen",
            "var/log/xen/console",
            "var/run",
            "var/run/xen",
        ])
    {
        cpio.folder(folder);
    }
    cpio.character_device("dev/console", 5, 1);
    cpio.file("init", include_bytes!("init.sh"));
    cpio.file("etc/xen/scripts/vif-fata", include_bytes!("vif.sh"));

    let programs =
        PROGRAMS.iter().flat_map(|(folder, names)| names.iter().map(move |name| root.join(folder).join(name)));
    let programs: Vec<PathBuf> = programs.collect();
    for program in &programs {
        let name = program.file_name().unwrap().to_string_lossy();
        // libxl starts its helper by its full path.
        let folder = if name == "libxl-save-helper" { XEN } else { "bin" };
        cpio.file(&format!("{folder}/{name}"), &fs::read(program).unwrap());
    }
    for (name, program) in own {
        cpio.file(&format!("bin/{name}"), &fs::read(program).unwrap());
    }
    for name in ["read", "write", "list", "ls", "rm", "exists", "watch", "chmod"] {
        cpio.link(&format!("bin/xenstore-{name}"), "xenstore");
    }
    for (name, path) in libraries(root, programs) {
        cpio.file(&format!("lib/{name}"), &fs::read(path).unwrap());
    }
    cpio.link("lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-x86-64.so.2");
    let mut order = String::new();
    for module in modules(root) {
        let name = module.file_name().unwrap().to_string_lossy().into_owned();
        cpio.file(&format!("modules/{name}"), &fs::read(&module).unwrap());
        order += &format!("{name}\n");
    }
    cpio.file("modules/order", order.as_bytes());
    cpio.finish()
}

/// Every library that the programs need, by name.
fn libraries(root: &Path, mut files: Vec<PathBuf>) -> BTreeMap<String, PathBuf> {
    let folders =
        ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/lib/xen-4.17/lib/x86_64-linux-gnu", "lib64"]
            .map(|folder| root.join(folder));
    let find = |name: &str| {
        let mut places = folders.iter().map(|folder| folder.join(name));
        places.find(|path| path.exists()).unwrap_or_else(|| panic!("no package in the list holds the library {name}"))
    };
    let mut found: BTreeMap<String, PathBuf> =
        MORE_LIBRARIES.iter().map(|name| ((*name).to_owned(), find(name))).collect();
    files.extend(found.values().cloned());
    while let Some(file) = files.pop() {
        for name in needed(&file) {
            found.entry(name).or_insert_with_key(|name| {
                let path = find(name);
                files.push(path.clone());
                path
            });
        }
    }
    // The loader, which is a program's interpreter and a library's dependency.
    found.entry("ld-linux-x86-64.so.2".into()).or_insert_with_key(|name| find(name));
    found
}

/// The libraries that a program or library names.
pub(crate) fn needed(file: &Path) -> Vec<String> {
    let text = run(Command::new("readelf").arg("-dW").arg(file)).unwrap();
    let lines = text.lines().filter(|line| line.contains("(NEEDED)"));
    lines.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned())).collect()
}

/// Every module, each behind those that it needs.
fn modules(root: &Path) -> Vec<PathBuf> {
    let mut paths = BTreeMap::new();
    let mut folders = vec![root.join("lib/modules")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "ko") {
                let name = path.file_stem().unwrap().to_string_lossy().replace('-', "_");
                paths.insert(name, path);
            }
        }
    }
    let (mut order, mut seen) = (Vec::new(), BTreeSet::new());
    for module in MODULES {
        add_module(module, &paths, &mut seen, &mut order);
    }
    order
}

fn add_module(name: &str, paths: &BTreeMap<String, PathBuf>, seen: &mut BTreeSet<String>, order: &mut Vec<PathBuf>) {
    if !seen.insert(name.to_owned()) {
        return;
    }
    let path = paths.get(name).unwrap_or_else(|| panic!("the kernel's package holds no module {name}"));
    let text = run(Command::new("readelf").args(["-p", ".modinfo"]).arg(path)).unwrap();
    let depends = text.lines().find_map(|line| Some(line.split_once("depends=")?.1));
    for name in depends.unwrap_or("").split(',').filter(|name| !name.is_empty()) {
        add_module(&name.replace('-', "_"), paths, seen, order);
    }
    order.push(path.clone());
}
