//! How wide text is, about: no font is at hand.

/// The width of an average character of a sans-serif font, as a share of its size.
const CHARACTER: f64 = 0.54;

/// The width of `text` at this font size.
pub(super) fn width(text: &str, size: f64) -> f64 {
    CHARACTER * size * text.chars().count() as f64
}

/// `text` in lines of at most this width, broken between words, and within one that is wider.
pub(super) fn wrap(text: &str, size: f64, widest: f64) -> Vec<String> {
    let most = ((widest / (CHARACTER * size)) as usize).max(4);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let characters: Vec<char> = word.chars().collect();
        for (index, piece) in characters.chunks(most).enumerate() {
            match lines.last_mut() {
                Some(line) if index == 0 && line.chars().count() + 1 + piece.len() <= most => {
                    line.push(' ');
                    line.extend(piece);
                }
                _ => lines.push(piece.iter().collect()),
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_within_long_ones() {
        // 10 characters a line.
        let lines = |text| wrap(text, 10.0, 54.0);
        assert_eq!(lines("batch norm with sigmoid"), ["batch norm", "with", "sigmoid"]);
        assert_eq!(lines("incomprehensible ä"), ["incomprehe", "nsible ä"]);
        assert!(lines("  ").is_empty());
    }
}
