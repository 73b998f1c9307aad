//! Text in an image. How wide it is, is estimated: no font is at hand.

/// The width of an average character of a sans-serif font, as a share of its size.
const CHARACTER: f64 = 0.58;

/// The width of `text` at this font size.
pub(super) fn width(text: &str, size: f64) -> f64 {
    CHARACTER * size * text.chars().count() as f64
}

/// `text` in lines of at most this width, broken between words, and within one that is wider.
pub(super) fn wrap(text: &str, size: f64, widest: f64) -> Vec<String> {
    let most = ((widest / (CHARACTER * size)) as usize).max(4);
    let mut lines: Vec<String> = Vec::new();
    for word in plain(text).split_whitespace() {
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

/// `text` on one line, without what XML has no way to write.
pub(super) fn plain(text: &str) -> String {
    let unwritable = |character: char| {
        character.is_control() || character == '\u{fffe}' || character == '\u{ffff}'
    };
    text.replace(unwritable, " ")
}

/// `text` as XML that shows it as it is.
pub(super) fn escape(text: &str) -> String {
    plain(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_within_long_ones() {
        // Ten characters a line.
        let lines = |text| wrap(text, 10.0, 58.1);
        assert_eq!(lines("batch norm with sigmoid"), ["batch norm", "with", "sigmoid"]);
        assert_eq!(lines("incomprehensible ä"), ["incomprehe", "nsible ä"]);
        assert!(lines("  ").is_empty());
    }
}
