//! Names of addresses that a sweep has found, asked of the resolver and remembered for a while.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use watchpost_discovery::sweep::Reverse;

use crate::base::clock;
use crate::net::resolve::Resolver;

/// How long a name is believed.
const KNOWN: Duration = Duration::from_secs(3_600);
/// How long it is believed that there is none.
const UNKNOWN: Duration = Duration::from_secs(600);
/// Addresses that are remembered.
const MAX_KNOWN: usize = 4_096;

/// What was answered, and how long that is believed.
type Answers = HashMap<IpAddr, (Instant, Option<String>)>;

/// Names that are remembered. Cheap to clone.
#[derive(Clone, Default)]
pub struct Known(Arc<Mutex<Answers>>);

impl Known {
    /// Asks a resolver, and remembers. The resolver belongs to the runtime that asks.
    #[must_use]
    pub fn reverse(&self, resolver: Resolver) -> Reverse {
        let known = self.clone();
        Arc::new(move |address| {
            let (resolver, known) = (resolver.clone(), known.clone());
            Box::pin(async move { known.name(address, &resolver).await })
        })
    }

    async fn name(&self, address: IpAddr, resolver: &Resolver) -> Option<String> {
        let now = clock::instant();
        let open = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, name)) = open().get(&address)
            && *until > now
        {
            return name.clone();
        }
        let name = resolver.reverse(address).await.ok();
        let name = name.and_then(|name| watchpost_discovery::names::tidy(&name));
        let until = now + if name.is_some() { KNOWN } else { UNKNOWN };
        let mut known = open();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(address, (until, name.clone()));
        name
    }
}
