//! Filling in the templates.

use minijinja::syntax::SyntaxConfigBuilder;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use crate::Result;

/// Fills `context` into `template`.
///
/// What is not marked safe is escaped: by `escape`, or without one as HTML wants it. A name that is
/// not in the context is an error. `syntax` may already hold other marks than braces.
pub(crate) fn fill(
    template: &str,
    mut syntax: SyntaxConfigBuilder,
    escape: Option<fn(&str) -> String>,
    context: Value,
) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_syntax(
        syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?,
    );
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    if let Some(escape) = escape {
        environment.set_formatter(move |out, _, value| {
            let text = value.to_string();
            Ok(out.write_str(&if value.is_safe() { text } else { escape(&text) })?)
        });
    }
    environment.add_filter("sign", sign);
    environment.add_filter("short", short);
    Ok(environment.render_str(template, context)?)
}

/// The sign that stands beside a verdict, so that colour is never the only one.
fn sign(tone: &str) -> &'static str {
    match tone {
        "good" => "✓",
        "partial" => "≈",
        "bad" => "✗",
        "open" => "?",
        _ => "–",
    }
}

/// The beginning of a digest: enough to tell it from others.
fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}
