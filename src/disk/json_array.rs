//! A JSON array with each record on a line, as the pieces in which it is written.

use serde::Serialize;

/// What was written of an array.
#[derive(Debug, Default)]
pub struct JsonArray {
    records: usize,
    piece: Vec<u8>,
}

impl JsonArray {
    /// The bytes that add `record`.
    pub fn add(&mut self, record: &impl Serialize) -> serde_json::Result<&[u8]> {
        self.piece.clear();
        self.piece.extend(if self.records == 0 { b"[\n" } else { b",\n" });
        serde_json::to_writer(&mut self.piece, record)?;
        self.records += 1;
        Ok(&self.piece)
    }

    /// The bytes that end the array.
    pub fn end(&self) -> &'static [u8] {
        if self.records == 0 { b"[\n]\n" } else { b"\n]\n" }
    }

    /// Number of records that were added.
    pub fn records(&self) -> usize {
        self.records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_are_an_array_of_a_line_a_record_with_none_too() {
        for (records, text) in
            [(&[][..], "[\n]\n"), (&[1], "[\n1\n]\n"), (&[1, 2, 3], "[\n1,\n2,\n3\n]\n")]
        {
            let mut array = JsonArray::default();
            let mut all = Vec::new();
            records.iter().for_each(|record| all.extend(array.add(record).unwrap()));
            all.extend(array.end());
            assert_eq!(
                (String::from_utf8(all).unwrap(), array.records()),
                (text.into(), records.len())
            );
            let read: Vec<i32> = serde_json::from_str(text).unwrap();
            assert_eq!(read, records);
        }
    }
}
