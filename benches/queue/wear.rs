//! What reaches a disk in the good case: the daemon on a file system of its own on a loop device, 50 targets, a backend
//! that takes everything.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Answers every request with 204, for as long as the process lives.
fn backend() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let mut buffer = [0; 1 << 16];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    bytes.extend_from_slice(&buffer[..count]);
                    while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
                        let length =
                            head.lines().find_map(|line| line.strip_prefix("content-length:"));
                        let length: usize = length.map_or(0, |text| text.trim().parse().unwrap());
                        if bytes.len() < end + 4 + length {
                            break;
                        }
                        bytes.drain(..end + 4 + length);
                        let _ = stream
                            .write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n");
                    }
                }
            });
        }
    });
    port
}

/// Bytes that were written to a device.
fn written(device: &str) -> u64 {
    let name = device.trim_start_matches("/dev/");
    let stat = fs::read_to_string(format!("/sys/block/{name}/stat")).unwrap();
    stat.split_whitespace().nth(6).unwrap().parse::<u64>().unwrap() * 512
}

/// Runs the daemon for so long, on a file system with these mount options.
pub(super) fn run(seconds: u64, options: &str) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    sh(&format!("truncate -s 512M {at}/disk; mkfs.ext4 -q {at}/disk; mkdir {at}/mnt"));
    let device = sh(&format!("losetup -f --show {at}/disk"));
    // Not what making the file system has left to do (its tables are filled lazily).
    sh(&format!("mount -o noinit_itable,{options} {device} {at}/mnt; sync -f {at}/mnt"));
    let port = backend();
    for targets in [0, 50] {
        measure(folder.path(), &device, port, targets, seconds);
    }
    sh(&format!("umount {at}/mnt; losetup -d {device}"));
}

fn measure(folder: &Path, device: &str, port: u16, targets: usize, seconds: u64) {
    use std::fmt::Write as _;
    let data = folder.join("mnt/data");
    let mut config = format!(
        "http: {{listen: 127.0.0.1:0}}\nstorage: {{directory: {}, queue: {{min_free_mib: 0}}}}\nexporters: {{prometheus_remote_write: {{endpoint: http://127.0.0.1:{port}/}}}}\nreceivers:\n  probe:\n    interval: 15s\n    targets: ['127.0.0.1:{port};t'",
        data.display()
    );
    for n in 0..targets {
        let _ = write!(config, ", 'http://127.0.0.1:{port}/{n};t{n}'");
    }
    config.push_str("]\n");
    let file = folder.join("w.yaml");
    fs::write(&file, config).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_watchpost"));
    let mut command = Command::new(program);
    command.arg("--config").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
    command.env("WATCHPOST_DUMPABLE", "1");
    let mut daemon = command.spawn().unwrap();
    // The beginning is not the steady state.
    std::thread::sleep(Duration::from_secs(20));
    let sync = format!("sync -f {}", folder.join("mnt").display());
    sh(&sync);
    let before = written(device);
    std::thread::sleep(Duration::from_secs(seconds));
    sh(&sync);
    let bytes = written(device) - before;
    sh(&format!("kill {}", daemon.id()));
    daemon.wait().unwrap();
    let day = bytes as f64 * 86_400.0 / seconds as f64 / 1e6;
    println!(
        "| {targets} HTTP targets and one TCP: written to the disk in {seconds} s, kB | {} |",
        bytes / 1000
    );
    println!("| the same, MB a day | {day:.1} |");
}
