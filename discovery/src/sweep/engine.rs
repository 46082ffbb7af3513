//! What a sweep asks whom, and when it has heard enough. Pure: time and answers are handed in, what is
//! to be sent comes out, so that a sweep of any network can be played through without one.

mod open;
mod words;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::iter::Peekable;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use self::open::Open;
pub use self::words::{Ask, Known, Pace, Port, Subject, Tell, Way};
use super::chance::{Effort, Loss};
use super::link::Belief;

/// Addresses that are asked at once at most, wherever they are.
const MAX_OPEN: usize = 4_096;
/// Addresses at once that the kernel looks for at least, however little room it has.
const LEAST_WINDOW: usize = 16;
/// How often an address is tried for which the kernel's table has no room.
const MOST_ABSENT: u32 = 8;
/// The share of a second's packets that may go at once.
const BURST: f64 = 0.1;
/// Between two echoes to somebody who answers.
const GAP: Duration = Duration::from_millis(60);
/// How long the kernel may take to find out whether an old neighbour is still there: five seconds
/// until it asks, and three questions.
const OLD: Duration = Duration::from_millis(9_500);
/// Questions to those who answer that show what is lost far away, and how long a silent one waits for
/// them.
const SAMPLED: u64 = 200;
const EARLY: Duration = Duration::from_secs(5);
/// How long one address may take, whatever happens.
const LONGEST: Duration = Duration::from_secs(30);

/// A sweep.
pub struct Engine {
    pace: Pace,
    queue: Peekable<Box<dyn Iterator<Item = Subject> + Send>>,
    drained: bool,
    next: u64,
    open: BTreeMap<IpAddr, Open>,
    due: BinaryHeap<Reverse<(Duration, IpAddr)>>,
    tokens: f64,
    filled: Duration,
    sought: usize,
    /// Those for whom the kernel's table had no room, since there was room for somebody.
    homeless: usize,
    /// Until when the kernel goes on asking for those who were given up.
    left: BinaryHeap<Reverse<Duration>>,
    loss: Loss,
    slowest: Duration,
    tells: Vec<Tell>,
    /// What the kernel believed last, and when it was asked.
    known: BTreeMap<IpAddr, Known>,
    looked: Duration,
}

enum Step {
    Send(Ask),
    Wait(Duration),
    Done,
}

impl Engine {
    /// A sweep through these, in their order.
    #[must_use]
    pub fn new(mut pace: Pace, queue: impl Iterator<Item = Subject> + Send + 'static) -> Self {
        let tokens = (f64::from(pace.rate) * BURST).max(1.0);
        let mut seen = BTreeSet::new();
        pace.ports.retain(|port| seen.insert(*port));
        Self {
            pace,
            queue: (Box::new(queue) as Box<dyn Iterator<Item = Subject> + Send>).peekable(),
            drained: false,
            next: 0,
            open: BTreeMap::new(),
            due: BinaryHeap::new(),
            tokens,
            filled: Duration::ZERO,
            sought: 0,
            homeless: 0,
            left: BinaryHeap::new(),
            loss: Loss::default(),
            slowest: Duration::ZERO,
            tells: Vec::new(),
            known: BTreeMap::new(),
            looked: Duration::ZERO,
        }
    }

    /// Whether everybody has been found out about.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.drained && self.open.is_empty()
    }

    /// Whether the kernel's neighbours matter now.
    #[must_use]
    pub fn wants_neighbours(&self) -> bool {
        self.open.values().any(|open| {
            matches!(open.subject.way, Way::Near(_)) && (open.mac.is_none() || open.by().is_none())
        })
    }

    /// What was lost so far.
    #[must_use]
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// Addresses that have been begun.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.next
    }

    /// What is to be told since the last time.
    pub fn tells(&mut self) -> Vec<Tell> {
        std::mem::take(&mut self.tells)
    }

    /// What is to be sent now, and when to ask again at the latest.
    pub fn step(&mut self, now: Duration) -> (Vec<Ask>, Duration) {
        let rate = f64::from(self.pace.rate.max(1));
        let filled = (now.saturating_sub(self.filled)).as_secs_f64() * rate;
        self.tokens = (self.tokens + filled).min((rate * BURST).max(1.0));
        self.filled = now;
        while self.left.peek().is_some_and(|Reverse(until)| *until <= now) {
            self.left.pop();
        }
        let mut asks = Vec::new();
        let token = Duration::from_secs_f64(1.0 / rate);
        // Who has been asked comes before who has not: answers are to be heard while they are fresh.
        while let Some(Reverse((due, address))) = self.due.peek().copied() {
            if due > now || self.tokens < 1.0 {
                break;
            }
            self.due.pop();
            self.visit(address, now, &mut asks);
        }
        while self.tokens >= 1.0 && !self.drained && self.has_room() {
            match self.queue.next() {
                Some(subject) => self.begin(subject, now, &mut asks),
                None => self.drained = true,
            }
        }
        self.drained |= self.queue.peek().is_none();
        let starved = self.tokens < 1.0;
        let waiting = !self.drained && self.has_room();
        let next = self.due.peek().map(|Reverse((due, _))| *due);
        let mut wake = next.unwrap_or(now + Duration::from_secs(1));
        if let (false, Some(Reverse(until))) = (self.drained, self.left.peek()) {
            wake = wake.min(*until);
        }
        if starved && (waiting || wake <= now) {
            wake = now + token;
        }
        (asks, wake.max(now))
    }

    fn has_room(&self) -> bool {
        self.open.len() < MAX_OPEN && self.sought + self.left.len() < self.pace.window
    }

    fn begin(&mut self, subject: Subject, now: Duration, asks: &mut Vec<Ask>) {
        let number = self.next;
        self.next += 1;
        let known = self.known.get(&subject.address);
        let open = Open::new(number, subject, &self.pace.ports, known, now);
        self.sought += usize::from(open.is_sought());
        self.open.insert(subject.address, open);
        self.visit(subject.address, now, asks);
    }

    /// Somebody has answered the echo with this number, after so long.
    pub fn answered(&mut self, address: IpAddr, number: u16, rtt: Duration, now: Duration) {
        let Some(open) = self.open.get_mut(&address) else { return };
        if number >= 32 || u32::from(number) >= open.echoes {
            return;
        }
        let first = open.answered == 0;
        open.answered |= 1 << number;
        open.rtt = Some(open.rtt.map_or(rtt, |have| have.min(rtt)));
        // What a neighbour answers first has waited until its card was known.
        let waited = open.is_sought() || u32::from(number) <= open.unheard;
        if open.subject.way == Way::Far || !waited {
            self.slowest = self.slowest.max(rtt);
        }
        if first && open.subject.way != Way::Own {
            self.loss.hosts += 1;
        }
        self.heard(address, now);
    }

    /// An echo could not be sent to somebody, and never can be.
    pub fn unsendable(&mut self, address: IpAddr, now: Duration) {
        let Some(open) = self.open.get_mut(&address) else { return };
        open.unsendable = true;
        self.heard(address, now);
    }

    /// A connection has ended.
    pub fn connected(&mut self, address: SocketAddr, found: Port, now: Duration) {
        let again = self.wait(0, Way::Far);
        let Some(open) = self.open.get_mut(&address.ip()) else { return };
        let Some(asked) = open.ports.iter_mut().find(|asked| asked.port == address.port()) else {
            return;
        };
        asked.flying = false;
        match found {
            Port::Open | Port::Closed => asked.found = Some(found),
            Port::Silent => asked.due = now,
            Port::Unsent => {
                asked.tries = asked.tries.saturating_sub(1);
                asked.due = now + again;
            }
        }
        self.heard(address.ip(), now);
    }

    /// What the kernel believes of its neighbours now: all of them. `looked`: when it began to be asked.
    pub fn neighbours(&mut self, known: BTreeMap<IpAddr, Known>, looked: Duration, now: Duration) {
        let mut news = Vec::new();
        let mut absent = false;
        self.sought = 0;
        for (address, open) in &mut self.open {
            if !matches!(open.subject.way, Way::Near(_)) {
                continue;
            }
            let before = open.absent;
            if open.believed(known.get(address), now) {
                news.push(*address);
            }
            absent |= open.absent > before;
            if known.contains_key(address) {
                self.homeless = 0;
            }
            self.sought += usize::from(open.is_sought());
        }
        if absent {
            // There is less room than was thought: others fill the table, too.
            self.pace.window = self.pace.window.min((self.sought / 2).max(LEAST_WINDOW));
        }
        (self.known, self.looked) = (known, looked);
        for address in news {
            self.heard(address, now);
        }
    }

    fn heard(&mut self, address: IpAddr, now: Duration) {
        let Some(open) = self.open.get_mut(&address) else { return };
        if open.by().is_some() && !open.told {
            open.told = true;
            self.tells.push(Tell::Up(address));
        }
        open.due = now;
        self.due.push(Reverse((now, address)));
    }

    /// How long to wait for an answer, after so many questions.
    fn wait(&self, asked: u32, way: Way) -> Duration {
        let least = match way {
            Way::Own => Duration::from_millis(50),
            Way::Near(_) => Duration::from_millis(100),
            Way::Far => Duration::from_millis(250),
        };
        let base = (self.slowest * 3).clamp(least, Duration::from_secs(1));
        (base.mul_f64(1.5f64.powi(asked.min(6) as i32))).min(Duration::from_secs(3))
    }

    /// How long an answer to the kernel's question may be on its way.
    fn settle(&self) -> Duration {
        if self.slowest.is_zero() {
            // Nobody has answered yet: how fast they are is not known.
            return Duration::from_millis(200);
        }
        (self.slowest * 4).clamp(Duration::from_millis(30), Duration::from_millis(500))
    }

    fn visit(&mut self, address: IpAddr, now: Duration, asks: &mut Vec<Ask>) {
        loop {
            let Some(open) = self.open.get(&address) else { return };
            if open.due > now {
                return;
            }
            match self.next_of(open, now) {
                Step::Send(ask) => {
                    if self.tokens < 1.0 {
                        self.due.push(Reverse((now, address)));
                        return;
                    }
                    self.tokens -= 1.0;
                    self.book(address, &ask, now);
                    asks.push(ask);
                }
                Step::Wait(until) => {
                    let until = until.max(now + Duration::from_millis(1));
                    if let Some(open) = self.open.get_mut(&address) {
                        open.due = until;
                    }
                    self.due.push(Reverse((until, address)));
                    return;
                }
                Step::Done => return self.finish(address),
            }
        }
    }

    fn book(&mut self, address: IpAddr, ask: &Ask, now: Duration) {
        let Some(open) = self.open.get_mut(&address) else { return };
        match ask {
            Ask::Echo(..) => {
                open.echoes += 1;
                open.sent = now;
                if open.belief == Some(Belief::Failed) {
                    // The kernel asks anew.
                    open.before = open.before.saturating_add(open.now);
                    open.now = 0;
                    open.belief = None;
                }
            }
            Ask::Connect(to, _) => {
                if let Some(asked) = open.ports.iter_mut().find(|asked| asked.port == to.port()) {
                    asked.tries += 1;
                    asked.flying = true;
                }
            }
        }
    }

    /// What comes next for an address.
    fn next_of(&self, open: &Open, now: Duration) -> Step {
        if now > open.since + LONGEST {
            return Step::Done;
        }
        let echo = self.echo(open, now);
        if let Step::Send(_) = echo {
            return echo;
        }
        let ports = self.port(open, now);
        match (echo, ports) {
            (_, send @ Step::Send(_)) => send,
            (Step::Done, rest) => rest,
            (rest, Step::Done) => rest,
            (Step::Wait(one), Step::Wait(other)) => Step::Wait(one.min(other)),
            (rest, _) => rest,
        }
    }

    fn echo(&self, open: &Open, now: Duration) -> Step {
        let way = open.subject.way;
        let number = open.echoes;
        let send = || match u16::try_from(number) {
            Ok(number) if number < 32 => Step::Send(Ask::Echo(open.subject, number)),
            _ => Step::Done,
        };
        if number == 0 {
            return send();
        }
        if open.unsendable {
            return Step::Done;
        }
        if open.answered != 0 {
            let wanted = if way == Way::Own { 1 } else { self.loss.samples() };
            if number < wanted + open.answered.trailing_zeros() {
                // Who has not been asked at all comes first, except that far away the first silent
                // ones are judged before all have been asked: what is lost has to be known by then.
                let unknown = way == Way::Far && self.loss.asked < SAMPLED;
                let free = unknown || self.drained || !self.has_room();
                return match now >= open.sent + GAP {
                    true if free => send(),
                    true => Step::Wait(now + GAP / 4),
                    false => Step::Wait(open.sent + GAP),
                };
            }
            let all = open.answered >> (number - 1) & 1 == 1;
            let until = open.sent + self.wait(0, way);
            return if all || now >= until { Step::Done } else { Step::Wait(until) };
        }
        let tries = self.loss.tries(self.pace.effort);
        let heard = number - open.unheard.min(number);
        let spoken_to = |heard: u32| {
            let until = open.sent + self.wait(heard.saturating_sub(1), way);
            match (heard < tries, now >= until) {
                (_, false) => Step::Wait(until),
                (true, true) => send(),
                // Nobody knows yet how much is lost, and how many there are.
                (false, true) if self.early(open, now) => {
                    Step::Wait(now + Duration::from_millis(100))
                }
                (false, true) => Step::Done,
            }
        };
        match (way, open.belief) {
            (Way::Near(asking), None | Some(Belief::Asked(_) | Belief::Failed)) => {
                if number - open.absent.min(number) >= tries * 3 + 2 {
                    return Step::Done;
                }
                if open.questions() >= tries {
                    // What came of the last question was looked at: a busy machine looks late.
                    let until = open.questioned + self.settle();
                    let again = until.max(now + Duration::from_millis(10));
                    return if self.looked >= until { Step::Done } else { Step::Wait(again) };
                }
                // There was no room for it: after some tries nobody knows more.
                let patience = if self.homeless < LEAST_WINDOW { MOST_ABSENT } else { 2 };
                if open.absent >= patience {
                    return Step::Done;
                }
                let again = open.sent + GAP * (1 << open.absent.min(5));
                match open.belief {
                    Some(Belief::Failed) if now >= again => send(),
                    Some(Belief::Failed) => Step::Wait(again),
                    _ => Step::Wait(now + asking.pause.min(Duration::from_millis(200))),
                }
            }
            // Once it was there: the kernel finds out, but not at once.
            (Way::Near(_), Some(Belief::Old)) if self.pace.effort != Effort::Quick => {
                match spoken_to(heard) {
                    Step::Done if now < open.since + OLD => {
                        Step::Wait(now + Duration::from_millis(50))
                    }
                    step => step,
                }
            }
            _ => spoken_to(heard),
        }
    }

    /// Whether it is too early to give somebody up who is far away.
    fn early(&self, open: &Open, now: Duration) -> bool {
        open.subject.way == Way::Far
            && self.pace.effort != Effort::Quick
            && self.loss.hosts > 0
            && (self.loss.asked < SAMPLED || !self.drained)
            && now < open.since + EARLY
    }

    fn port(&self, open: &Open, now: Duration) -> Step {
        if open.is_sought() && open.by().is_none() {
            // Who is on a link and does not say that he is there, answers no port.
            return Step::Done;
        }
        let tries = self.loss.tries(self.pace.effort);
        let mut rest = Step::Done;
        for asked in open.ports.iter().filter(|asked| asked.found.is_none()) {
            let later = if asked.flying { now + Duration::from_secs(1) } else { asked.due };
            if asked.flying || (asked.tries < tries && now < later) {
                rest = match rest {
                    Step::Wait(until) => Step::Wait(until.min(later)),
                    _ => Step::Wait(later),
                };
            } else if asked.tries < tries {
                let to = SocketAddr::new(open.subject.address, asked.port);
                let to = match to {
                    SocketAddr::V6(mut to) => {
                        to.set_scope_id(open.subject.scope);
                        to.into()
                    }
                    to => to,
                };
                let within = self.wait(asked.tries, open.subject.way);
                return Step::Send(Ask::Connect(to, within));
            }
        }
        rest
    }

    fn finish(&mut self, address: IpAddr) {
        let Some(open) = self.open.remove(&address) else { return };
        if open.is_sought() {
            self.sought = self.sought.saturating_sub(1);
            if let (Way::Near(asking), None | Some(Belief::Asked(_))) =
                (open.subject.way, open.belief)
            {
                self.left.push(Reverse(open.sent + asking.pause * asking.tries));
            }
        }
        if open.answered != 0 && open.subject.way != Way::Own {
            // What came after the first answer says what is lost; what came before may have had other
            // reasons.
            let first = open.answered.trailing_zeros() + 1;
            let after = u64::from(open.echoes.saturating_sub(first));
            self.loss.asked += after;
            self.loss.lost += after.saturating_sub(u64::from(open.answered.count_ones()) - 1);
        }
        self.homeless += usize::from(open.is_homeless());
        let age = self.known.get(&address).and_then(|(_, _, heard)| *heard);
        let host = open.host(age);
        self.tells.push(Tell::Done(open.number, host));
    }
}

#[cfg(test)]
mod tests;
