//! Numbers as people read them.

/// `value` with four significant digits, without trailing zeros: whole below a million, in powers of
/// ten from there on and below a ten-thousandth.
///
/// ```
/// use taper_report::number;
///
/// assert_eq!(number(0.693_147), "0.6931");
/// assert_eq!(number(12_345.678), "12346");
/// assert_eq!(number(0.1 + 0.2), "0.3");
/// assert_eq!(number(-2.5e-7), "-2.5e-7");
/// assert_eq!(number(f64::NAN), "n/a");
/// ```
pub fn number(value: f64) -> String {
    if value.is_nan() {
        return "n/a".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    // The exponent after rounding: 9.9996 is 10.00.
    let scientific = format!("{value:.3e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        _ if value == 0.0 => "0".to_owned(),
        Ok(exponent @ -4..=5) => {
            let decimals = usize::try_from(3 - exponent).unwrap_or(0);
            without_trailing_zeros(&format!("{value:.decimals$}")).to_owned()
        }
        _ => format!("{}e{exponent}", without_trailing_zeros(mantissa)),
    }
}

/// A duration in the unit that suits it.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 60.0 {
        format!("{} s", number(seconds))
    } else if seconds < 3600.0 {
        format!("{} min", number((seconds / 6.0).round() / 10.0))
    } else {
        format!("{} h", number((seconds / 360.0).round() / 10.0))
    }
}

pub(crate) fn without_trailing_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_numbers() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (0.5, "0.5"),
            (9.999_96, "10"),
            (1234.5, "1234"),
            (99_999.7, "100000"),
            (999_999.7, "1e6"),
            (25_557_032.0, "2.556e7"),
            (0.000_123_456, "0.0001235"),
            (0.000_099_999_9, "0.0001"),
            (0.000_012_345, "1.234e-5"),
            (-1.0 / 3.0, "-0.3333"),
            (f64::MIN_POSITIVE, "2.225e-308"),
            (f64::MAX, "1.798e308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(number(value), text, "{value:e}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration(42.0), "42 s");
        assert_eq!(duration(89.0), "1.5 min");
        assert_eq!(duration(86_400.0), "24 h");
        assert_eq!(duration(f64::NAN), "n/a s");
    }
}
