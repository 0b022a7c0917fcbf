//! The library's entry point for Arrow batches: executes a plan and returns its rows as an iterator, without an output
//! file. The execution runs on a separate thread and is never more than a few batches ahead.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::channel::{channel, typed_channel};
use super::error::Error;
use super::execute::execute;
use super::plan::{ExecutionPlan, Output, Target};
use super::progress::Control;
use super::report::Report;
use crate::column::Batch;
use crate::format::arrow_ipc::ArrowForm;
use crate::format::{Compression, OutputFormat};

/// Executes `plan`, whose outputs are replaced, and returns its rows as batches.
///
/// Blocks until the first batch or the end, so that [`BatchReader::schema`] is known. Rows are in the order of the
/// input, for any number of workers. All batches have the columns of the first: a later column or wider type is
/// [`Error::Schema`] from the iterator. That cannot happen with [`SchemaFrom::Full`](super::SchemaFrom::Full), which
/// requires files, or with [`SchemaPolicy::Freeze`](super::SchemaPolicy::Freeze), which rejects such records instead. An
/// explicit schema alone does not prevent it: further columns follow the policy.
///
/// # Errors
///
/// Those of [`execute`] before the first batch. Later errors are items of the iterator.
///
/// # Examples
///
/// ```
/// use drawoff::pipeline::{ExecutionPlan, read_batches};
/// use drawoff::source::Source;
/// use drawoff::transform::Step;
///
/// let records = "{\"name\":\"Ada\",\"born\":1815}\n{\"name\":\"Alan\",\"born\":1912}\n";
/// let mut plan = ExecutionPlan::reading(vec![Source::reader("people.ndjson", records.as_bytes())]);
/// plan.steps = Step::parse("where", "born > 1900")?;
///
/// let mut rows = 0;
/// for batch in read_batches(plan)? {
///     let batch = batch?;
///     assert_eq!(batch.schema().field(0).name(), "name");
///     rows += batch.num_rows();
/// }
/// assert_eq!(rows, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_batches(mut plan: ExecutionPlan) -> Result<BatchReader, Error> {
    let (sender, receiver) = channel();
    let target = Target::Channel(sender);
    plan.outputs =
        vec![Output { format: OutputFormat::Arrow(ArrowForm::Stream), compression: Compression::None, target }];
    let control = Control::new();
    let thread_control = control.clone();
    let thread = std::thread::Builder::new().name("execution".into()).spawn(move || execute(plan, &thread_control));
    let thread = thread.map_err(|cause| Error::Bug(format!("cannot start a thread: {cause}")))?;
    let mut reader = BatchReader {
        schema: Arc::new(arrow_schema::Schema::empty()),
        first: None,
        receiver: Some(receiver),
        execution: Some(thread),
        control,
        report: None,
    };
    match reader.receive() {
        Some(first) => {
            let first = first?;
            reader.schema = first.schema();
            reader.first = (first.num_rows() > 0).then_some(first);
            Ok(reader)
        }
        None => Err(Error::Bug("an execution ended without its columns".into())),
    }
}

/// The rows of an execution as an iterator of batches. Text is plain `Utf8`, and no batch is empty.
///
/// Dropped before its end, it cancels the execution and waits for its thread, which does not wait for a source that
/// blocks in a read.
#[derive(Debug)]
pub struct BatchReader {
    schema: SchemaRef,
    /// The batch that the schema was taken from, until the iterator returns it.
    first: Option<RecordBatch>,
    /// `None` at the end, and after an error.
    receiver: Option<Receiver<RecordBatch>>,
    execution: Option<JoinHandle<Result<Report, Error>>>,
    control: Control,
    report: Option<Report>,
}

impl BatchReader {
    /// Returns the columns of all batches.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Returns the live counters of the execution, and its cancel flag.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Returns the report: counts, rejects and notes. `None` before the iterator has returned `None`, and after an
    /// error.
    pub fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    /// Receives the next batch, or joins the execution at its end.
    fn receive(&mut self) -> Option<Result<RecordBatch, Error>> {
        if let Ok(batch) = self.receiver.as_ref()?.recv() {
            return Some(Ok(batch));
        }
        // The sender was dropped: the execution has ended or is about to.
        self.receiver = None;
        match self.execution.take()?.join() {
            Ok(Ok(report)) => {
                self.report = Some(report);
                None
            }
            Ok(Err(error)) => Some(Err(error)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Iterator for BatchReader {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => self.receive(),
        }
    }
}

impl Drop for BatchReader {
    fn drop(&mut self) {
        self.control.cancel();
        // Ends a wait of the writer for a free slot in the channel.
        self.receiver = None;
        if let Some(execution) = self.execution.take() {
            let _ = execution.join();
        }
    }
}

/// The rows of an execution as batches with their types, for a reader that follows columns which widen: each batch has
/// the columns and types of its own records. Text is views into the records.
///
/// Dropped before its end, it cancels the execution and waits for its thread.
#[derive(Debug)]
pub struct TypedReader {
    /// `None` at the end.
    receiver: Option<Receiver<Batch>>,
    execution: Option<JoinHandle<Result<Report, Error>>>,
    control: Control,
}

impl TypedReader {
    /// Begins the execution of `plan`, whose outputs are replaced, on a thread of its own. `control` has its counters,
    /// and cancels it.
    pub fn begin(mut plan: ExecutionPlan, control: &Control) -> Result<Self, Error> {
        let (sender, receiver) = typed_channel();
        let target = Target::Channel(sender);
        plan.outputs =
            vec![Output { format: OutputFormat::Arrow(ArrowForm::Stream), compression: Compression::None, target }];
        let of_thread = control.clone();
        let thread = std::thread::Builder::new().name("execution".into()).spawn(move || execute(plan, &of_thread));
        let execution = thread.map_err(|cause| Error::Bug(format!("cannot start a thread: {cause}")))?;
        Ok(TypedReader { receiver: Some(receiver), execution: Some(execution), control: control.clone() })
    }

    /// Returns the next batch, which has rows; `None` at the end, and after an error.
    pub fn next_batch(&mut self) -> Option<Batch> {
        self.receiver.as_ref()?.recv().ok()
    }

    /// Ends the reading, also before the last batch, and returns the report of what was executed.
    pub fn finish(mut self) -> Result<Report, Error> {
        // Ends a wait of the writer for a free slot in the channel, and the execution as a closed pipe does.
        self.receiver = None;
        match self.execution.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Err(Error::Bug("an execution was joined twice".into())),
        }
    }
}

impl Drop for TypedReader {
    fn drop(&mut self) {
        if let Some(execution) = self.execution.take() {
            self.control.cancel();
            self.receiver = None;
            let _ = execution.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;

    use super::*;
    use crate::pipeline::Limits;
    use crate::source::Source;

    fn plan(records: String) -> ExecutionPlan {
        let mut plan = ExecutionPlan::reading(vec![Source::reader("r.ndjson", std::io::Cursor::new(records))]);
        plan.limits = Limits { morsel_bytes: 64, sample_bytes: 64, workers: 3, ..Limits::default() };
        plan
    }

    fn lines(n: i64) -> String {
        (0..n).map(|i| format!("{{\"a\":{i}}}\n")).collect()
    }

    #[test]
    fn batches_hold_all_rows_in_order_and_then_the_report() {
        let mut reader = read_batches(plan(lines(5000))).unwrap();
        assert_eq!(reader.schema().fields().len(), 1);
        let mut seen = Vec::new();
        for batch in reader.by_ref() {
            let batch = batch.unwrap();
            assert!(batch.num_rows() > 0);
            seen.extend_from_slice(batch.column(0).as_primitive::<Int64Type>().values());
        }
        assert_eq!(seen, (0..5000).collect::<Vec<_>>());
        assert_eq!(reader.report().unwrap().rows_written, 5000);
        assert!(reader.next().is_none());
    }

    #[test]
    fn no_rows_have_columns_and_no_batches() {
        let mut empty = plan(lines(3));
        empty.steps = crate::transform::Step::parse("where", "a > 5").unwrap();
        let mut reader = read_batches(empty).unwrap();
        assert_eq!(reader.schema().field(0).name(), "a");
        assert!(reader.next().is_none());
    }

    #[test]
    fn a_dropped_reader_stops_the_execution() {
        // More than the channel and all queues hold: the writer is blocked when the reader is dropped.
        let mut reader = read_batches(plan(lines(100_000))).unwrap();
        reader.next().unwrap().unwrap();
        let control = reader.control().clone();
        drop(reader);
        assert!(control.rows_written() < 100_000);
    }

    #[test]
    fn errors_come_before_the_first_batch_or_from_the_iterator() {
        let error = read_batches(plan("nothing\n".into())).unwrap_err();
        assert!(error.to_string().contains("r.ndjson"), "{error}");
        let mut reader = read_batches(plan(lines(2000) + "broken\n")).unwrap();
        let last = reader.by_ref().last().unwrap().unwrap_err();
        assert!(last.to_string().contains("line 2001"), "{last}");
        assert!(reader.report().is_none() && reader.next().is_none());
    }
}
