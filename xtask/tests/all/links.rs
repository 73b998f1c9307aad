use xtask::tidy::links::check;

use crate::{assert_problems, assert_tidy, repository, tree};

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
    assert_problems(check(root.path()), &["docs/page.md:3: the link to \"gone.md\" leads nowhere"]);
}
