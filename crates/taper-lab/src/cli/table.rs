//! Tables on a terminal.

use comfy_table::{ContentArrangement, Table, presets};

/// A table that fits the terminal; in a pipe, 120 columns.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    let columns = console::Term::stdout().size_checked().map_or(120, |(_, columns)| columns);
    table.set_width(columns);
    table.set_header(header.to_vec());
    table.add_rows(rows);
    table
}
