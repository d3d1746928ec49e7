//! `docs/CONFIG.md`, made from the default file: `##` lines are headings, comments above a key its meaning.

use super::{DEFAULTS, keys};

const HEAD: &str =
    "# Configuration\n\n<!-- Made from crates/server/config.default.toml; a test keeps it in step. -->\n\n";

/// The manual of every setting, as Markdown.
pub fn manual_markdown() -> String {
    let mut manual = Manual { out: HEAD.to_owned(), ..Manual::default() };
    for line in DEFAULTS.lines() {
        manual.line(line);
    }
    manual.flush();
    manual.out += "## Settings without effect\n\nAccepted from a hawkBit deployment, and named in the log at start.\n\n| key | why |\n| --- | --- |\n";
    for (key, reason) in keys::IGNORED {
        manual.out += &format!("| `{key}` | {reason} |\n");
    }
    manual.out
}

#[derive(Default)]
struct Manual {
    out: String,
    /// Name of the current TOML table, with a dot at its end.
    table: String,
    /// Comment lines not used yet.
    comment: Vec<&'static str>,
    in_rows: bool,
}

impl Manual {
    fn line(&mut self, line: &'static str) {
        if line.starts_with("## ") {
            self.flush();
            self.out += &format!("{line}\n\n");
        } else if let Some(comment) = line.strip_prefix('#') {
            self.comment.push(comment.trim());
        } else if let Some(table) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            self.paragraph();
            self.table = format!("{table}.");
        } else if let Some((key, default)) = line.split_once(" = ") {
            self.row(key, default);
        }
    }

    fn row(&mut self, key: &str, default: &str) {
        if !self.in_rows {
            self.out += "| key, environment variable | default | meaning |\n| --- | --- | --- |\n";
            self.in_rows = true;
        }
        let (key, meaning) =
            (format!("{}{}", self.table, key.trim_matches('"')), std::mem::take(&mut self.comment).join(" "));
        let default = default.trim_matches(['"', '\'']).replace('|', "\\|");
        let default = if default.is_empty() { default } else { format!("`{default}`") };
        self.out += &format!("| `{key}`<br>`{}` | {default} | {meaning} |\n", keys::variable(&key));
    }

    /// Comments that belong to no key.
    fn paragraph(&mut self) {
        if !self.comment.is_empty() {
            let text = std::mem::take(&mut self.comment).join("\n");
            self.end_rows();
            self.out += &format!("{text}\n\n");
        }
    }

    fn flush(&mut self) {
        self.paragraph();
        self.end_rows();
    }

    fn end_rows(&mut self) {
        if std::mem::take(&mut self.in_rows) {
            self.out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CONFIG.md");

    #[test]
    fn the_manual_is_in_step_with_the_default_file() {
        let written = std::fs::read_to_string(PATH).unwrap_or_default();
        assert!(
            written == manual_markdown(),
            "docs/CONFIG.md is stale: run `cargo test -p kettle write_the_manual -- --ignored`"
        );
    }

    #[test]
    fn every_key_has_a_meaning() {
        let manual = manual_markdown();
        for (name, _) in keys::KEYS {
            let row = manual.lines().find(|line| line.starts_with(&format!("| `{name}`<br>")));
            assert!(row.is_some_and(|row| !row.ends_with("|  |")), "{name}");
        }
    }

    #[test]
    #[ignore = "writes docs/CONFIG.md"]
    fn write_the_manual() {
        std::fs::write(PATH, manual_markdown()).unwrap();
    }
}
