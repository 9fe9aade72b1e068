//! What a person or a script sees of a transfer, all of it on standard error.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use image_tool::address::digest::short;
use image_tool::program::say;
use image_tool::show::human::{self, plain};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use oci_spec::image::Descriptor;
use registry_tool::reference::ImageName;
use registry_tool::transfer::event::{Event, Outcome, Watcher};
use serde_json::{Value, json};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// Bars on a terminal, lines elsewhere.
    Auto,
    /// A line for each finished layer, as docker prints them.
    Plain,
    /// JSON lines, as docker's API sends them.
    Json,
    /// No progress.
    None,
}

/// Options for all commands that transfer layers: what is shown of it, and how much happens at once.
#[derive(Args, Clone, Copy)]
pub(crate) struct Pace {
    /// How to show progress on standard error.
    #[arg(long, value_name = "STYLE", value_enum, default_value = "auto")]
    progress: Progress,
    /// Number of layers to transfer at once.
    #[arg(short, long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u8).range(1..))]
    jobs: u8,
}

impl Pace {
    pub(crate) fn display(self, is_quiet: bool, transfer: Transfer) -> Arc<Display> {
        Display::new(self.progress, is_quiet, transfer)
    }

    /// The number of layers to transfer at once.
    pub(crate) fn jobs(self) -> usize {
        usize::from(self.jobs)
    }
}

/// What happens to the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transfer {
    Pull,
    Push,
    Copy,
}

impl Transfer {
    fn verb(self) -> &'static str {
        match self {
            Self::Pull => "Downloading",
            Self::Push => "Pushing",
            Self::Copy => "Copying",
        }
    }

    /// docker's first lines. They come with the first news of a layer, so that a failure before is one line.
    fn greeting(self, name: &ImageName) -> Vec<String> {
        let default = name.has_default_tag().then(|| "Using default tag: latest".to_owned());
        match self {
            Self::Pull => {
                let label = match name.digest() {
                    Some(_) => name.to_string(),
                    None => name.tag().unwrap_or("latest").to_owned(),
                };
                default.into_iter().chain([format!("{label}: Pulling from {}", name.repository())]).collect()
            }
            Self::Push => {
                let line = format!("The push refers to repository [{}/{}]", name.registry(), name.repository());
                [line].into_iter().chain(default).collect()
            }
            Self::Copy => Vec::new(),
        }
    }
}

/// A layer's bar moves and a script's line comes no more often than this.
const INTERVAL: Duration = Duration::from_millis(100);

/// Shows what a transfer reports.
pub(crate) struct Display {
    kind: Kind,
    /// Lines to say before the first other one.
    pending: Mutex<Vec<String>>,
    transfer: Transfer,
}

enum Kind {
    Silent,
    Lines,
    Json(Mutex<HashMap<String, Instant>>),
    Bars { all: MultiProgress, each: Mutex<HashMap<String, ProgressBar>> },
}

impl Display {
    pub(crate) fn new(progress: Progress, is_quiet: bool, transfer: Transfer) -> Arc<Self> {
        let kind = match progress {
            _ if is_quiet => Kind::Silent,
            Progress::None => Kind::Silent,
            Progress::Auto if io::stderr().is_terminal() => {
                Kind::Bars { all: MultiProgress::new(), each: Mutex::default() }
            }
            Progress::Auto | Progress::Plain => Kind::Lines,
            Progress::Json => Kind::Json(Mutex::default()),
        };
        Arc::new(Self { kind, transfer, pending: Mutex::default() })
    }

    /// Says one line of docker's.
    pub(crate) fn say(&self, line: &str) {
        self.greet();
        self.say_now(line);
    }

    fn say_now(&self, line: &str) {
        match &self.kind {
            Kind::Silent => {}
            Kind::Lines => say(line),
            Kind::Json(_) => say_json(&json!({ "status": line })),
            Kind::Bars { all, .. } => all.suspend(|| say(line)),
        }
    }

    /// Shows the events of a pull.
    pub(crate) fn watcher(self: &Arc<Self>) -> Watcher {
        let display = Arc::clone(self);
        Arc::new(move |event| display.show(&event))
    }

    fn show(&self, event: &Event<'_>) {
        match event {
            Event::Found { name, .. } => {
                *self.pending.lock().expect("nobody panics holding it") = self.transfer.greeting(name);
            }
            Event::Waiting(blob) => self.begin(blob),
            Event::At(blob, position) => self.advance(blob, *position),
            Event::Retrying(blob, reason) => self.status(blob, &format!("Retrying ({reason})")),
            Event::Done(blob, outcome) => {
                let word = match outcome {
                    Outcome::Existed => "Already exists".to_owned(),
                    Outcome::Pulled => "Pull complete".to_owned(),
                    Outcome::Held => "Layer already exists".to_owned(),
                    Outcome::Pushed => "Pushed".to_owned(),
                    Outcome::Mounted(source) => format!("Mounted from {source}"),
                    _ => return,
                };
                // docker counts only layers; the config is too small to be worth a line.
                if is_config(blob) {
                    return;
                }
                self.finish(blob, &word);
            }
            _ => {}
        }
    }

    fn begin(&self, blob: &Descriptor) {
        let Kind::Bars { all, each } = &self.kind else { return };
        if is_config(blob) {
            return;
        }
        let style = ProgressStyle::with_template(
            "{prefix}: {msg:12} {bar:30} {bytes:>10}/{total_bytes:10} {binary_bytes_per_sec}",
        )
        .expect("a constant template");
        let bar = all.add(ProgressBar::new(blob.size()).with_style(style));
        bar.set_prefix(short(blob.digest()).to_owned());
        bar.set_message("Waiting");
        each.lock().expect("nobody panics holding it").insert(blob.digest().to_string(), bar);
    }

    fn advance(&self, blob: &Descriptor, position: u64) {
        match &self.kind {
            Kind::Silent | Kind::Lines => {}
            Kind::Bars { each, .. } => {
                if let Some(bar) = each.lock().expect("nobody panics holding it").get(&blob.digest().to_string()) {
                    if bar.position() == 0 {
                        bar.set_message(self.transfer.verb());
                    }
                    bar.set_position(position);
                }
            }
            Kind::Json(last) => {
                let now = Instant::now();
                let mut last = last.lock().expect("nobody panics holding it");
                let is_due = last.get(blob.digest().digest()).is_none_or(|then| now - *then >= INTERVAL);
                if is_due || position == blob.size() {
                    self.greet();
                    last.insert(blob.digest().digest().to_owned(), now);
                    let detail = json!({ "current": position, "total": blob.size() });
                    let id = short(blob.digest());
                    say_json(&json!({ "status": self.transfer.verb(), "id": id, "progressDetail": detail }));
                }
            }
        }
    }

    fn status(&self, blob: &Descriptor, word: &str) {
        let id = short(blob.digest());
        match &self.kind {
            Kind::Json(_) => {
                self.greet();
                say_json(&json!({ "status": word, "id": id }));
            }
            Kind::Bars { each, .. } => {
                let each = each.lock().expect("nobody panics holding it");
                match each.get(&blob.digest().to_string()) {
                    // The bars write to the terminal themselves.
                    Some(bar) => bar.set_message(plain(word)),
                    None => self.say(&format!("{id}: {word}")),
                }
            }
            Kind::Silent | Kind::Lines => self.say(&format!("{id}: {word}")),
        }
    }

    /// Says what is pending, and nothing else.
    fn greet(&self) {
        let pending = std::mem::take(&mut *self.pending.lock().expect("nobody panics holding it"));
        for line in &pending {
            self.say_now(line);
        }
    }

    fn finish(&self, blob: &Descriptor, word: &str) {
        let Kind::Bars { each, .. } = &self.kind else { return self.status(blob, word) };
        let bar = each.lock().expect("nobody panics holding it").remove(&blob.digest().to_string());
        // The bar gives way to docker's line, so that what stays on the screen is what docker leaves there.
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        self.say(&format!("{}: {word}", short(blob.digest())));
    }
}

/// Says a line of JSON, which stays JSON when what a terminal would obey is escaped.
fn say_json(document: &Value) {
    say(&human::json(&document.to_string()));
}

fn is_config(blob: &Descriptor) -> bool {
    let media_type = blob.media_type().to_string();
    media_type.contains(".config.") || media_type.contains("container.image.v1+json")
}
