//! Parquet files against the same rows as JSON; cut, and with more in them than they should have.
//!
//! `parquet/` was made by pyarrow 26, with rows that hold each kind of value, nulls and nested
//! lists at every level:
//!
//! ```python
//! import json, pyarrow as pa, pyarrow.parquet as pq
//! rows = [
//!     {"id": 1, "score": 0.1, "name": "one", "ok": True, "tags": ["a", "", "ü"],
//!      "turns": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
//!      "meta": {"deep": {"count": 3}}, "grid": [[1, 2], [], [3]]},
//!     {"id": -2, "score": None, "name": None, "ok": None, "tags": [], "turns": [],
//!      "meta": {"deep": {"count": None}}, "grid": []},
//!     {"id": 9007199254740993, "score": 1.0, "name": "", "ok": False, "tags": None, "turns": None,
//!      "meta": {"deep": None}, "grid": None},
//!     {"id": 4, "score": -2.5e300, "name": "a \"b\"\n", "ok": True, "tags": ["a", None],
//!      "turns": [{"role": "user", "content": None}], "meta": None, "grid": [None, [None, 4]]},
//! ] * 3
//! schema = pa.schema([
//!     ("id", pa.int64()), ("score", pa.float64()), ("name", pa.string()), ("ok", pa.bool_()),
//!     ("tags", pa.list_(pa.string())),
//!     ("turns", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
//!     ("meta", pa.struct([("deep", pa.struct([("count", pa.int32())]))])),
//!     ("grid", pa.list_(pa.list_(pa.int16()))),
//! ])
//! with open("rows.jsonl", "w") as out:
//!     out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
//! table = pa.Table.from_pylist(rows, schema)
//! for name in ["none", "snappy", "gzip", "zstd", "lz4", "brotli"]:
//!     lengths = {"name": "DELTA_LENGTH_BYTE_ARRAY"} if name == "none" else None
//!     pq.write_table(table, name + ".parquet", compression=name, row_group_size=5,
//!                    store_schema=False, data_page_version="2.0" if name == "zstd" else "1.0",
//!                    use_dictionary=name != "none", column_encoding=lengths)
//! odd = pa.table({
//!     "text": ["one"], "day": pa.array([1], pa.date32()), "at": pa.array([1], pa.timestamp("ns")),
//!     "price": pa.array([1], pa.decimal128(5, 2)), "raw": [b"x"],
//!     "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())),
//! })
//! pq.write_table(odd, "odd.parquet", store_schema=False)
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use llamake::train::stage::read_benchmark::{self, ReadBenchmark};
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;

use super::read;
use crate::train::{file, run_stage, told};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/train/read/parquet").join(name)
}

const ALL: &str = "columns: [\"id\", \"score\", \"name\", \"ok\", \"tags\", \"turns\", \"meta\", \
                   \"grid\"]";

fn all(name: &str) -> String {
    match read(&fixture(name), "read_benchmark", ALL) {
        Ok(read) => read.rows,
        Err(failure) => panic!("{name}: {}", told(failure, Path::new("-"))),
    }
}

#[test]
fn parquet_reads_as_json_does() {
    let json = all("rows.jsonl");
    assert_eq!(json.lines().count(), 12);
    for name in ["none", "snappy", "gzip", "zstd", "lz4"] {
        assert_eq!(all(&format!("{name}.parquet")), json, "{name}");
    }
}

const ODD: [(&str, &str); 4] =
    [("day", "dates"), ("price", "decimals"), ("at", "timestamps"), ("raw", "bytes")];

#[test]
fn columns_that_are_ignored_are_not_read() {
    let ignore = "ignore: [\"day\", \"price\", \"at\", \"raw\", \"map\"]";
    let fields = format!("column: \"text\", {ignore}");
    let made = read(&fixture("odd.parquet"), "read_text", &fields);
    assert_eq!(made.unwrap().rows, "{\"text\":\"one\"}\n");
}

#[test]
fn values_without_a_form_in_json_are_refused() {
    let refused = |name: &str| {
        let ignored = ODD.iter().map(|(name, _)| *name).chain(["map"]);
        let ignored = ignored.filter(|other| *other != name).collect::<Vec<_>>();
        let fields = format!("columns: [\"text\", {name:?}], ignore: {ignored:?}");
        let failure = read(&fixture("odd.parquet"), "read_benchmark", &fields).unwrap_err();
        told(failure, fixture("odd.parquet").parent().unwrap())
    };
    for (name, what) in ODD {
        let expected = format!(
            "`odd.parquet`: column `{name}` holds {what}, which have no one form in JSON | add it \
             to `ignore`, or write `{name}` as text"
        );
        assert_eq!(refused(name), expected);
    }
    assert_eq!(
        refused("map"),
        "`odd.parquet` cannot be read: field `map` is a map, which is not read"
    );
    let failure = read(&fixture("brotli.parquet"), "read_benchmark", ALL).unwrap_err();
    assert_eq!(
        told(failure, fixture("odd.parquet").parent().unwrap()),
        "`brotli.parquet` cannot be read: column `id`: it is compressed with Brotli, whose size \
         cannot be told beforehand"
    );
}

/// What is said of a broken file; `None` where it reads as before or to other rows.
fn broken(bytes: &[u8], columns: &[&str], folder: &Path) -> Option<String> {
    let params = ReadBenchmark {
        files: vec![file(folder, "a.parquet", bytes)],
        columns: columns.iter().map(|name| name.to_string()).collect(),
        ignore: vec![],
        header: true,
        rows: None,
        named: None,
    };
    let (_, result) = run_stage(1, |ctx| read_benchmark::run(&params, ctx));
    result.err().map(|failure| told(failure, folder))
}

const COLUMNS: [&str; 8] = ["id", "score", "name", "ok", "tags", "turns", "meta", "grid"];

#[test]
fn a_file_that_is_cut_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(fixture("snappy.parquet")).unwrap();
    for end in (0..whole.len()).step_by(13) {
        let told = broken(&whole[..end], &COLUMNS, folder.path()).unwrap();
        assert!(told.starts_with("`a.parquet` cannot be read: it is no Parquet file"), "{told}");
        // The end is there and something before it is not.
        let cut = [&whole[..end], &whole[(end + 9).min(whole.len() - 8)..]].concat();
        if let Some(told) = broken(&cut, &COLUMNS, folder.path()) {
            assert!(told.starts_with("`a.parquet`"), "{told}");
        }
    }
    let mut lying = whole.clone();
    let length = whole.len() - 8;
    lying[length..length + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        broken(&lying, &COLUMNS, folder.path()).unwrap(),
        format!(
            "`a.parquet` cannot be read: its footer claims 4294967295 bytes and the file has {}",
            whole.len()
        )
    );
}

/// A file of one column, with one row group.
fn written(schema: &str, write: impl FnOnce(SerializedColumnWriter<'_>)) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let properties = WriterProperties::builder().set_compression(zstd).build();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    write(group.next_column().unwrap().unwrap());
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn few_bytes_do_not_become_many() {
    let folder = tempfile::tempdir().unwrap();
    let text = ByteArray::from(vec![b'x'; 1 << 20]);
    let texts = written("message m { required binary a (utf8); }", |mut column| {
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&vec![text; 100], None, None).unwrap();
        column.close().unwrap();
    });
    let told = broken(&texts, &["a"], folder.path()).unwrap();
    assert!(told.ends_with("it inflates to more than 200 times its size"), "{told}");
    let list = written("message m { repeated int32 a; }", |mut column| {
        let count = 5 << 20;
        let (defs, mut reps) = (vec![1; count], vec![1; count]);
        reps[0] = 0;
        let typed = column.typed::<Int32Type>();
        typed.write_batch(&vec![7; count], Some(&defs), Some(&reps)).unwrap();
        column.close().unwrap();
    });
    let told = broken(&list, &["a"], folder.path()).unwrap();
    assert!(told.ends_with("a list claims far more values than bytes"), "{told}");
    let deep = (0..600).fold("required int32 a;".to_string(), |inner, at| {
        format!("required group g{at} {{ {inner} }}")
    });
    let deep = written(&format!("message m {{ {deep} }}"), |mut column| {
        column.typed::<Int32Type>().write_batch(&[7], None, None).unwrap();
        column.close().unwrap();
    });
    assert_eq!(
        broken(&deep, &["g599"], folder.path()).unwrap(),
        "`a.parquet` cannot be read: its schema has 601 groups of fields; 500 are read"
    );
}
