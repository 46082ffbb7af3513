//! What one receiver reads: its scrapers, one after the other, and what each has found.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::clock::{self, BootTime, Moment, Timestamp};
use crate::host::hints::hint;
use crate::host::kernel::Kernel;
use crate::host::points::Points;
use crate::host::scraper::{Scraper, Troubles, Turn};
use crate::host::settings::Settings;
use crate::host::source::{Source, Trouble};
use crate::host::table;
use crate::pipeline::selfmetrics::Meter;
use crate::signal::batch::Sample;
use crate::signal::names;
use crate::signal::series::{Attributes, Resource};

/// Readers that are read together, one after the other, because reading `/proc` by several threads
/// at once helps nobody. Those of another lane may take long without holding these up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Files of the kernel, which answer at once.
    Kernel,
    /// File systems, which may hang.
    Mounts,
    /// Sensors, which may be slow.
    Sensors,
}

impl Lane {
    /// All of them.
    pub const ALL: [Lane; 3] = [Lane::Kernel, Lane::Mounts, Lane::Sensors];

    /// The readers of this lane.
    #[must_use]
    pub fn readers(self) -> &'static [&'static str] {
        match self {
            Lane::Kernel => &[
                "cpu",
                "load",
                "memory",
                "paging",
                "disk",
                "network",
                "sockets",
                "processes",
                "system",
                "pressure",
            ],
            Lane::Mounts => &["filesystem"],
            Lane::Sensors => &["thermal", "linux"],
        }
    }

    /// The name of its thread.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Lane::Kernel => "host",
            Lane::Mounts => "host mounts",
            Lane::Sensors => "host sensors",
        }
    }
}

/// Lines that one reading of one scraper logs at most.
const MAX_LINES: usize = 10;

/// A scraper at work.
struct Part {
    reader: &'static str,
    scraper: Box<dyn Scraper>,
    points: Points,
    troubles: Troubles,
    told: Option<Told>,
}

/// What is told of a scraper in our own metrics.
struct Told {
    meter: Arc<Meter>,
    receiver: Arc<str>,
    cells: Arc<Cells>,
}

#[derive(Default)]
struct Cells {
    duration: AtomicU64,
    success: AtomicU64,
    series: AtomicU64,
}

impl Told {
    fn new(meter: &Arc<Meter>, receiver: &Arc<str>, reader: &str) -> Self {
        let cells = Arc::new(Cells::default());
        let own = [("receiver", &**receiver), ("scraper", reader)];
        type Pick = fn(&Cells) -> &AtomicU64;
        let metrics: [(_, Pick, f64); 3] = [
            (&names::SCRAPER_DURATION, |cells| &cells.duration, 1e-9),
            (&names::SCRAPER_LAST_SUCCESS, |cells| &cells.success, 1e-9),
            (&names::SCRAPER_SERIES, |cells| &cells.series, 1.0),
        ];
        for (metric, pick, unit) in metrics {
            let weak = Arc::downgrade(&cells);
            // They end with the receiver.
            meter.read(metric, &own, move |_| {
                let value = pick(&*weak.upgrade()?).load(Ordering::Relaxed);
                (value > 0).then_some(value as f64 * unit)
            });
        }
        Self { meter: Arc::clone(meter), receiver: Arc::clone(receiver), cells }
    }

    fn tell(
        &self,
        reader: &str,
        troubles: &mut Troubles,
        took: u64,
        now: Moment,
        series: usize,
        failed: bool,
    ) {
        self.cells.duration.store(took.max(1), Ordering::Relaxed);
        self.cells.series.store(series as u64, Ordering::Relaxed);
        if !failed {
            self.cells.success.store(now.wall.0, Ordering::Relaxed);
        }
        for trouble in &troubles.now {
            let word = trouble.why.word();
            let own = [("receiver", &*self.receiver), ("scraper", reader), ("error.type", &word)];
            self.meter.counter(&names::SCRAPER_ERRORS, &own).add(1);
        }
        let untold = troubles.untold();
        if untold.len() > MAX_LINES {
            let (receiver, more) = (&*self.receiver, untold.len() - MAX_LINES);
            tracing::warn!(receiver, scraper = reader, more, "cannot read much; the first of it:");
        }
        for trouble in untold.into_iter().take(MAX_LINES) {
            let receiver = &*self.receiver;
            match hint(&trouble) {
                Some(hint) => tracing::warn!(receiver, scraper = reader, "{trouble} ({hint})"),
                None => tracing::warn!(receiver, scraper = reader, "{trouble}"),
            }
        }
    }
}

/// Reads what one receiver wants.
pub struct Collector {
    source: Source,
    parts: Vec<Part>,
    /// When the machine started: fixed at the first reading, because it trembles with the clock.
    boot: Option<Timestamp>,
}

impl Collector {
    /// Reads what these settings want of a lane; `None`: nothing.
    #[must_use]
    pub fn new(settings: &Settings, lane: Lane, kernel: &Arc<dyn Kernel>) -> Option<Self> {
        let resource = Arc::new(match settings.job {
            Some(job) => Resource::new(job, &kernel.host_name(), []),
            None => Resource { attributes: Attributes::default() },
        });
        let mut parts = Vec::new();
        for reader in lane.readers() {
            if settings.wanted.any(reader)
                && let Some(scraper) = scraper(reader, settings)
            {
                let points = Points::new(Arc::clone(&resource), Arc::clone(&settings.wanted));
                parts.push(Part {
                    reader,
                    scraper,
                    points,
                    troubles: Troubles::default(),
                    told: None,
                });
            }
        }
        let source = Source::new(settings.root.clone(), Arc::clone(kernel));
        (!parts.is_empty()).then_some(Self { source, parts, boot: None })
    }

    /// Tells in our own metrics and the log how it goes, under the name of a receiver.
    pub fn tell(&mut self, meter: &Arc<Meter>, receiver: &Arc<str>) {
        for part in &mut self.parts {
            part.told = Some(Told::new(meter, receiver, part.reader));
        }
    }

    /// Says when the machine started, so that all counters begin then, whoever reads them.
    pub fn started(&mut self, boot: Timestamp) {
        self.boot = Some(boot);
    }

    /// Reads once.
    pub fn collect(&mut self, now: Moment) -> Vec<Sample> {
        let boot = *self.boot.get_or_insert_with(|| now.wall_at(BootTime::default()));
        let mut samples = Vec::new();
        for Part { reader, scraper, points, troubles, told } in &mut self.parts {
            let began = clock::instant();
            points.begin(now.wall, boot);
            troubles.begin();
            let mut turn = Turn { source: &mut self.source, points, troubles, now };
            let result = scraper.scrape(&mut turn);
            let failed = result.is_err();
            troubles.now.extend(result.err());
            if points.take_refused() > 0 {
                troubles.now.insert(Trouble::wrong(reader.as_ref(), "too many series"));
            }
            let found = points.end(failed);
            if let Some(told) = told {
                let took = clock::instant().duration_since(began).as_nanos() as u64;
                told.tell(reader, troubles, took, now, found.len(), failed);
            }
            samples.extend(found);
        }
        samples
    }

    /// The end of everything that was told.
    #[must_use]
    pub fn farewell(&self, time: Timestamp) -> Vec<Sample> {
        self.parts.iter().flat_map(|part| part.points.farewell(time)).collect()
    }

    /// What could not be read the last time, by reader: troubles, and what this machine does not have.
    pub fn troubles(&self) -> impl Iterator<Item = (&'static str, &Troubles)> {
        self.parts.iter().map(|part| (part.reader, &part.troubles))
    }
}

fn scraper(reader: &str, settings: &Settings) -> Option<Box<dyn Scraper>> {
    Some(match reader {
        "cpu" => Box::new(table::cpu::Cpu::default()),
        "load" => Box::new(table::cpu::Load { per_cpu: settings.load_per_cpu }),
        "memory" => Box::new(table::memory::Memory),
        "paging" => Box::new(table::memory::Paging),
        "disk" => Box::new(table::disk::Disk::new(settings.disks.clone())),
        "filesystem" => Box::new(table::filesystem::Filesystem::new(settings.file_systems.clone())),
        "network" => Box::new(table::network::Network::new(settings.interfaces.clone())),
        "sockets" => Box::new(table::sockets::Sockets),
        "processes" => Box::new(table::processes::Processes),
        "system" => Box::new(table::system::System::default()),
        "pressure" => Box::new(table::pressure::Pressure),
        "thermal" => Box::new(table::thermal::Thermal::default()),
        "linux" => Box::new(table::faults::Faults::default()),
        _ => return None,
    })
}
