//! What an authority grants beyond itself: the peer's hierarchy, or the one that the configuration writes (semantics.md E1).

/// The stock hierarchy. `*_TARGET` stands for the four verbs, on either side.
const STOCK: &[(&str, &[&str])] = &[
    ("ROLE_SYSTEM_CODE", &["ROLE_TENANT_ADMIN"]),
    (
        "ROLE_TENANT_ADMIN",
        &["ROLE_TARGET_ADMIN", "ROLE_REPOSITORY_ADMIN", "ROLE_ROLLOUT_ADMIN", "TENANT_CONFIGURATION"],
    ),
    ("ROLE_TARGET_ADMIN", &["*_TARGET", "READ_TARGET_SECURITY_TOKEN", "*_TARGET_TYPE"]),
    (
        "ROLE_REPOSITORY_ADMIN",
        &[
            "*_SOFTWARE_MODULE",
            "*_SOFTWARE_MODULE_TYPE",
            "*_DISTRIBUTION_SET",
            "*_DISTRIBUTION_SET_TYPE",
            "READ_SOFTWARE_MODULE_ARTIFACT",
        ],
    ),
    ("ROLE_ROLLOUT_ADMIN", &["*_ROLLOUT", "HANDLE_ROLLOUT", "APPROVE_ROLLOUT"]),
    ("TENANT_CONFIGURATION", &["*_TENANT_CONFIGURATION", "READ_GATEWAY_SECURITY_TOKEN"]),
    ("*_TARGET", &["READ_TARGET_TYPE"]),
    ("*_SOFTWARE_MODULE", &["READ_SOFTWARE_MODULE_TYPE"]),
    ("*_DISTRIBUTION_SET", &["READ_DISTRIBUTION_SET_TYPE"]),
];
const VERBS: [&str; 4] = ["CREATE", "READ", "UPDATE", "DELETE"];

/// Pairs of an authority and one that it implies.
#[derive(Clone, Debug)]
pub struct Hierarchy(Vec<(String, String)>);

impl Default for Hierarchy {
    fn default() -> Hierarchy {
        let pairs = STOCK.iter().flat_map(|(from, implied)| {
            verbs_of(from).flat_map(|from| {
                let implied = implied.iter().flat_map(|name| verbs_of(name));
                implied.map(move |implied| (from.clone(), implied)).collect::<Vec<_>>()
            })
        });
        Hierarchy(pairs.collect())
    }
}

impl Hierarchy {
    /// The hierarchy that `text` writes in place of the stock one, or that `extension` adds to it. An empty text is none.
    /// One line each: `A > B`, or `A > B > C`.
    pub fn configured(text: &str, extension: &str) -> Result<Hierarchy, String> {
        if !text.trim().is_empty() {
            return Ok(Hierarchy(pairs(text)?));
        }
        let mut hierarchy = Hierarchy::default();
        hierarchy.0.extend(pairs(extension)?);
        Ok(hierarchy)
    }

    /// `authorities` and all that they imply, each once.
    pub fn expand(&self, authorities: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut open: Vec<String> = authorities.into_iter().collect();
        let mut seen: Vec<String> = Vec::new();
        while let Some(authority) = open.pop() {
            if seen.contains(&authority) {
                continue;
            }
            open.extend(self.0.iter().filter(|(from, _)| *from == authority).map(|(_, implied)| implied.clone()));
            seen.push(authority);
        }
        seen
    }
}

fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let names: Vec<&str> = line.split('>').map(str::trim).collect();
        if names.len() < 2 || names.iter().any(|name| name.is_empty() || name.contains(char::is_whitespace)) {
            return Err(format!("expected lines like ROLE_A > READ_TARGET, found {line:?}"));
        }
        pairs.extend(names.iter().zip(names.iter().skip(1)).map(|(from, to)| ((*from).to_owned(), (*to).to_owned())));
    }
    Ok(pairs)
}

fn verbs_of(name: &'static str) -> impl Iterator<Item = String> {
    let (list, rest) = match name.strip_prefix("*_") {
        Some(rest) => (VERBS.as_slice(), rest),
        None => (&[""][..], name),
    };
    list.iter().map(move |verb| if verb.is_empty() { rest.to_owned() } else { format!("{verb}_{rest}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(hierarchy: &Hierarchy, authority: &str, expect: &[&str]) {
        let mut found = hierarchy.expand([authority.to_owned()]);
        found.sort();
        assert_eq!(found, expect);
    }

    #[test]
    fn a_configured_hierarchy_takes_the_place_of_the_stock_one_or_adds_to_it() {
        let replaced = Hierarchy::configured("A > B > C\n\nB > D\r\n", "C > E").unwrap();
        check(&replaced, "A", &["A", "B", "C", "D"]);
        check(&replaced, "READ_TARGET", &["READ_TARGET"]);
        let extended = Hierarchy::configured(" \n", "FLEET > READ_TARGET").unwrap();
        check(&extended, "FLEET", &["FLEET", "READ_TARGET", "READ_TARGET_TYPE"]);
        check(&Hierarchy::configured("A > B\nB > A", "").unwrap(), "A", &["A", "B"]);
        for wrong in ["A", "A >", "> B", "A B > C", "A > B C"] {
            let error = Hierarchy::configured("", wrong).unwrap_err();
            assert!(error.contains(wrong), "{error}");
        }
    }
}
