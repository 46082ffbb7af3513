//! `watchpost sweep`: who is there on a network, as a table or as lines of JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio_util::sync::CancellationToken;
use watchpost_discovery::names::{Files, Names};
use watchpost_discovery::oui::Vendors;
use watchpost_discovery::sweep::link::Links;
use watchpost_discovery::sweep::range::Range;
use watchpost_discovery::sweep::{self, By, Failure, Found, Naming, Settings, Summary};
use watchpost_targets::label::HUMAN_NAME;

use crate::app::lookup::Known;
use crate::base::clock;
use crate::base::text::tame;
use crate::cli::{Global, Sweep};
use crate::command::style::{Style, column, latency};
use crate::command::{USAGE, plan_or_default, print, style, wrong_use};
use crate::config::Environment;
use crate::net::resolve::Resolver;

/// A sweep that takes longer than this shows how far it is.
const LONG: Duration = Duration::from_millis(1_500);
/// How often that is drawn at most.
const EVERY: Duration = Duration::from_millis(100);
/// Characters of the bar.
const BAR: usize = 30;
/// Characters of a name.
const NAME: usize = 24;

/// Sweeps, and returns the exit code.
pub(super) fn run(
    options: &Sweep,
    global: &Global,
    environment: &Environment,
) -> anyhow::Result<u8> {
    let Some(plan) = plan_or_default(global, environment) else { return Ok(USAGE) };
    if options.subnets.is_empty() {
        return wrong_use(&format!("watchpost: sweep needs a subnet{}", attached()));
    }
    let mut ranges = Vec::new();
    for text in &options.subnets {
        match Range::parse(text) {
            Ok(range) => ranges.push(range),
            Err(why) => return wrong_use(&format!("watchpost: {why}")),
        }
    }
    let mut settings = Settings::new(ranges);
    settings.ports.clone_from(&options.ports);
    settings.ports.sort_unstable();
    settings.effort = options.effort;
    settings.rate = options.rate;
    settings.force = options.force;
    let (names, vendors) = match written(options) {
        Ok(written) => written,
        Err(why) => return wrong_use(&format!("watchpost: {why}")),
    };
    let reverse =
        (!options.no_dns).then(|| Known::default().reverse(Resolver::new(plan.resolver.clone())));
    let naming = Naming { names, reverse };

    let colours = style(global.color, std::io::stdout().is_terminal(), environment);
    let stop = CancellationToken::new();
    let mut view = View {
        options,
        style: colours,
        vendors,
        wide: settings.ranges.iter().any(|range| range.net().addr().is_ipv6()),
        links: Links::read().unwrap_or_default(),
        began: clock::instant(),
        header: false,
        silent: 0,
        broken: None,
        stop: stop.clone(),
        progress: Progress::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result =
        runtime.block_on(sweep::sweep(&settings, &naming, stop.cancelled(), |found, total| {
            view.take(&found, total)
        }));
    view.progress.clear();
    match view.broken.take() {
        // Whoever does not read it to the end (`| head`) is no fault.
        Some(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(0),
        Some(error) => anyhow::bail!("standard output: {error}"),
        None => {}
    }
    match result {
        Ok(summary) => {
            if !options.json {
                print(&view.end(&summary))?;
            }
            tell(&summary.warnings);
            Ok(0)
        }
        Err(Failure::Refused(why)) => {
            wrong_use(&format!("watchpost: {why}; --force sweeps it all the same"))
        }
        Err(Failure::Impossible(why)) => wrong_use(&format!("watchpost: {why}")),
        Err(other) => Err(other.into()),
    }
}

fn tell(lines: &[String]) {
    #[allow(clippy::print_stderr, reason = "results go to stdout, the rest does not")]
    for line in lines {
        eprintln!("watchpost: {line}");
    }
}

/// The networks that could be meant.
fn attached() -> String {
    let links = Links::read().unwrap_or_default();
    let near = links.own.iter().filter_map(|(net, number)| {
        let link = links.links.get(number).filter(|link| link.up && !link.loopback)?;
        net.addr().is_ipv4().then(|| format!("{} ({})", net.trunc(), link.name))
    });
    let near: Vec<String> = near.collect();
    match near.is_empty() {
        true => "; this machine is attached to none".to_owned(),
        false => format!("; this machine is attached to {}", near.join(", ")),
    }
}

/// Names that are written down, and who made which cards.
fn written(options: &Sweep) -> Result<(Names, Option<Vendors>), String> {
    let mut own: BTreeMap<IpAddr, String> = BTreeMap::new();
    for path in &options.names {
        let content = watchpost_targets::read(path).map_err(|error| error.to_string())?;
        own.extend(content.targets.into_iter().filter_map(|target| {
            Some((target.address.parse().ok()?, target.labels.get(HUMAN_NAME)?.clone()))
        }));
    }
    let files = Files { leases: options.leases.clone(), hosts: None };
    let (names, problems) = Names::read(&files, &own);
    if let Some((path, why)) = problems.first() {
        return Err(format!("{}: {why}", path.display()));
    }
    let explain = |path: &std::path::PathBuf| {
        Vendors::read(path).map_err(|why| format!("{}: {why}", path.display()))
    };
    Ok((names, options.oui.as_ref().map(explain).transpose()?))
}

struct View<'o> {
    options: &'o Sweep,
    style: Style,
    vendors: Option<Vendors>,
    /// Addresses of IPv6 need room.
    wide: bool,
    links: Links,
    began: Instant,
    header: bool,
    /// Hosts that drop ICMP.
    silent: usize,
    /// Why nothing more can be written.
    broken: Option<std::io::Error>,
    /// Ends the sweep, when nobody reads it any more.
    stop: CancellationToken,
    progress: Progress,
}

impl View<'_> {
    fn take(&mut self, found: &Found, total: u64) {
        self.silent += usize::from(found.host.by == Some(By::Neighbour));
        let text = if self.options.json {
            format!("{}\n", self.json(found))
        } else if found.host.by.is_some() {
            self.row(found)
        } else {
            String::new()
        };
        if !text.is_empty() && self.broken.is_none() {
            self.progress.clear();
            let mut stdout = std::io::stdout().lock();
            let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
            if let Err(error) = written {
                self.broken = Some(error);
                self.stop.cancel();
            }
        }
        self.progress.step(total, found.host.by.is_some());
    }

    fn vendor(&self, found: &Found) -> Option<&str> {
        self.vendors.as_ref()?.of(found.host.mac?)
    }

    fn json(&self, found: &Found) -> serde_json::Value {
        let host = &found.host;
        json!({
            "address": host.address,
            // Who could not be asked is neither.
            "up": host.asked.then_some(host.by.is_some()),
            "by": host.by.map(By::word),
            "arp_age": host.heard.map(|ago| ago.as_secs()),
            "rtt": host.rtt.map(|rtt| rtt.as_secs_f64()),
            "mac": host.mac.map(|mac| mac.to_string()),
            "link": self.links.links.get(&host.scope).map(|link| &link.name),
            "mac_random": host.mac.map(|mac| mac.is_random() && !host.own),
            "vendor": self.vendor(found),
            "name": found.name.as_ref().map(|name| &name.text),
            "name_source": found.name.as_ref().map(|name| name.source.word()),
            "ports": host.ports,
        })
    }

    fn row(&mut self, found: &Found) -> String {
        let mut out = String::new();
        let address = if self.wide { 39 } else { 15 };
        let ports = !self.options.ports.is_empty();
        let asked: Vec<String> = self.options.ports.iter().map(u16::to_string).collect();
        let room = asked.join(" ").len().max(5);
        if !self.header {
            self.header = true;
            let mut title = format!(
                "{} {} {:>9}  {:<17}",
                column("ADDRESS", address),
                column("NAME", NAME),
                "RTT",
                "MAC"
            );
            if ports {
                let _ = write!(title, "  {}", column("PORTS", room));
            }
            let _ = writeln!(out, "{}", self.style.faint(title.trim_end()));
        }
        let host = &found.host;
        let name = found.name.as_ref().map_or("-", |name| &name.text);
        let rtt = host.rtt.map_or_else(String::new, latency);
        let card = host.mac.map_or_else(String::new, |mac| mac.to_string());
        let _ = write!(
            out,
            "{} {} {rtt:>9}  {card:<17}",
            column(&host.address.to_string(), address),
            column(name, NAME)
        );
        if ports {
            let open: Vec<String> = host.ports.iter().map(u16::to_string).collect();
            let _ = write!(out, "  {}", column(&open.join(" "), room));
        }
        let vendor = self.vendor(found).map(tame);
        let random = host.mac.is_some_and(|mac| mac.is_random()) && !host.own;
        let about = [
            host.own.then(|| "this machine".to_owned()),
            vendor,
            random.then(|| "random MAC".to_owned()),
            match host.by {
                // The kernel may believe an answer for half a minute.
                Some(By::Neighbour) => Some(match host.heard.map(|ago| ago.as_secs()) {
                    Some(ago) if ago > self.began.elapsed().as_secs() + 1 => {
                        format!("drops ICMP, answered ARP {ago} s ago")
                    }
                    _ => "drops ICMP, answers ARP".to_owned(),
                }),
                Some(By::Tcp) if host.pinged => Some("drops ICMP".to_owned()),
                _ => None,
            },
        ];
        let about: Vec<String> = about.into_iter().flatten().collect();
        let _ = write!(out, "  {}", self.style.faint(&about.join(", ")));
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }

    fn end(&self, summary: &Summary) -> String {
        let mut out = format!("{} of {} addresses are there", summary.up, summary.asked);
        if self.silent > 0 {
            let _ = write!(out, ", {} of them drop ICMP", self.silent);
        }
        let loss = &summary.loss;
        if loss.asked > 0 {
            let share = 100.0 * loss.lost as f64 / loss.asked as f64;
            let _ = write!(out, "; {share:.1} % of {} packets were lost", loss.asked);
        }
        let _ = writeln!(out, "; {:.2} s", summary.took.as_secs_f64());
        if summary.unasked > 0 {
            let _ = writeln!(
                out,
                "{} {} addresses could not be asked, for want of a way or of room in the kernel's neighbour table",
                self.style.doubtful("note:"),
                summary.unasked
            );
        }
        if let Some((mac, count)) = summary.proxy {
            let _ = writeln!(
                out,
                "{} {count} of them have the MAC {mac} and answer nothing else: a router may answer for them",
                self.style.doubtful("note:")
            );
        }
        out
    }
}

/// How far it is, on a terminal.
struct Progress {
    on: bool,
    began: Instant,
    drawn: Option<Instant>,
    visible: bool,
    seen: u64,
    up: u64,
}

impl Progress {
    fn new() -> Self {
        let on = std::io::stderr().is_terminal();
        Self { on, began: clock::instant(), drawn: None, visible: false, seen: 0, up: 0 }
    }

    fn step(&mut self, total: u64, up: bool) {
        self.seen += 1;
        self.up += u64::from(up);
        let now = clock::instant();
        let due = self.drawn.is_none_or(|drawn| now.duration_since(drawn) >= EVERY);
        if !self.on || now.duration_since(self.began) < LONG || !due {
            return;
        }
        self.drawn = Some(now);
        self.visible = true;
        let full = (self.seen * BAR as u64 / total.max(1)) as usize;
        let bar = "█".repeat(full.min(BAR)) + &"░".repeat(BAR - full.min(BAR));
        self.write(&format!("\r{bar} {} of {total}, {} are there\x1b[K", self.seen, self.up));
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.visible) {
            self.write("\r\x1b[K");
        }
    }

    fn write(&self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}
