//! A TOML value that remembers where it was written.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// The value.
    pub(crate) value: Value,
    /// Where it was written.
    pub(crate) origin: Origin,
}

/// The kinds of value that a configuration holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A real number.
    Real(f64),
    /// `true` or `false`.
    Flag(bool),
    /// A list.
    List(Vec<Node>),
    /// A table, in the order of the file.
    Table(Vec<(String, Node)>),
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Origin {
    /// A line of a file.
    File {
        /// The file as it is shown.
        file: Arc<str>,
        /// The line, from 1.
        line: usize,
    },
    /// An override on the command line, as it was typed.
    Override(Arc<str>),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Override(text) => write!(f, "--set {text}"),
        }
    }
}

impl Node {
    /// Parses a whole file; `file` is its name in messages.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let reader = Reader { file: file.into(), text };
        match DeTable::parse(text) {
            Ok(table) => reader.table(table.get_ref(), table.span().start),
            Err(error) => {
                let start = error.span().map_or(0, |span| span.start);
                let quoted = error.span().and_then(|span| text.get(span)).unwrap_or_default();
                let message = if error.message().contains("duplicate key") {
                    format!("`{quoted}` is defined twice; keep one of the two, or rename one")
                } else {
                    format!("not valid TOML: {}", error.message())
                };
                Err(ConfigError::at(&reader.origin(start), "", message))
            }
        }
    }

    /// Parses `KEY=VALUE` of a command line into the key's parts and the value. A value that is no
    /// TOML is taken as a text, so that `--set optimizer=adam` needs no quotes.
    pub(crate) fn parse_override(text: &str) -> Result<(Vec<String>, Self), ConfigError> {
        let origin = Origin::Override(text.into());
        let wrong = |message: &str| ConfigError::at(&origin, "", message);
        let Some((key, value)) = text.split_once('=') else {
            return Err(wrong(
                "an override has the form KEY=VALUE, such as lr=0.1 or arms.bn.lr=0.1",
            ));
        };
        let parts: Vec<String> = key.trim().split('.').map(|part| part.trim().to_owned()).collect();
        if parts.iter().any(String::is_empty) {
            return Err(wrong("the key before `=` has an empty part"));
        }
        let value = value.trim();
        let node = match DeValue::parse(value) {
            Ok(parsed) => Reader { file: "".into(), text: value }
                .value(parsed.get_ref(), 0)
                .map_err(|error| ConfigError { origin: Some(origin.clone()), ..error })?
                .relocated(&origin),
            Err(_) => Self { value: Value::Text(value.to_owned()), origin },
        };
        Ok((parts, node))
    }

    /// The entries of a table; none for any other value.
    pub(crate) fn entries(&self) -> &[(String, Node)] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    /// The entry called `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// Takes the entry called `key` out of the table.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Node> {
        let Value::Table(entries) = &mut self.value else {
            return None;
        };
        let at = entries.iter().position(|(name, _)| name == key)?;
        Some(entries.remove(at).1)
    }

    /// Lays `other` over this table: tables merge key by key, anything else is replaced.
    pub(crate) fn merge(&mut self, other: &Node) {
        match (&mut self.value, &other.value) {
            (Value::Table(mine), Value::Table(theirs)) => {
                for (key, node) in theirs {
                    match mine.iter_mut().find(|(name, _)| name == key) {
                        Some((_, existing)) => existing.merge(node),
                        None => mine.push((key.clone(), node.clone())),
                    }
                }
            }
            _ => *self = other.clone(),
        }
    }

    /// `node` below the dotted path `parts`, as a table to merge.
    pub(crate) fn nested(parts: &[String], node: Node) -> Node {
        parts.iter().rev().fold(node, |inner, part| Node {
            origin: inner.origin.clone(),
            value: Value::Table(vec![(part.clone(), inner)]),
        })
    }

    /// What kind of value this is, for messages.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Text(text) => format!("the text {text:?}"),
            Value::Integer(number) => format!("the whole number {number}"),
            Value::Real(number) => format!("the number {number}"),
            Value::Flag(flag) => format!("{flag}"),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }

    fn relocated(mut self, origin: &Origin) -> Self {
        self.origin = origin.clone();
        match &mut self.value {
            Value::List(items) => {
                for item in items {
                    *item = item.clone().relocated(origin);
                }
            }
            Value::Table(entries) => {
                for (_, node) in entries {
                    *node = node.clone().relocated(origin);
                }
            }
            _ => {}
        }
        self
    }
}

struct Reader<'a> {
    file: Arc<str>,
    text: &'a str,
}

impl Reader<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let before = self.text.get(..offset).unwrap_or(self.text);
        Origin::File { file: self.file.clone(), line: before.matches('\n').count() + 1 }
    }

    fn table(&self, table: &DeTable<'_>, start: usize) -> Result<Node, ConfigError> {
        let mut entries = Vec::new();
        for (key, value) in table {
            // A key's line is where a person looks for it; `[a.b]` headers have no span of their own.
            let node = self.spanned(value, key.span().start)?;
            entries.push((key.get_ref().to_string(), node));
        }
        Ok(Node { value: Value::Table(entries), origin: self.origin(start) })
    }

    fn spanned(&self, value: &Spanned<DeValue<'_>>, start: usize) -> Result<Node, ConfigError> {
        self.value(value.get_ref(), start)
    }

    fn value(&self, value: &DeValue<'_>, start: usize) -> Result<Node, ConfigError> {
        let value = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix());
                Value::Integer(
                    parsed.map_err(|_| self.wrong(start, "a whole number beyond 64 bits"))?,
                )
            }
            DeValue::Float(number) => {
                let parsed: Result<f64, _> = number.as_str().parse();
                Value::Real(parsed.map_err(|_| self.wrong(start, "not a number"))?)
            }
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Datetime(_) => {
                return Err(self.wrong(start, "dates are not used here; write a text in quotes"));
            }
            DeValue::Array(items) => Value::List(
                items
                    .iter()
                    .map(|item| self.spanned(item, item.span().start))
                    .collect::<Result<_, _>>()?,
            ),
            DeValue::Table(table) => return self.table(table, start),
        };
        Ok(Node { value, origin: self.origin(start) })
    }

    fn wrong(&self, start: usize, message: &str) -> ConfigError {
        ConfigError::at(&self.origin(start), "", message)
    }
}
