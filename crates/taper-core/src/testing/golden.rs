//! Golden files: numbers that a reference implementation made.

use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// The cases of a golden file, as `xtask/goldens/golden.py` writes it.
///
/// It takes the text, so that a test compiles its goldens in:
/// `goldens(include_str!("golden/linear.json"))`.
pub fn goldens(json: &str) -> Result<Vec<Case>> {
    let wrong = |received: String| {
        Error::argument("goldens", "json", "{\"cases\": [{...}, ...]}, at least one case", received)
    };
    let mut file: Value = serde_json::from_str(json).map_err(|error| wrong(error.to_string()))?;
    let cases = match file.get_mut("cases").map(Value::take) {
        Some(Value::Array(cases)) if !cases.is_empty() => cases,
        other => return Err(wrong(format!("cases: {other:?}"))),
    };
    cases
        .into_iter()
        .map(|case| match case {
            Value::Object(entries) => Ok(Case { entries }),
            other => Err(wrong(format!("the case {other}"))),
        })
        .collect()
}

/// One case of a golden file: named values.
#[derive(Debug, Clone)]
pub struct Case {
    entries: Map<String, Value>,
}

impl Case {
    /// Whether there is an entry `key` other than null.
    pub fn has(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|value| !value.is_null())
    }

    /// The entry `key` as JSON.
    pub fn value(&self, key: &str) -> Result<&Value> {
        self.entries.get(key).ok_or_else(|| {
            let keys: Vec<_> = self.entries.keys().collect();
            Error::argument("Case::value", "key", format!("one of {keys:?}"), key)
        })
    }

    /// The text `key`.
    pub fn text(&self, key: &str) -> Result<&str> {
        let value = self.value(key)?;
        value.as_str().ok_or_else(|| wrong_kind(key, "a text", value))
    }

    /// The truth value `key`.
    pub fn bool(&self, key: &str) -> Result<bool> {
        let value = self.value(key)?;
        value.as_bool().ok_or_else(|| wrong_kind(key, "true or false", value))
    }

    /// The whole number `key`.
    pub fn u64(&self, key: &str) -> Result<u64> {
        let value = self.value(key)?;
        value.as_u64().ok_or_else(|| wrong_kind(key, "a whole number", value))
    }

    /// The number `key`, which may be `"nan"`, `"inf"` or `"-inf"`.
    pub fn f64(&self, key: &str) -> Result<f64> {
        let value = self.value(key)?;
        number(value).ok_or_else(|| wrong_kind(key, "a number", value))
    }

    /// The list of numbers `key`.
    pub fn f64s(&self, key: &str) -> Result<Vec<f64>> {
        numbers(key, self.value(key)?)
    }

    /// The list of texts `key`.
    pub fn texts(&self, key: &str) -> Result<Vec<&str>> {
        let value = self.value(key)?;
        let texts = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        texts.ok_or_else(|| wrong_kind(key, "a list of texts", value))
    }

    /// The tensor `key`, on the CPU. Whole numbers are exact up to 2^53.
    pub fn tensor(&self, key: &str, dtype: DType) -> Result<Tensor> {
        let value = self.value(key)?;
        let wrong = || wrong_kind(key, "a tensor: {\"shape\": [...], \"data\": [...]}", value);
        let data = numbers(key, value.get("data").ok_or_else(wrong)?)?;
        let shape = value.get("shape").and_then(Value::as_array).ok_or_else(wrong)?;
        let shape: Option<Vec<usize>> =
            shape.iter().map(|dim| dim.as_u64().map(|dim| dim as usize)).collect();
        let tensor = Tensor::from_vec(data, shape.ok_or_else(wrong)?, &Device::Cpu)?;
        Ok(tensor.to_dtype(dtype)?)
    }
}

fn numbers(key: &str, value: &Value) -> Result<Vec<f64>> {
    let numbers = value.as_array().and_then(|list| list.iter().map(number).collect());
    numbers.ok_or_else(|| wrong_kind(key, "a list of numbers", value))
}

fn number(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some("nan") => Some(f64::NAN),
        Some("inf") => Some(f64::INFINITY),
        Some("-inf") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => value.as_f64(),
    }
}

fn wrong_kind(key: &str, expected: &str, received: &Value) -> Error {
    Error::argument("Case", key, expected, received)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"made_by": {"torch": "2"}, "cases": [
        {"name": "a", "k": "-inf", "n": 3, "flag": true, "none": null, "list": [1, 2.5],
         "words": ["x", "y"], "x": {"shape": [2, 1], "data": [1.5, "nan"]}}]}"#;

    #[test]
    fn reads_every_kind() -> Result<()> {
        let case = goldens(FILE)?.remove(0);
        assert_eq!(case.text("name")?, "a");
        assert_eq!(case.f64("k")?, f64::NEG_INFINITY);
        assert_eq!(case.u64("n")?, 3);
        assert!(case.bool("flag")?);
        assert!(case.has("n") && !case.has("none") && !case.has("absent"));
        assert_eq!(case.f64s("list")?, [1.0, 2.5]);
        assert_eq!(case.texts("words")?, ["x", "y"]);
        let x = case.tensor("x", DType::F32)?.to_vec2::<f32>()?;
        assert!(x[0] == [1.5] && x[1][0].is_nan());
        Ok(())
    }

    #[test]
    fn names_what_is_wrong() {
        let case = goldens(FILE).unwrap().remove(0);
        assert!(case.f64("absent").unwrap_err().to_string().contains("\"words\""));
        assert!(case.f64("name").unwrap_err().to_string().contains("a number"));
        assert!(case.tensor("n", DType::F32).is_err());
        assert!(goldens("{}").is_err());
        assert!(goldens(r#"{"cases": []}"#).is_err());
        assert!(goldens(r#"{"cases": [1]}"#).is_err());
    }
}
