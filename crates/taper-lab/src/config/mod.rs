//! Typed settings out of TOML, with errors that a person can act on.
//!
//! A [`Node`] is a TOML value that remembers where it was written: a line of a file or a `--set` on
//! the command line. Deserialising from it keeps that place, the dotted path and the keys that would
//! have been valid, so a misspelt key is answered with its line and the nearest one.

mod deserialize;
mod node;

pub(crate) use deserialize::from_node;
pub(crate) use node::{Node, Origin, Value};

/// What is wrong with a configuration, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigError {
    pub(crate) problem: Problem,
    /// The dotted path, outermost first; filled in while the error travels outwards.
    pub(crate) path: Vec<String>,
    pub(crate) origin: Option<Origin>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Problem {
    UnknownKey { key: String, valid: Vec<String> },
    MissingKey { key: String },
    Other(String),
}

impl ConfigError {
    /// A problem at a place.
    pub(crate) fn at(origin: &Origin, path: &str, message: impl Into<String>) -> Self {
        Self {
            problem: Problem::Other(message.into()),
            path: parts(path),
            origin: Some(origin.clone()),
        }
    }

    /// An unknown key, answered with the nearest valid one.
    pub(crate) fn unknown_key(origin: &Origin, path: &str, key: &str, valid: Vec<String>) -> Self {
        Self {
            problem: Problem::UnknownKey { key: key.to_owned(), valid },
            path: parts(path),
            origin: Some(origin.clone()),
        }
    }

    pub(crate) fn bare(problem: Problem) -> Self {
        Self { problem, path: Vec::new(), origin: None }
    }

    /// Adds an outer path segment, and the place where none is known yet.
    pub(crate) fn within(mut self, segment: &str, origin: &Origin) -> Self {
        self.path.insert(0, segment.to_owned());
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    /// Puts `prefix` in front of the path.
    pub(crate) fn under(mut self, prefix: &str) -> Self {
        let inner = std::mem::replace(&mut self.path, parts(prefix));
        self.path.extend(inner);
        self
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        let place = self.path.join(".");
        match &self.problem {
            Problem::UnknownKey { key, valid } => {
                write!(f, "unknown key `{key}`")?;
                if !place.is_empty() {
                    write!(f, " in `{place}`")?;
                }
                if let Some(near) = nearest(key, valid) {
                    write!(f, "; did you mean `{near}`?")?;
                }
                write!(f, " (valid keys: {})", valid.join(", "))
            }
            Problem::MissingKey { key } if place.is_empty() => {
                write!(f, "the key `{key}` is missing")
            }
            Problem::MissingKey { key } => write!(f, "`{place}` lacks the key `{key}`"),
            Problem::Other(message) if place.is_empty() => f.write_str(message),
            Problem::Other(message) => write!(f, "`{place}`: {message}"),
        }
    }
}

impl std::error::Error for ConfigError {}

fn parts(path: &str) -> Vec<String> {
    path.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The candidate most like `word`, if a few slips of the fingers lead from one to the other.
pub(crate) fn nearest<'a>(word: &str, candidates: &'a [String]) -> Option<&'a str> {
    let slips = (word.chars().count() / 3).max(1);
    candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= slips)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.as_str())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Norm {
        None,
        Batch,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        learning_rate: f64,
        steps: u64,
        norm: Norm,
        widths: Vec<u64>,
        inner: Option<Inner>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        depth: u32,
    }

    const GOOD: &str = "learning_rate = 1\nsteps = 3\nnorm = \"batch\"\nwidths = [1, 2]\n";

    fn read(text: &str) -> Result<Settings, ConfigError> {
        from_node(&Node::parse("spec.toml", text)?)
    }

    fn message(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn typed_values_come_out_and_a_whole_number_is_a_real_one() {
        let settings = read(&format!("{GOOD}inner = {{ depth = 2 }}")).unwrap();
        assert_eq!(settings.learning_rate, 1.0);
        assert_eq!(settings.norm, Norm::Batch);
        assert_eq!(settings.widths, [1, 2]);
        assert_eq!(settings.inner, Some(Inner { depth: 2 }));
    }

    #[test]
    fn a_misspelt_key_is_answered_with_its_line_and_the_nearest() {
        let text = format!("{GOOD}\n[inner]\ndeph = 2");
        assert_eq!(
            message(&text),
            "spec.toml:7: unknown key `deph` in `inner`; did you mean `depth`? (valid keys: depth)"
        );
        let text = GOOD.replace("learning_rate", "lerning_rate");
        assert!(
            message(&text).starts_with(
                "spec.toml:1: unknown key `lerning_rate`; did you mean `learning_rate`?"
            )
        );
    }

    #[test]
    fn a_wrong_type_names_key_line_expected_and_found() {
        let text = GOOD.replace("steps = 3", "steps = \"many\"");
        assert_eq!(
            message(&text),
            "spec.toml:2: `steps`: expected a whole number, 0 or more, got string \"many\""
        );
        let text = GOOD.replace("steps = 3", "steps = -3");
        assert_eq!(
            message(&text),
            "spec.toml:2: `steps`: expected a whole number, 0 or more, got integer `-3`"
        );
        let text = GOOD.replace("[1, 2]", "[\n  1,\n  true]");
        assert_eq!(
            message(&text),
            "spec.toml:6: `widths.1`: expected a whole number, 0 or more, got boolean `true`"
        );
    }

    #[test]
    fn a_wrong_choice_is_answered_with_the_choices() {
        let text = GOOD.replace("batch", "bach");
        assert_eq!(
            message(&text),
            "spec.toml:3: `norm`: no such choice \"bach\"; did you mean \"batch\"? (there are: none, batch)"
        );
    }

    #[test]
    fn missing_and_double_keys_are_named() {
        let text = GOOD.replace("steps = 3\n", "");
        assert_eq!(message(&text), "spec.toml:1: the key `steps` is missing");
        let text = format!("{GOOD}[inner]\ndepth = 1\n[inner]\ndepth = 2");
        assert_eq!(
            message(&text),
            "spec.toml:7: `inner` is defined twice; keep one of the two, or rename one"
        );
    }

    #[test]
    fn an_override_is_laid_over_and_blamed_where_it_is_wrong() {
        let mut node = Node::parse("spec.toml", GOOD).unwrap();
        let (parts, value) = Node::parse_override("steps=7").unwrap();
        node.merge(&Node::nested(&parts, value));
        assert_eq!(from_node::<Settings>(&node).unwrap().steps, 7);

        let (parts, value) = Node::parse_override("inner.dept=7").unwrap();
        node.merge(&Node::nested(&parts, value));
        assert_eq!(
            from_node::<Settings>(&node).unwrap_err().to_string(),
            "--set inner.dept=7: unknown key `dept` in `inner`; did you mean `depth`? (valid keys: depth)"
        );
        assert!(Node::parse_override("steps").unwrap_err().to_string().contains("KEY=VALUE"));
        assert!(Node::parse_override("a..b=1").unwrap_err().to_string().contains("empty part"));
    }

    #[test]
    fn an_override_that_is_no_toml_is_a_text() {
        let (_, value) = Node::parse_override("norm=batch").unwrap();
        assert_eq!(value.value, Value::Text("batch".to_owned()));
        let (_, value) = Node::parse_override("widths=[1, 2]").unwrap();
        assert!(matches!(value.value, Value::List(items) if items.len() == 2));
    }
}
