//! Another user leaves links and sockets where root works: `watchpost queue` in that user's queue, `discover` and `init`
//! into that user's folder. Nothing of root's is read, changed or made.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use crate::durable::Scene;
use crate::support::daemon::{Daemon, write};
use crate::support::recorder::Mood;
use crate::support::{free_port, run, skip, until};

/// Any user but root.
const OTHER: u32 = 65534;
const SECRET: &str = "root:SECRET";

/// Whether files can belong to two users here.
fn able(test: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let given = chown(folder.path(), Some(OTHER), Some(OTHER));
    if let Err(why) = &given {
        skip(test, &format!("no file can be given to another user: {why}"));
    }
    given.is_ok()
}

fn give(path: &Path) {
    lchown(path, Some(OTHER), Some(OTHER)).unwrap();
}

fn give_all(path: &Path) {
    give(path);
    if fs::symlink_metadata(path).unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give_all(&entry.unwrap().path()));
    }
}

/// A link that the other user makes.
fn trap(to: &Path, at: &Path) {
    let _ = fs::remove_file(at);
    symlink(to, at).unwrap();
    give(at);
}

/// A folder of root's that the other user wants something of.
struct Victim(PathBuf);

impl Victim {
    fn new(folder: &Path) -> Self {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        let victim = Self(folder.join("victim"));
        fs::create_dir(&victim.0).unwrap();
        fs::write(victim.secret(), SECRET).unwrap();
        fs::set_permissions(victim.secret(), fs::Permissions::from_mode(0o600)).unwrap();
        victim
    }

    fn secret(&self) -> PathBuf {
        self.0.join("shadow")
    }

    /// Nothing is made, changed, or given away.
    #[track_caller]
    fn is_whole(&self, output: &Output) {
        let names: Vec<_> =
            fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["shadow"], "{output:?}");
        let meta = fs::metadata(self.secret()).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o777), (0, 0o600), "{output:?}");
        assert_eq!(fs::read_to_string(self.secret()).unwrap(), SECRET, "{output:?}");
        let said = [&output.stdout[..], &output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains(SECRET), "{output:?}");
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn queue(directory: &Path, arguments: &[&str]) -> Output {
    run(&[&["queue"], arguments, &["--directory", directory.to_str().unwrap()]].concat())
}

/// The queue of a daemon of the other user, which is down.
fn scene() -> (Scene, Victim) {
    let scene = Scene::new(2, "min_free_mib: 0");
    scene.recorder.set(Mood::Unavailable);
    let mut daemon = Daemon::start(&scene.config());
    let directory = scene.directory();
    until("samples", || {
        let said = queue(&directory, &["ls", "--json"]).stdout;
        let row = serde_json::from_slice::<serde_json::Value>(&said).ok()?;
        (row["queued"].as_u64()? > 0).then_some(())
    });
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    give_all(&directory);
    let victim = Victim::new(scene.folder.path());
    (scene, victim)
}

const COMMANDS: [&[&str]; 5] = [&["ls"], &["ls", "--json"], &["dump"], &["replay"], &["purge"]];

#[test]
fn root_follows_no_link_in_the_queue_of_another_user() {
    if !able("root_follows_no_link_in_the_queue_of_another_user") {
        return;
    }
    let (scene, victim) = scene();
    let directory = scene.directory();
    let log = directory.join("queue/metrics");
    // Without a trap everything works, and what is made belongs to the other user.
    fs::remove_file(log.join("lock")).unwrap();
    for command in COMMANDS {
        let output = queue(&directory, command);
        assert_eq!(output.status.code(), Some(0), "{command:?} {output:?}");
    }
    for entry in fs::read_dir(&log).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().uid(), OTHER, "{entry:?}");
    }
    for to in [victim.secret(), victim.0.join("cron.d-evil")] {
        trap(&to, &log.join("lock"));
        for command in COMMANDS {
            let output = queue(&directory, command);
            victim.is_whole(&output);
        }
    }
    fs::remove_file(log.join("lock")).unwrap();
    // The files of the log, and what is in quarantine.
    let aside = log.join("rejected");
    fs::create_dir_all(&aside).unwrap();
    give(&aside);
    let files: Vec<PathBuf> =
        fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).collect();
    let files = files.into_iter().filter(|path| path.is_file());
    for file in files.chain([log.join("00000000000000000000.seg"), aside.join("a.1.seg")]) {
        for to in [victim.secret(), victim.0.join("evil")] {
            trap(&to, &file);
            let rejected: [&[&str]; 1] = [&["dump", "--rejected"]];
            for command in COMMANDS.into_iter().chain(rejected) {
                victim.is_whole(&queue(&directory, command));
            }
        }
    }
    victim.is_whole(&queue(&directory, &["purge", "--rejected"]));
}

/// The owner is that of the folder, and not of what another user's link names.
#[test]
fn a_queue_that_is_a_link_of_another_user_is_refused() {
    if !able("a_queue_that_is_a_link_of_another_user_is_refused") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::new(folder.path());
    let directory = folder.path().join("state");
    fs::create_dir(&directory).unwrap();
    give(&directory);
    trap(&victim.0, &directory.join("queue"));
    for command in COMMANDS {
        let output = queue(&directory, command);
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        assert!(
            errors(&output).contains("queue is a link that another user controls"),
            "{output:?}"
        );
        victim.is_whole(&output);
    }
    // Root's own link, which nobody else can exchange, is followed; one that others can exchange is not.
    let own = folder.path().join("own");
    fs::create_dir(&own).unwrap();
    symlink(&victim.0, own.join("queue")).unwrap();
    for (mode, code) in [(0o755, 0), (0o777, 64)] {
        fs::set_permissions(&own, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(queue(&own, &["ls"]).status.code(), Some(code), "{mode:o}");
    }
}

/// An answer at the socket does not reach the terminal of root unsanitised.
#[test]
fn answers_of_a_socket_are_sanitised() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("state");
    fs::create_dir_all(directory.join("queue")).unwrap();
    let evil = "a\u{1b}[31m\u{9b}32m\u{202e}\u{7f}\r";
    let row = serde_json::json!({
        "pipeline": evil, "exporter": evil, "state": evil, "accepted": 0, "sent": 0, "rejected": 0, "dropped": 0,
        "queued": 0, "oldest_age_seconds": 0.0, "needs": 0,
    });
    let answers = [
        format!("{row}\nok\n"),
        format!("error: {evil}\n"),
        format!("ok {evil}\n"),
        format!("{{\"pipeline\": 1, \"{evil}\": 2}}\nok\n"),
    ];
    for (n, socket) in ["queue/control.sock", "control.sock"].iter().enumerate() {
        let listener = UnixListener::bind(directory.join(socket)).unwrap();
        let given = answers.clone();
        let server = std::thread::spawn(move || {
            listener.set_nonblocking(true).unwrap();
            for answer in given.iter().flat_map(|answer| [answer; 3]) {
                let (mut peer, _) = until("a peer", || listener.accept().ok());
                let mut line = String::new();
                BufReader::new(&peer).read_line(&mut line).unwrap();
                peer.write_all(answer.as_bytes()).unwrap();
            }
        });
        for answer in &answers {
            for command in [&["ls"][..], &["ls", "--json"], &["purge"]] {
                let output = queue(&directory, command);
                let said = [&output.stdout[..], &output.stderr].concat();
                let said = String::from_utf8(said).unwrap();
                let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
                assert!(!said.contains(steers), "{n} {answer:?} {command:?}: {said:?}");
            }
        }
        server.join().unwrap();
        fs::remove_file(directory.join(socket)).unwrap();
    }
}

/// A link named as the socket is not asked, and a daemon replaces it.
#[test]
fn a_socket_that_is_a_link_is_not_asked() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("state");
    fs::create_dir_all(directory.join("queue")).unwrap();
    let other = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&other).unwrap();
    listener.set_nonblocking(true).unwrap();
    for socket in ["control.sock", "queue/control.sock"] {
        symlink(&other, directory.join(socket)).unwrap();
    }
    let output = queue(&directory, &["ls"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(listener.accept().is_err(), "{output:?}");
}

/// A daemon with a queue that no exporter uses.
fn idle(folder: &Path) -> (Daemon, PathBuf) {
    let text = format!(
        "receivers: {{probe/a: {{interval: 1s, targets: ['127.0.0.1:1']}}}}\nexporters: {{prometheus: {{}}}}\n\
         http: {{listen: '127.0.0.1:{}'}}\nstorage: {{directory: state, queue: {{min_free_mib: 0}}}}\n",
        free_port()
    );
    let config = write(folder, "watchpost.yaml", &text);
    (Daemon::start(&config), folder.join("state"))
}

/// Peers that connect and send nothing do not keep others out.
#[test]
fn silent_peers_do_not_block_the_control_socket() {
    let folder = tempfile::tempdir().unwrap();
    let (mut daemon, directory) = idle(folder.path());
    let old = directory.join("queue/control.sock");
    let silent = until("the socket", || UnixStream::connect(&old).ok());
    let mut silent = vec![silent];
    silent.extend((0..20).map(|_| UnixStream::connect(&old).unwrap()));
    if let Ok(first) = UnixStream::connect(directory.join("control.sock")) {
        silent.push(first);
        silent
            .extend((0..20).map(|_| UnixStream::connect(directory.join("control.sock")).unwrap()));
    }
    let begun = Instant::now();
    let output = queue(&directory, &["ls"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    // The old socket answers, too.
    let mut peer = UnixStream::connect(&old).unwrap();
    peer.write_all(b"{\"command\":\"ls\"}\n").unwrap();
    let mut line = String::new();
    BufReader::new(peer).read_line(&mut line).unwrap();
    assert_eq!(line, "ok\n");
    drop(silent);
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    assert!(!directory.join("control.sock").exists() && !old.exists());
}

/// Nobody else sees the names in it, also where no exporter has a queue.
#[test]
fn the_folder_of_the_control_socket_is_not_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let (mut daemon, directory) = idle(folder.path());
    let socket = directory.join("control.sock");
    let mode = |path: &Path| fs::metadata(path).map(|meta| meta.mode() & 0o777).ok();
    until("the socket", || (mode(&socket)? == 0o660).then_some(()));
    assert_eq!(mode(&directory.join("queue")), Some(0o750));
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

/// A lab of root's with an output in a folder of the other user.
fn lab(output: &str) -> (tempfile::TempDir, Victim, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::new(folder.path());
    let label = "services: {a: {labels: {watchpost.address: \"a.invalid:1\"}}}";
    write(folder.path(), "compose.yaml", label);
    for (config, output) in [("watchpost.yaml", output), ("other.yaml", "other/found.yaml")] {
        let text = format!(
            "receivers: {{probe/a: {{targets: ['127.0.0.1:1']}}}}\nexporters: {{prometheus: {{}}}}\n\
             discovery: {{a: {{compose: {{paths: [compose.yaml]}}, output: {{file: {output}, format: file_sd}}, interval: 1h}}}}\n"
        );
        write(folder.path(), config, &text);
    }
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    give(&out);
    (folder, victim, out)
}

/// The files that root writes with `discover`, its textfile and `init`, all of this name.
fn writers(folder: &Path, file: &Path) -> [Vec<String>; 3] {
    let config = folder.join("watchpost.yaml").display().to_string();
    let other = folder.join("other.yaml").display().to_string();
    let file = file.display().to_string();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    [
        words(&["discover", "--force", "--config", &config]),
        words(&["discover", "--config", &other, "--textfile", &file]),
        words(&["init", "--force", "--output", &file]),
    ]
}

fn do_it(arguments: &[String]) -> Output {
    run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// No temporary file is left.
fn clean(out: &Path) {
    for entry in fs::read_dir(out).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with(".tmp"), "{name}");
    }
}

#[test]
fn root_writes_no_output_through_links_of_another_user() {
    if !able("root_writes_no_output_through_links_of_another_user") {
        return;
    }
    let (folder, victim, out) = lab("out/found.yaml");
    let file = out.join("found.yaml");
    for writer in writers(folder.path(), &file) {
        for to in [victim.0.join("profile.d-evil.sh"), victim.secret()] {
            trap(&to, &file);
            let output = do_it(&writer);
            assert_eq!(output.status.code(), Some(1), "{writer:?} {output:?}");
            let said = [&output.stdout[..], &output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(said.contains("found.yaml is a link that another user controls"), "{said}");
            victim.is_whole(&output);
            clean(&out);
        }
        fs::remove_file(&file).unwrap();
        // Without a trap it is written, and belongs to whom the folder belongs.
        let output = do_it(&writer);
        assert_eq!(output.status.code(), Some(0), "{writer:?} {output:?}");
        let meta = fs::metadata(&file).unwrap();
        assert_eq!(
            (meta.uid(), meta.gid(), meta.mode() & 0o777),
            (OTHER, OTHER, 0o644),
            "{writer:?}"
        );
        clean(&out);
    }
}

#[test]
fn root_goes_along_no_folder_that_another_user_has_led_elsewhere() {
    if !able("root_goes_along_no_folder_that_another_user_has_led_elsewhere") {
        return;
    }
    let (folder, victim, out) = lab("out/to/found.yaml");
    let file = out.join("to/found.yaml");
    for writer in writers(folder.path(), &file) {
        trap(&victim.0, &out.join("to"));
        let output = do_it(&writer);
        assert_eq!(output.status.code(), Some(1), "{writer:?} {output:?}");
        victim.is_whole(&output);
        // A folder that is missing is made for the other user.
        fs::remove_file(out.join("to")).unwrap();
        assert_eq!(do_it(&writer).status.code(), Some(0), "{writer:?}");
        assert_eq!(fs::metadata(out.join("to")).unwrap().uid(), OTHER, "{writer:?}");
        fs::remove_dir_all(out.join("to")).unwrap();
    }
    // Root has no more permissions there than the owner.
    fs::set_permissions(&out, fs::Permissions::from_mode(0o555)).unwrap();
    for writer in writers(folder.path(), &out.join("found.yaml")) {
        let output = do_it(&writer);
        assert_eq!(output.status.code(), Some(1), "{writer:?} {output:?}");
    }
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
}

/// Links of root's that nobody else can exchange go on being links.
#[test]
fn root_follows_its_own_links() {
    if !able("root_follows_its_own_links") {
        return;
    }
    let (folder, _, out) = lab("links/to/found.yaml");
    let links = folder.path().join("links");
    fs::create_dir(&links).unwrap();
    symlink("../out", links.join("to")).unwrap();
    for writer in writers(folder.path(), &links.join("to/found.yaml")) {
        let output = do_it(&writer);
        assert_eq!(output.status.code(), Some(0), "{writer:?} {output:?}");
        assert_eq!(fs::metadata(out.join("found.yaml")).unwrap().uid(), OTHER);
        fs::remove_file(out.join("found.yaml")).unwrap();
    }
}

/// The name of the temporary file as earlier versions would have chosen it: by the number of the process.
#[test]
fn a_temporary_file_that_was_foreseen_leads_nowhere() {
    if !able("a_temporary_file_that_was_foreseen_leads_nowhere") {
        return;
    }
    let (folder, victim, out) = lab("out/found.yaml");
    let script = "for n in $(seq 0 299); do ln -s \"$V\" \"$O/.found.yaml.$$-$n.tmp\"; done; \
                  chown -h 65534:65534 \"$O\"/.found*; exec \"$W\" discover --config \"$C\"";
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .env("V", victim.secret())
        .env("O", &out)
        .env("W", env!("CARGO_BIN_EXE_watchpost"))
        .env("C", folder.path().join("watchpost.yaml"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    victim.is_whole(&output);
    assert!(fs::read_to_string(out.join("found.yaml")).unwrap().contains("a.invalid"));
}

/// Root that may not change the user (in a container, say) writes and reads nothing as root instead.
#[test]
fn root_that_cannot_become_the_owner_is_refused() {
    if !able("root_that_cannot_become_the_owner_is_refused") {
        return;
    }
    let (folder, _, out) = lab("out/found.yaml");
    let directory = folder.path().join("state");
    let lock = directory.join("queue/metrics/lock");
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    give_all(&directory);
    let directory = directory.to_str().unwrap();
    let config = folder.path().join("watchpost.yaml");
    let without = |right: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--bounding-set", right, env!("CARGO_BIN_EXE_watchpost")]);
        command.args(arguments).output().unwrap()
    };
    for right in ["-setuid", "-setgid"] {
        let output = without(right, &["queue", "purge", "--directory", directory]);
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        assert!(errors(&output).contains("cannot become user 65534"), "{output:?}");
        assert!(!lock.exists());
        let output = without(right, &["discover", "--config", config.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("cannot act as user 65534"), "{said}");
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
    }
    assert_eq!(queue(Path::new(directory), &["purge"]).status.code(), Some(0));
    assert!(lock.exists());
}

/// Other users follow links as before: they lead nowhere where that user may not write.
#[test]
fn other_users_follow_links() {
    if !able("other_users_follow_links") {
        return;
    }
    let (folder, victim, out) = lab("out/found.yaml");
    let program = folder.path().join("watchpost");
    let own = env!("CARGO_BIN_EXE_watchpost");
    if fs::hard_link(own, &program).is_err() {
        fs::copy(own, &program).unwrap();
    }
    let init = |file: &Path| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(&program).args(["init", "--output"]).arg(file).output().unwrap()
    };
    let file = out.join("watchpost.yaml");
    trap(&out.join("real.yaml"), &file);
    let output = init(&file);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(fs::symlink_metadata(&file).unwrap().is_symlink() && out.join("real.yaml").exists());
    trap(&victim.0.join("evil"), &file);
    let output = init(&file);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    victim.is_whole(&output);
}
