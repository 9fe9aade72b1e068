//! The encoding of D-Bus values: aligned and little-endian.

use anyhow::{Context, Result};

/// The value of a property.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Byte(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    U32s(Vec<u32>),
    Texts(Vec<String>),
    /// Pairs of strings, `a(ss)`.
    Pairs(Vec<(String, String)>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Value::Bool(_) => "b",
            Value::Byte(_) => "y",
            Value::I16(_) => "n",
            Value::U16(_) => "q",
            Value::I32(_) => "i",
            Value::U32(_) => "u",
            Value::I64(_) => "x",
            Value::U64(_) => "t",
            Value::Double(_) => "d",
            Value::Text(_) => "s",
            Value::Bytes(_) => "ay",
            Value::U32s(_) => "au",
            Value::Texts(_) => "as",
            Value::Pairs(_) => "a(ss)",
        }
    }
}

/// A property's name and its value.
pub(crate) type Property = (String, Value);

/// Makes a property.
pub(super) fn property(name: &str, value: Value) -> Property {
    (name.to_owned(), value)
}

/// The encoded arguments of a call.
#[derive(Debug, Default)]
pub(super) struct Body(pub(super) Vec<u8>);

impl Body {
    pub(super) fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    pub(super) fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    pub(super) fn array(&mut self, alignment: usize, fill: impl FnOnce(&mut Self)) {
        self.u32(0);
        let length = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        fill(self);
        let size = (self.0.len() - start) as u32;
        self.0[length..length + 4].copy_from_slice(&size.to_le_bytes());
    }

    fn fixed(&mut self, bytes: &[u8]) {
        self.align(bytes.len());
        self.0.extend(bytes);
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Bool(value) => self.u32(u32::from(*value)),
            Value::Byte(value) => self.0.push(*value),
            Value::I16(value) => self.fixed(&value.to_le_bytes()),
            Value::U16(value) => self.fixed(&value.to_le_bytes()),
            Value::I32(value) => self.fixed(&value.to_le_bytes()),
            Value::U32(value) => self.u32(*value),
            Value::I64(value) => self.fixed(&value.to_le_bytes()),
            Value::U64(value) => self.fixed(&value.to_le_bytes()),
            Value::Double(value) => self.fixed(&value.to_le_bytes()),
            Value::Text(value) => self.text(value),
            Value::Bytes(bytes) => self.array(1, |body| body.0.extend(bytes)),
            Value::U32s(values) => self.array(4, |body| values.iter().for_each(|value| body.u32(*value))),
            Value::Texts(values) => self.array(4, |body| values.iter().for_each(|value| body.text(value))),
            Value::Pairs(pairs) => self.array(8, |body| {
                for (one, other) in pairs {
                    body.align(8);
                    body.text(one);
                    body.text(other);
                }
            }),
        }
    }

    pub(super) fn properties(&mut self, properties: &[Property]) {
        self.array(8, |body| {
            for (name, value) in properties {
                body.align(8);
                body.text(name);
                body.variant(value);
            }
        });
    }
}

/// Decodes values in order.
pub(super) struct Reader<'a>(pub(super) &'a [u8], pub(super) usize);

impl<'a> Reader<'a> {
    pub(super) fn align(&mut self, to: usize) {
        self.1 = self.1.next_multiple_of(to);
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.1.checked_add(count).context("D-Bus message is truncated")?;
        let bytes = self.0.get(self.1..end).context("D-Bus message is truncated")?;
        self.1 = end;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.align(4);
        Ok(u32::from_le_bytes(self.take(4)?.try_into()?))
    }

    pub(super) fn text(&mut self) -> Result<String> {
        let length = self.u32()? as usize;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }

    pub(super) fn signature(&mut self) -> Result<String> {
        let length = usize::from(self.take(1)?[0]);
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned_as_the_specification_requires() {
        let mut body = Body::default();
        body.properties(&[("A".into(), Value::U64(7)), ("PIDs".into(), Value::U32s(vec![9]))]);
        // Length and padding; string, signature and padding, number; string, signature, length, number.
        assert_eq!(body.0.len(), 8 + 24 + 24);
        assert_eq!(u32::from_le_bytes(body.0[..4].try_into().unwrap()), 48);
        assert_eq!(body.0[24..32], 7u64.to_le_bytes());
        assert_eq!(body.0[52..], 9u32.to_le_bytes());
    }
}
