//! What a run of a job costs: compose files and their `.env` files read, and the target file rendered.
//!
//! ```text
//! cargo bench -p watchpost-discovery             # some seconds
//! ```
//!
//! The tree has 1,000 folders, each with a compose file of three services with labels of traefik (a
//! router with a variable in its rule, one with two hosts and a path, and a database without any) and
//! an `.env` file. It is made anew in a temporary folder and read once before it is measured, so that
//! it is in the page cache. With WATCHPOST_INPUTS the corpus of real files is measured, too.
//!
//! CPU time of the one thread that does it, and wall time: medians of rounds, with the extremes.
//! Nothing is gated: a bench tells, it does not judge.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use watchpost_discovery::interpolate::Variables;
use watchpost_discovery::job::{Report, Settings, compose};
use watchpost_discovery::output::{Format, Output, Rendered, Trust, render};

const FILES: usize = 1_000;
const ROUNDS: usize = 21;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..FILES {
        tree(&folder.path().join(format!("svc/s{n:04}")), n);
    }
    let (report, rendered) = job(folder.path());
    assert_eq!((report.files, report.services, rendered.written), (FILES, 3 * FILES, 3 * FILES));
    measure("1,000 compose files", folder.path(), "goal: at most 1,000 ms");
    match std::env::var_os("WATCHPOST_INPUTS") {
        Some(inputs) => measure("the corpus", &PathBuf::from(inputs).join("compose"), ""),
        None => println!("the corpus: skipped, WATCHPOST_INPUTS is not set"),
    }
}

/// A folder as a home lab has them.
fn tree(folder: &Path, n: usize) {
    fs::create_dir_all(folder).unwrap();
    let env = format!("# of this service\nDOMAIN=example.net\nNAME=app{n}\nPASSWORD='x$y'\n");
    fs::write(folder.join(".env"), env).unwrap();
    let text = format!(
        "x-common: &common\n  restart: unless-stopped\n  environment: {{TZ: Europe/Berlin, PUID: 1000}}\n  \
         networks: [proxy]\n\nservices:\n  app:\n    <<: *common\n    image: example/app:${{VERSION:-1.{n}}}\n    \
         depends_on: [db]\n    volumes:\n      - ./data:/data\n    labels:\n      - traefik.enable=true\n      \
         - traefik.http.routers.app{n}.rule=Host(`${{NAME}}.${{DOMAIN}}`)\n      \
         - traefik.http.routers.app{n}.entrypoints=websecure\n      - traefik.http.routers.app{n}.tls=true\n      \
         - traefik.http.services.app{n}.loadbalancer.server.port=8080\n  api:\n    <<: *common\n    \
         image: example/api\n    ports: [\"{}:80\"]\n    labels:\n      \
         traefik.http.routers.api{n}.rule: \"(Host(`api{n}.${{DOMAIN}}`) || Host(`rest{n}.${{DOMAIN}}`)) && PathPrefix(`/v1`)\"\n      \
         traefik.http.routers.api{n}.entrypoints: websecure\n      traefik.http.routers.api{n}.tls.certresolver: le\n  \
         db:\n    <<: *common\n    image: postgres:17\n    healthcheck:\n      test: [CMD, pg_isready]\n      interval: 10s\n\n\
         networks:\n  proxy: {{external: true}}\n",
        8_000 + n
    );
    fs::write(folder.join("docker-compose.yml"), text).unwrap();
}

/// A whole run, as `watchpost discover --dry-run` does it.
fn job(path: &Path) -> (Report, Rendered) {
    let mut settings = Settings::new(vec![path.to_owned()]);
    settings.domain = Some("example.net".to_owned());
    let environment = Variables::from([("HOME".to_owned(), "/root".to_owned())]);
    let report = compose(&settings, &environment);
    let marker = "    # SVC START";
    let output = Output {
        file: "pinghosts.yaml".into(),
        keep_until: Some(marker.to_owned()),
        format: Format::default(),
    };
    let old = format!("- targets:\n    - 192.168.1.1;Router;internal\n{marker}\n");
    let rendered = render(&output, Some(&old), &report.targets, Trust::Whole).unwrap();
    (report, rendered)
}

/// Milliseconds of CPU that this thread has had.
fn cpu() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

fn measure(what: &str, path: &Path, goal: &str) {
    let (mut cpus, mut walls) = (Vec::new(), Vec::new());
    let mut last = None;
    for _ in 0..ROUNDS {
        let (cpu_before, begin) = (cpu(), Instant::now());
        let done = job(path);
        walls.push(begin.elapsed().as_secs_f64() * 1e3);
        cpus.push(cpu() - cpu_before);
        last = Some(done);
    }
    let (report, rendered) = last.unwrap();
    println!(
        "{what}: {} files, {} services, {} targets written",
        report.files, report.services, rendered.written
    );
    for (name, mut all) in [("CPU", cpus), ("wall", walls)] {
        all.sort_by(f64::total_cmp);
        let (least, median, most) = (all[0], all[ROUNDS / 2], all[ROUNDS - 1]);
        println!("  {name:4} {median:8.1} ms ({least:.1} to {most:.1}) {goal}");
    }
}
