//! Somebody who is asked, and what is known of it so far.

use std::time::Duration;

use super::{GAP, Known, Port, Subject, Way};
use crate::sweep::link::{Belief, Mac};
use crate::sweep::{By, Host};

/// A port that is asked.
pub(super) struct Asked {
    pub(super) port: u16,
    pub(super) tries: u32,
    pub(super) flying: bool,
    pub(super) found: Option<Port>,
    pub(super) due: Duration,
}

/// Somebody about whom not all is known yet.
pub(super) struct Open {
    pub(super) number: u64,
    pub(super) subject: Subject,
    pub(super) since: Duration,
    pub(super) due: Duration,
    /// Echoes that were sent, and which were answered.
    pub(super) echoes: u32,
    pub(super) answered: u32,
    pub(super) sent: Duration,
    pub(super) rtt: Option<Duration>,
    pub(super) mac: Option<Mac>,
    pub(super) belief: Option<Belief>,
    /// Questions of the kernel: those of earlier rounds, those of this one, those before anybody was
    /// asked here, and when the last was seen.
    pub(super) before: u32,
    pub(super) now: u32,
    pub(super) earlier: u32,
    pub(super) questioned: Duration,
    /// Echoes sent when the card's address became known: what went before was never on the wire.
    pub(super) unheard: u32,
    /// How often an echo had no place in the kernel's table.
    pub(super) absent: u32,
    pub(super) ports: Vec<Asked>,
    /// Whether no echo can be sent to it.
    pub(super) unsendable: bool,
    pub(super) told: bool,
}

impl Open {
    /// Somebody who is asked from now on. `known`: what the kernel believed of it last.
    pub(super) fn new(
        number: u64,
        subject: Subject,
        ports: &[u16],
        known: Option<&Known>,
        now: Duration,
    ) -> Self {
        let asked = |port: &u16| Asked {
            port: *port,
            tries: 0,
            flying: false,
            found: None,
            due: Duration::ZERO,
        };
        // Somebody else asks for it already: those questions are not ours.
        let earlier = match known {
            Some((_, Belief::Asked(count), _)) => *count,
            _ => 0,
        };
        Self {
            number,
            subject,
            since: now,
            due: now,
            echoes: 0,
            answered: 0,
            sent: now,
            rtt: None,
            mac: None,
            belief: None,
            before: 0,
            now: earlier,
            earlier,
            questioned: now,
            unheard: 0,
            absent: 0,
            ports: ports.iter().map(asked).collect(),
            unsendable: false,
            told: false,
        }
    }

    /// How it is known that it is there.
    pub(super) fn by(&self) -> Option<By> {
        let spoke = |asked: &Asked| matches!(asked.found, Some(Port::Open | Port::Closed));
        if self.answered != 0 {
            Some(By::Icmp)
        } else if self.ports.iter().any(spoke) {
            Some(By::Tcp)
        } else if self.told || (self.mac.is_some() && self.belief == Some(Belief::Reachable)) {
            Some(By::Neighbour)
        } else {
            None
        }
    }

    /// Whether the kernel is still to say whether it is there.
    pub(super) fn is_sought(&self) -> bool {
        matches!(self.subject.way, Way::Near(_))
            && matches!(self.belief, None | Some(Belief::Asked(_) | Belief::Failed))
    }

    /// What the kernel believes now; `None`: it does not know it. Returns whether that is news.
    pub(super) fn believed(&mut self, known: Option<&Known>, now: Duration) -> bool {
        let before = (self.belief, self.mac, self.now);
        match known {
            Some((mac, belief, _)) => {
                if let Belief::Asked(count) = belief {
                    if *count < self.now {
                        // A new round.
                        self.before = self.before.saturating_add(self.now);
                    }
                    if *count != self.now {
                        self.now = *count;
                        self.questioned = now;
                    }
                }
                self.belief = Some(*belief);
                let trusted = matches!(belief, Belief::Reachable | Belief::Old);
                let mac = mac.filter(|_| trusted);
                if self.mac.is_none() && mac.is_some() && self.answered == 0 {
                    // The last one waited for this moment, and went out.
                    self.unheard = self.echoes.saturating_sub(1);
                }
                self.mac = mac.or(self.mac);
            }
            None if self.belief.is_some() => self.belief = Some(Belief::Failed),
            // It never came in: the kernel's table is full, or nothing can be sent.
            None if now > self.sent + GAP * 2 => {
                self.absent += 1;
                self.belief = Some(Belief::Failed);
            }
            None => {}
        }
        before != (self.belief, self.mac, self.now)
    }

    /// How often the kernel has asked for it.
    pub(super) fn questions(&self) -> u32 {
        self.before.saturating_add(self.now).saturating_sub(self.earlier)
    }

    /// Whether the kernel's table had no room for it.
    pub(super) fn is_homeless(&self) -> bool {
        self.by().is_none() && self.absent > 0 && self.questions() == 0
    }

    /// What is found out of it. `heard`: how long ago it told its card's address.
    pub(super) fn host(&self, heard: Option<Duration>) -> Host {
        let by = self.by();
        let way = !self.unsendable || self.ports.iter().any(|port| port.tries > 0);
        let open = self.ports.iter().filter(|asked| asked.found == Some(Port::Open));
        Host {
            address: self.subject.address,
            scope: self.subject.scope,
            by,
            asked: by.is_some() || (way && !self.is_homeless()),
            own: self.subject.way == Way::Own,
            rtt: self.rtt,
            mac: self.mac,
            pinged: self.echoes > 0 && !self.unsendable,
            heard: heard.filter(|_| by == Some(By::Neighbour)),
            ports: open.map(|asked| asked.port).collect(),
        }
    }
}
