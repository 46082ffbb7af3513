//! What holds for any text: variables, rules, templates and target files.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use proptest::prelude::*;
use watchpost_discovery::interpolate::{Variables, env_file, fill};
use watchpost_discovery::job::{Settings, one_file};
use watchpost_discovery::output::{Field, Format, Output, Trust, render};
use watchpost_discovery::rule::{is_host, parse, places, version_1};
use watchpost_discovery::traefik_file::templates;
use watchpost_targets::label::MODULE_HINT;
use watchpost_targets::{Labels, Origin, Target, file};

fn environment() -> Variables {
    let pairs = [("A", "a".to_owned()), ("EMPTY", String::new()), ("LONG", "x".repeat(70_000))];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Pieces of a language one after the other, which come nearer to it than any text does.
fn pieces(all: &'static [&'static str]) -> impl Strategy<Value = String> {
    let piece =
        prop_oneof![9 => prop::sample::select(all).prop_map(str::to_owned), 1 => any::<String>()];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn target() -> impl Strategy<Value = Target> {
    let address = prop_oneof![3 => "https?://[a-z]{1,8}(\\.[a-z]{2})?(:[0-9]{2})?(/[a-z#:;]{0,3})?", 1 => any::<String>()];
    let text = || prop_oneof![3 => "[ -~]{0,12}", 1 => any::<String>()];
    let routing = prop::option::of(text());
    (address, text(), routing, prop::option::of("[a-z_;]{0,6}")).prop_map(
        |(address, name, routing, module)| {
            let mut labels = Labels::from([("humanname".to_owned(), name)]);
            labels.extend(routing.map(|routing| ("routing".to_owned(), routing)));
            let hints = module.map(|module| (MODULE_HINT.to_owned(), module)).into_iter().collect();
            Target { address, labels, hints, origin: Origin { file: "f".into(), line: 1 } }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn texts_with_variables(
        text in pieces(&["$", "{", "}", "$$", "${", "A", "EMPTY", "LONG", "NO", ":-", "-", ":+", ":?", "?", " ", "x", "é"])
    ) {
        let variables = environment();
        let filled = fill(&text, &|name| variables.get(name).cloned());
        prop_assert!(filled.text.len() <= (64 << 10) + 70_000 + text.len());
        prop_assert_eq!(&fill(&text.replace('$', "$$"), &|_| None).text, &text);
        let lines = text.replace(' ', "\n").replace('x', "\nA=\"");
        let _ = env_file(&lines, &variables);
    }

    #[test]
    fn rules(
        text in pieces(&["Host", "HostRegexp", "PathPrefix", "(", ")", "`a.example.org`", "`/x`", "`{domain:.*}`", ",", "&&", "||", "!", " ", "Host:a", ";", "\"", "`"])
    ) {
        let mut all = version_1(&text).unwrap_or_default();
        if let Ok(rule) = parse(&text) {
            match places(&rule, Some("example.net")) {
                Ok((places, _)) => {
                    prop_assert!((1..=64).contains(&places.len()));
                    all.extend(places);
                }
                Err(reason) => prop_assert!(!reason.to_string().is_empty()),
            }
        }
        for place in all {
            prop_assert!(is_host(&place.host), "{:?}", place);
            prop_assert!(place.path.is_empty() || place.path.starts_with('/'), "{:?}", place);
        }
    }

    #[test]
    fn templates_of_traefik(text in pieces(&["{{", "}}", "env ", "\"A\"", "`LONG`", "#", "\n", "-", " ", "x"])) {
        if let Ok(filled) = templates(&text, &environment()) {
            prop_assert!(text.contains("{{") || filled == text);
        }
    }

    #[test]
    fn compose_files(
        text in pieces(&["services:\n", "  a:\n", "    labels:\n", "      ", "    ports:\n", "- ", "traefik.http.routers.r.rule", ": ", "=", "Host(`$A`)\n", "caddy", "kuma.a.http.url", "watchpost.address", "a;b", "\"80:80\"\n", "    environment:\n", "VIRTUAL_HOST", "a.b\n", "${NO}", "&x ", "*x", "<<: "])
    ) {
        let mut settings = Settings::new(Vec::new());
        settings.ports = true;
        let report = one_file(&text, &settings, &environment());
        prop_assert!(report.services - report.services_found <= report.skipped.len());
        prop_assert_eq!(report.files + report.problems.len(), 1);
    }

    #[test]
    fn what_is_written_is_read_again(
        targets in prop::collection::vec(target(), 0..8),
        indent in prop::sample::select(&["  ", "    ", "      "][..]),
        comment in "[ -~]{0,20}",
        five in any::<bool>(),
        file_sd in any::<bool>(),
    ) {
        let all = [Field::Address, Field::HumanName, Field::Routing, Field::Switching, Field::Module];
        let (format, head) = match (file_sd, five) {
            (true, _) => (Format::FileSd, format!("# {comment}\n- targets: [by.hand]\n# M\n")),
            (false, five) => {
                let format = if five { Format::Pinghosts(all.to_vec()) } else { Format::default() };
                (format, format!("# {comment}\n- targets:  # x\n{indent}- by.hand;Hand\n{indent}# M\n"))
            }
        };
        let output = Output { file: "t.yaml".into(), keep_until: Some("# M".to_owned()), format };
        // A comment may hold the marker: then nothing stands above it.
        prop_assume!(!format!("# {comment}").contains("# M"));
        let rendered = render(&output, Some(&head), &targets, Trust::Whole).unwrap();
        prop_assert!(rendered.text.starts_with(&head), "the head is kept");
        let content = file::parse(&rendered.text, Path::new("t.yaml")).unwrap();
        prop_assert!(content.problems.is_empty(), "{:?}", content.problems);
        prop_assert_eq!(rendered.written + rendered.kept + rendered.inexpressible.len(), targets.len());
        let unsaid = |target: &&Target| rendered.inexpressible.iter().any(|(a, _)| *a == target.address);
        for target in targets.iter().filter(|target| !unsaid(target)) {
            let found = content.targets.iter().find(|found| found.address == target.address);
            prop_assert!(found.is_some(), "{:?} in {}", target, rendered.text);
        }
        let again = render(&output, Some(&rendered.text), &targets, Trust::Whole).unwrap();
        prop_assert_eq!(again.text, rendered.text);
    }
}
