//! Decides which service owns an address that several services name. A service behind a reverse proxy wins over a
//! service whose label merely names the address, so that nobody takes an address by naming it first.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchpost_targets::{Origin, Target};

use crate::address::normal;
use crate::service::Identity;
use crate::skipped::Skipped;
use crate::text;

/// Claims that were lost and are reported.
const MAX_LOST: usize = 5_000;

/// How much a source is believed, the best first.
fn rank(source: &str) -> u8 {
    match source {
        "traefik" | "caddy" | "nginx-proxy" | "traefik file" => 0,
        "ports" => 2,
        _ => 1,
    }
}

/// A service that claims addresses.
#[derive(Clone, Debug)]
pub(crate) struct Claimant {
    /// The service, or the router of a file.
    pub(crate) name: Arc<str>,
    /// The same one in a file and in the engine.
    pub(crate) identity: Option<Identity>,
    /// Whether the engine has told it.
    pub(crate) runs: bool,
}

#[derive(Debug)]
struct Claim {
    claimant: Claimant,
    source: &'static str,
    origin: Origin,
    /// Where its target is.
    at: usize,
}

/// A claim that another one has beaten.
#[derive(Debug)]
struct Lost {
    name: Arc<str>,
    origin: Origin,
    address: String,
}

/// The result of adding a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is a new one.
    New,
    /// It stands in place of another one, which this source had told.
    InPlaceOf(&'static str),
    /// Its address belongs to another one.
    Lost,
    /// There are too many.
    TooMany,
}

/// All claims of a job, by address.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    owners: BTreeMap<String, Claim>,
    lost: Vec<Lost>,
}

impl Claims {
    /// Adds a target to `targets`, at most `most`.
    pub(crate) fn add(
        &mut self,
        target: Target,
        source: &'static str,
        claimant: &Claimant,
        targets: &mut Vec<Target>,
        most: usize,
    ) -> Added {
        let address = normal(&target.address);
        let origin = target.origin.clone();
        let Some(owner) = self.owners.get_mut(&address) else {
            if targets.len() >= most {
                return Added::TooMany;
            }
            let claim = Claim { claimant: claimant.clone(), source, origin, at: targets.len() };
            targets.push(target);
            self.owners.insert(address, claim);
            return Added::New;
        };
        let one = claimant.identity.is_some() && claimant.identity == owner.claimant.identity;
        let have = &targets[owner.at];
        let equal = (&have.labels, &have.hints) == (&target.labels, &target.hints);
        let beats = rank(source) < rank(owner.source);
        // Replicas tell the same, and a file may be newer than what runs. Names of projects and services are labels that
        // anybody may copy: what takes an address away is reported in any case.
        let quiet = one && (equal || (!beats && claimant.runs != owner.claimant.runs));
        let (added, beaten) = if beats {
            let before = (owner.source, owner.claimant.name.clone(), owner.origin.clone());
            (owner.claimant, owner.source, owner.origin) = (claimant.clone(), source, origin);
            targets[owner.at] = target;
            (Added::InPlaceOf(before.0), Lost { name: before.1, origin: before.2, address })
        } else {
            (Added::Lost, Lost { name: Arc::clone(&claimant.name), origin, address })
        };
        if !quiet && self.lost.len() < MAX_LOST {
            self.lost.push(beaten);
        }
        added
    }

    /// Reports what was lost, each with the place of the winner. The address is left out: it may hold secrets.
    pub(crate) fn lost(&mut self) -> Vec<Skipped> {
        let told = |lost: Lost| {
            let owner = self.owners.get(&lost.address)?;
            let name = text::foreign(&owner.claimant.name);
            let (source, origin) = (owner.source, &owner.origin);
            Some(Skipped {
                service: lost.name.to_string(),
                file: lost.origin.file.to_string(),
                line: lost.origin.line,
                reason: format!("its address is that of {name} ({origin}, {source}), which has it"),
            })
        };
        std::mem::take(&mut self.lost).into_iter().filter_map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use watchpost_targets::Labels;

    use super::*;

    /// The services that are reported when a service claims an address in a file, and then one that runs.
    fn reported(in_file: &'static str, running: &'static str, service: &str) -> Vec<String> {
        let claimant = |service: &str, runs| Claimant {
            name: service.into(),
            identity: Some(Identity { project: "p".to_owned(), service: service.to_owned() }),
            runs,
        };
        let target = |name: &str| Target {
            address: "http://a.invalid".to_owned(),
            labels: Labels::from([("humanname".to_owned(), name.to_owned())]),
            hints: Labels::new(),
            origin: Origin { file: name.into(), line: 1 },
        };
        let (mut claims, mut targets) = (Claims::default(), Vec::new());
        claims.add(target("file"), in_file, &claimant("s", false), &mut targets, 9);
        claims.add(target("engine"), running, &claimant(service, true), &mut targets, 9);
        claims.lost().into_iter().map(|lost| lost.file).collect()
    }

    #[test]
    fn address_that_is_taken_away_is_always_reported() {
        assert_eq!(reported("kuma", "kuma", "s"), [""; 0], "the same service, which runs");
        assert_eq!(reported("kuma", "kuma", "other"), ["engine"]);
        // The names of project and service may be copies.
        assert_eq!(reported("kuma", "traefik", "s"), ["file"]);
    }
}
