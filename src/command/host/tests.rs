use super::picture::bytes;
use super::*;

#[test]
fn bytes_as_people_read_them() {
    let texts: Vec<String> =
        [0.0, 1023.0, 1536.0, 25_276_514_304.0, 2e14].iter().map(|n| bytes(*n)).collect();
    assert_eq!(texts, ["0 B", "1023 B", "1.5 KiB", "23.5 GiB", "182 TiB"]);
}

/// Of an empty machine every cell says why it is empty.
#[test]
fn every_cell_says_something() {
    let picture = Picture::new(&[], &[], 1.0, std::iter::empty());
    for row in picture.rows() {
        for cell in [&row.utilization, &row.saturation, &row.errors] {
            assert!(!cell.text.is_empty(), "{}", row.resource);
        }
    }
    let text = draw(&picture, Style::new(false), usize::MAX);
    assert!(text.contains("RESOURCE") && text.contains("No temperatures"), "{text}");
    let narrow = draw(&picture, Style::new(false), 60);
    assert!(narrow.contains("CPU\n  utilization") && !narrow.contains("RESOURCE"), "{narrow}");
}

#[test]
fn this_machine_is_drawn() {
    let settings = Settings { wanted: Arc::new(everything()), ..Settings::default() };
    let kernel: Arc<dyn Kernel> = Arc::new(Real);
    let mut collector = Collector::new(&settings, Lane::Kernel, &kernel).expect("metrics");
    let before = clock::now();
    let first = collector.collect(before);
    let second = collector.collect(clock::now());
    let picture = Picture::new(&first, &second, 0.01, collector.troubles());
    let text = draw(&picture, Style::new(false), usize::MAX);
    for word in ["CPU", "Memory", "TCP", "File descriptors", "UTILIZATION"] {
        assert!(text.contains(word), "{word} is missing in\n{text}");
    }
}
