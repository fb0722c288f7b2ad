//! The wire format of protocol buffers, as far as a reader of flat messages needs it: numbered
//! fields, each a number, four or eight bytes, or a stretch of bytes. No length is believed before
//! it is held against what is left. Does not know what any field means.

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'b> {
    pub number: u32,
    pub value: Wire<'b>,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wire<'b> {
    Number(u64),
    Eight([u8; 8]),
    Bytes(&'b [u8]),
    Four([u8; 4]),
}

/// The bytes end inside a field, or are no message at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The fields of a message in order; after the first [`Malformed`] there are no more.
pub struct Fields<'b> {
    left: &'b [u8],
}

impl<'b> Fields<'b> {
    pub fn of(message: &'b [u8]) -> Fields<'b> {
        Fields { left: message }
    }

    fn take(&mut self, count: u64) -> Option<&'b [u8]> {
        let (taken, left) = self.left.split_at_checked(usize::try_from(count).ok()?)?;
        self.left = left;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N as u64)?.try_into().ok()
    }

    /// Seven bits a byte, the lowest first, ten bytes at most.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for place in 0..10 {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7F);
            if place == 9 && bits > 1 {
                return None;
            }
            number |= bits << (7 * place);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn field(&mut self) -> Option<Field<'b>> {
        let key = self.number()?;
        let number = u32::try_from(key >> 3).ok().filter(|&number| number > 0)?;
        let value = match key & 7 {
            0 => Wire::Number(self.number()?),
            1 => Wire::Eight(self.array()?),
            2 => {
                let length = self.number()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Four(self.array()?),
            _ => return None,
        };
        Some(Field { number, value })
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = Result<Field<'b>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            return None;
        }
        let field = self.field().ok_or(Malformed);
        if field.is_err() {
            self.left = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Vec<Result<Field<'_>, Malformed>> {
        Fields::of(bytes).collect()
    }

    #[test]
    fn each_kind_of_field_is_read() {
        let bytes = b"\x08\x96\x01\x12\x02hi\x1d\0\0\x80\x3f\x21\0\0\0\0\0\0\0\x40";
        let values: Vec<_> = fields(bytes).into_iter().map(|field| field.unwrap()).collect();
        let field = |number, value| Field { number, value };
        let expected = [
            field(1, Wire::Number(150)),
            field(2, Wire::Bytes(b"hi")),
            field(3, Wire::Four(1f32.to_le_bytes())),
            field(4, Wire::Eight(2f64.to_le_bytes())),
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn lies_end_the_reading() {
        for bytes in [
            &b"\x12\x7fhi"[..],
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\x08",
            b"\x0b",
            b"\x00\x00",
            b"\x1d\0\0",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(fields(bytes), [Err(Malformed)], "{bytes:?}");
        }
    }
}
