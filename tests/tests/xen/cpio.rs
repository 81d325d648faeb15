//! An initramfs, written without root: the "newc" form of cpio, which the kernel unpacks.
//!
//! Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst. Each entry is a header of 13 numbers in 8 hex
//! digits, the name with a NUL, and the content, both padded to 4 bytes.

/// An archive that grows by what is added to it.
#[derive(Default)]
pub(crate) struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    pub(crate) fn folder(&mut self, path: &str) {
        self.entry(path, 0o040_755, (0, 0), &[]);
    }

    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, 0o100_755, (0, 0), content);
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.entry(path, 0o120_777, (0, 0), target.as_bytes());
    }

    /// Needed before the first program runs, which has its output there.
    pub(crate) fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, 0o020_600, (major, minor), &[]);
    }

    /// The archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        self.entries += 1;
        let (file_len, name_len) = (content.len(), path.len() + 1);
        self.bytes.extend(
            format!(
                "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{file_len:08x}{:08x}{:08x}{major:08x}{minor:08x}{name_len:08x}{:08x}",
                self.entries, 0, 0, 1, 0, 0, 0, 0
            )
            .bytes(),
        );
        self.bytes.extend(path.bytes().chain([0]));
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
