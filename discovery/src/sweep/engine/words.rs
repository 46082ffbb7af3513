//! What the engine is told, and what it tells.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::sweep::Host;
use crate::sweep::chance::Effort;
use crate::sweep::link::{Asking, Belief, Mac};

/// What the kernel knows of a neighbour: its card, what it believes, and how long ago it answered.
pub type Known = (Option<Mac>, Belief, Option<Duration>);

/// How an address is reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// It is this machine's own.
    Own,
    /// On a link, where the kernel asks for it first.
    Near(Asking),
    /// By way of routers, or without asking for it.
    Far,
}

/// Somebody who is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Subject {
    /// The address.
    pub address: IpAddr,
    /// The link; 0: none in particular.
    pub scope: u32,
    /// How it is reached.
    pub way: Way,
}

/// How a sweep goes.
#[derive(Clone, Debug)]
pub struct Pace {
    /// How sure it is to be.
    pub effort: Effort,
    /// Packets a second.
    pub rate: u32,
    /// Addresses at once that the kernel looks for at most.
    pub window: usize,
    /// Ports that are asked of everybody who is there.
    pub ports: Vec<u16>,
}

/// Something to be sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ask {
    /// An echo request with this number.
    Echo(Subject, u16),
    /// A connection, for so long at most.
    Connect(SocketAddr, Duration),
}

/// What came of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Somebody listens.
    Open,
    /// The host says that nobody listens.
    Closed,
    /// Nobody says anything.
    Silent,
    /// Nothing could be sent, for our own reasons: it is tried again.
    Unsent,
}

/// What a sweep tells while it goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Tell {
    /// Somebody is there.
    Up(IpAddr),
    /// All that is found out of an address; they are numbered in the order in which they were given.
    Done(u64, Host),
}
