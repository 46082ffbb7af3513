//! Files that are read beside a loop. Each path is read once at a time, however many ask for it, and each folder by one
//! thread at a time, so that a file system that hangs holds one thread for each of its folders.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use secrecy::SecretString;
use tokio::sync::{OwnedMutexGuard, Semaphore};

use crate::base::flight::{Flights, MAX_THREADS};
use crate::base::fs;

/// Folders that are read at one time; the other threads are for work that is not a file of the configuration.
const MAX_FOLDERS: usize = MAX_THREADS * 3 / 4;
/// The largest file that holds one secret, in bytes.
const MAX_SECRET: u64 = 64 << 10;

type Key = (PathBuf, u64);
type Lane = Arc<tokio::sync::Mutex<()>>;

static READS: LazyLock<Flights<Key, Result<SecretString, String>>> =
    LazyLock::new(Flights::default);
static LANES: LazyLock<Mutex<HashMap<PathBuf, Lane>>> = LazyLock::new(Mutex::default);
static FOLDERS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MAX_FOLDERS)));

/// Reads a regular text file of at most `limit` bytes. It takes as long as the file system does: whoever cannot wait
/// sets a timeout, and what is read meanwhile is there for the next one who asks.
///
/// # Errors
/// A sentence with the path and the reason.
pub async fn read(path: &Path, limit: u64) -> Result<SecretString, String> {
    let key = (path.to_owned(), limit);
    let read = match READS.join(&key).await {
        Some(read) => read,
        None => {
            let turn = turn(path).await;
            let permit = Arc::clone(&FOLDERS).acquire_owned().await;
            let path = path.to_owned();
            let work = move || {
                let _held = (turn, permit);
                fs::read_regular(&path, limit).map(SecretString::from)
            };
            READS.read(key, work).await
        }
    };
    read.map_err(|error| format!("{}: {error}", path.display()))?
}

/// Reads a secret: a small text file, without the newline at its end.
///
/// # Errors
/// As [`read`].
pub async fn secret(path: &Path) -> Result<SecretString, String> {
    use secrecy::ExposeSecret as _;
    let text = read(path, MAX_SECRET).await?;
    Ok(SecretString::from(fs::without_newline(text.expose_secret())))
}

/// The turn of a path in its folder.
async fn turn(path: &Path) -> OwnedMutexGuard<()> {
    let folder = path.parent().unwrap_or(path).to_owned();
    let lane = {
        let mut lanes = LANES.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        Arc::clone(lanes.entry(folder).or_default())
    };
    lane.lock_owned().await
}
