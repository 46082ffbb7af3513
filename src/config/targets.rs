//! From targets to what is probed: files are read, hints resolved, addresses read by their module.
//! Run at start and whenever a target file changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use watchpost_targets::label::{HUMAN_NAME, INTERVAL_HINT, MODULE_HINT, TIMEOUT_HINT};
use watchpost_targets::{
    FileContent, Labels, Origin, ReadError, Target, expand_pattern, read, without_userinfo,
};

use crate::base::flight::Patient;
use crate::base::{clock, duration};
use crate::config::check::MIN_INTERVAL;
use crate::config::plan::{Inline, Modules, Plan, Receiver};
use crate::config::subnets;
use crate::probe::address;
use crate::probe::module::{Module, Prober};
use crate::probe::plan::{PlannedTarget, ReceiverPlan, TargetKey};

/// How long all files together may take to be read.
const PATIENCE: Duration = Duration::from_secs(3);

/// The timeout of a module that has none, unless the interval is shorter.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads target files, and remembers the last good content of each.
#[derive(Debug, Default)]
pub struct TargetReader {
    good: BTreeMap<PathBuf, FileContent>,
    /// The files of each pattern, when it was last looked at.
    known: BTreeMap<PathBuf, Vec<PathBuf>>,
    patterns: Patient<Result<Vec<PathBuf>, String>>,
    files: Patient<Result<FileContent, ReadError>>,
    /// Until when files are waited for in this reading.
    until: Option<Instant>,
}

/// What reading all targets gave.
#[derive(Debug, Default)]
pub struct Targets {
    /// What is to be probed.
    pub receivers: Vec<ReceiverPlan>,
    /// What was wrong, a line each, with its place. The rest is probed.
    pub problems: Vec<String>,
    /// The files that were looked at.
    pub files: Vec<PathBuf>,
    /// Whether one was not read because its file system did not answer in time.
    pub hang: bool,
}

impl TargetReader {
    /// Reads the targets of all receivers of a plan. A file that cannot be read keeps its last good
    /// content.
    ///
    /// Blocks, and not for long: a file that hangs is left out after a moment, and the others are read.
    pub fn read(&mut self, receivers: &[Receiver], plan: &Plan) -> Targets {
        self.until = Some(clock::instant() + PATIENCE);
        let mut targets = Targets::default();
        let mut wanted = BTreeSet::new();
        let mut taken = BTreeMap::new();
        for receiver in receivers {
            let planned = self.receiver(receiver, plan, &mut targets, &mut wanted, &mut taken);
            targets.receivers.push(planned);
        }
        self.good.retain(|path, _| wanted.contains(path));
        let patterns: BTreeSet<&PathBuf> = receivers.iter().flat_map(|r| &r.files).collect();
        self.known.retain(|pattern, _| patterns.contains(pattern));
        targets.files = wanted.into_iter().collect();
        targets
    }

    fn receiver(
        &mut self,
        receiver: &Receiver,
        plan: &Plan,
        targets: &mut Targets,
        wanted: &mut BTreeSet<PathBuf>,
        taken: &mut BTreeMap<(String, String, Labels), Origin>,
    ) -> ReceiverPlan {
        let mut found: Vec<Inline> = receiver.inline.clone();
        let files = found.len();
        for pattern in &receiver.files {
            let expanded = {
                let path = pattern.clone();
                self.patterns.read(pattern, self.until(), move || expand_pattern(&path))
            };
            let paths = match expanded {
                Some(Ok(paths)) => {
                    if paths.is_empty() {
                        targets.problems.push(format!("{}: no such file", pattern.display()));
                    }
                    self.known.insert(pattern.clone(), paths.clone());
                    paths
                }
                Some(Err(why)) => {
                    targets.problems.push(why);
                    continue;
                }
                None => {
                    targets.hang = true;
                    targets.problems.push(hangs(pattern));
                    self.known.get(pattern).cloned().unwrap_or_default()
                }
            };
            for path in paths {
                let listed = self.file(path.clone(), targets);
                found.extend(listed.map(|target| Inline { target, module: None }));
                wanted.insert(path);
            }
        }
        let members = subnets::members(&mut found, files, &receiver.labels, &mut targets.problems);
        let single = found.into_iter().map(|inline| (inline, None));
        let members = members.into_iter().map(|m| (m.inline, Some((m.name, m.expected, m.group))));
        let mut planned: BTreeMap<TargetKey, PlannedTarget> = BTreeMap::new();
        for (Inline { target, module }, member) in single.chain(members) {
            let shown = without_userinfo(&target.address);
            let one = plan_target(receiver, &plan.modules, &target, module.as_ref());
            let of_subnet = member.is_some();
            let one = one.map(|mut one| {
                if let Some((name, expected, subnet)) = member {
                    (one.name, one.expected) = (name, expected);
                    one.group.get_or_insert(subnet);
                }
                one
            });
            match one {
                Err(why) => targets.problems.push(format!("{}: {why}", target.origin)),
                Ok(one) => match planned.get(&one.key) {
                    // It is named by itself, too, which says more.
                    Some(_) if of_subnet => {}
                    Some(have) => targets.problems.push(format!(
                        "{}: {} is a target of {} already, at {}; this one is left out",
                        target.origin, shown, receiver.name, have.origin
                    )),
                    None => {
                        let series = (receiver.job.clone(), shown.clone(), one.labels.clone());
                        match taken.get(&series) {
                            Some(other) => targets.problems.push(format!(
                                "{}: {shown} would write the same series as the target at {other}; \
                                 this one is left out until it has a label of its own",
                                target.origin
                            )),
                            None => {
                                taken.insert(series, one.origin.clone());
                                planned.insert(one.key.clone(), one);
                            }
                        }
                    }
                },
            }
        }
        ReceiverPlan {
            name: receiver.name.clone(),
            job: receiver.job.clone(),
            vantage: plan.vantage.clone(),
            disabled: receiver.disabled.clone(),
            targets: planned,
        }
    }

    fn until(&self) -> Instant {
        self.until.unwrap_or_else(clock::instant)
    }

    fn file(
        &mut self,
        path: PathBuf,
        targets: &mut Targets,
    ) -> impl Iterator<Item = Target> + use<> {
        let until = self.until();
        let reading = path.clone();
        let content = match self.files.read(&path, until, move || read(&reading)) {
            None => {
                targets.hang = true;
                let kept = self.good.get(&path);
                let left = kept.map_or(0, |good| good.targets.len());
                targets.problems.push(format!("{}; its last {left} targets stay", hangs(&path)));
                kept
            }
            Some(Ok(content)) => {
                targets.problems.extend(content.problems.iter().map(ToString::to_string));
                self.good.insert(path.clone(), content);
                self.good.get(&path)
            }
            Some(Err(error)) => {
                let kept = self.good.get(&path);
                let then = match (&error, kept) {
                    (_, Some(good)) => format!("; its last {} targets stay", good.targets.len()),
                    (ReadError::Missing(_), None) => {
                        "; its targets are watched when it appears".to_owned()
                    }
                    (_, None) => "; none of its targets is watched".to_owned(),
                };
                targets.problems.push(format!("{error}{then}"));
                kept
            }
        };
        content.map(|content| content.targets.clone()).unwrap_or_default().into_iter()
    }
}

fn hangs(path: &Path) -> String {
    format!("{}: not read within {PATIENCE:?}: does its file system answer?", path.display())
}

/// Resolves the hints of a target and reads its address.
///
/// # Errors
/// A sentence that says what is wrong with the target.
pub fn plan_target(
    receiver: &Receiver,
    modules: &Modules,
    target: &Target,
    own: Option<&Arc<Module>>,
) -> Result<PlannedTarget, String> {
    let hint = |name: &str| target.hints.get(name).map(String::as_str);
    let span = |name: &str| {
        hint(name)
            .map(|text| duration::parse(text).map_err(|why| format!("{name}: {why}")))
            .transpose()
    };
    let module = match own {
        Some(module) => Arc::clone(module),
        None => {
            let name = hint(MODULE_HINT)
                .or(receiver.module.as_deref())
                .unwrap_or_else(|| address::default_module(&target.address));
            Arc::clone(modules.get(name).ok_or_else(|| format!("there is no module {name:?}"))?)
        }
    };
    let interval = span(INTERVAL_HINT)?.unwrap_or(receiver.interval);
    long_enough(interval)?;
    let timeout = span(TIMEOUT_HINT)?.or(receiver.timeout).or(module.timeout);
    if let Some(timeout) = timeout.filter(|timeout| *timeout > interval || timeout.is_zero()) {
        let (timeout, interval) = (duration::format(timeout), duration::format(interval));
        return Err(format!("the timeout {timeout} is not within the interval {interval}"));
    }
    let read = match module.prober {
        Prober::Http(_) => address::url(&target.address),
        Prober::Tcp(_) => address::host_port(&target.address),
        Prober::Icmp(_) => address::host(&target.address),
    }?;
    let mut labels = receiver.labels.clone();
    labels.retain(|name, _| !watchpost_targets::is_hint(name));
    labels.extend(target.labels.clone());
    Ok(PlannedTarget {
        key: TargetKey { address: target.address.clone(), module: module.name.clone() },
        address: read,
        timeout: timeout.unwrap_or(interval.min(DEFAULT_TIMEOUT)),
        module,
        interval,
        name: labels.get(HUMAN_NAME).cloned(),
        group: labels.get("group").cloned(),
        labels,
        expected: true,
        origin: target.origin.clone(),
    })
}

fn long_enough(interval: Duration) -> Result<(), String> {
    if interval < MIN_INTERVAL {
        return Err(format!("the interval {} is shorter than 1s", duration::format(interval)));
    }
    Ok(())
}

/// Whether what a discovery job has found will be probed, as far as that can be known before a
/// receiver reads it: its interval, and, where it names no module, the shape of its address.
///
/// # Errors
/// A sentence that says what is wrong with the target.
pub fn check_found(target: &Target) -> Result<(), String> {
    if let Some(text) = target.hints.get(INTERVAL_HINT) {
        long_enough(duration::parse(text).map_err(|why| format!("its interval: {why}"))?)?;
    }
    let text = &target.address;
    if target.hints.contains_key(MODULE_HINT) {
        return Ok(());
    }
    let read = if text.contains("://") {
        address::url(text)
    } else {
        let plain = address::host(text).or_else(|_| address::host_port(text));
        // A receiver's own module may ask it by HTTP.
        plain.or_else(|why| {
            if text.contains(":") && text.contains('/') { address::url(text) } else { Err(why) }
        })
    };
    read.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_checked() {
        let target = |address: &str, hints: &[(&str, &str)]| {
            let origin = Origin { file: "compose.yaml".into(), line: 1 };
            let hints = hints.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Target { address: address.to_owned(), labels: Labels::new(), hints, origin }
        };
        for address in ["https://a/x", "a:80", "[::1]:80", "::1", "a", "192.0.2.1"] {
            let found = target(address, &[(INTERVAL_HINT, "1s")]);
            assert_eq!(check_found(&found), Ok(()), "{address}");
        }
        let wrong =
            ["a:99999", "a:abc", "ftp://a", "https://a:99999", "a/b", "192.0.2.0/24", "a b"];
        for address in wrong {
            assert!(check_found(&target(address, &[])).is_err(), "{address}");
            let named = target(address, &[(MODULE_HINT, "mine")]);
            assert_eq!(check_found(&named), Ok(()), "a module may know it: {address}");
        }
        for interval in ["0s", "0", "999ms", "often", "30", "-5s", "99999999999999s"] {
            let hints = [(INTERVAL_HINT, interval), (MODULE_HINT, "mine")];
            assert!(check_found(&target("a:80", &hints)).is_err(), "{interval}");
        }
        let secret = check_found(&target("ftp://me:pw@a", &[])).unwrap_err();
        assert!(!secret.contains("pw"), "{secret}");
    }
}
