//! Links between the files of the repository lead somewhere.

use std::path::Path;

use anyhow::Result;

use super::Problem;
use crate::tree;

/// Folders whose Markdown is material for a program, not a page of the repository.
const NO_PAGES: [&str; 3] = ["skeleton", "templates", "tests"];

/// Checks the links of every Markdown page to other files. Links to the web are not followed, and
/// anchors are not looked up.
pub(crate) fn check(root: &Path) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for (path, text) in tree::texts(root, Path::new(""), "md")? {
        if path.iter().any(|part| NO_PAGES.iter().any(|it| part == *it)) {
            continue;
        }
        let folder = root.join(&path).with_file_name("");
        let mut code = false;
        for (number, line) in (1..).zip(text.lines()) {
            code ^= line.trim_start().starts_with("```");
            if code {
                continue;
            }
            for target in targets(line).filter(|target| !folder.join(target).exists()) {
                let message = format!("the link to {target:?} leads nowhere");
                problems.push(Problem::new(&path, number, message));
            }
        }
    }
    Ok(problems)
}

/// The files that a line's links `](file#anchor)` name.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next());
    targets.filter(|target| {
        let elsewhere = ["://", "mailto:"].iter().any(|it| target.contains(it));
        !target.is_empty() && !elsewhere
    })
}

mod tests {
    use super::check;
    use crate::tidy::{assert_problems, assert_tidy, repository, tree};

    #[test]
    fn the_repositorys_links_lead_somewhere() {
        assert_tidy(check(&repository()));
    }

    #[test]
    fn a_link_that_leads_nowhere_fails() {
        let root = tree(&[
            ("docs/page.md", "[a](other.md) [b](../README.md#top)\n\n[c](gone.md) [d](../docs/)\n"),
            ("docs/other.md", ""),
            ("crates/it/templates/page.md", "[a]({{ link }})"),
            (
                "README.md",
                "[web](https://example.org/gone.md) [mail](mailto:a@b) [here](#top)\n```\n[x](y.md)\n```\n",
            ),
        ]);
        assert_problems(
            check(root.path()),
            &["docs/page.md:3: the link to \"gone.md\" leads nowhere"],
        );
    }
}
