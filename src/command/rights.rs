//! What probes, exporters and jobs need of this machine besides what is read of the host: sockets,
//! files, the docker socket. Each is tried as far as nothing is sent and nothing is written.

mod advice;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};
use socket2::{Domain, Protocol, Socket, Type};
use watchpost_discovery::docker::Endpoint;
use watchpost_discovery::sweep::link;
use watchpost_targets::file::destination;

use crate::base::fs;
use crate::base::text::tame;
use crate::command::style::{Style, column};
use crate::config::plan::{ExtensionSettings, Plan};
use crate::discover::{Job, Source};
use crate::probe::ReceiverPlan;
use crate::probe::address::Address;
use crate::probe::module::Prober;
use advice::{Around, Wish};

/// What may be done with a folder in which files are made.
const WRITE: Access = Access::WRITE_OK.union(Access::EXEC_OK);

/// Who needs something.
type Who = BTreeSet<String>;

/// What is needed, and by whom.
#[derive(Debug, Default, PartialEq)]
struct Needs {
    /// ICMP echoes, over IPv4 and IPv6.
    echo: [Who; 2],
    /// Connections, over IPv4 and IPv6.
    connect: [Who; 2],
    /// The kernel's neighbours.
    netlink: Who,
    /// Sockets of docker's engine.
    docker: BTreeMap<PathBuf, Who>,
    /// Files and folders that are read; `true`: one that may be missing.
    read: BTreeMap<(PathBuf, bool), Who>,
    /// Folders in which files are replaced.
    write: BTreeMap<PathBuf, Who>,
    /// Where what waits for exporters is kept, and the bytes that stay free there.
    queue: Option<(PathBuf, u64)>,
}

/// Tells what is needed and what of it is missing. `false`: something is.
pub(super) fn run(
    plan: Option<&Plan>,
    receivers: &[ReceiverPlan],
    style: Style,
    out: &mut String,
) -> bool {
    let needs = match plan {
        Some(plan) => Needs::of(plan, receivers),
        None => Needs::without_configuration(),
    };
    let rows = rows(&needs, &around());
    if !rows.is_empty() {
        let _ = writeln!(out, "What probes, exporters and jobs need:");
    }
    for row in &rows {
        let state = match (row.troubles.is_empty(), row.has) {
            (false, _) => style.bad("trouble"),
            (true, true) => style.good("good   "),
            (true, false) => style.faint("nothing"),
        };
        let _ = writeln!(out, "  {}{state}  {}", column(row.what, 12), tame(&row.how));
        for trouble in &row.troubles {
            let _ = writeln!(out, "      {}", tame(trouble));
        }
        for absent in &row.absent {
            let _ = writeln!(out, "      {}", style.faint(&tame(absent)));
        }
    }
    rows.iter().all(|row| row.troubles.is_empty())
}

impl Needs {
    /// What is probed when there is no configuration: this machine.
    fn without_configuration() -> Self {
        let who = || Who::from(["what runs without a configuration".to_owned()]);
        Self { echo: [who(), who()], connect: [who(), who()], ..Self::default() }
    }

    fn of(plan: &Plan, receivers: &[ReceiverPlan]) -> Self {
        let mut needs = Self::default();
        for receiver in receivers {
            needs.probes(receiver);
        }
        for receiver in &plan.receivers {
            for file in &receiver.files {
                // What is no pattern has been told.
                let files = watchpost_targets::expand_pattern(file).unwrap_or_default();
                // A target file is watched when it appears.
                files.into_iter().for_each(|file| needs.read(file, true, &receiver.name));
            }
        }
        for (name, exporter) in &plan.exporters {
            let files = exporter.settings.client().map(|client| client.files());
            files.into_iter().flatten().for_each(|file| needs.read(file, false, name));
        }
        for (name, extension) in &plan.extensions {
            if let ExtensionSettings::Auth(scheme) = &extension.settings {
                scheme.files().for_each(|file| needs.read(file.clone(), false, name));
            }
        }
        plan.discovery.iter().for_each(|job| needs.job(job));
        let storage = &plan.storage;
        needs.queue = storage.directory.clone().map(|at| (at, storage.limits.min_free));
        needs
    }

    fn probes(&mut self, receiver: &ReceiverPlan) {
        for target in receiver.targets.values() {
            let who = || receiver.name.clone();
            let sockets = match &target.module.prober {
                Prober::Icmp(_) => &mut self.echo,
                Prober::Http(_) | Prober::Tcp(_) => &mut self.connect,
            };
            let host = match &target.address {
                Address::Url(url) => url.host_str().unwrap_or_default(),
                Address::HostPort(host, _) | Address::Host(host) => host,
            };
            match host.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
                Ok(ip) => sockets[usize::from(ip.is_ipv6())].extend([who()]),
                // A name may have either.
                Err(_) => sockets.iter_mut().for_each(|family| family.extend([who()])),
            }
            for file in target.module.files() {
                self.read(file.clone(), false, &receiver.name);
            }
        }
    }

    fn job(&mut self, job: &Job) {
        let name = format!("job {}", job.name);
        match &job.source {
            Source::Services(settings) => {
                for path in &settings.paths {
                    self.read(path.clone(), false, &name);
                }
                if let Some(Endpoint::Unix(socket)) = &settings.docker {
                    self.docker.entry(socket.clone()).or_default().insert(name.clone());
                }
            }
            Source::Lan(settings) => {
                self.netlink.insert(name.clone());
                for range in &settings.sweep.ranges {
                    let ip6 = range.net().addr().is_ipv6();
                    self.echo[usize::from(ip6)].insert(name.clone());
                }
                let files = settings.names.leases.iter().chain(&settings.names.hosts);
                files.for_each(|file| self.read(file.clone(), false, &name));
            }
        }
        // It is replaced by a rename: its folder is what must be writable.
        let file = destination(&job.output.file);
        let folder = file.parent().filter(|folder| *folder != Path::new(""));
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        self.write.entry(folder).or_default().insert(name);
    }

    fn read(&mut self, path: PathBuf, may_be_missing: bool, who: &str) {
        self.read.entry((path, may_be_missing)).or_default().insert(who.to_owned());
    }
}

/// A row of what is told.
#[derive(Debug, Default)]
struct Row {
    what: &'static str,
    /// How it is had, or who needs it.
    how: String,
    has: bool,
    troubles: Vec<String>,
    absent: Vec<String>,
}

fn rows(needs: &Needs, around: &Around) -> Vec<Row> {
    let mut rows = Vec::new();
    for (ip6, (what, who)) in ["ICMP, IPv4", "ICMP, IPv6"].into_iter().zip(&needs.echo).enumerate()
    {
        rows.extend(socket(what, who, around, ip6 == 1, echo(ip6 == 1)));
    }
    for (ip6, (what, who)) in ["TCP, IPv4", "TCP, IPv6"].into_iter().zip(&needs.connect).enumerate()
    {
        let domain = if ip6 == 1 { Domain::IPV6 } else { Domain::IPV4 };
        let opened = Socket::new(domain, Type::STREAM, None).map(|_| "").map_err(|e| (e, None));
        rows.extend(socket(what, who, around, ip6 == 1, opened));
    }
    if !needs.netlink.is_empty() {
        let mut row = Row { what: "neighbours", how: list(&needs.netlink), ..Row::default() };
        match link::Kernel::open().and_then(|mut kernel| kernel.links()) {
            Ok(_) => row.has = true,
            Err(error) => row.troubles.push(told("netlink", &error, advice::netlink(&error))),
        }
        rows.push(row);
    }
    if !needs.docker.is_empty() {
        let mut row = Row { what: "docker", has: true, ..Row::default() };
        row.how = needs.docker.values().map(list).collect::<Vec<_>>().join(", ");
        for socket in needs.docker.keys() {
            if let Err(error) = docker(socket) {
                let advice = advice::docker(&error, around);
                row.troubles.push(told(&socket.display().to_string(), &error, advice));
            }
        }
        rows.push(row);
    }
    rows.extend(needs.queue.as_ref().map(|(directory, least)| queue(directory, *least, around)));
    let mut files = Row { what: "files", ..Row::default() };
    let read = needs.read.iter().map(|((path, may), who)| (path, *may, who, Wish::Read));
    let write = needs.write.iter().map(|(path, who)| (path, false, who, Wish::Write));
    for (path, may_be_missing, who, wish) in read.chain(write) {
        files.has = true;
        let access = match wish {
            Wish::Read if path.is_dir() => Access::READ_OK | Access::EXEC_OK,
            Wish::Read => Access::READ_OK,
            Wish::Write => WRITE,
        };
        let Err(error) = may(path, access) else { continue };
        let advice = advice::file(path, &error, wish, around);
        let line = told(&format!("{} ({})", path.display(), list(who)), &error, advice);
        if may_be_missing && error.kind() == io::ErrorKind::NotFound {
            files.absent.push(line);
        } else {
            files.troubles.push(line);
        }
    }
    let count = needs.read.len() + needs.write.len();
    files.how = format!("{count} file{} and folders", if count == 1 { "" } else { "s" });
    rows.extend((count > 0).then_some(files));
    rows
}

/// The row of the folder of the queues: what is missing of it is made.
fn queue(directory: &Path, least: u64, around: &Around) -> Row {
    let mut row =
        Row { what: "queue", how: directory.display().to_string(), has: true, ..Row::default() };
    let queues = directory.join("queue");
    let there = queues.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    // With the dot it has to be a folder.
    if let Err(error) = may(&there.join("."), WRITE) {
        let advice = advice::file(there, &error, Wish::Write, around);
        row.troubles.push(told(&there.display().to_string(), &error, advice));
    }
    let free = statvfs(there).map_or(u64::MAX, |there| there.f_bavail * there.f_frsize);
    if free < least {
        let (free, least) = (free >> 20, least >> 20);
        row.troubles.push(format!(
            "{}: {free} MiB are free, {least} MiB have to stay free (storage.queue.min_free_mib): what waits would be kept in memory",
            there.display()
        ));
    }
    row
}

/// The row of a kind of socket; `None`: nobody needs it.
fn socket(
    what: &'static str,
    who: &Who,
    around: &Around,
    ip6: bool,
    opened: Result<&'static str, (io::Error, Option<io::Error>)>,
) -> Option<Row> {
    if who.is_empty() {
        return None;
    }
    let mut row = Row { what, how: list(who), ..Row::default() };
    match opened {
        Ok(how) => {
            row.has = true;
            if !how.is_empty() {
                row.how = format!("{how}; {}", row.how);
            }
        }
        Err((first, raw)) => {
            // The second try says what is missing, the first one what is forbidden.
            let error = raw.as_ref().unwrap_or(&first);
            match advice::socket(&first, raw.as_ref(), ip6, around) {
                Some(advice) => row.troubles.push(told("socket", error, Some(advice))),
                None => row.absent.push("the kernel has no IPv6".to_owned()),
            }
        }
    }
    Some(row)
}

/// Opens a socket for echoes as probes and sweeps do: one for datagrams, else a raw one.
fn echo(ip6: bool) -> Result<&'static str, (io::Error, Option<io::Error>)> {
    let (domain, protocol) = match ip6 {
        true => (Domain::IPV6, Protocol::ICMPV6),
        false => (Domain::IPV4, Protocol::ICMPV4),
    };
    let open = |kind| Socket::new(domain, kind, Some(protocol));
    match open(Type::DGRAM) {
        Ok(_) => Ok("datagram sockets, by net.ipv4.ping_group_range"),
        Err(first) => match open(Type::RAW) {
            Ok(_) => Ok("raw sockets, by CAP_NET_RAW"),
            Err(raw) => Err((first, Some(raw))),
        },
    }
}

/// Whether the engine may be asked. It is not: where systemd listens for it, that would start it.
fn docker(socket: &Path) -> io::Result<()> {
    Socket::new(Domain::UNIX, Type::STREAM, None)?;
    may(socket, Access::READ_OK | Access::WRITE_OK)
}

fn may(path: &Path, access: Access) -> io::Result<()> {
    Ok(accessat(CWD, path, access, AtFlags::EACCESS)?)
}

/// What the kernel shows of the rights that we have.
fn around() -> Around {
    // A machine's own mapping has all users in one line.
    let map = fs::read_text(Path::new("/proc/self/uid_map"), 4096);
    let own_users = map.is_ok_and(|map| map.split_whitespace().nth(2) != Some("4294967295"));
    // Where `/proc` shows only processes, the kernel is believed to have it.
    let exists = |path: &str| Path::new(path).exists();
    let ip6 = exists("/proc/net/if_inet6") || !exists("/proc/stat");
    Around { own_users, ip6 }
}

fn list(who: &Who) -> String {
    who.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn told(what: &str, error: &io::Error, advice: Option<String>) -> String {
    match advice {
        Some(advice) => format!("{what}: {error}: {advice}"),
        None => format!("{what}: {error}"),
    }
}
