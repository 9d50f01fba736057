//! Rows of cells, and the same as aligned text for a console.

use crate::console::wrap::COLUMNS;
use crate::report::cell::NONE;
use crate::report::text::Text;

/// Spaces between two columns of text.
const GAP: usize = 2;

/// A table whose rows all have as many cells as the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    header: Vec<Text>,
    rows: Vec<Row>,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Whose figures it has.
    pub kind: RowKind,
    /// One cell per column.
    pub cells: Vec<Text>,
}

/// Whose figures a row has, where a table holds those of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// All rows of the table are alike.
    Plain,
    /// A run's.
    Own,
    /// The paper's.
    Paper,
}

impl Table {
    /// A table without rows.
    pub fn new(header: impl IntoIterator<Item = impl Into<Text>>) -> Self {
        Self { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row of [`RowKind::Plain`], with one cell per column.
    pub fn push(&mut self, cells: impl IntoIterator<Item = impl Into<Text>>) {
        self.push_as(RowKind::Plain, cells);
    }

    /// Adds a row, with one cell per column.
    pub fn push_as(&mut self, kind: RowKind, cells: impl IntoIterator<Item = impl Into<Text>>) {
        let cells: Vec<Text> = cells.into_iter().map(Into::into).collect();
        assert_eq!(cells.len(), self.header.len(), "one cell per column");
        self.rows.push(Row { kind, cells });
    }

    /// The names of the columns.
    pub fn header(&self) -> &[Text] {
        &self.header
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Aligned text, left to right. Where the columns do not fit into [`COLUMNS`], the paper's rows stand below ours without the
    /// columns that they have no figure of, and a table is cut into blocks one below the other, each with the first `repeated`
    /// columns again; a single cell that is too wide ends in `…`.
    pub fn to_text(&self, repeated: usize) -> String {
        let all: usize = (0..self.header.len()).map(|column| self.width(column) + GAP).sum();
        let is_paper = |row: &Row| row.kind == RowKind::Paper;
        if all <= COLUMNS + GAP || !self.rows.iter().any(is_paper) || self.rows.iter().all(is_paper)
        {
            return self.blocks(repeated);
        }
        let [ours, papers] =
            [false, true].map(|wanted| self.those(repeated, |row| is_paper(row) == wanted));
        format!("{}\n{}", ours.blocks(repeated), papers.blocks(repeated))
    }

    /// The rows that `is_kept`, without the columns after the first `repeated` that have nothing in any of them.
    fn those(&self, repeated: usize, is_kept: impl Fn(&Row) -> bool) -> Self {
        let rows: Vec<&Row> = self.rows.iter().filter(|row| is_kept(row)).collect();
        let has = |column: usize| rows.iter().any(|row| row.cells[column].plain() != NONE);
        let columns: Vec<usize> =
            (0..self.header.len()).filter(|&column| column < repeated || has(column)).collect();
        let of = |cells: &[Text]| columns.iter().map(|&at| cells[at].clone()).collect::<Vec<_>>();
        let mut table = Self::new(of(&self.header));
        rows.iter().for_each(|row| table.push_as(row.kind, of(&row.cells)));
        table
    }

    fn blocks(&self, repeated: usize) -> String {
        let widths: Vec<usize> = (0..self.header.len()).map(|column| self.width(column)).collect();
        let left: usize = widths[..repeated].iter().map(|width| width + GAP).sum();
        let mut blocks: Vec<Vec<usize>> = Vec::new();
        let mut used = 0;
        for (column, width) in widths.iter().enumerate().skip(repeated) {
            if let Some(block) = blocks.last_mut().filter(|_| used + width <= COLUMNS) {
                block.push(column);
            } else {
                blocks.push((0..repeated).chain([column]).collect());
                used = left;
            }
            used += width + GAP;
        }
        if blocks.is_empty() {
            blocks.push((0..repeated).collect());
        }
        let blocks: Vec<String> =
            blocks.iter().map(|columns| self.block(columns, &widths)).collect();
        blocks.join("\n")
    }

    fn lines(&self) -> impl Iterator<Item = &[Text]> {
        std::iter::once(&*self.header).chain(self.rows.iter().map(|row| &*row.cells))
    }

    fn width(&self, column: usize) -> usize {
        self.lines().map(|cells| cells[column].to_string().chars().count()).max().unwrap_or(0)
    }

    fn block(&self, columns: &[usize], widths: &[usize]) -> String {
        let line = |cells: &[Text]| {
            let padded: Vec<String> = columns
                .iter()
                .map(|&column| format!("{:<width$}", cells[column], width = widths[column]))
                .collect();
            format!("{}\n", shorten(padded.join(&" ".repeat(GAP)).trim_end()))
        };
        self.lines().map(line).collect()
    }
}

fn shorten(line: &str) -> String {
    if line.chars().count() <= COLUMNS {
        return line.to_owned();
    }
    line.chars().take(COLUMNS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_characters() {
        let mut table = Table::new(["set", "opa"]);
        table.push(["Côte", "1"]);
        table.push(["x", "22"]);
        assert_eq!(table.to_text(1), "set   opa\nCôte  1\nx     22\n");
    }

    #[test]
    fn a_wide_table_is_cut_into_blocks_and_loses_no_cell() {
        let names: Vec<String> = (0..12).map(|column| format!("column number {column}")).collect();
        let mut table = Table::new(&names);
        table.push(names.iter().map(|name| name.replace("column", "cell")));
        let text = table.to_text(2);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        assert!(
            names.iter().all(
                |name| text.contains(&**name) && text.contains(&name.replace("column", "cell"))
            )
        );
        assert_eq!(text.matches("column number 0 ").count(), text.matches("\n\n").count() + 1);
    }

    #[test]
    fn a_wide_table_has_each_row_of_the_paper_once_and_without_empty_columns() {
        let wide = "x".repeat(30);
        let mut table = Table::new(["run", "a", "b", "c"]);
        table.push_as(RowKind::Own, ["one", &wide, &wide, &wide]);
        table.push_as(RowKind::Paper, ["paper", "1", "-", "3"]);
        let text = table.to_text(1);
        assert!(text.ends_with("\n\nrun    a  c\npaper  1  3\n"), "{text}");
        assert_eq!(text.matches("one").count(), 2, "{text}");
    }

    #[test]
    fn an_overlong_name_is_cut_where_everybody_sees_it() {
        let mut table = Table::new(["a".to_owned(), "n".repeat(300)]);
        table.push(["b", "c"]);
        let text = table.to_text(1);
        assert!(text.lines().next().unwrap().ends_with('…'));
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS));
    }
}
