//! Options of Parquet outputs: the codec of the pages. Row groups and schemas are decided by the
//! pipeline.

/// Options of a Parquet output. The default is zstd at level 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParquetOptions {
    /// Codec of the pages.
    pub codec: ParquetCodec,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        ParquetOptions { codec: ParquetCodec::ZSTD_DEFAULT }
    }
}

/// The codec of Parquet pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParquetCodec {
    /// No compression.
    Uncompressed,
    /// Snappy in its raw format.
    Snappy,
    /// LZ4 blocks, `LZ4_RAW` in the footer.
    Lz4,
    /// Zstandard.
    Zstd {
        /// Compression level, 1 to 22.
        level: i32,
    },
}

impl ParquetCodec {
    /// zstd at level 2: a twelfth more time in the codec than level 1 for a file smaller by a
    /// fourteenth, on the wide rows of the benchmarks; level 3 takes a fourth more.
    pub const ZSTD_DEFAULT: ParquetCodec = ParquetCodec::Zstd { level: 2 };
}
