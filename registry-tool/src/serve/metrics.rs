//! What has been done, in numbers, as Prometheus reads them (its text format, version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::visit::Visit;

/// The media type of the text.
pub(super) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Counts since the server was started.
#[derive(Default)]
pub(super) struct Metrics {
    visits: Mutex<BTreeMap<(&'static str, &'static str, u16), Sums>>,
    /// Connections that are open.
    pub(super) connections: AtomicU64,
}

#[derive(Default)]
struct Sums {
    count: u64,
    sent: u64,
    seconds: f64,
}

impl Metrics {
    /// Takes note of a request.
    pub(super) fn count(&self, visit: &Visit) {
        // Whatever a client makes up as a method is one kind of thing, or the list would grow for ever.
        const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
        let method = METHODS.into_iter().find(|known| *known == visit.method).unwrap_or("other");
        let mut visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = visits.entry((visit.kind, method, visit.status)).or_default();
        sums.count += 1;
        sums.sent += visit.sent;
        sums.seconds += visit.took.as_secs_f64();
    }

    /// All of it as text. `uploads` are in progress.
    pub(super) fn text(&self, uploads: usize) -> String {
        let visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Sums) -> String| {
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for ((thing, method, status), sums) in &*visits {
                let labels = format!("kind=\"{thing}\",method=\"{method}\",status=\"{status}\"");
                let _ = writeln!(text, "{name}{{{labels}}} {}", value(sums));
            }
        };
        metric("registry_requests_total", "counter", "Requests answered.", &|sums| sums.count.to_string());
        metric("registry_sent_bytes_total", "counter", "Bytes of answers sent.", &|sums| sums.sent.to_string());
        metric("registry_request_seconds_total", "counter", "Time that requests took.", &|sums| {
            format!("{:.6}", sums.seconds)
        });
        let connections = self.connections.load(Ordering::Relaxed);
        let gauges = [
            ("registry_connections", "Open connections.", connections),
            ("registry_uploads", "Uploads in progress.", uploads as u64),
        ];
        for (name, help, value) in gauges {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn requests_are_counted_by_kind_method_and_status() {
        let metrics = Metrics::default();
        for method in ["GET", "GET", "EVIL\"}"] {
            metrics.count(&Visit {
                peer: None,
                user: None,
                method: method.into(),
                target: "/".into(),
                agent: None,
                kind: "blob",
                status: 200,
                sent: 5,
                is_whole: true,
                took: Duration::from_millis(250),
            });
        }
        let text = metrics.text(3);
        for line in [
            "# TYPE registry_requests_total counter",
            "registry_requests_total{kind=\"blob\",method=\"GET\",status=\"200\"} 2",
            "registry_requests_total{kind=\"blob\",method=\"other\",status=\"200\"} 1",
            "registry_sent_bytes_total{kind=\"blob\",method=\"GET\",status=\"200\"} 10",
            "registry_request_seconds_total{kind=\"blob\",method=\"GET\",status=\"200\"} 0.500000",
            "registry_uploads 3",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in:\n{text}");
        }
    }
}
