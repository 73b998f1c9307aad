//! serde's view of a [`Node`], which keeps places and paths in its errors.

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{ConfigError, Node, Problem, Value};

/// Reads a typed value out of `node`.
pub(crate) fn from_node<T: DeserializeOwned>(node: &Node) -> Result<T, ConfigError> {
    T::deserialize(node).map_err(|mut error| {
        error.origin.get_or_insert_with(|| node.origin.clone());
        error
    })
}

impl de::Error for ConfigError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::bare(Problem::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {}, got {found}", in_words(expected)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {}, got {found}", in_words(expected)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let valid = expected.iter().map(|key| (*key).to_owned()).collect();
        Self::bare(Problem::UnknownKey { key: field.to_owned(), valid })
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let valid: Vec<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        let near =
            super::nearest(variant, &valid).map(|near| format!("; did you mean \"{near}\"?"));
        Self::custom(format_args!(
            "no such choice \"{variant}\"{} (there are: {})",
            near.unwrap_or_default(),
            valid.join(", ")
        ))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::bare(Problem::MissingKey { key: field.to_owned() })
    }
}

/// What serde calls by Rust's names, for people who write TOML.
fn in_words(expected: &dyn Expected) -> String {
    match expected.to_string().as_str() {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        other => other.to_owned(),
    }
}

impl<'de> de::Deserializer<'de> for &'de Node {
    type Error = ConfigError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        let result = match &self.value {
            Value::Text(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Real(number) => visitor.visit_f64(*number),
            Value::Flag(flag) => visitor.visit_bool(*flag),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            Value::Table(entries) => {
                visitor.visit_map(Entries { entries: entries.iter(), current: None })
            }
        };
        result.map_err(|error| self.place(error))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        let result = match (&self.value, self.entries()) {
            (Value::Text(name), _) => {
                let name: StrDeserializer<'_, ConfigError> = name.as_str().into_deserializer();
                visitor.visit_enum(name)
            }
            (_, [(name, content)]) => visitor.visit_enum(Variant { name, content }),
            _ => Err(de::Error::custom(format_args!(
                "expected a text that names a choice, or a table with one key, got {}",
                self.describe()
            ))),
        };
        result.map_err(|error| self.place(error))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl Node {
    /// Where an error has no place yet: an unknown key's own line, else this node's.
    fn place(&self, mut error: ConfigError) -> ConfigError {
        if error.origin.is_none() {
            let key_line = match &error.problem {
                Problem::UnknownKey { key, .. } if error.path.is_empty() => self.get(key),
                _ => None,
            };
            error.origin = Some(key_line.unwrap_or(self).origin.clone());
        }
        error
    }
}

struct Items<'de> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = ConfigError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ConfigError> {
        let Some((at, node)) = self.items.next() else {
            return Ok(None);
        };
        seed.deserialize(node)
            .map(Some)
            .map_err(|error| error.within(&at.to_string(), &node.origin))
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, (String, Node)>,
    current: Option<&'de (String, Node)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = ConfigError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ConfigError> {
        self.current = self.entries.next();
        let Some((key, node)) = self.current else {
            return Ok(None);
        };
        let name: StrDeserializer<'_, ConfigError> = key.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|mut error| {
            error.origin.get_or_insert_with(|| node.origin.clone());
            error
        })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, ConfigError> {
        match self.current {
            Some((key, node)) => {
                seed.deserialize(node).map_err(|error| error.within(key, &node.origin))
            }
            None => Err(de::Error::custom("a value was asked for before its key")),
        }
    }
}

struct Variant<'de> {
    name: &'de str,
    content: &'de Node,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = ConfigError;
    type Variant = &'de Node;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, &'de Node), ConfigError> {
        let name: StrDeserializer<'_, ConfigError> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self.content))
    }
}

impl<'de> VariantAccess<'de> for &'de Node {
    type Error = ConfigError;

    fn unit_variant(self) -> Result<(), ConfigError> {
        Err(de::Error::custom("this choice takes no settings: write it as a text"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, ConfigError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ConfigError> {
        de::Deserializer::deserialize_any(self, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        de::Deserializer::deserialize_any(self, visitor)
    }
}
