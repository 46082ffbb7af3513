//! Any text is a compose file or an error, never a panic: each service is a target or has a reason,
//! and the targets make a file that is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost_discovery::interpolate::Variables;
use watchpost_discovery::job::{Settings, one_file};
use watchpost_discovery::output::{Format, Output, Trust, render};

fuzz_target!(|text: &str| {
    let mut settings = Settings::new(Vec::new());
    settings.domain = Some("example.net".to_owned());
    settings.ports = true;
    let environment = Variables::from([("A".to_owned(), "a".to_owned())]);
    let report = one_file(text, &settings, &environment);
    assert!(report.files == 1 || report.problems.len() == 1);
    assert!(report.services - report.services_found <= report.skipped.len());
    for format in [Format::default(), Format::FileSd] {
        let output = Output { file: "targets.yaml".into(), keep_until: None, format };
        let rendered =
            render(&output, None, &report.targets, Trust::Whole).expect("a new file is made");
        let again = render(&output, Some(&rendered.text), &report.targets, Trust::Whole);
        assert_eq!(again.expect("and made again").text, rendered.text);
        assert_eq!(rendered.written + rendered.inexpressible.len(), report.targets.len());
    }
});
