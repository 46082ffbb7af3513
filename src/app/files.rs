//! The files that exporters read when they are built: certificates and keys. One whose file system hangs stops neither
//! a start nor a reload, and no other exporter.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::turn;
use crate::net::tls::{TlsClient, TlsSettings};

/// How long the files of an exporter may take to be read.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// How long an exporter that waits for its files waits between two looks at them.
const AGAIN: Duration = Duration::from_secs(10);

/// The TLS files of one exporter.
pub(super) enum Files {
    /// The client that they make; why it cannot be made.
    Read(Result<TlsClient, String>),
    /// They are not read yet.
    Hang(Unread),
}

impl Files {
    /// A hash of their content; `None`: unknown.
    pub(super) fn stamp(&self) -> Option<u64> {
        match self {
            Files::Read(tls) => Some(tls.as_ref().map(TlsClient::stamp).unwrap_or_default()),
            Files::Hang(_) => None,
        }
    }
}

/// Files that have not been read within their time.
#[derive(Clone)]
pub(super) struct Unread {
    name: String,
    settings: TlsSettings,
    alpn: &'static [&'static [u8]],
}

impl Unread {
    async fn load(&self) -> Option<Result<TlsClient, String>> {
        let load = TlsClient::load(self.settings.clone(), self.alpn);
        tokio::time::timeout(READ_WITHIN, load).await.ok()
    }

    /// Waits until they are read and a client can be made of them.
    pub(super) async fn client(self) -> TlsClient {
        loop {
            match self.load().await {
                Some(Ok(client)) => {
                    tracing::info!(exporter = self.name, "certificates read; the exporter starts");
                    return client;
                }
                Some(Err(why)) => tracing::warn!(exporter = self.name, "{why}"),
                None => tracing::debug!(exporter = self.name, "certificates not read yet"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// An exporter's name, how it speaks TLS, and what it offers to its server.
pub(super) type Wanted = (String, TlsSettings, &'static [&'static [u8]]);

/// Reads the files of exporters, all at once.
pub(super) async fn read(wanted: Vec<Wanted>) -> BTreeMap<String, Files> {
    let mut reading = tokio::task::JoinSet::new();
    for (name, settings, alpn) in wanted {
        let unread = Unread { name: name.clone(), settings, alpn };
        turn::join(&mut reading, async move {
            let read = unread.load().await;
            (name, read.map_or(Files::Hang(unread), Files::Read))
        });
    }
    reading.join_all().await.into_iter().collect()
}
