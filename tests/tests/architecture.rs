//! The table in ARCHITECTURE.md is the truth about which of our packages uses which.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

type Uses = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The rows of the table: package, folder, uses. A row that uses "anything" is not checked.
fn drawn() -> (Uses, BTreeMap<String, String>) {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (mut uses, mut folders) = (Uses::new(), BTreeMap::new());
    for line in text.lines().filter(|line| line.starts_with("| `fata")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let names =
            |cell: &str| cell.split(',').map(|name| name.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
        let package = names(cells[1]).remove(0);
        folders.insert(package.clone(), cells[2].trim_matches('`').to_owned());
        if cells[3] != "anything" {
            uses.insert(package, names(cells[3]).into_iter().filter(|name| !name.is_empty()).collect());
        }
    }
    (uses, folders)
}

/// What the manifests say: dependencies among our packages, those of tests left out.
fn built(manifest: &str) -> (Uses, BTreeMap<String, String>) {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--manifest-path"])
        .arg(root().join(manifest))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let root = root().canonicalize().unwrap();
    let (mut uses, mut folders) = (Uses::new(), BTreeMap::new());
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap().to_owned();
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned();
        folders.insert(name.clone(), folder.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
        let dependencies = package["dependencies"].as_array().unwrap();
        let ours = dependencies
            .iter()
            .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|name| name.starts_with("fata"));
        uses.insert(name, ours.map(str::to_owned).collect());
    }
    (uses, folders)
}

#[test]
fn the_drawing_of_the_rooms_is_what_cargo_builds() {
    let (drawn_uses, drawn_folders) = drawn();
    let (mut uses, mut folders) = built("Cargo.toml");
    let (image_uses, image_folders) = built("kernel/image/Cargo.toml");
    uses.extend(image_uses);
    folders.extend(image_folders);
    assert_eq!(drawn_folders, folders, "packages and folders: ARCHITECTURE.md on the left, Cargo on the right");
    for (package, drawn) in &drawn_uses {
        assert_eq!(drawn, &uses[package], "what {package} uses: ARCHITECTURE.md on the left, Cargo on the right");
    }
}

#[test]
fn nothing_uses_the_tests() {
    for (package, uses) in built("Cargo.toml").0 {
        assert!(!uses.contains("fata-tests"), "{package} uses the tests");
    }
}

#[test]
fn the_samples_know_no_platform() {
    for entry in std::fs::read_dir(root().join("samples/src")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let platform = text.lines().find(|line| {
            line.contains("cfg") && ["feature", "target", "unix", "linux"].iter().any(|word| line.contains(word))
        });
        assert_eq!(platform, None, "{}", path.display());
    }
}

#[test]
fn the_platform_is_chosen_in_one_place() {
    let platforms = ["feature = \"host\"", "feature = \"qemu\"", "feature = \"xen\""];
    let mut places = BTreeSet::new();
    let mut folders = vec![root().join("kernel/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if platforms.iter().any(|platform| std::fs::read_to_string(&path).unwrap().contains(platform)) {
                places.insert(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    // The crate's root only says that there is a `std`.
    assert_eq!(places.into_iter().collect::<Vec<_>>(), ["kernel/src/lib.rs", "kernel/src/platform/mod.rs"]);
}
