//! The control socket: the daemon reports the state of its queues there, and accepts requests about them.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use rustix::fs::{CWD, Mode, OFlags};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::base::seldom::Seldom;
use crate::base::{clock, turn};
use crate::queue::report::{Request, SOCKET};

/// A peer that has sent no request by then is disconnected.
const SILENCE: Duration = Duration::from_secs(1);
/// The same while others wait for its place.
const BUSY_SILENCE: Duration = Duration::from_millis(100);
/// A request has to be answered, and the answer to be read, by then.
const PATIENCE: Duration = Duration::from_secs(5);
/// Interval at which the socket is checked, and made again when it is gone.
const AGAIN: Duration = Duration::from_secs(2);
/// The longest request.
const MAX_REQUEST: u64 = 64 << 10;
/// Peers that are served at once, at all sockets together.
const MAX_PEERS: usize = 8;
/// Peers that the kernel keeps until there is a place for them.
const BACKLOG: i32 = 128;

/// A request, and where its answer goes.
pub(super) type Order = (Request, oneshot::Sender<String>);
/// Device and inode: the identity of a file, whatever its name.
type Identity = (u64, u64);

/// Listens beside the folder of the queues, if there is one, and in it, where earlier versions ask; returns where
/// requests arrive.
pub(super) fn open(folder: Option<&Path>, tasks: &TaskTracker) -> mpsc::Receiver<Order> {
    let (order, orders) = mpsc::channel(1);
    let places = Arc::new(Semaphore::new(MAX_PEERS));
    if let Some(folder) = folder {
        for beside in [folder.parent(), Some(folder)].into_iter().flatten() {
            let serve = Serve {
                path: beside.join(SOCKET),
                folder: folder.to_owned(),
                orders: order.clone(),
                places: Arc::clone(&places),
            };
            turn::track(tasks, serve.run());
        }
    }
    orders
}

/// One of the sockets.
struct Serve {
    path: PathBuf,
    /// The folder of the queues.
    folder: PathBuf,
    orders: mpsc::Sender<Order>,
    places: Arc<Semaphore>,
}

impl Serve {
    /// Listens until nobody carries requests out, and anew when that fails, or the socket is gone.
    async fn run(self) {
        let mut told = Seldom::default();
        // The folder is made once: when it is gone, its log makes it again, unless its disk is gone.
        let mut make = Some(self.folder.clone());
        loop {
            let path = self.path.clone();
            let folder = make.take();
            let opened = blocking(move || {
                if let Some(folder) = folder {
                    fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
                }
                listen(&path)
            });
            let opened = tokio::select! {
                opened = opened => opened,
                () = self.orders.closed() => return,
            };
            let opened =
                opened.and_then(|(socket, own)| Ok((UnixListener::from_std(socket)?, own)));
            match opened {
                Ok((listener, own)) => self.accept(&listener, own).await,
                Err(error) => {
                    if told.passes(clock::now().boot) {
                        let path = self.path.display();
                        tracing::warn!("{path}: queue control socket unavailable: {error}");
                    }
                    tokio::select! {
                        () = tokio::time::sleep(AGAIN) => {}
                        () = self.orders.closed() => {}
                    }
                }
            }
            if self.orders.is_closed() {
                return;
            }
        }
    }

    /// Accepts requests until nobody carries them out, or the socket is gone.
    async fn accept(&self, listener: &UnixListener, own: Identity) {
        let mut peers = JoinSet::new();
        let mut gone = std::pin::pin!(gone(&self.path, own));
        loop {
            let accepted = async {
                let place = Arc::clone(&self.places).acquire_owned().await;
                (listener.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                accepted = accepted => accepted,
                Some(_) = peers.join_next() => continue,
                () = &mut gone => return,
                () = self.orders.closed() => break,
            };
            let Ok((stream, _)) = accepted else { return };
            let orders = self.orders.clone();
            let busy = self.places.available_permits() == 0;
            let patience = if busy { BUSY_SILENCE } else { SILENCE };
            turn::join(&mut peers, async move {
                if let Err(error) = answer(stream, &orders, patience).await {
                    tracing::debug!(%error, "a peer at the control socket is gone");
                }
                drop(place);
            });
        }
        // Those who have asked learn that we stop.
        let ended = async { while peers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(SILENCE, ended).await;
        let path = self.path.clone();
        let removed = blocking(move || match identity(&path)? == own {
            true => fs::remove_file(path),
            false => Ok(()),
        });
        // A disk that does not answer holds up no shutdown.
        let _ = tokio::time::timeout(SILENCE, removed).await;
    }
}

/// Calls that wait for a disk, on a thread for them.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Returns when another file, or none, has the name of the socket.
async fn gone(path: &Path, own: Identity) {
    loop {
        tokio::time::sleep(AGAIN).await;
        let path = path.to_owned();
        if blocking(move || identity(&path)).await.ok() != Some(own) {
            return;
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let meta = fs::symlink_metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

/// Listens at a path, if nobody else does.
fn listen(path: &Path) -> io::Result<(std::os::unix::net::UnixListener, Identity)> {
    let address = SockAddr::unix(path)?;
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        probe.set_nonblocking(true)?;
        match probe.connect(&address) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {}
            _ => {
                let why = "another daemon listens there";
                return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
            }
        }
    }
    // A daemon that was killed has left its own behind.
    let _ = fs::remove_file(path);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let mode = 0o660;
    // The file never has more than this.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))?;
    socket.bind(&address)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    // The mask may have left less. Another user's link in its place is not followed.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(file.as_fd())?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Socket {
        let handle = format!("/proc/self/fd/{}", file.as_raw_fd());
        if let Err(error) = fs::set_permissions(handle, fs::Permissions::from_mode(mode)) {
            tracing::debug!(%error, "the mode of the control socket is left to the umask");
        }
    }
    Ok((socket.into(), (stat.st_dev, stat.st_ino)))
}

/// Serves a peer.
async fn answer(
    mut stream: UnixStream,
    orders: &mpsc::Sender<Order>,
    patience: Duration,
) -> io::Result<()> {
    let mut line = String::new();
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read.take(MAX_REQUEST));
    // A silent peer does not keep the place of another one.
    tokio::time::timeout(patience, read.read_line(&mut line)).await??;
    let answered = async {
        let text = match serde_json::from_str(&line) {
            Err(error) => format!("error: not a request: {error}\n"),
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
    };
    tokio::time::timeout(PATIENCE, answered).await?
}
