//! What was measured, against what is wanted: a table for people, one line of JSON for machines. Judges numbers; knows
//! nothing of how they came about.

use std::fmt::Write as _;
use std::fs;

use anyhow::Error;
use serde_json::{Map, Value, json};

#[derive(Clone, Copy)]
pub enum Wanted {
    AtLeast(f64),
    Under(f64),
}

impl Wanted {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(limit) => value >= limit,
            Self::Under(limit) => value < limit,
        }
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::AtLeast(limit) => format!(">= {} {unit}", number(limit)),
            Self::Under(limit) => format!("< {} {unit}", number(limit)),
        }
    }
}

pub struct Row {
    pub key: &'static str,
    pub what: String,
    pub value: f64,
    pub unit: &'static str,
    pub wanted: Option<Wanted>,
    /// What hawkBit did on the machine of those who set the wanted numbers.
    pub peer: &'static str,
    pub note: String,
}

impl Row {
    /// A measurement without a wanted number.
    pub fn info(key: &'static str, what: &str, value: f64, unit: &'static str) -> Self {
        Self { key, what: what.to_owned(), value, unit, wanted: None, peer: "", note: String::new() }
    }

    pub fn memory(key: &'static str, what: &str, bytes: u64, wanted: Wanted, peer: &'static str) -> Self {
        Self { wanted: Some(wanted), peer, ..Self::info(key, what, megabytes(bytes), "MB") }
    }
}

pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

pub struct Report {
    is_reference: bool,
    command: String,
    machine: Value,
    setup: Vec<(&'static str, String)>,
    rows: Vec<Row>,
}

impl Report {
    /// `is_reference`: whether the run is the one that the wanted numbers are stated for.
    pub fn new(is_reference: bool) -> Self {
        let command = std::env::args().collect::<Vec<_>>().join(" ");
        Self { is_reference, command, machine: machine(), setup: Vec::new(), rows: Vec::new() }
    }

    pub fn setup(&mut self, what: &'static str, text: impl Into<String>) {
        self.setup.push((what, text.into()));
    }

    pub fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Prints all that was measured, even if the run failed half-way.
    pub fn print(&self, failure: Option<&Error>) {
        println!("{}\n{}", self.table(), self.json(failure));
    }

    fn table(&self) -> String {
        let mut text = format!("\n$ {}\n", self.command);
        let machine = self.machine.as_object().into_iter().flatten();
        let facts: Vec<String> = machine.map(|(name, value)| format!("{name} {}", plain(value))).collect();
        let _ = writeln!(text, "machine: {}", facts.join(", "));
        for (what, setting) in &self.setup {
            let _ = writeln!(text, "{what}: {setting}");
        }
        if !self.is_reference {
            text.push_str("The wanted numbers are for 10,000 and 100,000 targets on PostgreSQL and an artifact of 1 GiB; this is another set-up.\n");
        }

        let head = ["what", "measured", "wanted", "", "hawkBit", "note"].map(str::to_owned);
        let body = self.rows.iter().map(|row| {
            let verdict = row.wanted.map_or("", |wanted| if wanted.is_met(row.value) { "ok" } else { "MISSED" });
            [
                row.what.clone(),
                format!("{} {}", number(row.value), row.unit),
                row.wanted.map_or(String::new(), |wanted| wanted.text(row.unit)),
                verdict.to_owned(),
                row.peer.to_owned(),
                row.note.clone(),
            ]
        });
        let lines: Vec<[String; 6]> = std::iter::once(head).chain(body).collect();
        let mut widths = [0; 6];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.len().max(*width);
            }
        }
        text.push('\n');
        for line in &lines {
            let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        text
    }

    fn json(&self, failure: Option<&Error>) -> Value {
        let mut results = Map::new();
        for row in &self.rows {
            let mut result = json!({ "value": (row.value * 1000.0).round() / 1000.0, "unit": row.unit });
            if let (Some(wanted), Some(result)) = (row.wanted, result.as_object_mut()) {
                result.insert("wanted".to_owned(), json!(wanted.text(row.unit)));
                result.insert("ok".to_owned(), json!(wanted.is_met(row.value)));
            }
            results.insert(row.key.to_owned(), result);
        }
        let setup: Map<String, Value> =
            self.setup.iter().map(|(what, text)| ((*what).to_owned(), json!(text))).collect();
        json!({
            "program": "kettle-bench",
            "command": self.command,
            "machine": self.machine,
            "setup": setup,
            "reference": self.is_reference,
            "results": results,
            "failure": failure.map(|error| format!("{error:#}")),
        })
    }
}

fn machine() -> Value {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let memory_kib = field(&read("/proc/meminfo"), "MemTotal");
    let memory_kib = memory_kib.and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok());
    json!({
        "cpu": field(&read("/proc/cpuinfo"), "model name"),
        "cores": std::thread::available_parallelism().ok().map(usize::from),
        "memory_mib": memory_kib.map(|kib| kib / 1024),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load_average": read("/proc/loadavg").split(' ').next(),
    })
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whole numbers with thousands separators from 100 up, one decimal below.
pub fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        let text = format!("{value:.1}");
        return text.strip_suffix(".0").map_or(text.clone(), str::to_owned);
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && digit != '-' && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_reading() {
        let texts = [0.0, 40.0, 43.21, 99.96, 100.0, 999.4, 1_500.0, 66_000.4, 1_234_567.0].map(number);
        assert_eq!(texts, ["0", "40", "43.2", "100", "100", "999", "1,500", "66,000", "1,234,567"]);
    }

    #[test]
    fn a_limit_is_met_from_the_right_side() {
        assert!(Wanted::AtLeast(40.0).is_met(40.0));
        assert!(!Wanted::AtLeast(40.0).is_met(39.9));
        assert!(Wanted::Under(60.0).is_met(59.9));
        assert!(!Wanted::Under(60.0).is_met(60.0));
    }
}
