//! What a parquet file says of itself, checked before the parquet crate believes it.
//!
//! The crate takes memory for as many fields and bytes as a schema and a page promise, and goes as deep as a schema is
//! nested: a file of a few bytes could end the process, and nothing catches that. Both are in Thrift's compact protocol.

use std::io::{self, Read, Take};

// The types of fields, by their numbers in the protocol.
const BOOL: u8 = 1;
const I8: u8 = 3;
const I32: u8 = 5;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// How deep structs may lie within each other, and groups of columns in a schema.
const DEPTH: usize = 32;

/// The greatest number of a field whose value is kept.
const KEPT: usize = 5;

/// A struct: number and type of the fields that the crate reads, and the struct within them.
///
/// The crate goes by the number alone. If a field had another type than is expected, the crate would read other bytes
/// than those that are checked here.
struct Form(&'static [(i16, u8, &'static Form)]);

/// A field whose content does not matter here.
static ANY: Form = Form(&[]);

static FILE: Form = Form(&[(1, I32, &ANY), (2, LIST, &COLUMN), (3, 6, &ANY), (4, LIST, &ANY)]);

static COLUMN: Form = Form(&[
    (1, I32, &ANY),
    (2, I32, &ANY),
    (3, I32, &ANY),
    (4, BINARY, &ANY),
    (5, I32, &ANY),
    (6, I32, &ANY),
    (7, I32, &ANY),
    (8, I32, &ANY),
    (9, I32, &ANY),
    (10, STRUCT, &LOGICAL_TYPE),
]);

static LOGICAL_TYPE: Form = Form(&[
    (1, STRUCT, &ANY),
    (2, STRUCT, &ANY),
    (3, STRUCT, &ANY),
    (4, STRUCT, &ANY),
    (5, STRUCT, &Form(&[(1, I32, &ANY), (2, I32, &ANY)])),
    (6, STRUCT, &ANY),
    (7, STRUCT, &TIME),
    (8, STRUCT, &TIME),
    (10, STRUCT, &Form(&[(1, I8, &ANY), (2, BOOL, &ANY)])),
    (11, STRUCT, &ANY),
    (12, STRUCT, &ANY),
    (13, STRUCT, &ANY),
    (14, STRUCT, &ANY),
    (15, STRUCT, &ANY),
    (16, STRUCT, &Form(&[(1, I8, &ANY)])),
    (17, STRUCT, &Form(&[(1, BINARY, &ANY)])),
    (18, STRUCT, &Form(&[(1, BINARY, &ANY), (2, I32, &ANY)])),
    (19, STRUCT, &ANY),
]);

static TIME: Form = Form(&[
    (1, BOOL, &ANY),
    (2, STRUCT, &Form(&[(1, STRUCT, &ANY), (2, STRUCT, &ANY), (3, STRUCT, &ANY)])),
]);

static PAGE: Form = Form(&[
    (1, I32, &ANY),
    (2, I32, &ANY),
    (3, I32, &ANY),
    (4, I32, &ANY),
    (5, STRUCT, &Form(&[(1, I32, &ANY), (2, I32, &ANY), (3, I32, &ANY), (4, I32, &ANY)])),
    (6, STRUCT, &ANY),
    (7, STRUCT, &Form(&[(1, I32, &ANY), (2, I32, &ANY), (3, BOOL, &ANY)])),
    (
        8,
        STRUCT,
        &Form(&[
            (1, I32, &ANY),
            (2, I32, &ANY),
            (3, I32, &ANY),
            (4, I32, &ANY),
            (5, I32, &ANY),
            (6, I32, &ANY),
            (7, BOOL, &ANY),
        ]),
    ),
]);

/// Refuses the metadata of a file whose schema has fewer columns than it promises or is nested too deep, or that has a
/// list longer than itself.
pub(super) fn check_metadata(bytes: &[u8]) -> io::Result<()> {
    let mut walk = Walk { bytes: bytes.take(bytes.len() as u64), children: Vec::new() };
    walk.structure(&FILE, DEPTH)?;
    // A group comes before its columns, and says how many these are.
    let promised: i64 = walk.children.iter().map(|children| i64::from(*children)).sum();
    if promised >= walk.children.len().max(1) as i64 {
        let columns = walk.children.len();
        return Err(damaged(format!("{columns} columns and groups, {promised} of them in groups")));
    }
    let mut open: Vec<i32> = Vec::new();
    for children in &walk.children {
        while open.pop_if(|left| *left == 0).is_some() {}
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        if *children > 0 {
            open.push(*children);
        }
        if open.len() > DEPTH {
            return Err(damaged(format!("groups of columns more than {DEPTH} deep")));
        }
    }
    Ok(())
}

/// The header of a page, of which there are at most `length` bytes.
pub(super) fn page(reader: impl Read, length: u64) -> io::Result<PageHeader> {
    let mut walk = Walk { bytes: reader.take(length), children: Vec::new() };
    let [_, _, unpacked, packed, ..] = walk.structure(&PAGE, DEPTH)?;
    match [unpacked, packed].map(|size| u64::try_from(size?).ok()) {
        [Some(unpacked), Some(packed)] => {
            Ok(PageHeader { length: length - walk.bytes.limit(), unpacked, packed })
        }
        _ => Err(damaged("a page without a size".to_owned())),
    }
}

/// What a page says of itself.
pub(super) struct PageHeader {
    /// How many bytes the header has.
    pub(super) length: u64,
    /// How many bytes the page has once it is unpacked.
    pub(super) unpacked: u64,
    /// How many bytes of the file it takes.
    pub(super) packed: u64,
}

/// A walk over a struct.
struct Walk<R> {
    bytes: Take<R>,
    /// How many children each column has, of those that were passed.
    children: Vec<i32>,
}

impl<R: Read> Walk<R> {
    /// Passes a struct, and returns the integers among its first fields, by their numbers.
    fn structure(&mut self, form: &Form, depth: usize) -> io::Result<[Option<i64>; KEPT + 1]> {
        if depth == 0 {
            return Err(damaged(format!("structs more than {DEPTH} deep")));
        }
        let (mut kept, mut last) = ([None; KEPT + 1], 0i16);
        loop {
            let start = self.byte()?;
            let kind = start & 15;
            if kind == 0 {
                break;
            }
            let id = match start >> 4 {
                0 => Some(self.integer()? as i16),
                step => last.checked_add(i16::from(step)),
            };
            // In their order, as every writer has them: so none comes twice.
            let Some(id) = id.filter(|id| *id > last) else {
                return Err(damaged(format!("another field after field {last}")));
            };
            last = id;
            let known = form.0.iter().find(|known| known.0 == id);
            let expected = known.map_or(kind, |known| known.1);
            // The two values of a bool are two types.
            if expected != kind && [expected, kind] != [BOOL, BOOL + 1] {
                return Err(damaged(format!("field {id} of type {kind}, not {expected}")));
            }
            let value = self.value(kind, known.map_or(&ANY, |known| known.2), depth - 1)?;
            if let (Some(kept), I32) = (kept.get_mut(id as usize), kind) {
                *kept = value.map(|value| i64::from(value as i32));
            }
        }
        if std::ptr::eq(form, &COLUMN) {
            self.children.push(kept[5].map_or(0, |children| children.max(0) as i32));
        }
        Ok(kept)
    }

    /// Passes a value, and returns it where it is an integer.
    fn value(&mut self, kind: u8, form: &Form, depth: usize) -> io::Result<Option<i64>> {
        match kind {
            BOOL | 2 => {}
            I8 => self.skip(1)?,
            4..=6 => return self.integer().map(Some),
            7 => self.skip(8)?,
            BINARY => {
                let length = self.number()?;
                self.skip(length)?;
            }
            // A set is as a list.
            LIST | 10 => self.list(form, depth)?,
            STRUCT => drop(self.structure(form, depth)?),
            // Nothing that is read here has a map in it.
            other => return Err(damaged(format!("a value of type {other}"))),
        }
        Ok(None)
    }

    fn list(&mut self, form: &Form, depth: usize) -> io::Result<()> {
        if depth == 0 {
            return Err(damaged(format!("lists more than {DEPTH} deep")));
        }
        let start = self.byte()?;
        let (size, kind) = match (u64::from(start >> 4), start & 15) {
            (15, kind) => (self.number()?, kind),
            short => short,
        };
        // An element takes a byte at least; the crate would count through more of them for minutes.
        if size > self.bytes.limit() {
            let left = self.bytes.limit();
            return Err(damaged(format!("a list of {size} in {left} bytes")));
        }
        for _ in 0..size {
            match kind {
                BOOL | 2 => self.skip(1)?,
                kind => drop(self.value(kind, form, depth - 1)?),
            }
        }
        Ok(())
    }

    fn integer(&mut self) -> io::Result<i64> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn number(&mut self) -> io::Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(damaged("a number of more than 64 bits".to_owned()))
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.bytes.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        match io::copy(&mut (&mut self.bytes).take(length), &mut io::sink())? == length {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn damaged(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
