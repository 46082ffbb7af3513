//! `watchpost init`: a first configuration, from what can be seen on this machine. Nothing is sent.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use watchpost_discovery::find::is_compose;
use watchpost_discovery::sweep::link::Links;
use watchpost_discovery::sweep::range::{MAX_ADDRESSES, Range};

use crate::app::facts;
use crate::base::text::tame;
use crate::cli::Init;
use crate::command::{print, wrong_use};

/// Where people keep compose files.
const PLACES: [&str; 7] =
    ["/svc/services", "/srv", "/opt", "/etc/docker/compose", "/root", "/home", "/data"];
/// How deep they are looked for.
const DEPTH: usize = 4;
/// Folders and files that are looked at.
const MAX_ENTRIES: usize = 5_000;
/// The longest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// What can be seen.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    host: String,
    gateways: Vec<IpAddr>,
    resolvers: Vec<IpAddr>,
    /// Links and their subnets.
    subnets: Vec<(String, String)>,
    /// Folders below which there are compose files.
    compose: Vec<PathBuf>,
    /// Sensors of temperature.
    sensors: Vec<String>,
}

/// Writes the configuration; returns the exit code.
pub(super) fn run(options: &Init) -> anyhow::Result<u8> {
    let store = options.remote_write.as_deref();
    if let Some(why) = store.and_then(unfit) {
        return wrong_use(&format!("watchpost: --remote-write: {why}"));
    }
    // The daemon of the units writes below /var/lib alone.
    let system = options.output.as_ref().is_some_and(|path| path.starts_with("/etc"));
    let targets = if system { "/var/lib/watchpost/targets" } else { "targets" };
    let text = render(&look(), store, targets);
    let Some(path) = &options.output else {
        print(&text)?;
        return Ok(0);
    };
    if path.exists() && !options.force {
        let shown = path.display();
        return wrong_use(&format!("watchpost: {shown} is there already: --force replaces it"));
    }
    // Without --force there was no file, and there still must be none.
    let written = match options.force {
        true => watchpost_discovery::output::write(path, &text),
        false => watchpost_discovery::output::write_over(path, &text, None),
    };
    written.map_err(anyhow::Error::msg)?;
    let shown = tame(&path.display().to_string());
    print(&format!(
        "{shown} is written. See what it would do:\n  watchpost check --config {shown} --print\nand run it:\n  watchpost --config {shown}\n"
    ))?;
    Ok(0)
}

/// Why samples cannot be pushed there, if they cannot. A password would stand in a file that everybody can read.
fn unfit(text: &str) -> Option<String> {
    let url = match url::Url::parse(text) {
        Ok(url) => url,
        Err(why) => return Some(why.to_string()),
    };
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Some("a URL of http or https is expected".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        let advice = "leave user and password out, and give `headers:` or `auth:` in the file, by ${env:NAME}";
        return Some(advice.to_owned());
    }
    let odd = text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '"');
    odd.then(|| "it has blanks, quotes or control characters in it".to_owned())
}

fn look() -> Seen {
    let links = Links::read().unwrap_or_default();
    let subnets = links.own.iter().filter_map(|(net, number)| {
        let link = links.links.get(number).filter(|link| link.up && link.asks)?;
        let text = net.trunc().to_string();
        let range = Range::parse(&text).ok()?;
        let small = (2..=MAX_ADDRESSES).contains(&range.count());
        (small && range.refused(Some(&links)).is_none()).then(|| (link.name.clone(), text))
    });
    let routes = procfs::net::route().unwrap_or_default();
    let gateways = routes.iter().filter(|route| {
        route.destination.is_unspecified()
            && route.mask.is_unspecified()
            && !route.gateway.is_unspecified()
    });
    let mut gateways: Vec<IpAddr> = gateways.map(|route| route.gateway.into()).collect();
    gateways.dedup();
    let resolvers = crate::base::fs::read_regular(Path::new("/etc/resolv.conf"), MAX_BYTES);
    let compose = PLACES.iter().map(PathBuf::from).filter(|place| has_compose(place));
    Seen {
        host: facts::host_name(),
        gateways,
        resolvers: resolvers_of(&resolvers.unwrap_or_default()),
        subnets: subnets.collect(),
        compose: compose.collect(),
        sensors: sensors(Path::new("/sys/class")),
    }
}

fn resolvers_of(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let mut found: Vec<IpAddr> = lines.filter_map(|rest| rest.trim().parse().ok()).collect();
    found.dedup();
    found
}

/// Whether there is a compose file below a folder, not too deep.
fn has_compose(place: &Path) -> bool {
    let mut folders = vec![(place.to_owned(), 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            seen += 1;
            if seen > MAX_ENTRIES {
                return false;
            }
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_file() && is_compose(&entry.file_name().to_string_lossy()) {
                return true;
            }
            if kind.is_dir() && depth < DEPTH {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    false
}

/// What the chips with temperatures are called.
fn sensors(class: &Path) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (folder, file, wanted) in [("thermal", "type", "temp"), ("hwmon", "name", "temp1_input")] {
        let entries = std::fs::read_dir(class.join(folder)).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.path().join(wanted).exists()) {
            let name = crate::base::fs::read_regular(&entry.path().join(file), MAX_BYTES);
            found.extend(name.ok().map(|name| tame(name.trim())));
        }
    }
    found.sort();
    found.dedup();
    found
}

fn render(seen: &Seen, store: Option<&str>, targets: &str) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        let _ = writeln!(out, "{text}");
    };
    line(&format!(
        "# Watchpost on {}: a first configuration, from what was seen there.",
        tame(&seen.host)
    ));
    line(
        "# Every key: docs/CONFIG.md. What would be probed: watchpost check --config FILE --print",
    );
    line("");
    line("receivers:");
    line("  # Services, one a line; the file is read again when it changes:");
    line("  #   - targets:");
    line("  #       - http://127.0.0.1:3000/;Grafana;internal      # address;name;routing");
    let found = match seen.compose.is_empty() {
        true => String::new(),
        false => format!(", {targets}/found.yaml"),
    };
    line(&format!(
        "  probe/services: {{interval: 15s, target_files: [targets/pinghosts.yaml{found}]}}"
    ));
    line("  # Is it the network, or is it them? address;name;routing");
    line("  probe/internet:");
    line("    interval: 5s");
    line("    targets:");
    for gateway in &seen.gateways {
        line(&format!("      - {gateway};Gateway;internal"));
    }
    for resolver in &seen.resolvers {
        let host = if resolver.is_ipv6() { format!("[{resolver}]") } else { resolver.to_string() };
        line(&format!("      - \"{host}:53;Resolver {resolver};internal\""));
    }
    if seen.gateways.is_empty() && seen.resolvers.is_empty() {
        line("      - 127.0.0.1;loopback;internal      # no gateway and no resolver was seen");
    }
    line("      # - 1.1.1.1;Cloudflare DNS;external  # somebody outside");
    line("      # - https://example.org/;my site;external");
    for (link, subnet) in &seen.subnets {
        line(&format!(
            "  # All of {subnet} ({}), each minute, with names by the job `lan`:",
            tame(link)
        ));
        line(&format!(
            "  # probe/lan: {{interval: 60s, module: icmp, targets: [{subnet}], target_files: [{targets}/ping-lan.yaml], labels: {{routing: lan}}}}"
        ));
    }
    let thermal = match seen.sensors.is_empty() {
        true => String::new(),
        false => " thermal: ,".to_owned(),
    };
    line("  # This machine.");
    if !seen.sensors.is_empty() {
        line(&format!("  # Its temperatures: {}.", seen.sensors.join(", ")));
    }
    line("  host_metrics:");
    line("    collection_interval: 15s");
    line(&format!(
        "    scrapers: {{cpu: , load: , memory: , disk: , filesystem: , network: , paging: , sockets: , system: , pressure: ,{thermal} linux: }}"
    ));
    line("exporters:");
    line("  # For a scraper: http://127.0.0.1:9115/metrics/prometheus, with honor_labels: true.");
    line("  prometheus: {}");
    line("  # Pushed:");
    let (off, url) = store.map_or(("# ", "http://127.0.0.1:9090/api/v1/write"), |url| ("", url));
    line(&format!(
        "  {off}prometheus_remote_write: {{endpoint: {}}}",
        serde_json::json!(url.replace('$', "$$"))
    ));
    line("http: {listen: \"127.0.0.1:9115\"}");
    if !seen.compose.is_empty() || !seen.subnets.is_empty() {
        let idle = seen.compose.is_empty();
        line(if idle { "# discovery:" } else { "discovery:" });
    }
    if !seen.compose.is_empty() {
        let paths: Vec<String> =
            seen.compose.iter().map(|path| path.display().to_string()).collect();
        line(
            "  # What services are called: `domain: example.org` fills rules such as Host(`x.{domain:.*}`).",
        );
        line(&format!(
            "  services: {{compose: {{paths: [{}], labels: {{routing: internal}}}}, output: {{file: {targets}/found.yaml}}, interval: 1h}}",
            paths.join(", ")
        ));
    }
    if let Some((_, subnet)) = seen.subnets.first() {
        line(&format!(
            "  # lan: {{sweep: {{subnets: [{subnet}]}}, output: {{file: {targets}/ping-lan.yaml}}, interval: 1h}}"
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Environment, Sources, Strictness};

    /// What is written is a configuration, as it is and with the examples in it switched on.
    #[test]
    fn what_is_written_is_right() {
        let lan = vec![("eth0".to_owned(), "192.168.2.0/24".to_owned())];
        let whole = Seen {
            host: "pi".to_owned(),
            gateways: vec![[192, 168, 2, 1].into()],
            resolvers: vec![[192, 168, 2, 1].into(), "fd00::1".parse().unwrap()],
            subnets: lan.clone(),
            compose: vec!["/svc/services".into()],
            sensors: vec!["cpu_thermal".to_owned()],
        };
        let no_services = Seen { compose: Vec::new(), ..Seen { subnets: lan, ..Seen::default() } };
        let folder = tempfile::tempdir().unwrap();
        let store = "http://127.0.0.1:8428/api/v1/write";
        let all = [(whole, Some(store)), (no_services, None), (Seen::default(), None)];
        for (n, (seen, store)) in all.iter().enumerate() {
            let text = render(seen, *store, "targets");
            let pushed = text.contains("\n  prometheus_remote_write: {endpoint: \"http");
            assert_eq!(pushed, store.is_some(), "{text}");
            let on = text.replace("  # lan:", "  lan:").replace("  # probe/lan:", "  probe/lan:");
            let on = on.replace("# discovery:", "discovery:").replace("# - 1.1.1.1", "- 1.1.1.1");
            for (m, text) in [text, on].iter().enumerate() {
                let file = folder.path().join(format!("{n}-{m}.yaml"));
                std::fs::write(&file, text).unwrap();
                let sources =
                    Sources { configs: vec![file.display().to_string()], sets: Vec::new() };
                let loaded = config::load(&sources, &Environment::new(), Strictness::Run);
                assert!(loaded.plan.is_some(), "{:?}\n{text}", loaded.problems);
                // Target files come with the first run of their jobs.
                let told: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
                assert!(told.iter().all(|p| p.ends_with("watched when it appears")), "{told:?}");
            }
        }
    }

    /// The name of the host, of links and of folders are text of others.
    #[test]
    fn a_name_ends_no_comment() {
        let seen =
            Seen { host: "pi\nhttp: {listen: evil}\u{1b}[31m".to_owned(), ..Seen::default() };
        let text = render(&seen, None, "targets");
        assert!(!text.contains("\nhttp: {listen: evil}") && !text.contains('\u{1b}'), "{text}");
        let subnets = vec![("e\nx: y".to_owned(), "192.168.2.0/24".to_owned())];
        let text = render(&Seen { subnets, ..Seen::default() }, None, "targets");
        assert!(!text.contains("\nx: y"), "{text}");
    }

    #[test]
    fn nobody_is_sent_where_nothing_can_go() {
        for good in ["http://127.0.0.1:8428/api/v1/write", "https://[::1]/push?a=$b"] {
            assert_eq!(unfit(good), None, "{good}");
        }
        for bad in [
            "localhost:8428/api/v1/write",
            "ftp://127.0.0.1/x",
            "file:///etc/passwd",
            "",
            "http:",
            "http://user:secret@127.0.0.1/x",
            "http://127.0.0.1/x\nhttp: 1",
            "http://127.0.0.1/\"x",
        ] {
            let why = unfit(bad).unwrap_or_else(|| panic!("{bad} is taken"));
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn what_is_seen() {
        let text = "# nameserver 9.9.9.9\nnameserver 192.168.2.1\nnameserver fe80::1%eth0\nnameserver ::1\n";
        let expected: [IpAddr; 2] = [[192, 168, 2, 1].into(), "::1".parse().unwrap()];
        assert_eq!(resolvers_of(text), expected);
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert!(!has_compose(folder.path()));
        put("a/b/docker-compose.yml", "services: {}");
        assert!(has_compose(folder.path()));
        put("thermal/thermal_zone0/type", "cpu-thermal\n");
        put("thermal/thermal_zone0/temp", "48300\n");
        put("hwmon/hwmon0/name", "nvme\n");
        assert_eq!(sensors(folder.path()), ["cpu-thermal"]);
    }
}
