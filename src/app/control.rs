//! The socket at which the daemon tells what is in its queues, and takes orders about them.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::base::seldom::Seldom;
use crate::base::{clock, turn};
use crate::queue::report::{Request, SOCKET};

/// Who asks has to have said so by then, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon is looked whether the socket is there, and tried again when it cannot be made.
const AGAIN: Duration = Duration::from_secs(2);
/// The longest order.
const MAX_REQUEST: u64 = 64 << 10;

/// An order, and where its answer goes.
pub(super) type Order = (Request, oneshot::Sender<String>);

/// Listens in the folder of the queues, if there is one; returns where orders arrive.
pub(super) async fn open(folder: Option<&Path>, tasks: &TaskTracker) -> mpsc::Receiver<Order> {
    let (order, orders) = mpsc::channel(1);
    if let Some(folder) = folder {
        let first = match fs::create_dir_all(folder) {
            Ok(()) => listen(folder).await,
            Err(error) => Err(error),
        };
        turn::track(tasks, serve(folder.to_owned(), first, order));
    }
    orders
}

/// Listens for as long as somebody carries orders out, and anew where that fails, or the socket is gone.
async fn serve(
    folder: PathBuf,
    mut listener: io::Result<UnixListener>,
    orders: mpsc::Sender<Order>,
) {
    let mut told = Seldom::default();
    loop {
        match listener {
            Ok(listener) => {
                accept(&listener, &folder.join(SOCKET), &orders).await;
                if orders.is_closed() {
                    let _ = fs::remove_file(folder.join(SOCKET));
                    return;
                }
            }
            Err(error) => {
                if told.passes(clock::now().boot) {
                    let folder = folder.display();
                    tracing::warn!("{folder}: nobody can ask for the queues: {error}");
                }
                tokio::select! {
                    () = tokio::time::sleep(AGAIN) => {}
                    () = orders.closed() => return,
                }
            }
        }
        listener = listen(&folder).await;
    }
}

/// Listens in a folder, if nobody else does. When it is gone, its log makes it again, unless its disk is gone.
async fn listen(folder: &Path) -> io::Result<UnixListener> {
    let path = folder.join(SOCKET);
    if UnixStream::connect(&path).await.is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon listens there"));
    }
    // One that was killed has left its own behind.
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Takes orders for as long as somebody carries them out, and the socket is there.
async fn accept(listener: &UnixListener, path: &Path, orders: &mpsc::Sender<Order>) {
    let place = || fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let own = place();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = tokio::time::sleep(AGAIN) => match place() == own {
                true => continue,
                false => return,
            },
            () = orders.closed() => return,
        };
        let Ok((stream, _)) = accepted else { return };
        // One after the other: an order takes no time, and who says nothing is not waited for.
        let answered = tokio::time::timeout(PATIENCE, answer(stream, orders)).await;
        if let Ok(Err(error)) = answered {
            tracing::debug!(%error, "somebody at the control socket went away");
        }
    }
}

async fn answer(mut stream: UnixStream, orders: &mpsc::Sender<Order>) -> io::Result<()> {
    let mut line = String::new();
    let (read, mut write) = stream.split();
    BufReader::new(read.take(MAX_REQUEST)).read_line(&mut line).await?;
    let text = match serde_json::from_str(&line) {
        Err(error) => format!("error: this is no order: {error}\n"),
        Ok(request) => {
            let (answer, answered) = oneshot::channel();
            let sent = orders.send((request, answer)).await;
            let stopping = || "error: Watchpost is stopping\n".to_owned();
            match sent {
                Ok(()) => answered.await.unwrap_or_else(|_| stopping()),
                Err(_) => stopping(),
            }
        }
    };
    write.write_all(text.as_bytes()).await
}
