//! Somebody who is asked, and what is known of it so far.

use std::time::Duration;

use super::{GAP, Port, Subject, Way};
use crate::sweep::By;
use crate::sweep::link::{Belief, Mac};

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
    pub(super) told: bool,
}

impl Open {
    /// Somebody who is asked from now on. `known`: what the kernel believed of it last.
    pub(super) fn new(
        number: u64,
        subject: Subject,
        ports: &[u16],
        known: Option<&(Option<Mac>, Belief)>,
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
            Some((_, Belief::Asked(count))) => *count,
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
    pub(super) fn believed(
        &mut self,
        known: Option<&(Option<Mac>, Belief)>,
        now: Duration,
    ) -> bool {
        let before = (self.belief, self.mac, self.now);
        match known {
            Some((mac, belief)) => {
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
}
