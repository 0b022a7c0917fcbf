//! Outputs that cannot go back are right or fail: an output whose rows are out already has one meaning for every value of a
//! column, wherever the value that changed the column's type came.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_ipc::reader::{FileReader, StreamReader};

use crate::support::{Place, exit};

/// Text that looks like a number, plain text, and late a number: the column is then JSON text.
fn place() -> Place {
    let place = Place::new().morsels("10");
    place.write("in.ndjson", "{\"x\":\"12\"}\n".to_owned() + &"{\"x\":\"a\"}\n".repeat(5) + "{\"x\":12}\n");
    place
}

fn texts(batches: &[RecordBatch]) -> Vec<String> {
    batches
        .iter()
        .flat_map(|batch| batch.column(0).as_string::<i32>().iter().map(|text| text.unwrap().to_owned()))
        .collect()
}

const MIXED: [&str; 7] = ["\"12\"", "\"a\"", "\"a\"", "\"a\"", "\"a\"", "\"a\"", "12"];

#[test]
fn arrow_files_hold_one_kind_of_text() {
    let place = place();
    place.run(&["convert", "in.ndjson", "-o", "out.arrow"]).ok();
    let reader = FileReader::try_new(std::fs::File::open(place.path("out.arrow")).unwrap(), None).unwrap();
    assert_eq!(texts(&reader.map(Result::unwrap).collect::<Vec<_>>()), MIXED);
    place.run(&["convert", "in.ndjson", "-o", "out.arrows"]).ok();
    let reader = StreamReader::try_new(std::fs::File::open(place.path("out.arrows")).unwrap(), None).unwrap();
    assert_eq!(texts(&reader.map(Result::unwrap).collect::<Vec<_>>()), MIXED);
    place.run(&["convert", "in.ndjson", "-o", "out/", "--to", "arrow"]).ok();
    let files = std::fs::read_dir(place.path("out")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "arrow")).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let reader = FileReader::try_new(std::fs::File::open(file).unwrap(), None).unwrap();
    assert_eq!(texts(&reader.map(Result::unwrap).collect::<Vec<_>>()), MIXED);
}

#[test]
fn a_stream_that_showed_plain_text_ends_before_text_changes_its_meaning() {
    for format in ["parquet", "arrow-stream"] {
        let place = place();
        let done = place.run(&["convert", "in.ndjson", "-o", "-", "--to", format]);
        assert_eq!(done.code, exit::SCHEMA_CHANGED, "{format}: {}", done.stderr);
        done.says("field `x`: expected text, found a number").hints("--schema-from full");
        let whole = place.run(&["convert", "in.ndjson", "-o", "-", "--to", format, "--schema-from", "full"]).ok();
        if format == "arrow-stream" {
            let reader = StreamReader::try_new(&whole.stdout[..], None).unwrap();
            assert_eq!(texts(&reader.map(Result::unwrap).collect::<Vec<_>>()), MIXED);
        }
    }
}

/// Every byte that may separate cells: numbers, words, dates and times are quoted where they hold it.
#[test]
fn every_delimiter_is_quoted_in_typed_cells() {
    let place = Place::new();
    place.write("in.ndjson", "{\"n\":-1.5e-7,\"i\":12,\"b\":true,\"o\":{\"k\":[1,null]},\"t\":\"2024-01-31T12:00:00.5Z\",\"d\":\"2024-01-31\",\"m\":\"12.50\"}\n");
    let cast = ["--cast", "t:timestamp(ms, utc),d:date,m:decimal(12,2)", "-o", "all.parquet"];
    let cells = |delimiter: &str| {
        let mut line = vec!["convert", "in.ndjson", "-o", "-", "--to", "csv", "--delimiter", delimiter];
        line.extend(cast);
        let done = place.run(&line).ok();
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter.as_bytes()[0]).from_reader(&done.stdout[..]);
        let names: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        let rows: Vec<Vec<String>> =
            reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
        (names, rows)
    };
    let expected = cells(",");
    assert_eq!(expected.0.len(), 7);
    for byte in (b' '..=b'~').filter(|byte| !b"\"'".contains(byte)) {
        let delimiter = char::from(byte).to_string();
        assert_eq!(cells(&delimiter), expected, "{delimiter:?}");
    }
}
