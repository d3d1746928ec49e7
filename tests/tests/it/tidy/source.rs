//! The Rust source of our crates as far as the rules need to read it: code apart from comments, literals, and tests.

use std::path::Path;

use crate::harness::workspace;

pub struct Source {
    /// From the workspace's root.
    pub path: String,
    pub text: String,
    /// Without comments, without the content of literals, without an inline module of tests.
    pub code: String,
    /// The content of the string literals in `code`.
    pub literals: Vec<String>,
    /// A file that only `#[cfg(test)]` compiles.
    pub is_test: bool,
}

/// Every file under `crates/*/src`, by path.
pub fn all() -> Vec<Source> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(workspace().join("crates")).unwrap() {
        collect(&entry.unwrap().path().join("src"), &mut paths);
    }
    paths.sort();
    assert!(paths.len() > 50, "the source was not found: {paths:?}");
    let mut sources: Vec<Source> = paths.iter().map(|path| read(path)).collect();
    let tests: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        source.is_test = tests.contains(&source.path);
        if source.is_test {
            source.code.clear();
            source.literals.clear();
        }
    }
    sources
}

impl Source {
    /// The hand-written SQL statements.
    pub fn statements(&self) -> impl Iterator<Item = &str> {
        const VERBS: [&str; 4] = ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM "];
        self.literals.iter().filter(|text| VERBS.iter().any(|verb| text.contains(verb))).map(String::as_str)
    }
}

fn collect(folder: &Path, paths: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|end| end == "rs") {
            paths.push(path);
        }
    }
}

fn read(path: &Path) -> Source {
    let text = std::fs::read_to_string(path).unwrap();
    let inline_tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let (code, literals) = split(&text[..inline_tests]);
    let path = path.strip_prefix(workspace()).unwrap().to_str().unwrap().to_owned();
    Source { path, text, code, literals, is_test: false }
}

/// The files that `#[cfg(test)] mod name;` in `source` stands for.
fn test_modules(source: &Source) -> Vec<String> {
    let (folder, file) = source.path.rsplit_once('/').unwrap();
    let folder = match file {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => format!("{folder}/{}", file.trim_end_matches(".rs")),
    };
    let declared = source.text.split("#[cfg(test)]\n").skip(1).filter_map(|after| {
        let declaration = after.trim_start_matches("pub(crate) ").trim_start_matches("pub ").strip_prefix("mod ")?;
        declaration.lines().next()?.strip_suffix(';').map(str::to_owned)
    });
    declared.flat_map(|name| [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")]).collect()
}

/// Code without comments and without the content of literals, and the content of the string literals.
fn split(text: &str) -> (String, Vec<String>) {
    let (mut code, mut literals) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if rest.starts_with("/*") {
            rest = &rest[rest.find("*/").map_or(rest.len(), |end| end + 2)..];
        } else if let Some((content, length)) = raw_literal(rest, &code).or_else(|| literal(rest)) {
            code += "\"\"";
            literals.push(content);
            rest = &rest[length..];
        } else if let Some(length) = character(rest) {
            code += "' '";
            rest = &rest[length..];
        } else {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    (code, literals)
}

fn raw_literal(rest: &str, before: &str) -> Option<(String, usize)> {
    if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let hashes = rest.strip_prefix('r')?.bytes().take_while(|byte| *byte == b'#').count();
    let content = rest[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = content.find(&end)?;
    Some((content[..length].to_owned(), 1 + hashes + 1 + length + end.len()))
}

/// An ordinary string; a line that ends with a backslash goes on without the blanks of the next.
fn literal(rest: &str) -> Option<(String, usize)> {
    let mut content = String::new();
    let inner = rest.strip_prefix('"')?;
    let mut characters = inner.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((content, at + 2)),
            '\\' => match characters.next()?.1 {
                '\n' => while characters.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                escaped => content.push(escaped),
            },
            _ => content.push(c),
        }
    }
    None
}

/// The length of a character literal; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    let first = inner.chars().next()?;
    if first == '\\' {
        return Some(2 + inner[2..].find('\'')? + 2);
    }
    inner[first.len_utf8()..].starts_with('\'').then(|| 2 + first.len_utf8())
}
