//! Where settings come from: the default file, `kettle.toml`, the environment, the command line. Each becomes a list of
//! assignments that remember their origin; nothing here knows what a value means.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{
    Overrides,
    keys::{self, Form, Lookup},
    value::{MASK, addresses_without_credentials, without_credentials},
};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Environment(String),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A value as its source has it. No `Debug`: it may be a secret.
#[derive(Clone)]
pub enum Raw {
    Text(String),
    List(Vec<String>),
}

impl Raw {
    /// The value as it may be shown.
    pub fn shown(&self, form: Form) -> String {
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::List(items) => items.join(", "),
        };
        match form {
            Form::Secret if !text.is_empty() => MASK.to_owned(),
            Form::Url => without_credentials(&text),
            Form::Urls => match self {
                Self::Text(text) => addresses_without_credentials(text),
                Self::List(items) => {
                    items.iter().map(|item| addresses_without_credentials(item)).collect::<Vec<_>>().join(", ")
                }
            },
            Form::Secret | Form::Scalar | Form::List => text,
        }
    }
}

/// A value and where it comes from.
#[derive(Clone)]
pub struct Setting {
    pub form: Form,
    pub raw: Raw,
    pub origin: Origin,
}

/// Settings by canonical name.
pub type Settings = BTreeMap<String, Setting>;

/// What there is to say about the sources. Never holds a value that could be a secret.
#[derive(Default)]
pub struct Findings {
    pub problems: Vec<String>,
    pub warnings: Vec<String>,
}

/// Reads a TOML file; `origin` is made of a line number.
pub fn toml(text: &str, origin: impl Fn(usize) -> Origin, findings: &mut Findings) -> Settings {
    let line = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
    let mut source = Source::default();
    match DeTable::parse(text) {
        Ok(table) => {
            let mut values = Vec::new();
            flatten("", table.get_ref(), &mut values);
            values.sort_unstable_by_key(|value| value.offset);
            for Value { name, offset, raw } in values {
                let origin = origin(line(offset));
                match raw {
                    Some(raw) => source.dotted(&name, raw, origin, findings),
                    None => {
                        findings.problems.push(format!("{name} (from {origin}): expected a value or a list of values"))
                    }
                }
            }
        }
        Err(error) => {
            let origin = origin(line(error.span().map_or(0, |span| span.start)));
            findings.problems.push(format!("{origin} is not valid TOML: {}", error.message()));
        }
    }
    source.settings(findings)
}

/// A value of a TOML file under its dotted name.
struct Value {
    name: String,
    offset: usize,
    /// `None` for what no setting is, such as a list of tables.
    raw: Option<Raw>,
}

fn flatten(prefix: &str, table: &DeTable<'_>, found: &mut Vec<Value>) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(table) => flatten(&format!("{name}."), table, found),
            DeValue::Array(items) => {
                let items: Option<Vec<_>> = items.iter().map(|item| scalar(item.get_ref())).collect();
                found.push(Value { name, offset: key.span().start, raw: items.map(Raw::List) });
            }
            value => found.push(Value { name, offset: key.span().start, raw: scalar(value).map(Raw::Text) }),
        }
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        // An unquoted 00:05:00 is a local time.
        DeValue::Datetime(time) => Some(time.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// Takes what is meant for Kettle out of the environment.
pub fn environment(variables: impl Iterator<Item = (String, String)>, findings: &mut Findings) -> Settings {
    let mut source = Source::default();
    let mut variables: Vec<_> = variables.collect();
    variables.sort_unstable();
    for (variable, value) in variables {
        let origin = || Origin::Environment(variable.clone());
        match keys::environment(&variable) {
            Some(Lookup::Key { name, form, index }) => {
                source.add(name, form, index, Raw::Text(value), origin(), findings)
            }
            Some(Lookup::Ignored { reason }) => findings.warnings.push(format!("{} has no effect: {reason}", origin())),
            Some(Lookup::Unknown { nearest }) => {
                let hint = nearest.map(|name| format!("; did you mean {}?", keys::variable(&name))).unwrap_or_default();
                findings.warnings.push(format!("environment {variable} is not a known setting{hint}"));
            }
            None => {}
        }
    }
    source.settings(findings)
}

/// The command line; a flag of its own beats `--set`.
pub fn flags(args: &Overrides, findings: &mut Findings) -> Settings {
    let mut source = Source::default();
    for (number, pair) in (1..).zip(&args.set) {
        match pair.split_once('=') {
            Some((name, value)) => {
                source.dotted(name.trim(), Raw::Text(value.to_owned()), Origin::Flag("--set"), findings);
            }
            None => findings.problems.push(format!("--set number {number}: expected KEY=VALUE")),
        }
    }
    let mut settings = source.settings(findings);
    let path = |path: &Path| path.display().to_string();
    let own = [
        ("--port", "server.port", Form::Scalar, args.port.map(|port| port.to_string())),
        ("--bind", "server.address", Form::Scalar, args.bind.map(|address| address.to_string())),
        ("--data", "kettle.data", Form::Scalar, args.data.as_deref().map(path)),
        ("--database", "spring.datasource.url", Form::Url, args.database.clone()),
        ("--roles", "kettle.roles", Form::List, args.roles.clone()),
    ];
    for (flag, name, form, value) in own {
        settings.extend(
            value.map(|value| (name.to_owned(), Setting { form, raw: Raw::Text(value), origin: Origin::Flag(flag) })),
        );
    }
    settings
}

/// The assignments of one source, before the elements of lists are gathered.
#[derive(Default)]
struct Source {
    assigned: Settings,
    elements: BTreeMap<String, BTreeMap<usize, Setting>>,
}

impl Source {
    fn dotted(&mut self, spelled: &str, raw: Raw, origin: Origin, findings: &mut Findings) {
        match keys::dotted(spelled) {
            Lookup::Key { name, form, index } => self.add(name, form, index, raw, origin, findings),
            Lookup::Ignored { reason } => {
                findings.warnings.push(format!("{spelled} (from {origin}) has no effect: {reason}"))
            }
            Lookup::Unknown { nearest } => {
                let hint = nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
                findings.problems.push(format!("{spelled} (from {origin}) is not a known setting{hint}"));
            }
        }
    }

    fn add(
        &mut self,
        name: String,
        form: Form,
        index: Option<usize>,
        raw: Raw,
        origin: Origin,
        findings: &mut Findings,
    ) {
        let setting = Setting { form, raw, origin };
        let second = setting.origin.clone();
        let replaced = match index {
            Some(index) => self.elements.entry(name.clone()).or_default().insert(index, setting),
            None => self.assigned.insert(name.clone(), setting),
        };
        // On the command line the last one counts.
        if let Some(first) = replaced
            && !matches!(second, Origin::Flag(_))
        {
            findings.problems.push(format!("{name} is set twice: {} and {second}", first.origin));
        }
    }

    fn settings(mut self, findings: &mut Findings) -> Settings {
        for (name, elements) in self.elements {
            let Some(first) = elements.values().next().cloned() else { continue };
            let items = elements.into_values().flat_map(|element| match element.raw {
                Raw::Text(item) => vec![item],
                Raw::List(items) => items,
            });
            let list = Setting { raw: Raw::List(items.collect()), ..first };
            if let Some(whole) = self.assigned.insert(name.clone(), list.clone()) {
                findings.problems.push(format!("{name} is set twice: {} and {}", whole.origin, list.origin));
            }
        }
        self.assigned
    }
}
