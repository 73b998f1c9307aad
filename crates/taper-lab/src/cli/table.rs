//! Tables on a terminal.

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};

/// A table that fits the terminal; in a pipe, 120 columns.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    // As in a paper: a line above, below the header and below, none between rows.
    let line = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().top_border(line).header_separator(line).bottom_border(line));
    table.set_content_arrangement(ContentArrangement::Dynamic);
    let columns = console::Term::stdout().size_checked().map_or(120, |(_, columns)| columns);
    table.set_width(columns);
    table.set_header(header.to_vec());
    table.add_rows(rows);
    table
}
