//! `read_csv`: a source that reads an upload, despite its name of any supported format. It resolves the upload and
//! declares its columns; the pipeline parses the file.

use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;
use super::input::{Input, InputError, InputRequest};
use super::row_type::RowType;
use super::spec_types::{Columns, InputField, Members, non_empty};
use crate::api::HandleId;
use crate::column::{Field, Schema, Type};
use crate::transform::Select;

pub(super) const fn block() -> BlockType {
    BlockType::source::<ReadCsvSpecs>("read_csv")
}

/// Type names that [`Type::from_declared`] accepts, as alternatives of a pattern. `list[T]` and `list[list[T]]` are
/// types too.
const TYPE_NAMES: &str = "str|string|enum|dict|int|integer|float|number|bool|boolean|object|object_list|list";

#[derive(Deserialize, ToSchema)]
struct ReadCsvSpecs {
    /// Handle of an upload; usually specified for one run by `specs_override`.
    resource_handle_id: Option<String>,
    /// Local extension: types of columns, for a file without types. A cell of a declared list or object is parsed as
    /// JSON.
    #[schema(value_type = Option<BTreeMap<String, InputField>>)]
    input_schema: Option<Members<InputField>>,
    /// Columns to read from the file, in this order; all when absent or empty.
    columns: Option<Columns>,
    /// The type of the rows; inferred from the blocks after it when absent.
    dataframe_type: Option<RowType>,
}

impl Specs for ReadCsvSpecs {
    fn refine(schema: &mut Value) {
        let pattern = format!(r"^({TYPE_NAMES}|list\[({TYPE_NAMES})\]|list\[list\[({TYPE_NAMES})\]\])$");
        let forms = &mut schema["properties"]["input_schema"]["additionalProperties"]["oneOf"];
        // A type is specified either directly or as the `type` of an object.
        for pointer in ["/0", "/1/properties/type"] {
            let schema = forms.pointer_mut(pointer).expect("the two variants of InputField");
            schema["pattern"] = json!(pattern);
            schema["title"] = json!("a type such as string, int or list[str]");
        }
    }

    fn into_block(self, _: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        let columns = self.input_schema.unwrap_or_default().0.into_iter();
        let typed = columns.filter_map(|(column, field)| Some((column, Type::from_declared(field.ty()?)?)));
        let fields: Vec<Field> = typed.map(|(column, ty)| Field::new(column.as_str(), ty)).collect();
        Some(Box::new(ReadCsv {
            handle: non_empty(self.resource_handle_id),
            declared: (!fields.is_empty()).then(|| Schema::new(fields)),
            columns: Columns::names(self.columns),
            row_type: self.dataframe_type,
        }))
    }
}

#[derive(Debug)]
struct ReadCsv {
    /// Handle of the upload; `None` until a run specifies it.
    handle: Option<String>,
    /// Declared column types; `None` infers all of them.
    declared: Option<Schema>,
    /// Columns to read, in this order; all when empty. Our reading: the key has the name that bulk settings use "for
    /// the source block".
    columns: Vec<String>,
    row_type: Option<RowType>,
}

impl Block for ReadCsv {
    fn declared_row_type(&self) -> Option<RowType> {
        self.row_type
    }

    fn input(&self, request: &InputRequest<'_>) -> Result<Input, InputError> {
        // Our reading: a missing or unknown handle is refused with 400.
        let Some(handle) = &self.handle else {
            let text = "this workflow starts with a read_csv block: set specs_override.resource_handle_id to the \
                        handle of an upload";
            return Err(InputError::Refused(text.to_owned()));
        };
        // A handle that a client was told, or the file name of an upload that the service was started with.
        let handle = request.store.upload_by_name(handle)?.unwrap_or_else(|| HandleId(handle.clone()));
        let upload = request.store.upload(&handle)?;
        let upload = upload.ok_or_else(|| InputError::Refused(format!("no upload has the handle '{handle}'")))?;
        Ok(Input::upload(request.directories, &handle, upload)?)
    }

    fn plan(&self, _: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        // `Select` fails for a column that the file lacks, and so does the block.
        let select = || Select::by_names(self.columns.iter().map(String::as_str)).into();
        let select = (!self.columns.is_empty()).then(select);
        Ok(BlockPlan { declared: self.declared.clone(), ..BlockPlan::steps(select.into_iter().collect()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_name_of_the_pattern_is_a_declared_type() {
        for name in TYPE_NAMES.split('|') {
            for name in [name.to_owned(), format!("list[{name}]"), format!("list[list[{name}]]")] {
                assert!(Type::from_declared(&name).is_some(), "{name}");
            }
        }
    }
}
