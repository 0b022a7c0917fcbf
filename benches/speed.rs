//! Time of each stage and of whole conversions, in bytes of input per second.
//!
//! ```sh
//! cargo bench --bench speed                    # everything
//! cargo bench --bench speed -- decode          # what has `decode` in its name
//! cargo bench --bench speed -- --list
//! ```
//!
//! Stages run on one thread, over morsels of a mebibyte as in an execution; conversions use all
//! cores. The group `floor` is what no stage can pass: reading the bytes, finding the line feeds,
//! and the tape of simd-json, which has parsed but has no columns yet. Encoders count the bytes of
//! the NDJSON (or CSV) that their batches came from, so that all numbers can be compared. What
//! each stage gives is checked once, before it is timed.

#![allow(unreachable_pub, reason = "a program of its own has no users of its items")]

mod inputs;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use drawoff::column::{Batch, Field, Morsel, Schema, Type, TypeMerge};
use drawoff::format::csv::{CsvDecoder, CsvEncoder, take_header};
use drawoff::format::decode::{OnMisfit, Outcome};
use drawoff::format::frame::{BufferPool, Framed, Framer, Framing};
use drawoff::format::ndjson::{self, DecodeOptions, UnknownKey, ValueTypes};
use drawoff::format::parquet::{EncoderScratch, Layout, ParquetFileWriter, RowGroupEncoder};
use drawoff::format::{Compression, CsvOptions, OutputFormat, ParquetCodec, ParquetOptions};
use drawoff::pipeline::{Control, ExecutionPlan, Output, Report, Target, execute};
use drawoff::source::Source;
use drawoff::transform::{Condition, Filter, Logic, Step, Test};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use inputs::Shape;

const MIB: usize = 1 << 20;
/// Input of the stages: some tens of morsels, more than the caches hold.
const STAGE_BYTES: usize = 32 * MIB;
/// Input of the conversions: several row groups' worth for each worker.
const CONVERSION_BYTES: usize = 64 * MIB;
const MAX_RECORD_BYTES: usize = 16 * MIB;

fn main() {
    // One iteration is tens of milliseconds: a sample of its own, and few of them.
    divan::Divan::default().sample_size(1).sample_count(15).config_with_args().main();
}

/// Records in the forms that the stages take them.
struct Stage {
    bytes: Vec<u8>,
    rows: usize,
    morsels: Vec<Morsel>,
    typed: Arc<Schema>,
}

impl Stage {
    fn ndjson(shape: Shape) -> Self {
        let bytes = inputs::ndjson(shape, STAGE_BYTES);
        let morsels = frame(&bytes, Framing::Lines);
        let schemas = morsels.iter().map(|morsel| ndjson::infer(morsel, ValueTypes::Typed, MAX_RECORD_BYTES));
        let typed = Arc::new(schemas.reduce(|a, b| a.join(&b, TypeMerge::Json)).expect("there are records"));
        Stage { rows: count_lines(&bytes), bytes, morsels, typed }
    }

    fn decode(&self, keys: ValueTypes) -> Vec<Batch> {
        let schema = match keys {
            ValueTypes::Typed => self.typed.clone(),
            _ => Arc::new(raw(&self.typed)),
        };
        let batches: Vec<Batch> = self.morsels.iter().map(|morsel| decode(morsel, &schema, keys)).collect();
        assert_eq!(rows(&batches), self.rows);
        batches
    }

    fn size(&self) -> BytesCount {
        BytesCount::of_slice(&self.bytes)
    }
}

static WIDE: LazyLock<Stage> = LazyLock::new(|| Stage::ndjson(Shape::Wide));
static NARROW: LazyLock<Stage> = LazyLock::new(|| Stage::ndjson(Shape::Narrow));

fn count_lines(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

fn rows(batches: &[Batch]) -> usize {
    batches.iter().map(|batch| batch.rows).sum()
}

fn raw(schema: &Schema) -> Schema {
    Schema::new(schema.fields.iter().map(|field| Field::new(field.name.clone(), Type::Raw)).collect())
}

/// Cuts `bytes` into morsels as a reader thread does, which copies them once.
fn frame(bytes: &[u8], framing: Framing) -> Vec<Morsel> {
    let mut morsels = Vec::new();
    frame_each(bytes, framing, &BufferPool::new(MIB, 4), |morsel| morsels.push(morsel));
    morsels
}

fn frame_each(mut bytes: &[u8], framing: Framing, pool: &BufferPool, mut each: impl FnMut(Morsel)) {
    let mut framer = Framer::new(framing, MAX_RECORD_BYTES, 0, pool.clone());
    let mut take = |framer: &mut Framer| {
        while let Some(framed) = framer.pop() {
            match framed {
                Framed::Morsel(morsel) => each(morsel),
                Framed::Oversized(_) => unreachable!("all records are short"),
            }
        }
    };
    while !bytes.is_empty() {
        let space = framer.space();
        let n = space.len().min(bytes.len()).min(256 << 10);
        space[..n].copy_from_slice(&bytes[..n]);
        bytes = &bytes[n..];
        framer.filled(n);
        take(&mut framer);
    }
    framer.finish();
    take(&mut framer);
}

fn decode(morsel: &Morsel, schema: &Arc<Schema>, keys: ValueTypes) -> Batch {
    let options = DecodeOptions {
        unknown_key: UnknownKey::SchemaMismatch,
        new_columns: keys,
        freeze: false,
        max_record_bytes: MAX_RECORD_BYTES,
        max_cells: 4 << 20,
        record_spans: false,
        canonical_json: false,
    };
    whole(ndjson::decode(morsel, schema, &options), morsel)
}

fn whole(outcome: Outcome, morsel: &Morsel) -> Batch {
    match outcome {
        Outcome::Decoded(decoded) => {
            assert!(decoded.rejects.is_empty() && decoded.consumed == morsel.len, "every record is good");
            decoded.batch
        }
        Outcome::SchemaMismatch(surprise) => panic!("the schema is of all records: {}", surprise.what),
    }
}

/// The values of a column of text, end to end; null is nothing.
fn text_of(batches: &[Batch], name: &str) -> String {
    let mut all = String::new();
    for batch in batches {
        let column = batch.schema.position(name).expect("a column of every record");
        let column = batch.columns[column].as_string_view();
        column.iter().flatten().for_each(|text| all.push_str(text));
    }
    all
}

/// What nothing can pass.
mod floor {
    use super::*;

    #[divan::bench]
    fn read_bytes(bencher: Bencher) {
        let words = WIDE.bytes.as_chunks::<8>().0;
        bencher
            .counter(WIDE.size())
            .bench(|| black_box(words).iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word))));
    }

    #[divan::bench]
    fn find_newlines(bencher: Bencher) {
        bencher.counter(WIDE.size()).bench(|| {
            assert_eq!(count_lines(black_box(&WIDE.bytes)), WIDE.rows);
        });
    }

    #[divan::bench(args = ["wide", "narrow"])]
    fn simd_json_tape(bencher: Bencher, shape: &str) {
        let stage = if shape == "wide" { &*WIDE } else { &*NARROW };
        // The tape is parsed in place, so that every iteration gets bytes of its own.
        bencher.counter(stage.size()).with_inputs(|| stage.bytes.clone()).bench_local_refs(|bytes| {
            let mut buffers = simd_json::Buffers::new(4096);
            let mut tape = simd_json::Tape::null();
            let mut records = 0;
            for line in bytes.split_mut(|&b| b == b'\n').filter(|line| !line.is_empty()) {
                simd_json::fill_tape(line, &mut buffers, &mut tape).expect("every line is JSON");
                records += usize::from(!black_box(&tape.0).is_empty());
            }
            assert_eq!(records, stage.rows);
        });
    }
}

/// From bytes to morsels, the one copy included.
mod framing {
    use super::*;

    fn bench(bencher: Bencher, bytes: &[u8], framing: Framing) {
        let joined: Vec<u8> = frame(bytes, framing).iter().flat_map(|morsel| morsel.records().to_vec()).collect();
        assert!(joined == bytes, "morsels are the input, cut");
        let pool = BufferPool::new(MIB, 4);
        bencher
            .counter(BytesCount::of_slice(bytes))
            .bench_local(|| frame_each(bytes, framing, &pool, |morsel| pool.recycle(black_box(morsel).bytes)));
    }

    #[divan::bench]
    fn lines(bencher: Bencher) {
        bench(bencher, &WIDE.bytes, Framing::Lines);
    }

    #[divan::bench]
    fn csv(bencher: Bencher) {
        bench(bencher, &super::decoding::CSV.bytes, Framing::csv(b','));
    }
}

/// From morsels to columns.
mod decoding {
    use super::*;

    pub struct Csv {
        pub bytes: Vec<u8>,
        pub records: usize,
        pub decoder: CsvDecoder,
        pub morsels: Vec<Morsel>,
        pub typed: Arc<Schema>,
    }

    pub static CSV: LazyLock<Csv> = LazyLock::new(|| {
        let bytes = inputs::csv(STAGE_BYTES);
        let mut morsels = frame(&bytes, Framing::csv(b','));
        let (header, rest) = take_header(&morsels[0], b',').expect("a header").expect("a record");
        morsels[0] = rest;
        let decoder = CsvDecoder::new(header.names, b',', ndjson::decode_cells);
        let schemas = morsels.iter().map(|morsel| decoder.infer(morsel, &Schema::default()));
        let typed = Arc::new(schemas.reduce(|a, b| a.join(&b, TypeMerge::Text)).expect("there are records").resolved());
        // Every wide record has one `enriched_at`, and nothing else has such text.
        let records = memchr::memmem::find_iter(&bytes, b":00.000Z\n").count();
        Csv { bytes, records, decoder, morsels, typed }
    });

    impl Csv {
        pub fn decode(&self, morsel: &Morsel) -> Batch {
            whole(self.decoder.decode(morsel, &self.typed, OnMisfit::SchemaMismatch), morsel)
        }
    }

    fn ndjson(bencher: Bencher, stage: &'static Stage, keys: ValueTypes) {
        // The same text, whether the way was through types or not.
        if let Some(name) = ["domain", "kind"].into_iter().find(|name| stage.typed.position(name).is_some()) {
            let texts =
                [ValueTypes::Typed, ValueTypes::Raw].map(|keys| text_of(&stage.decode(keys), name).replace('"', ""));
            assert!(!texts[0].is_empty() && texts[0] == texts[1]);
        }
        let schema = match keys {
            ValueTypes::Typed => stage.typed.clone(),
            _ => Arc::new(raw(&stage.typed)),
        };
        bencher.counter(stage.size()).bench_local(|| {
            for morsel in &stage.morsels {
                black_box(decode(morsel, &schema, keys));
            }
        });
    }

    #[divan::bench]
    fn ndjson_typed_wide(bencher: Bencher) {
        ndjson(bencher, &WIDE, ValueTypes::Typed);
    }

    #[divan::bench]
    fn ndjson_typed_narrow(bencher: Bencher) {
        ndjson(bencher, &NARROW, ValueTypes::Typed);
    }

    #[divan::bench]
    fn ndjson_raw_wide(bencher: Bencher) {
        ndjson(bencher, &WIDE, ValueTypes::Raw);
    }

    #[divan::bench]
    fn csv_typed_wide(bencher: Bencher) {
        let batches: Vec<Batch> = CSV.morsels.iter().map(|morsel| CSV.decode(morsel)).collect();
        assert_eq!(rows(&batches), CSV.records);
        bencher.counter(BytesCount::of_slice(&CSV.bytes)).bench_local(|| {
            for morsel in &CSV.morsels {
                black_box(CSV.decode(morsel));
            }
        });
    }
}

/// From columns to bytes.
mod encoding {
    use super::*;

    const CODECS: [&str; 5] = ["none", "snappy", "lz4", "zstd:1", "zstd:2"];

    fn options(codec: &str) -> ParquetOptions {
        let codec = match codec {
            "none" => ParquetCodec::Uncompressed,
            "snappy" => ParquetCodec::Snappy,
            "lz4" => ParquetCodec::Lz4,
            "zstd:1" => ParquetCodec::Zstd { level: 1 },
            _ => ParquetCodec::Zstd { level: 2 },
        };
        ParquetOptions { codec }
    }

    /// All batches as one row group, with what the one before left in the workshop.
    fn row_group(
        batches: &[Batch],
        layout: &Arc<Layout>,
        shop: Option<EncoderScratch>,
    ) -> (drawoff::format::parquet::EncodedRowGroup, EncoderScratch) {
        let mut encoder = match shop {
            Some(shop) => RowGroupEncoder::again(layout.clone(), shop),
            None => RowGroupEncoder::with_layout(layout.clone()).expect("a layout with columns"),
        };
        for batch in batches {
            encoder.write(batch).expect("batches of the layout's schema");
        }
        encoder.finish_with_scratch().expect("rows")
    }

    fn parquet(bencher: Bencher, stage: &Stage, codec: &str, column: &str) {
        let options = options(codec);
        let batches = stage.decode(ValueTypes::Typed);
        let layout = Arc::new(Layout::try_new(stage.typed.clone(), &options, TypeMerge::Json).expect("a layout"));
        let (group, shop) = row_group(&batches, &layout, None);
        let mut writer = ParquetFileWriter::try_new(Vec::new(), options, TypeMerge::Json, Vec::new()).expect("memory");
        writer.append(group).expect("memory");
        let (file, summary) = writer.finish(|| -> std::io::Result<bytes::Bytes> { unreachable!() }).expect("memory");
        assert_eq!(summary.rows as usize, stage.rows);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file)).expect("a Parquet file");
        let mask = ProjectionMask::columns(reader.parquet_schema(), [column]);
        let mut read = String::new();
        for batch in reader.with_projection(mask).build().expect("a reader") {
            let batch = batch.expect("rows");
            batch.column(0).as_string::<i32>().iter().flatten().for_each(|text| read.push_str(text));
        }
        assert!(read == text_of(&batches, column), "what is read is what was written");
        let mut shop = Some(shop);
        bencher.counter(stage.size()).bench_local(|| {
            let (group, used) = row_group(&batches, &layout, shop.take());
            shop = Some(used);
            black_box(group);
        });
    }

    #[divan::bench(args = CODECS)]
    fn parquet_wide(bencher: Bencher, codec: &str) {
        parquet(bencher, &WIDE, codec, "domain");
    }

    #[divan::bench(args = ["none", "zstd:2"])]
    fn parquet_narrow(bencher: Bencher, codec: &str) {
        parquet(bencher, &NARROW, codec, "kind");
    }

    /// From raw columns: the way of a conversion to CSV.
    #[divan::bench]
    fn csv_wide(bencher: Bencher) {
        let batches = WIDE.decode(ValueTypes::Raw);
        let mut encoder = CsvEncoder::new(CsvOptions::default());
        let mut out = Vec::with_capacity(STAGE_BYTES);
        encoder.write_header(&batches[0].schema, &mut out);
        batches.iter().for_each(|batch| encoder.write_rows(batch, &mut out));
        let mut read = Vec::new();
        let mut decoder = None;
        for morsel in frame(&out, Framing::csv(b',')) {
            let mut morsel = morsel;
            let (decoder, schema) = decoder.get_or_insert_with(|| {
                let (header, rest) = take_header(&morsel, b',').expect("a header").expect("a record");
                morsel = rest;
                let fields = header.names.iter().map(|name| Field::new(name.clone(), Type::Text)).collect();
                (CsvDecoder::new(header.names, b',', ndjson::decode_cells), Arc::new(Schema::new(fields)))
            });
            read.push(whole(decoder.decode(&morsel, schema, OnMisfit::SchemaMismatch), &morsel));
        }
        assert_eq!(rows(&read), WIDE.rows);
        assert!(text_of(&read, "domain") == text_of(&batches, "domain").replace('"', ""));
        bencher.counter(WIDE.size()).bench_local(|| {
            for batch in &batches {
                out.clear();
                encoder.write_rows(batch, &mut out);
                black_box(&out);
            }
        });
    }

    fn ndjson(bencher: Bencher, keys: ValueTypes) {
        let batches = WIDE.decode(keys);
        let mut out = Vec::with_capacity(STAGE_BYTES);
        batches.iter().for_each(|batch| ndjson::encode(batch, b"\n", &mut out));
        let schema = &batches[0].schema;
        let again: Vec<Batch> = frame(&out, Framing::Lines).iter().map(|morsel| decode(morsel, schema, keys)).collect();
        assert_eq!(rows(&again), WIDE.rows);
        assert!(text_of(&again, "domain") == text_of(&batches, "domain"));
        bencher.counter(WIDE.size()).bench_local(|| {
            for batch in &batches {
                out.clear();
                ndjson::encode(batch, b"\n", &mut out);
                black_box(&out);
            }
        });
    }

    /// The values' own text, as after a selection of columns.
    #[divan::bench]
    fn ndjson_from_raw_wide(bencher: Bencher) {
        ndjson(bencher, ValueTypes::Raw);
    }

    /// Values written anew, as after a step that made them.
    #[divan::bench]
    fn ndjson_from_typed_wide(bencher: Bencher) {
        ndjson(bencher, ValueTypes::Typed);
    }
}

/// Whole executions, file to file, on all cores.
mod conversion {
    use super::*;

    /// Files in a folder that goes with the process.
    struct Files {
        folder: tempfile::TempDir,
        wide: Input,
        csv: Input,
        narrow: Input,
        gzip: Input,
    }

    struct Input {
        path: PathBuf,
        bytes: usize,
        /// Unless they are not as many as line feeds.
        rows: Option<u64>,
    }

    static FILES: LazyLock<Files> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let put = |name: &str, bytes: &[u8], size: usize, rows: Option<u64>| {
            let path = folder.path().join(name);
            File::create(&path).and_then(|mut file| file.write_all(bytes)).expect("room for temporary files");
            Input { path, bytes: size, rows }
        };
        let wide = inputs::ndjson(Shape::Wide, CONVERSION_BYTES);
        let narrow = inputs::ndjson(Shape::Narrow, CONVERSION_BYTES);
        let csv = inputs::csv(CONVERSION_BYTES);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        gzip.write_all(&wide).expect("memory");
        let gzip = gzip.finish().expect("memory");
        let lines = |bytes: &[u8]| Some(count_lines(bytes) as u64);
        Files {
            wide: put("wide.ndjson", &wide, wide.len(), lines(&wide)),
            narrow: put("narrow.ndjson", &narrow, narrow.len(), lines(&narrow)),
            csv: put("wide.csv", &csv, csv.len(), None),
            gzip: put("wide.ndjson.gz", &gzip, wide.len(), lines(&wide)),
            folder,
        }
    });

    fn convert(input: &Input, format: OutputFormat, steps: &[Step]) -> Report {
        let path = FILES.folder.path().join("out");
        let target = Target::File { path, no_clobber: false, append: false };
        let output = Output { format, compression: Compression::None, target };
        let mut plan = ExecutionPlan::new(Source::file(&input.path), output);
        plan.steps = steps.to_vec();
        execute(plan, &Control::new()).expect("every record is good")
    }

    fn bench(bencher: Bencher, input: &Input, format: OutputFormat, steps: &[Step]) {
        let report = convert(input, format, steps);
        assert_eq!(report.rows_rejected, 0);
        assert_eq!(report.rows_in, report.rows_written + report.rows_filtered);
        assert!(input.rows.is_none_or(|rows| rows == report.rows_in));
        assert!(report.rows_written > 0 && steps.is_empty() == (report.rows_filtered == 0));
        bencher.counter(BytesCount::new(input.bytes)).bench_local(|| convert(input, format, steps));
    }

    fn parquet(codec: ParquetCodec) -> OutputFormat {
        OutputFormat::Parquet(ParquetOptions { codec })
    }

    #[divan::bench]
    fn ndjson_to_parquet_zstd(bencher: Bencher) {
        bench(bencher, &FILES.wide, parquet(ParquetCodec::ZSTD_DEFAULT), &[]);
    }

    #[divan::bench]
    fn ndjson_to_parquet_snappy(bencher: Bencher) {
        bench(bencher, &FILES.wide, parquet(ParquetCodec::Snappy), &[]);
    }

    #[divan::bench]
    fn ndjson_to_parquet_uncompressed(bencher: Bencher) {
        bench(bencher, &FILES.wide, parquet(ParquetCodec::Uncompressed), &[]);
    }

    #[divan::bench]
    fn ndjson_to_csv(bencher: Bencher) {
        bench(bencher, &FILES.wide, OutputFormat::Csv(CsvOptions::default()), &[]);
    }

    #[divan::bench]
    fn ndjson_filtered(bencher: Bencher) {
        let score =
            Condition { column: "score".into(), test: Test::Greater(serde_json::json!(0.8)), logic: Logic::default() };
        bench(bencher, &FILES.wide, OutputFormat::Ndjson, &[Filter::Conditions(vec![score]).into()]);
    }

    #[divan::bench]
    fn csv_to_parquet_zstd(bencher: Bencher) {
        bench(bencher, &FILES.csv, parquet(ParquetCodec::ZSTD_DEFAULT), &[]);
    }

    #[divan::bench]
    fn narrow_to_parquet_zstd(bencher: Bencher) {
        bench(bencher, &FILES.narrow, parquet(ParquetCodec::ZSTD_DEFAULT), &[]);
    }

    /// Counts the bytes that the gzip file holds.
    #[divan::bench]
    fn gzip_to_parquet_zstd(bencher: Bencher) {
        bench(bencher, &FILES.gzip, parquet(ParquetCodec::ZSTD_DEFAULT), &[]);
    }
}
