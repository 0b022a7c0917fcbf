//! `read_csv`: a source that reads an upload of any format.

use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;
use super::input::{Input, InputError, InputRequest};
use super::row_type::RowType;
use super::spec_types::{Columns, InputField, Members, filled};
use crate::api::HandleId;
use crate::column::{Field, Schema, Type};
use crate::transform::Select;

pub(super) const fn block() -> BlockType {
    BlockType::source::<ReadCsvSpecs>("read_csv")
}

/// Words of types that [`Type::from_declared`] knows; a list of them, or a list of such lists, is a type as well.
const TYPE_WORDS: &str = "str|string|enum|dict|int|integer|float|number|bool|boolean|object|object_list|list";

#[derive(Deserialize, ToSchema)]
struct ReadCsvSpecs {
    /// Handle of an upload; usually given for one run by `specs_override`.
    resource_handle_id: Option<String>,
    /// Local extension: types of columns, for a file that does not carry them. A cell of a declared list or object is
    /// read as JSON.
    #[schema(value_type = Option<BTreeMap<String, InputField>>)]
    input_schema: Option<Members<InputField>>,
    /// Columns to take from the file, in this order; all when absent or empty.
    columns: Option<Columns>,
    /// The kind of the rows.
    dataframe_type: Option<RowType>,
}

impl Specs for ReadCsvSpecs {
    fn refine(schema: &mut Value) {
        let pattern = format!(r"^({TYPE_WORDS}|list\[({TYPE_WORDS})\]|list\[list\[({TYPE_WORDS})\]\])$");
        let forms = &mut schema["properties"]["input_schema"]["additionalProperties"]["oneOf"];
        for place in ["/0", "/1/properties/type"] {
            let schema = forms.pointer_mut(place).expect("the forms of InputField");
            schema["pattern"] = json!(pattern);
            schema["title"] = json!("a type such as string, int or list[str]");
        }
    }

    fn into_block(self, _: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        let columns = self.input_schema.unwrap_or_default().0.into_iter();
        let typed = columns.filter_map(|(column, field)| Some((column, Type::from_declared(field.ty()?)?)));
        let fields: Vec<Field> = typed.map(|(column, ty)| Field::new(column.as_str(), ty)).collect();
        Some(Box::new(ReadCsv {
            handle: filled(self.resource_handle_id),
            declared: (!fields.is_empty()).then(|| Schema::new(fields)),
            columns: Columns::names(self.columns),
            rows: self.dataframe_type,
        }))
    }
}

#[derive(Debug)]
struct ReadCsv {
    /// The upload.
    handle: Option<String>,
    /// Declared types.
    declared: Option<Schema>,
    /// Columns to take, in this order; all when empty. Our reading: the name is the one that bulk settings have "for
    /// the source block".
    columns: Vec<String>,
    rows: Option<RowType>,
}

impl Block for ReadCsv {
    fn declared_rows(&self) -> Option<RowType> {
        self.rows
    }

    fn input(&self, request: &InputRequest<'_>) -> Result<Input, InputError> {
        // Our reading: a handle that is missing or unknown is 400.
        let Some(handle) = &self.handle else {
            let text = "this workflow starts with a read_csv block: give the handle of an upload as \
                        specs_override.resource_handle_id";
            return Err(InputError::Refused(text.to_owned()));
        };
        let handle = HandleId(handle.clone());
        let upload = request.store.upload(&handle)?;
        let upload = upload.ok_or_else(|| InputError::Refused(format!("no upload has the handle '{handle}'")))?;
        Ok(Input::Upload {
            path: request.folders.upload(&handle, &upload),
            name: upload.filename,
            extension: upload.extension,
        })
    }

    fn plan(&self, _: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        // A column that is not in the input fails the block.
        let select = || Select::by_names(self.columns.iter().map(String::as_str)).into();
        let select = (!self.columns.is_empty()).then(select);
        Ok(BlockPlan { declared: self.declared.clone(), ..BlockPlan::steps(select.into_iter().collect()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_a_type_is_known() {
        for word in TYPE_WORDS.split('|') {
            for word in [word.to_owned(), format!("list[{word}]"), format!("list[list[{word}]]")] {
                assert!(Type::from_declared(&word).is_some(), "{word}");
            }
        }
    }
}
