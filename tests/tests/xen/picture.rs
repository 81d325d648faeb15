//! `ssh dom0 fata collect DOMAIN -o - | fata view -`: what a desktop shows of a domain that runs elsewhere. What ssh would carry
//! comes here through the share, as it grows.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use fata_tests::image;

use super::command::{PATIENCE, brisk};
use super::dom0::Running;
use super::turns::with_dom0;

/// So much of the stream, which holds each of the guest's phases.
const STREAM_BYTES: usize = 200_000;

/// What must be in the picture: the viewer's colours in the dark, of how many pixels at least.
const COLOURS: [(&str, [u8; 3], usize); 6] = [
    ("the canvas", [20, 22, 27], 100_000),
    ("panels", [27, 29, 35], 50_000),
    ("headings", [31, 34, 41], 2_000),
    ("tasks that run", [66, 184, 106], 10),
    ("the spans in which it grows, and replaces what it holds", [150, 154, 226], 100),
    // One pixel wide where the machine was quick.
    ("the span in which it punches holes", [130, 138, 208], 10),
];

/// Hands on what the running script writes into `file`, as a pipe would, until so much has come; then nobody reads any more.
fn carry(script: &Running<'_>, mut file: File, mut to: ChildStdin) -> io::Result<usize> {
    let (mut carried, mut bytes) = (0, vec![0; 65536]);
    while carried < STREAM_BYTES {
        let len = file.read(&mut bytes)?;
        if len == 0 {
            assert!(!script.has_ended(), "{}", script.text());
            std::thread::sleep(Duration::from_millis(20));
        }
        to.write_all(&bytes[..len])?;
        carried += len;
    }
    Ok(carried)
}

#[test]
fn the_picture_of_a_stream_that_comes_from_dom0_shows_what_the_domain_did() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let _guest = brisk(dom0, "afar");
    let file = File::create_new(dom0.share().join("afar-stream")).unwrap();
    drop(file);
    let collecting = dom0.start("exec fata collect afar -o - --quiet >>afar-stream");
    let picture = dom0.share().join("afar.png");
    let mut viewer = Command::new(image::fata());
    viewer.args(["view", "-", "--width", "1600", "--height", "900", "--screenshot"]).arg(&picture);
    viewer.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY").stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut viewer = viewer.spawn().unwrap();
    let stream = File::open(dom0.share().join("afar-stream")).unwrap();
    carry(&collecting, stream, viewer.stdin.take().unwrap()).unwrap();
    collecting.kill();
    let said = viewer.wait_with_output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(collecting.wait(PATIENCE).code, 0);

    let mut picture = png::Decoder::new(io::BufReader::new(File::open(picture).unwrap())).read_info().unwrap();
    let mut pixels = vec![0; picture.output_buffer_size().unwrap()];
    let info = picture.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height, info.color_type), (1600, 900, png::ColorType::Rgba));
    for (what, colour, at_least) in COLOURS {
        let is_near = |pixel: &[u8]| pixel.iter().zip(colour).all(|(have, want)| have.abs_diff(want) <= 1);
        let count = pixels.chunks_exact(4).filter(|pixel| is_near(&pixel[..3])).count();
        println!("measured: {what}: {count} pixels");
        assert!(count >= at_least, "{what}: {count} pixels, not {at_least}");
    }
}
