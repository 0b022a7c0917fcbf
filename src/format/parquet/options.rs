//! Options of Parquet files.

/// Options of Parquet that is written.
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

/// Codec of Parquet pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParquetCodec {
    /// None.
    Uncompressed,
    /// Snappy.
    Snappy,
    /// Raw LZ4.
    Lz4,
    /// Zstandard.
    Zstd {
        /// 1 to 22.
        level: i32,
    },
}

impl ParquetCodec {
    /// zstd at level 2: a twelfth more time in the codec than level 1 for a file smaller by a
    /// fourteenth, on the wide rows of the benchmarks; level 3 takes a fourth more.
    pub const ZSTD_DEFAULT: ParquetCodec = ParquetCodec::Zstd { level: 2 };
}
