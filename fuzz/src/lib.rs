//! What fuzz targets show, each as a function of bytes that panics when it is not so, with bytes to begin
//! from. cargo-fuzz runs them for as long as one likes; `tests/integration/fuzz.rs` runs them briefly.

pub mod answers;
pub mod docker;
pub mod made_up;
pub mod probed;
pub mod requests;
pub mod segments;
pub mod texts;

/// A fuzz target.
pub struct Target {
    /// Its name, which is that of its file.
    pub name: &'static str,
    /// Panics when these bytes show a fault.
    pub check: fn(&[u8]),
    /// Bytes to begin from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "answer_grpc", check: answers::grpc, seeds: answers::grpc_seeds },
    Target { name: "answer_http", check: answers::http, seeds: answers::http_seeds },
    Target { name: "answer_otlp", check: answers::otlp, seeds: answers::otlp_seeds },
    Target { name: "certificate", check: probed::certificate, seeds: probed::certificate_seeds },
    Target { name: "compose_file", check: texts::compose_file, seeds: texts::compose_seeds },
    Target {
        name: "compose_interpolation",
        check: texts::compose_interpolation,
        seeds: texts::interpolation_seeds,
    },
    Target { name: "docker_events", check: docker::events, seeds: docker::event_seeds },
    Target { name: "docker_list", check: docker::list, seeds: docker::list_seeds },
    Target { name: "ottl", check: texts::ottl, seeds: texts::ottl_seeds },
    Target { name: "pinghosts", check: texts::pinghosts, seeds: texts::pinghosts_seeds },
    Target { name: "redirect", check: probed::redirect, seeds: probed::redirect_seeds },
    Target { name: "remote_write", check: requests::remote_write, seeds: requests::seeds },
    Target { name: "segment", check: segments::any, seeds: segments::seeds },
    Target { name: "segment_contents", check: segments::contents, seeds: segments::content_seeds },
    Target { name: "segment_damaged", check: segments::damaged, seeds: made_up::seeds },
    Target { name: "traefik_rule", check: texts::traefik_rule, seeds: texts::rule_seeds },
    Target {
        name: "traefik_template",
        check: texts::traefik_template,
        seeds: texts::template_seeds,
    },
    Target { name: "written", check: requests::written, seeds: made_up::seeds },
];

/// The target of this name.
///
/// # Panics
/// When there is none.
pub fn check(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of the table").check)(bytes);
}

/// The text at the beginning of bytes.
fn text(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}
