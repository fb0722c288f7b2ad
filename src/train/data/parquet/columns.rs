//! One column of a row group as the cells of one record after the other. Knows the types of values
//! and what they are in JSON; does not know how columns make a record.

use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::schema::types::ColumnDescriptor;
use serde_json::{Number, Value};

use crate::train::data::lines::LARGEST_ROW_BYTES;

/// A value with the levels that say where in a record it stands.
pub struct Cell {
    pub rep: i16,
    pub def: i16,
    /// Nothing where `def` is below the column's greatest.
    pub value: Value,
}

/// Gives the cells of the next record, none after the last, and the bytes of its texts.
pub type Column = Box<dyn FnMut() -> Result<(Vec<Cell>, u64), String>>;

/// What a column holds that cannot be read: a name for the message.
pub fn unreadable(descr: &ColumnDescriptor) -> Option<&'static str> {
    match (descr.logical_type_ref(), descr.converted_type(), descr.physical_type()) {
        (Some(LogicalType::Decimal(_)), _, _) | (_, ConvertedType::DECIMAL, _) => Some("decimals"),
        (Some(LogicalType::Date), _, _) | (_, ConvertedType::DATE, _) => Some("dates"),
        (Some(LogicalType::Time(_)), _, _)
        | (_, ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS, _) => Some("times"),
        (Some(LogicalType::Timestamp(_)), _, _)
        | (_, ConvertedType::TIMESTAMP_MILLIS | ConvertedType::TIMESTAMP_MICROS, _)
        | (_, _, Physical::INT96) => Some("timestamps"),
        (Some(LogicalType::String | LogicalType::Enum | LogicalType::Json), _, _)
        | (_, ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON, _) => None,
        (Some(LogicalType::Unknown), _, _) => None,
        (_, _, Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY) => Some("bytes"),
        _ => None,
    }
}

/// The column that a reader of the crate gives.
pub fn column(reader: ColumnReader, descr: &ColumnDescriptor) -> Column {
    let levels = (descr.max_rep_level(), descr.max_def_level());
    let unsigned = matches!(
        descr.converted_type(),
        ConvertedType::UINT_8
            | ConvertedType::UINT_16
            | ConvertedType::UINT_32
            | ConvertedType::UINT_64
    );
    match reader {
        ColumnReader::BoolColumnReader(reader) => {
            typed(reader, levels, |value| Ok(Value::Bool(*value)))
        }
        ColumnReader::Int32ColumnReader(reader) if unsigned => {
            typed(reader, levels, |value| Ok(Value::from(*value as u32)))
        }
        ColumnReader::Int32ColumnReader(reader) => {
            typed(reader, levels, |value| Ok(Value::from(*value)))
        }
        ColumnReader::Int64ColumnReader(reader) if unsigned => {
            typed(reader, levels, |value| Ok(Value::from(*value as u64)))
        }
        ColumnReader::Int64ColumnReader(reader) => {
            typed(reader, levels, |value| Ok(Value::from(*value)))
        }
        ColumnReader::FloatColumnReader(reader) => {
            typed(reader, levels, |value| float(f64::from(*value)))
        }
        ColumnReader::DoubleColumnReader(reader) => typed(reader, levels, |value| float(*value)),
        ColumnReader::ByteArrayColumnReader(reader) => typed(reader, levels, text),
        ColumnReader::Int96ColumnReader(reader) => typed(reader, levels, |_| Err(no_type())),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => {
            typed(reader, levels, |_| Err(no_type()))
        }
    }
}

/// Such columns are refused before they are read.
fn no_type() -> String {
    "a value has no form in JSON".into()
}

fn float(value: f64) -> Result<Value, String> {
    let number = Number::from_f64(value).ok_or("a number is not finite, which JSON cannot say")?;
    Ok(Value::Number(number))
}

fn text(bytes: &ByteArray) -> Result<Value, String> {
    match std::str::from_utf8(bytes.data()) {
        Ok(text) => Ok(Value::String(text.to_owned())),
        Err(error) => {
            Err(format!("a text is not UTF-8: byte {} cannot be read", error.valid_up_to() + 1))
        }
    }
}

fn typed<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    (max_rep, max_def): (i16, i16),
    scalar: impl Fn(&T::T) -> Result<Value, String> + 'static,
) -> Column {
    let (mut reps, mut defs, mut values) = (Vec::new(), Vec::new(), Vec::new());
    Box::new(move || {
        reps.clear();
        defs.clear();
        values.clear();
        let read = reader.read_records(1, Some(&mut defs), Some(&mut reps), &mut values);
        let (_, _, levels) = read.map_err(|error| error.to_string())?;
        let mut values = values.iter();
        let (mut cells, mut bytes) = (Vec::with_capacity(levels), 0);
        for at in 0..levels {
            let rep = if max_rep > 0 { *reps.get(at).ok_or("levels are missing")? } else { 0 };
            let def = if max_def > 0 { *defs.get(at).ok_or("levels are missing")? } else { 0 };
            let value = match def == max_def {
                true => scalar(values.next().ok_or("values are missing")?)?,
                false => Value::Null,
            };
            bytes += value.as_str().map_or(0, str::len) as u64;
            if bytes > LARGEST_ROW_BYTES {
                return Err("it is longer than 64 MiB".into());
            }
            cells.push(Cell { rep, def, value });
        }
        Ok((cells, bytes))
    })
}
