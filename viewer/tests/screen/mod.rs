//! A screen that nobody sees: Xvfb, and the pixels on it.
//!
//! Without Xvfb whoever wants one is skipped and says so; with `CI=true` that is a failure.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Red, green and blue.
pub(crate) type Colour = [u8; 3];

/// A virtual screen of 1280 × 800 pixels; it goes dark when dropped.
pub(crate) struct Screen {
    xvfb: Child,
    number: u32,
    file: PathBuf,
}

impl Screen {
    /// A screen whose pixels lie in a file of `directory`. `None`, said aloud, where there is no Xvfb.
    pub(crate) fn open(directory: &Path) -> Result<Option<Self>, String> {
        std::fs::create_dir_all(directory).map_err(|error| error.to_string())?;
        let xvfb = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-fbdir"])
            .arg(directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let xvfb = match xvfb {
            Ok(child) => child,
            Err(_) if std::env::var("CI").as_deref() != Ok("true") => {
                println!("SKIPPED the viewer's window: Xvfb is not installed (apt-get install xvfb)");
                return Ok(None);
            }
            Err(error) => return Err(format!("Xvfb cannot be started (apt-get install xvfb): {error}")),
        };
        let mut screen = Screen { xvfb, number: 0, file: directory.join("Xvfb_screen0") };
        screen.number = display_number(&mut screen.xvfb)?;
        Ok(Some(screen))
    }

    /// What `DISPLAY` has to be for a window on it.
    pub(crate) fn display(&self) -> String {
        format!(":{}", self.number)
    }

    /// How many pixels of each colour there are now; none before the first picture.
    pub(crate) fn look(&self) -> Pixels {
        let mut counts = HashMap::new();
        for pixel in read_screen(&self.file).unwrap_or_default() {
            *counts.entry(pixel).or_default() += 1;
        }
        Pixels(counts)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        drop(self.xvfb.kill());
        drop(self.xvfb.wait());
    }
}

/// The pixels of one picture, by colour.
#[derive(PartialEq, Eq)]
pub(crate) struct Pixels(HashMap<Colour, usize>);

impl Pixels {
    /// What the picture should show at least and does not: `(what, colour, how many pixels)`.
    pub(crate) fn lacking(&self, expected: &[(&str, Colour, usize)]) -> Option<String> {
        expected.iter().find_map(|&(what, colour, least)| {
            let found = self.near(colour);
            (found < least)
                .then(|| format!("{what}: {found} pixels of {colour:?}, not {least}; {} colours in all", self.0.len()))
        })
    }

    /// Pixels of a colour, whatever the dithering made of it.
    fn near(&self, colour: Colour) -> usize {
        let alike = |other: &Colour| colour.iter().zip(other).all(|(a, b)| a.abs_diff(*b) <= 1);
        self.0.iter().filter(|(other, _)| alike(other)).map(|(_, count)| count).sum()
    }
}

/// The number that Xvfb writes when it is ready.
fn display_number(xvfb: &mut Child) -> Result<u32, String> {
    let mut text = String::new();
    let mut output = xvfb.stdout.take().ok_or("no output of Xvfb")?;
    let mut byte = [0];
    while !text.ends_with('\n') {
        match output.read(&mut byte) {
            Ok(1) => text.push(char::from(byte[0])),
            _ => return Err("Xvfb ended at once".into()),
        }
    }
    text.trim().parse().map_err(|_| format!("Xvfb said {text:?} instead of a display's number"))
}

/// The screen as Xvfb keeps it in a file, in the format of `xwd`: a header of big-endian words, a colour map, then rows of
/// four bytes per pixel.
fn read_screen(file: &Path) -> Option<Vec<Colour>> {
    let bytes = std::fs::read(file).ok()?;
    let word = |index: usize| {
        let bytes = bytes.get(index * 4..index * 4 + 4)?;
        usize::try_from(u32::from_be_bytes(bytes.try_into().ok()?)).ok()
    };
    let (header_bytes, width, height, row_bytes, colours) = (word(0)?, word(4)?, word(5)?, word(12)?, word(19)?);
    let start = header_bytes + colours * 12;
    let mut pixels = Vec::with_capacity(width * height);
    for row in 0..height {
        let from = start + row * row_bytes;
        for pixel in bytes.get(from..from + width * 4)?.chunks_exact(4) {
            // Little-endian: blue, green, red.
            pixels.push([*pixel.get(2)?, *pixel.get(1)?, *pixel.first()?]);
        }
    }
    Some(pixels)
}
