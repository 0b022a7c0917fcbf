//! `transform_data`: changes rows by steps, a local extension. Without steps it is the vendor's own block, which a
//! provider stands in for as for the enrichment blocks.

use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::enrichment::{self, ReturnFieldSpecs};
use super::failure::Failure;
use super::spec_types::{Columns, Members, whole};
use crate::transform::{Grammar, Step};

pub(super) const fn block() -> BlockType {
    enrichment::enriching::<TransformDataSpecs>("transform_data", None)
}

#[derive(Deserialize, ToSchema)]
struct TransformDataSpecs {
    /// Local extension: each step is an object with one member, whose value is what the command line's step of that name
    /// takes. Null is refused: it would pass all rows where some were to be left out.
    #[schema(nullable = false)]
    steps: Option<Vec<StepSpecs>>,
    /// Columns to add when there are no steps, as in the enrichment blocks.
    #[schema(value_type = Option<BTreeMap<String, ReturnFieldSpecs>>)]
    return_fields: Option<Members<ReturnFieldSpecs>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
struct StepSpecs {
    /// Keep the rows of which this is true: score > 0.8
    #[schema(nullable = false)]
    r#where: Option<String>,
    /// Keep these columns: a,b,hq.city
    select: Option<Columns>,
    /// Drop these columns.
    drop: Option<Columns>,
    /// New names: a=b
    rename: Option<Columns>,
    /// Keep the first rows, so many.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 9007199254740991i64, nullable = false)]
    limit: Option<u64>,
}

impl Specs for TransformDataSpecs {
    fn refine(schema: &mut Value) {
        let step = &mut schema["properties"]["steps"]["items"];
        step["minProperties"] = json!(1);
        step["maxProperties"] = json!(1);
        step["additionalProperties"] = json!(false);
        step["properties"]["where"]["format"] = json!("drawoff-condition");
        for name in ["select", "drop", "rename"] {
            // A step without a value is none.
            let forms = step["properties"][name]["oneOf"][0].take();
            step["properties"][name] = forms;
            step["properties"][name]["format"] = json!("drawoff-columns");
        }
    }

    fn into_block(self, given: BlockUnderCheck<'_>, problems: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        let Some(list) = self.steps else { return Some(enrichment::enrich(self.return_fields, given)) };
        let mut steps = Vec::with_capacity(list.len());
        let mut all_read = true;
        for (i, step) in list.into_iter().enumerate() {
            match step.read() {
                Ok(read) => steps.extend(read),
                Err((name, why)) => {
                    all_read = false;
                    problems.refuse(
                        &["steps".into(), i.into(), name.into()],
                        "value_error",
                        &format!("is wrong: {why}"),
                    );
                }
            }
        }
        all_read.then(|| Box::new(TransformData { steps }) as Box<dyn Block>)
    }
}

impl StepSpecs {
    /// Reads it as the command line does. `Err` has the name of the step, and what is wrong with it.
    fn read(self) -> Result<Vec<Step>, (&'static str, String)> {
        let text = |columns: Option<Columns>| columns.map(Columns::text);
        let members = [
            ("where", self.r#where),
            ("select", text(self.select)),
            ("drop", text(self.drop)),
            ("rename", text(self.rename)),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ];
        let given = members.into_iter().find_map(|(name, text)| Some((name, text?)));
        let (name, text) = given.expect("the schema has one member for each step");
        let grammar = Grammar::of(name).expect("a step of the command line");
        grammar.parse(&text, 0).map_err(|error| (name, error.to_string()))
    }
}

#[derive(Debug)]
struct TransformData {
    steps: Vec<Step>,
}

impl Block for TransformData {
    fn plan(&self, _: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        Ok(BlockPlan::steps(self.steps.clone()))
    }
}
