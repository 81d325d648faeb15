fn main() {
    let mut args = std::env::args().skip(1);
    let out = args.next().unwrap();
    let spans: u64 = args.next().unwrap().parse().unwrap();
    let s = fata_model::synthetic::Synthetic { spans, ..Default::default() };
    let mut ingest = fata_model::ingest::Ingest::new(fata_model::ingest::Limits::default());
    ingest.metadata(&s.metadata()).unwrap();
    s.packets(|p| ingest.packet(p).is_ok());
    let t = ingest.finish();
    let from = args.next().map(|a| a.parse().unwrap());
    let to = args.next().map(|a| a.parse().unwrap());
    std::fs::write(out, fata_viewer::screenshot(t, "synthetic", from, to, Default::default()).unwrap()).unwrap();
}
