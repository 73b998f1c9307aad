//! Rust source as a flat list of tokens, tests left out.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A token and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) line: usize,
}

/// What the checks look at; literals and comments are not among it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Word(String),
    Sign(char),
    Open(Delimiter),
    Close(Delimiter),
    Literal,
}

/// A file's tokens.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    pub(crate) tokens: Vec<Token>,
    /// The modules under `#[cfg(test)]` that are files of their own.
    test_modules: Vec<String>,
}

impl Tokens {
    /// The tokens of `text`, without the items under `#[cfg(test)]`.
    pub(crate) fn without_tests(text: &str) -> Result<Self> {
        let mut tokens = Self::default();
        tokens.add(parse(text)?, true);
        Ok(tokens)
    }

    /// The tokens of `text`, all of them.
    pub(crate) fn with_tests(text: &str) -> Result<Self> {
        let mut tokens = Self::default();
        tokens.add(parse(text)?, false);
        Ok(tokens)
    }

    /// The files and folders, extension taken off, that are test modules of the file at `path`.
    pub(crate) fn test_files(&self, path: &Path) -> impl Iterator<Item = PathBuf> {
        let stem = path.file_stem().unwrap_or_default();
        let folder = match stem.to_str() {
            Some("lib" | "main" | "mod") => path.with_file_name(""),
            _ => path.with_extension(""),
        };
        self.test_modules.iter().map(move |name| folder.join(name))
    }

    fn add(&mut self, stream: TokenStream, skip_tests: bool) {
        let trees: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        while let Some(tree) = trees.get(at) {
            if skip_tests && attribute(&trees[at..]).is_some_and(is_cfg_test) {
                at = self.skip_item(&trees, at);
                continue;
            }
            let line = tree.span().start().line;
            match tree {
                TokenTree::Ident(ident) => self.push(Kind::Word(ident.to_string()), line),
                TokenTree::Punct(punct) => self.push(Kind::Sign(punct.as_char()), line),
                TokenTree::Literal(_) => self.push(Kind::Literal, line),
                TokenTree::Group(group) => {
                    self.push(Kind::Open(group.delimiter()), line);
                    self.add(group.stream(), skip_tests);
                    let line = group.span_close().start().line;
                    self.push(Kind::Close(group.delimiter()), line);
                }
            }
            at += 1;
        }
    }

    fn push(&mut self, kind: Kind, line: usize) {
        self.tokens.push(Token { kind, line });
    }

    /// Where the item ends whose attributes start at `at`: after its block or its semicolon. Notes it
    /// where it is a module in a file of its own.
    fn skip_item(&mut self, trees: &[TokenTree], mut at: usize) -> usize {
        while attribute(&trees[at..]).is_some() {
            at += 2;
        }
        let mut module = None;
        while let Some(tree) = trees.get(at) {
            at += 1;
            match tree {
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
                TokenTree::Punct(punct) if punct.as_char() == ';' => {
                    self.test_modules.extend(module);
                    break;
                }
                TokenTree::Ident(ident) if ident == "mod" => {
                    module = trees.get(at).map(ToString::to_string);
                }
                _ => {}
            }
        }
        at
    }
}

fn parse(text: &str) -> Result<TokenStream> {
    text.parse().map_err(|error: proc_macro2::LexError| {
        anyhow!("line {}: {error}", error.span().start().line)
    })
}

/// What is in the brackets of the attribute that `trees` start with.
fn attribute(trees: &[TokenTree]) -> Option<&Group> {
    match trees {
        [TokenTree::Punct(hash), TokenTree::Group(group), ..]
            if hash.as_char() == '#' && group.delimiter() == Delimiter::Bracket =>
        {
            Some(group)
        }
        _ => None,
    }
}

fn is_cfg_test(attribute: &Group) -> bool {
    let words: Vec<TokenTree> = attribute.stream().into_iter().collect();
    match words.as_slice() {
        [TokenTree::Ident(cfg), TokenTree::Group(condition)] => {
            cfg == "cfg" && condition.stream().to_string() == "test"
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let tokens = Tokens::without_tests(text).unwrap().tokens;
        let word = |token: Token| match token.kind {
            Kind::Word(word) => Some(format!("{word}@{}", token.line)),
            _ => None,
        };
        tokens.into_iter().filter_map(word).collect()
    }

    #[test]
    fn comments_strings_and_tests_are_left_out() {
        let text = "// a\n/// b\nfn c() { \"d\"; }\n#[cfg(test)]\n#[allow(e)]\nmod f { g }\n#[cfg(test)]\nuse h;\ni";
        assert_eq!(words(text), ["doc@2", "fn@3", "c@3", "i@9"]);
    }

    #[test]
    fn other_conditions_are_kept() {
        assert_eq!(words("#[cfg(not(test))] a"), ["cfg@1", "not@1", "test@1", "a@1"]);
    }

    #[test]
    fn test_modules_are_found_where_rustc_looks() {
        let tokens = Tokens::without_tests("#[cfg(test)] mod toy; mod real;").unwrap();
        let files = |path: &str| tokens.test_files(Path::new(path)).collect::<Vec<_>>();
        assert_eq!(files("src/lib.rs"), [Path::new("src/toy")]);
        assert_eq!(files("src/a/mod.rs"), [Path::new("src/a/toy")]);
        assert_eq!(files("src/a.rs"), [Path::new("src/a/toy")]);
    }

    #[test]
    fn what_is_no_rust_is_an_error_with_its_line() {
        let error = Tokens::without_tests("fn a() {\n}}").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
