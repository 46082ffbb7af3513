//! The files that exporters read when they are built: certificates and keys, on a thread for blocking work.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;

use crate::app::{StartError, catalog};
use crate::config::plan::Plan;
use crate::net::tls::TlsClient;

/// What the files of one exporter said.
pub(in crate::app) struct Files {
    /// What tells two versions of them apart.
    pub(in crate::app) stamp: u64,
    /// The client that they make; why it cannot be made.
    pub(in crate::app) tls: Result<TlsClient, String>,
}

/// Reads the files of all exporters of a plan that send.
pub(super) async fn read(plan: &Plan) -> Result<BTreeMap<String, Files>, StartError> {
    let mut wanted = Vec::new();
    for (name, exporter) in &plan.exporters {
        let used = plan.pipelines.iter().any(|pipeline| pipeline.exporters.contains(name));
        if let (true, Some(client), Some(alpn)) =
            (used, exporter.settings.client(), catalog::alpn(&exporter.settings))
        {
            wanted.push((name.clone(), client.files(), client.tls.clone(), alpn));
        }
    }
    let reading = tokio::task::spawn_blocking(move || {
        let read = wanted.into_iter().map(|(name, paths, settings, alpn)| {
            let mut hasher = DefaultHasher::new();
            for path in paths {
                let meta = std::fs::metadata(path).ok();
                meta.map(|meta| (meta.mtime(), meta.mtime_nsec(), meta.len())).hash(&mut hasher);
            }
            let tls = TlsClient::new(&settings, alpn);
            (name, Files { stamp: hasher.finish(), tls })
        });
        read.collect()
    });
    reading.await.map_err(|error| StartError::Thread(std::io::Error::other(error)))
}
